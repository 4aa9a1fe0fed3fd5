"""The effective context: how many elements back a model looks, and how much each of them gives.

    D_k = mean over targets of  -ln p(x_t | the last k elements) + ln p(x_t | everything before)

The bits with k elements are the full bits + D_k. Targets that have no more than k elements before
them in their sequence, its boundary included, see everything, and count 0. The others are sampled
by restarts (`restarts`), each sample paired with the full surprisal of the same target, so that the
differences vary little. The effective context is the smallest k from which on D_k is within 1 % of
the full surprisal.

Two curves show what the far past is used for (Khandelwal et al. 2018): *shuffled*, with everything
further back than k elements in another order, and *replaced*, with as many elements from elsewhere
in the text in its place.

Knows a model and arrays of symbols; no family, no text.

Shapes: N targets, K the greatest context, S samples, R resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.analysis.context.curve import Samples, estimate_curve
from seriatim.analysis.context.influence import measure_gradient_decay, measure_influence
from seriatim.analysis.context.restarts import (
    Elements,
    FractionDone,
    Ints,
    choose_runs,
    flat_index,
    read_elements,
    score_runs,
    unconditioned,
)
from seriatim.analysis.context.result import ContextCurve, EffectiveContext
from seriatim.analysis.settings import CONTEXT_LIMIT, CONTEXTS
from seriatim.core.batch import TokenSequences
from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.bootstrap import Floats

WINDOW = 300  # elements that are shuffled or replaced (Khandelwal et al. 2018, section 5.2)

_RESTARTS = 6_250  # runs: 600,000 elements folded for K = 512
_DISTURBED = 4_096  # runs of a shuffled or replaced curve at most,
_DISTURBED_ELEMENTS = 220_000  # and elements of all of them together, about
_AFTER = 128  # true elements after what is shuffled
_LEAST = 100  # targets: fewer say nothing
_LEAST_OF_A_KIND = 20
_CHANGE = 1e-4  # nats: a smaller difference may be rounding


def effective_context(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    contexts: Sequence[int] = CONTEXTS,
    categories: Mapping[str, Sequence[int]] | None = None,
    shuffled: bool = False,
    replaced: bool = False,
    gradients: bool = False,
    limit: int | None = CONTEXT_LIMIT,
    seed: int = 0,
    progress: FractionDone | None = None,
) -> EffectiveContext:
    """Measure how far back a model looks on a text.

    Args:
        model: any model of symbols.
        corpus: the text in symbols of this model.
        contexts: rising numbers of elements to show; every k up to the last is measured.
        categories: sets of symbols by name; the targets in each have a curve of their own.
        shuffled, replaced: whether to measure these curves too, at k up to 128.
        gradients: whether to measure the influence of each position and the gradient decay too.
        limit: the number of elements that are read, from the beginning; None: all.
        seed: the seed of the restarts and of the bootstrap.
        progress: a callback that receives the fraction of the work that is done.

    Raises:
        ConfigError: if contexts are not rising numbers from 1 on.
        DataError: if there are fewer than 100 targets, or symbols that the model does not have.
    """
    _check(contexts)
    most = contexts[-1]
    stages = _Stages(progress, 2 + shuffled + replaced + 2 * gradients)
    size = max(1, min(len(corpus.tokens), limit or len(corpus.tokens)))
    reading = stages.next()
    data = read_elements(model, corpus, limit=limit, progress=lambda n: reading(n / size))
    if len(data) < _LEAST:
        raise DataError(
            f"the data has {len(data)} symbols to predict, too few to say how far back a model "
            f"looks: give at least {_LEAST}"
        )
    longest = min(most, int(np.diff(data.bounds).max()))
    samples = _restarted(model, data, longest, seed, stages.next())
    nothing = -unconditioned(model, data)[data.targets]
    measure = partial(estimate_curve, data, samples, most, nothing=nothing, seed=seed)
    members = _members(categories or {}, data, model.num_symbols)
    after = min(longest, _AFTER)

    def disturbed(past: Past) -> ContextCurve | None:
        return _disturbed(model, data, past, after, nothing, seed, stages.next())

    return EffectiveContext(
        contexts=tuple(contexts),
        curve=measure(),
        categories={name: measure(among=among) for name, among in members.items()},
        reach=model.reach,
        seen_reach=_seen_reach(data, samples, nothing, most),
        shuffled=disturbed(_shuffled_past) if shuffled else None,
        replaced=disturbed(_replaced_past) if replaced else None,
        disturbed_at=tuple(k for k in contexts if k <= after) if shuffled or replaced else (),
        influence=(
            measure_influence(model, data, most, seed=seed, progress=stages.next())
            if gradients
            else None
        ),
        gradient_decay=(
            measure_gradient_decay(model, data, seed=seed, progress=stages.next())
            if gradients
            else None
        ),
    )


class _Stages:
    """The fraction that is done of work in several stages of similar length."""

    def __init__(self, progress: FractionDone | None, count: int) -> None:
        self._progress, self._count, self._at = progress, count, -1

    def next(self) -> FractionDone:
        """The progress callback of the next stage."""
        self._at += 1
        at = self._at

        def progress(fraction: float) -> None:
            if self._progress is not None:
                self._progress((at + min(1.0, fraction)) / self._count)

        return progress


def _check(contexts: Sequence[int]) -> None:
    is_rising = all(a < b for a, b in pairwise(contexts))
    if not contexts or contexts[0] < 1 or not is_rising:
        raise ConfigError(
            f"contexts {' '.join(map(str, contexts)) or 'none'}: give numbers of elements, the "
            "first at least 1, each greater than the one before"
        )


def _members(
    categories: Mapping[str, Sequence[int]], data: Elements, num_symbols: int
) -> dict[str, NDArray[np.bool_]]:
    """(N,) which targets are of each category, for those that occur often enough."""
    members = {}
    for name, symbols in categories.items():
        is_member = np.zeros(num_symbols, bool)
        is_member[np.asarray(symbols, np.int64)] = True
        if is_member[data.targets].sum() >= _LEAST_OF_A_KIND:
            members[name] = is_member[data.targets]
    return members


def _restarted(
    model: SequenceModel, data: Elements, longest: int, seed: int, progress: FractionDone
) -> Samples:
    """Samples of every k = 1 .. K, from runs that begin within sequences."""
    begins, sizes = choose_runs(data, longest, _RESTARTS, depth=1, seed=seed)
    nats = score_runs(model, data.inputs, data.targets, begins, sizes, progress=progress)
    target, k = flat_index(begins, sizes)
    return Samples(k, target, nats - data.nats[target])


def _seen_reach(data: Elements, samples: Samples, nothing: Floats, most: int) -> int | None:
    last = int(samples.k[np.abs(samples.difference) > _CHANGE].max(initial=0))
    if last == most:
        return None
    if last:
        return last + 1
    return int((np.abs(nothing - data.nats) > _CHANGE).any())


# ---- the far past disturbed ---------------------------------------------------------------------

Past: TypeAlias = Callable[[Elements, int, int, np.random.Generator], Ints | None]


def _disturbed(
    model: SequenceModel,
    data: Elements,
    past: Past,
    after: int,
    nothing: Floats,
    seed: int,
    progress: FractionDone,
) -> ContextCurve | None:
    """The curve with k = 1 .. `after` true elements after a disturbed past; None: there is none.

    A run is up to 300 disturbed elements, then true ones: the k-th of those gives a sample for k.
    A boundary at the beginning of a sequence stays where it is.
    """
    begins, _ = choose_runs(data, after, _DISTURBED, depth=2, seed=seed)
    sizes = np.minimum(data.depth[begins], WINDOW) + np.minimum(data.ends[begins] - begins, after)
    begins = begins[:: max(1, round(int(sizes.sum()) / _DISTURBED_ELEMENTS))]
    rng = np.random.default_rng(seed)
    made = [(i, past(data, i, after, rng)) for i in begins.tolist()]
    pasts = [(i, x) for i, x in made if x is not None]
    if not pasts:
        return None
    inputs, targets, offsets = [], [], [0]
    for i, x in pasts:
        true = slice(i, min(i + after, int(data.ends[i])))
        inputs += [x, data.inputs[true]]
        targets += [x, data.targets[true]]  # predictions in the disturbed part are not used
        offsets.append(offsets[-1] + len(x) + true.stop - true.start)
    sizes = np.diff(offsets)
    nats = score_runs(
        model,
        np.concatenate(inputs),
        np.concatenate(targets),
        np.array(offsets[:-1]),
        sizes,
        progress=progress,
    )
    own = np.array([len(t) for t in targets[1::2]])
    is_true = np.repeat(np.tile([False, True], len(pasts)), [len(t) for t in targets])
    target, k = flat_index(np.array([i for i, _ in pasts]), own)
    samples = Samples(k, target, nats[is_true] - data.nats[target], depth=2)
    return estimate_curve(data, samples, after, nothing=nothing, seed=seed)


def _shuffled_past(data: Elements, at: int, after: int, rng: np.random.Generator) -> Ints:
    """The elements before input `at` in another order."""
    first, fixed = _window(data, at)
    return np.concatenate([data.inputs[first:fixed], rng.permutation(data.inputs[fixed:at])])


def _replaced_past(data: Elements, at: int, after: int, rng: np.random.Generator) -> Ints | None:
    """As many elements as precede input `at`, from another position as deep in a sequence."""
    first, fixed = _window(data, at)
    size = at - first
    positions = np.flatnonzero(data.depth >= size)
    positions = positions[np.abs(positions - at) >= size + after]
    if not len(positions):
        return None
    there = int(rng.choice(positions)) - size
    return np.concatenate(
        [data.inputs[first:fixed], data.inputs[there + fixed - first :][: at - fixed]]
    )


def _window(data: Elements, at: int) -> tuple[int, int]:
    """Where what is disturbed before `at` begins, and where it does but for a boundary."""
    begin = int(data.begins[at])
    first = max(begin, at - WINDOW)
    return first, first + (first == begin)
