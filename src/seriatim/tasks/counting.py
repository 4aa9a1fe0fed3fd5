"""Counting beside a network: whether an n-gram model does better in this budget, and until when.

A network's loss falls with its time about as a power,

    L(t) = b t^-c,    fitted to ln L and ln t of the evaluations of the later part of its run,

and the time at which it meets the loss of counting follows. Within a run the curve is steeper than
from budget to budget, since the learning rate falls: fits to resampled evaluations give the lower
bound (their 5 % quantile), and the power with which the best loss fell from budget to budget where
it was measured (docs/decisions/2026-11-28-budget.md) the upper one. Where the curve is flat or the
upper bound far away, nothing is said but that; of a run whose validation loss rises for most of it,
that no time will do. Knows a model, a corpus and a history.
"""

import math
from dataclasses import replace

import numpy as np

from seriatim.core.model import SequenceModel
from seriatim.data.batches.corpus import EvaluationPass
from seriatim.data.corpus import Corpus
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.models.build import build_model
from seriatim.models.options.ngram import Markov
from seriatim.train.callbacks.history import History
from seriatim.train.closed_form import ClosedForm
from seriatim.train.evaluation import mean_nats

SYMBOLS_PER_SECOND = 1_500_000  # counted and looked up, on a slow machine
FRACTION = 0.03  # of the budget, that counting may take
BUDGET_POWER = 0.05  # of the best loss from budget to budget; 0.06 to 0.08 were measured
FARTHEST = 20.0  # times the budget: further away nothing is foretold
_SKIPPED = 0.25  # of the run: its first evaluations fall too fast
_LEAST_POINTS, _RESAMPLES = 5, 200
_LONG, _SHORT = 6, 4  # orders for small and for large vocabularies
_FEW_SYMBOLS = 1_000
_SPARSE = 100_000  # symbols of training, with fewer of which a shorter order may do better
_SHORTEST = 3
_OVERFITTED = 0.5  # of the run: where the best weights are older, more time does not help


def counting_seconds(corpus: Corpus, minutes: float | None) -> float:
    """The time that counting takes; 0 where there is no budget, or not enough of it."""
    if minutes is None:
        return 0.0
    seconds = corpus.num_tokens / SYMBOLS_PER_SECOND
    return seconds if seconds <= FRACTION * 60.0 * minutes else 0.0


def counted_nats(
    corpus: Corpus, valid: EvaluationPass, num_symbols: int, boundary: int, limit: int
) -> float:
    """Nats per symbol of a counted model, on the symbols that evaluations read."""
    orders = {_LONG if num_symbols <= _FEW_SYMBOLS else _SHORT}
    orders |= {_SHORTEST} if corpus.num_tokens < _SPARSE else set()
    found = []
    for order in orders:
        model: SequenceModel = build_model(Markov(order=order), num_symbols, boundary)
        assert isinstance(model, ClosedForm)
        model.fit_closed_form(corpus)
        found.append(mean_nats(model, valid, limit=limit))
    return min(found)


def beside_counting(history: History, counted: float) -> str | None:
    """A sentence about counting, where it does better than the network; None: it does not.

    Args:
        history: the run of the network.
        counted: the nats per symbol of the counted model, on the same validation symbols.
    """
    own = history.best_valid_nats
    if own is None or own <= counted:
        return None
    bits = math.log(2)
    start = (
        f"in this time counting does better: a markov model needs {counted / bits:.3f} bits per "
        f"validation symbol, this one {own / bits:.3f}"
    )
    if history.best_step < _OVERFITTED * history.steps_done:
        return (
            f"{start}; it overfits, since its validation loss rises from step "
            f"{history.best_step:,} of {history.steps_done:,} on: more text or --dropout would "
            "help it, and more time would not"
        )
    crossing = crossing_seconds(history, counted)
    if crossing is None:
        return f"{start}; its learning curve does not tell what budget it would need to catch up"
    low, high = (f"{seconds / 60:.2g}" for seconds in crossing)
    return (
        f"{start}; by its learning curve it would catch up with a budget of {low} to {high} minutes"
    )


def crossing_seconds(history: History, nats: float) -> tuple[float, float] | None:
    """The least and the most seconds in which a loss of `nats` is reached; None: unforeseeable."""
    points = [
        (e.seconds, e.valid_nats)
        for e in history.evaluations
        if e.step > 0 and e.valid_nats and e.seconds > _SKIPPED * history.seconds
    ]
    if len(points) < _LEAST_POINTS:
        return None
    x, y = np.log(np.array(points)).T
    rng = np.random.default_rng(0)
    times = []
    for _ in range(_RESAMPLES):
        chosen = rng.integers(len(x), size=len(x))
        spread = x[chosen] - x[chosen].mean()
        total = float((spread**2).sum())
        slope = float((spread * y[chosen]).sum()) / total if total else 0.0
        if slope >= 0.0:
            times.append(math.inf)
            continue
        level = float(y[chosen].mean() - slope * x[chosen].mean())
        times.append(math.exp(min((math.log(nats) - level) / slope, 50.0)))
    low, steep = (float(np.quantile(times, q, method="lower")) for q in (0.05, 0.95))
    own = history.best_valid_nats or float(np.exp(y).min())
    slow = history.seconds * math.exp(min(math.log(own / nats) / BUDGET_POWER, 50.0))
    high = max(steep, slow)
    if not high <= FARTHEST * history.seconds:
        return None
    return max(low, history.seconds), max(high, history.seconds)


def with_counting(
    history: History, train: Corpus, valid: EvaluationPass | None, symbols: Vocabulary
) -> History:
    """The history of a run, with a sentence if counting does better in the same time.

    Args:
        history: of the run.
        train: the training data.
        valid: the validation data; None: counting is not to be tried.
        symbols: the vocabulary of both.
    """
    if valid is None or history.stopped == "interrupted":
        return history
    limit = history.evaluate_symbols
    counted = counted_nats(train, valid, symbols.num_symbols, symbols.boundary, limit)
    sentence = beside_counting(history, counted)
    return history if sentence is None else replace(history, notes=(*history.notes, sentence))
