"""The effective context: how many elements back a model looks, and how much each of them gives.

    D_k = mean over targets of  -ln p(x_t | the last k elements) + ln p(x_t | everything before)

The bits with k elements are the full bits + D_k. Targets that have no more than k elements before
them in their sequence, its boundary included, see everything, and count 0. The others are sampled
by restarts (`evaluate.restarts`), each sample beside the full surprise of the same target, so
that the differences vary little. The effective context is the smallest k from which on D_k is
within 1 % of the full surprise.

Two curves tell what the far past is used for (Khandelwal et al. 2018): *shuffled*, everything
further back than k elements is there but in another order, and *replaced*, there stands something
of another place of the text.

Knows a model and arrays of symbols; no family, no text.

Shapes: N targets, K the greatest context, S samples, R resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.analysis.context.curve import ContextCurve, Samples, estimate
from seriatim.analysis.context.influence import Decay, Influence, gradient_decay, influence
from seriatim.analysis.context.restarts import (
    Elements,
    Floats,
    Ints,
    Report,
    choose,
    elements,
    flat_index,
    run,
    unconditioned,
)
from seriatim.core.batch import TokenSequences
from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError, DataError

CONTEXTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
LIMIT = 100_000  # elements of a text that are looked at, unless more are asked for
WINDOW = 300  # elements that are shuffled or replaced (Khandelwal et al. 2018, section 5.2)

_RESTARTS = 6_250  # runs: 600,000 elements folded for K = 512
_DISTURBED = 4_096  # runs of a shuffled or replaced curve at most,
_DISTURBED_ELEMENTS = 220_000  # and elements of all of them together, about
_AFTER = 128  # true elements after what is shuffled
_LEAST = 100  # targets: fewer say nothing
_LEAST_OF_A_KIND = 20
_GAIN = 0.005  # of the full bits: worth saying that less context is better
_CHANGE = 1e-4  # nats: a smaller difference may be rounding


@dataclass(frozen=True)
class EffectiveContext:
    """How far back a model looks on a text.

    Attributes:
        contexts: k at which the curves are shown; `curve` has every k up to the greatest.
        curve: of all targets.
        categories: of the targets of each kind, by name.
        reach: how many of the last inputs can change a prediction, as the model declares; None:
            no bound.
        seen_reach: the smallest k with which no sampled prediction differs from the full one by
            more than 1e-4 nats; None: some still do with the greatest context.
        shuffled, replaced: what stands further back than k elements is shuffled, or replaced.
        disturbed_at: k at which those two are shown.
        influence: of each past position.
        decay: of the gradient through time.
    """

    contexts: tuple[int, ...]
    curve: ContextCurve
    categories: Mapping[str, ContextCurve]
    reach: int | None
    seen_reach: int | None
    shuffled: ContextCurve | None = None
    replaced: ContextCurve | None = None
    disturbed_at: tuple[int, ...] = ()
    influence: Influence | None = None
    decay: Decay | None = None

    @property
    def effective(self) -> int | None:
        """Of all targets."""
        return self.curve.effective

    @property
    def keeps_its_word(self) -> bool:
        """Nothing further back than the declared reach changed a prediction."""
        if self.reach is None or self.reach >= self.contexts[-1]:
            return True
        return self.seen_reach is not None and self.seen_reach <= self.reach

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        categories = {
            name: {**curve.at(self.contexts), **curve.figures()}
            for name, curve in self.categories.items()
        }
        return {
            "contexts": list(self.contexts),
            **self.curve.at(self.contexts),
            "nothing": float(self.curve.bits[0]),
            "nothing_interval": self.curve.intervals[0].tolist(),
            **self.curve.figures(),
            "reach": self.reach,
            "seen_reach": self.seen_reach,
            "unit": "bits per symbol",
            "categories": categories,
            "shuffled": self._disturbed(self.shuffled),
            "replaced": self._disturbed(self.replaced),
            "influence": None if self.influence is None else self.influence.to_json(),
            "gradient_decay": None if self.decay is None else self.decay.to_json(),
        }

    def _disturbed(self, curve: ContextCurve | None) -> dict[str, Any] | None:
        if curve is None:
            return None
        figures = curve.figures()
        effective = {name: figures[name] for name in ("effective", "effective_interval")}
        return {"at": list(self.disturbed_at), **curve.at(self.disturbed_at), **effective}

    def __str__(self) -> str:
        return sentence(self)


def sentence(found: EffectiveContext) -> str:
    """The effective context in words."""
    most, k = found.contexts[-1], found.effective
    if k is None:
        said = f"looks more than {most} symbols back"
    elif k == 0:
        said = "looks at nothing that came before"
    else:
        said = f"looks {k} symbol{'s' * (k > 1)} back"
    said += _between(found.curve, most)
    reach = "has no bound" if found.reach is None else f"is {found.reach:,}"
    said += f"; its declared reach {reach}"
    if not found.keeps_its_word:
        seen = f"more than {most}" if found.seen_reach is None else str(found.seen_reach)
        said += f", BUT elements as far as {seen} back still change its predictions"
    elif found.seen_reach is not None and found.reach != found.seen_reach:
        said += f", and nothing further than {found.seen_reach} back changed a prediction here"
    best = min(found.contexts, key=lambda k: float(found.curve.bits[k]))
    gain = 1 - found.curve.bits[best] / found.curve.full if found.curve.full > 0 else 0.0
    if gain > _GAIN:
        said += f"; it predicts {gain:.1%} better when it sees {best} alone"
    if found.replaced is not None:
        near = found.replaced.effective
        back = f"more than {found.disturbed_at[-1]}" if near is None else str(near)
        said += f"; it takes no harm from another text in place of what is further than {back} back"
        said += _between(found.replaced, found.disturbed_at[-1])
    return said


def _between(curve: ContextCurve, most: int) -> str:
    """The interval of an effective context in words; "" where it is of one figure."""
    low, high = (f"more than {most}" if k is None else str(k) for k in curve.effective_interval)
    return "" if low == high else f" ({low} to {high})"


def effective_context(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    contexts: Sequence[int] = CONTEXTS,
    categories: Mapping[str, Sequence[int]] | None = None,
    shuffled: bool = False,
    replaced: bool = False,
    gradients: bool = False,
    limit: int | None = LIMIT,
    seed: int = 0,
    progress: Report | None = None,
) -> EffectiveContext:
    """Measure how far back a model looks on a text.

    Args:
        model: any model of symbols.
        corpus: in symbols of this model.
        contexts: numbers of elements to show, rising; every k up to the last is measured.
        categories: sets of symbols; the targets among each make a curve of their own.
        shuffled, replaced: measure these curves too, at k up to 128.
        gradients: measure the influence of each position and the decay of gradients too.
        limit: look at the first so many elements only; None: at all.
        seed: of the places where the model is restarted, and of the bootstrap.
        progress: told which share of the work is done.

    Raises:
        ConfigError: contexts that do not rise, or of nothing.
        DataError: fewer than 100 targets, or symbols that the model does not have.
    """
    _check(contexts)
    most = contexts[-1]
    stages = _Stages(progress, 2 + shuffled + replaced + 2 * gradients)
    size = max(1, min(len(corpus.tokens), limit or len(corpus.tokens)))
    told = stages.next()
    data = elements(model, corpus, limit=limit, progress=lambda n: told(n / size))
    if len(data) < _LEAST:
        raise DataError(
            f"the data has {len(data)} symbols to predict, too few to say how far back a model "
            f"looks: give at least {_LEAST}"
        )
    longest = min(most, int(np.diff(data.bounds).max()))
    samples = _restarted(model, data, longest, seed, stages.next())
    nothing = -unconditioned(model, data)[data.targets]
    measure = partial(estimate, data, samples, most, nothing=nothing, seed=seed)
    members = _members(categories or {}, data, model.num_symbols)
    after = min(longest, _AFTER)
    pasts: dict[str, Past | None] = {"shuffled": _shuffled_past if shuffled else None}
    pasts["replaced"] = _replaced_past if replaced else None
    return EffectiveContext(
        contexts=tuple(contexts),
        curve=measure(),
        categories={name: measure(among=among) for name, among in members.items()},
        reach=model.reach,
        seen_reach=_seen_reach(data, samples, nothing, most),
        disturbed_at=tuple(k for k in contexts if k <= after) if shuffled or replaced else (),
        influence=influence(model, data, most, seed=seed, progress=stages.next())
        if gradients
        else None,
        decay=gradient_decay(model, data, seed=seed, progress=stages.next()) if gradients else None,
        **{
            name: None
            if past is None
            else _disturbed(model, data, past, after, nothing, seed, stages.next())
            for name, past in pasts.items()
        },
    )


class _Stages:
    """The share that is done of work in several stages of like length."""

    def __init__(self, progress: Report | None, count: int) -> None:
        self._progress, self._count, self._at = progress, count, -1

    def next(self) -> Report:
        """What to tell the progress of the next stage."""
        self._at += 1
        at = self._at

        def told(share: float) -> None:
            if self._progress is not None:
                self._progress((at + min(1.0, share)) / self._count)

        return told


def _check(contexts: Sequence[int]) -> None:
    rising = all(a < b for a, b in pairwise(contexts))
    if not contexts or contexts[0] < 1 or not rising:
        raise ConfigError(
            f"contexts {' '.join(map(str, contexts)) or 'of nothing'}: give numbers of elements, "
            "the first at least 1, each greater than the one before"
        )


def _members(
    categories: Mapping[str, Sequence[int]], data: Elements, num_symbols: int
) -> dict[str, NDArray[np.bool_]]:
    """(N,) which targets are of each kind, for categories that occur often enough."""
    found = {}
    for name, symbols in categories.items():
        is_one = np.zeros(num_symbols, bool)
        is_one[np.asarray(symbols, np.int64)] = True
        if is_one[data.targets].sum() >= _LEAST_OF_A_KIND:
            found[name] = is_one[data.targets]
    return found


def _restarted(
    model: SequenceModel, data: Elements, longest: int, seed: int, progress: Report
) -> Samples:
    """Samples of every k = 1 .. K, from runs that begin in the midst of sequences."""
    begins, sizes = choose(data, longest, _RESTARTS, depth=1, seed=seed)
    nats = run(model, data.inputs, data.targets, begins, sizes, progress=progress)
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
    progress: Report,
) -> ContextCurve | None:
    """The curve with k = 1 .. `after` true elements after a disturbed past; None: there is none.

    A run is up to 300 disturbed elements, then true ones: the k-th of those gives a sample for k.
    A boundary at the beginning of a sequence stays where it is.
    """
    begins, _ = choose(data, after, _DISTURBED, depth=2, seed=seed)
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
        targets += [x, data.targets[true]]  # what is predicted in the disturbed part is not used
        offsets.append(offsets[-1] + len(x) + true.stop - true.start)
    sizes = np.diff(offsets)
    nats = run(
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
    return estimate(data, samples, after, nothing=nothing, seed=seed)


def _shuffled_past(data: Elements, at: int, after: int, rng: np.random.Generator) -> Ints:
    """The elements before input `at` in another order."""
    first, fixed = _window(data, at)
    return np.concatenate([data.inputs[first:fixed], rng.permutation(data.inputs[fixed:at])])


def _replaced_past(data: Elements, at: int, after: int, rng: np.random.Generator) -> Ints | None:
    """As many elements as stand before input `at`, of another place as deep in a sequence."""
    first, fixed = _window(data, at)
    size = at - first
    places = np.flatnonzero(data.depth >= size)
    places = places[np.abs(places - at) >= size + after]
    if not len(places):
        return None
    there = int(rng.choice(places)) - size
    return np.concatenate(
        [data.inputs[first:fixed], data.inputs[there + fixed - first :][: at - fixed]]
    )


def _window(data: Elements, at: int) -> tuple[int, int]:
    """Where what is disturbed before `at` begins, and where it does but for a boundary."""
    begin = int(data.begins[at])
    first = max(begin, at - WINDOW)
    return first, first + (first == begin)
