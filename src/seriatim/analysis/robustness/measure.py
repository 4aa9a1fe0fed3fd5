"""Robustness to the three perturbations of real sequences: trimmed, omitted, permuted.

A perturbation takes the elements x_0 .. x_{T-1} of a sequence and says which are left,
in which order:

    trimmed-start   the first share of them is missing
    trimmed-end     the last share is missing, and the sequence ends there
    omitted         each is missing with this probability
    swapped         of the neighbours (x_i, x_{i+1}), each pair changes places with this probability
    blocks          of the blocks of up to 8 elements this share change places with one another

**Intact** is a target that follows the very element it follows in the whole sequence (the first
one the beginning, the end the last element). What is measured is the mean surprise of the intact
targets in the damaged sequence, beside the surprise of the very same targets in the whole one:
so a model that looks one element back is not touched at all, and one that looks far back shows
what damage elsewhere does to it. The targets at the damage itself are counted apart.

Long sequences are looked at in pieces, each from the empty state: the first begins with the
boundary, the others with the element before them.

Knows a model and arrays of symbols; no family, no text.

Shapes: T elements of a sequence, P pieces, N targets, G blocks, R resamples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from seriatim.analysis.context.restarts import Ints, Report, check_symbols, run
from seriatim.core.batch import TokenSequences
from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.bootstrap import Floats, Metric, block_sums, ratio, resampled_sums

Rng: TypeAlias = np.random.Generator

PIECE = 512  # elements of a piece, or a twentieth of a shorter text
LIMIT = 20_000  # targets that are looked at, unless more are asked for
BLOCK = 8  # elements that change places together
SEEDS = 3
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "trimmed-start": (0.1, 0.25, 0.5),
    "trimmed-end": (0.1, 0.25, 0.5),
    "omitted": (0.05, 0.1, 0.2),
    "swapped": (0.05, 0.1, 0.2),
    "blocks": (0.25, 0.5, 1.0),
}

_LEAST = 100  # targets: fewer say nothing
_LEAST_PAIRS = 10
_BLOCK = 1000  # targets of a block of the bootstrap, or a twentieth of fewer than 20,000
_RESAMPLES = 1000
_EDGES = (0.025, 0.975)
_LN2 = float(np.log(2))
_ROUNDING = 1e-5  # the same sum, made in another batch


# ---- the perturbations ------------------------------------------------------------------------


def trimmed_start(size: int, share: float, rng: Rng) -> Ints:
    """Without the first elements, at least one, leaving at least one."""
    return np.arange(_cut(size, share), size)


def trimmed_end(size: int, share: float, rng: Rng) -> Ints:
    """Without the last elements, at least one, leaving at least one."""
    return np.arange(size - _cut(size, share))


def _cut(size: int, share: float) -> int:
    return min(max(1, round(share * size)), max(size - 1, 0)) if share > 0 else 0


def omitted(size: int, rate: float, rng: Rng) -> Ints:
    """Without elements here and there."""
    return np.flatnonzero(rng.random(size) >= rate)


def swapped(size: int, rate: float, rng: Rng) -> Ints:
    """Neighbours changed; no element moves more than one place."""
    order = np.arange(size)
    first = np.arange(int(rng.integers(0, 2)), size - 1, 2)
    first = first[rng.random(len(first)) < rate]
    order[first], order[first + 1] = order[first + 1], order[first].copy()
    return order


def blocks(size: int, share: float, rng: Rng) -> Ints:
    """Blocks changed: those chosen go round among themselves, so that each of them moves."""
    width = min(BLOCK, max(2, size // 4))
    parts = np.split(np.arange(size), np.arange(width, size, width))
    chosen = np.flatnonzero(rng.random(len(parts)) < share)
    moved = rng.permutation(chosen)
    order = list(parts)
    for to, origin in zip(moved, np.roll(moved, 1), strict=True):
        order[to] = parts[origin]
    return np.concatenate(order)


@dataclass(frozen=True)
class Perturbation:
    """A kind of damage to a sequence.

    Attributes:
        order: (T, strength, chance) to the elements that are left, in their new order.
        is_random: whether chance has a say.
        begins_anew: whether a sequence begins where the first element is missing.
    """

    order: Callable[[int, float, Rng], Ints]
    is_random: bool = True
    begins_anew: bool = False


PERTURBATIONS: Mapping[str, Perturbation] = {
    "trimmed-start": Perturbation(trimmed_start, is_random=False, begins_anew=True),
    "trimmed-end": Perturbation(trimmed_end, is_random=False),
    "omitted": Perturbation(omitted),
    "swapped": Perturbation(swapped),
    "blocks": Perturbation(blocks),
}


def _widening(groups: int) -> float:
    """What percentiles of few blocks must be multiplied by (Hesterberg 2015, section 5.3).

    sqrt(G / (G - 1)) t / z, since a bootstrap divides by G and knows of no Student; t with G - 1
    degrees of freedom by its expansion in 1 / (G - 1) (Fisher, Cornish 1960).
    """
    z, df = 1.959964, groups - 1
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    return math.sqrt(groups / df) * t / z


# ---- what is found ------------------------------------------------------------------------------


@dataclass(frozen=True)
class PerturbationResult:
    """What one perturbation of one strength does. Intervals are 95 % of a bootstrap over blocks.

    Attributes:
        kind: of perturbation.
        strength: share or probability.
        bits: the measure under it (of a model of sequences: bits per intact symbol).
        interval: of it.
        intact: the same measure of the same targets without the perturbation.
        chance: where `bits` would fall if the perturbation did nothing: `intact`, and around it the
            spread of the difference.
        targets: how many are measured, over all seeds.
        touched: bits per symbol at the damage itself: of targets that do not follow the element
            they should; None: there are none, or it is not measured.
    """

    kind: str
    strength: float
    bits: float
    interval: tuple[float, float]
    intact: float
    chance: tuple[float, float]
    targets: int
    touched: float | None = None

    @property
    def is_seen(self) -> bool:
        """Whether it is more than chance."""
        return not self.chance[0] <= self.bits <= self.chance[1]


@dataclass(frozen=True)
class Robustness:
    """What perturbations do to a model.

    Attributes:
        intact: the measure without any perturbation.
        perturbations: of every kind and strength.
        metric: what is measured.
        is_loss: whether less is better.
    """

    intact: float
    perturbations: tuple[PerturbationResult, ...]
    metric: str = "bits per symbol"
    is_loss: bool = True

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        perturbations = [
            {**asdict(t), "interval": list(t.interval), "chance": list(t.chance)}
            for t in self.perturbations
        ]
        return {
            "intact": self.intact,
            "perturbations": perturbations,
            "metric": self.metric,
            "is_loss": self.is_loss,
        }


def _damage(
    asked: tuple[str, float],
    damaged: Floats,
    whole: Floats,
    metric: Metric,
    *,
    targets: int,
    touched: float | None = None,
    seed: int = 0,
) -> PerturbationResult:
    """The figures of counts (G, F) of independent blocks, damaged and whole.

    What chance did to a block under all seeds is in its counts, so the bootstrap over blocks
    carries the chance of the text and that of the damage.
    """
    size = damaged.shape[1]
    drawn = resampled_sums(np.concatenate([damaged, whole], 1), _RESAMPLES, seed)
    values = metric(drawn[:, :size])
    bits, intact = float(metric(damaged.sum(0)[None])[0]), float(metric(whole.sum(0)[None])[0])
    spread = np.quantile(values - metric(drawn[:, size:]) - (bits - intact), _EDGES)
    spread *= _widening(len(damaged))
    rounding = _ROUNDING * max(1.0, abs(intact))
    low, high = np.quantile(values, _EDGES).tolist()
    return PerturbationResult(
        *asked,
        bits=bits,
        interval=(low, high),
        intact=intact,
        chance=(intact + float(spread[0]) - rounding, intact + float(spread[1]) + rounding),
        targets=targets,
        touched=touched,
    )


def sentence(found: Robustness) -> str:
    """The findings in words: every kind at its greatest strength."""
    strongest = {t.kind: t for t in sorted(found.perturbations, key=lambda t: t.strength)}
    said = {kind: _change(t, found) for kind, t in strongest.items()}
    unharmed = [f"{kind} {strongest[kind].strength:.0%}" for kind, x in said.items() if not x]
    harmed = [f"{kind} {strongest[kind].strength:.0%}: {x}" for kind, x in said.items() if x]
    parts = [
        f"{found.metric}, beside the same without the perturbation: {', '.join(harmed)}"
    ] * bool(harmed)
    parts += [f"no more than chance: {', '.join(unharmed)}"] * bool(unharmed)
    return "; ".join(parts)


def _change(t: PerturbationResult, found: Robustness) -> str:
    """How much a perturbation changes; "": no more than chance."""
    if not t.is_seen:
        return ""
    if found.is_loss and t.intact > 0:
        return f"{t.bits / t.intact - 1:+.1%}"
    return f"{t.bits - t.intact:+.4g}"


# ---- models of sequences ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """Some elements of a sequence, and what stands around them.

    Attributes:
        before: the element before them, the boundary at a beginning.
        elements: (T,) of the sequence.
        has_end: whether the sequence ends after them, and that is scored.
    """

    before: int
    elements: Ints
    has_end: bool

    def fed(self, order: Ints, boundary: int, *, begins_anew: bool) -> tuple[Ints, Ints, Ints]:
        """Inputs and targets of the elements left, and which target of the whole each is.

        Target T is the end.
        """
        x = self.elements[order]
        is_anew = begins_anew and len(order) > 0 and order[0] > 0
        inputs = np.concatenate([[boundary if is_anew else self.before], x])
        if self.has_end:
            return inputs, np.append(x, boundary), np.append(order, len(self.elements))
        return inputs[:-1], x, order


def measure_robustness(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    strengths: Mapping[str, Sequence[float]] = STRENGTHS,
    limit: int | None = LIMIT,
    seeds: int = SEEDS,
    seed: int = 0,
    progress: Report | None = None,
) -> Robustness:
    """Measure what perturbations do to the predictions of a model.

    Args:
        model: any model of symbols.
        corpus: in symbols of this model.
        strengths: for every kind of perturbation to try, its strengths.
        limit: about so many targets are looked at, in pieces from all over the text; None: all.
        seeds: how many times chance damages each piece.
        seed: of the first of them, and of the bootstrap.
        progress: told which share of the work is done.

    Raises:
        ConfigError: a kind that does not exist, a strength outside [0, 1], or no seed.
        DataError: fewer than 100 targets, or symbols that the model does not have.
    """
    _check(strengths, seeds)
    pieces = _pieces(model, corpus, limit)
    whole = _fed(model, pieces, [np.arange(len(p.elements)) for p in pieces])
    truth = _surprises(model, whole)
    asked = [(kind, strength) for kind, values in strengths.items() for strength in values]
    found = []
    for i, (kind, strength) in enumerate(asked):
        times = seeds if PERTURBATIONS[kind].is_random else 1
        counts = np.zeros((len(pieces), 5))
        for j in range(times):
            counts += _counted(model, pieces, (whole, truth), (kind, strength), seed + j)
            if progress is not None:
                progress((i + (j + 1) / times) / len(asked))
        block = max(1, min(_BLOCK, len(truth) // 20))
        grouped = block_sums(counts, whole.sizes, block)
        others = counts[:, 4].sum()
        found.append(
            _damage(
                (kind, strength),
                grouped[:, [0, 2]],
                grouped[:, [1, 2]],
                ratio,
                targets=int(counts[:, 2].sum()),
                touched=float(counts[:, 3].sum() / others) if others else None,
                seed=seed,
            )
        )
    return Robustness(float(truth.mean()), tuple(found))


def _check(strengths: Mapping[str, Sequence[float]], seeds: int) -> None:
    for kind, values in strengths.items():
        if kind not in PERTURBATIONS:
            raise ConfigError(
                f"unknown perturbation {kind!r}: choose one of {', '.join(PERTURBATIONS)}"
            )
        if not all(0 <= s <= 1 for s in values):
            raise ConfigError(f"{kind} at {' '.join(map(str, values))}: give shares from 0 to 1")
    if seeds < 1:
        raise ConfigError(f"{seeds} seeds damage nothing: give at least one")


def _pieces(model: SequenceModel, corpus: TokenSequences, limit: int | None) -> list[_Piece]:
    """Pieces of at most `PIECE` elements, evenly from the whole text."""
    tokens = np.asarray(corpus.tokens)
    extra = 0 if corpus.is_stream else 1
    count = len(tokens) + extra * (len(corpus.offsets) - 1)
    if count < _LEAST:
        raise DataError(
            f"the data has {count} symbols to predict, too few to measure robustness: give at "
            f"least {_LEAST}"
        )
    check_symbols(model, tokens)
    size = min(PIECE, max(5, count // 20))
    spans = [
        (at, min(at + size, end), at == begin, at + size >= end)
        for begin, end in pairwise(np.asarray(corpus.offsets).tolist())
        for at in range(begin, max(end, begin + 1), size)
    ]
    if limit is not None and limit < count:
        kept = np.linspace(0, len(spans) - 1, max(20, round(len(spans) * limit / count)))
        spans = [spans[i] for i in np.unique(kept.astype(np.int64))]
    return [
        _Piece(
            model.boundary if is_first else int(tokens[a - 1]),
            tokens[a:b].astype(np.int64),
            is_last and not corpus.is_stream,
        )
        for a, b, is_first, is_last in spans
    ]


@dataclass(frozen=True)
class _Fed:
    """Pieces as they are fed, one after another.

    Attributes:
        inputs, targets: (N,).
        which: (N,) which target of the whole piece each is.
        sizes: (P,) the targets of each piece.
    """

    inputs: Ints
    targets: Ints
    which: Ints
    sizes: Ints

    @property
    def starts(self) -> Ints:
        """(P,) where each piece begins."""
        return np.cumsum(self.sizes) - self.sizes


def _fed(
    model: SequenceModel,
    pieces: Sequence[_Piece],
    orders: Sequence[Ints],
    *,
    begins_anew: bool = False,
) -> _Fed:
    made = [
        piece.fed(order, model.boundary, begins_anew=begins_anew)
        for piece, order in zip(pieces, orders, strict=True)
    ]
    inputs, targets, which = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return _Fed(inputs, targets, which, np.array([len(x) for x, _, _ in made], np.int64))


def _surprises(model: SequenceModel, fed: _Fed) -> Floats:
    """(N,) bits of every target."""
    some = fed.sizes > 0
    return run(model, fed.inputs, fed.targets, fed.starts[some], fed.sizes[some]) / _LN2


def _counted(
    model: SequenceModel,
    pieces: Sequence[_Piece],
    intact: tuple[_Fed, Floats],
    asked: tuple[str, float],
    seed: int,
) -> Floats:
    """(P, 5) of every piece: bits of the intact targets damaged and whole, and their number;
    bits of the others, and their number."""
    (kind, strength), (whole, truth) = asked, intact
    perturbation, rng = PERTURBATIONS[kind], np.random.default_rng([seed, *kind.encode()])
    orders = [perturbation.order(len(p.elements), strength, rng) for p in pieces]
    fed = _fed(model, pieces, orders, begins_anew=perturbation.begins_anew)
    bits = _surprises(model, fed)
    own = np.repeat(np.arange(len(pieces)), fed.sizes)
    before = np.concatenate([[-1], fed.which[:-1]])
    before[fed.starts[fed.sizes > 0]] = -1
    ok = (fed.which == before + 1).astype(np.float64)
    columns = [bits * ok, truth[whole.starts[own] + fed.which] * ok, ok, bits * (1 - ok), 1 - ok]
    return np.stack([np.bincount(own, c, len(pieces)) for c in columns], 1)


# ---- models that answer to a source -------------------------------------------------------------


def pair_robustness(
    sources: Sequence[Ints],
    measure: Callable[[list[Ints]], Floats],
    metric: Metric,
    *,
    name: str,
    is_loss: bool = False,
    strengths: Mapping[str, Sequence[float]] = STRENGTHS,
    seeds: int = 1,
    seed: int = 0,
    progress: Report | None = None,
) -> Robustness:
    """What perturbations of the sources do to what is made of them.

    There are no intact targets here: the whole output is held against its reference.

    Args:
        sources: the symbols of each.
        measure: makes outputs of damaged sources, in order, and counts them against their
            references: (N, F).
        metric: of sums of those counts.
        name: of the metric.
        is_loss: whether less is better.
        strengths: for every kind of perturbation to try, its strengths.
        seeds: how many times chance damages each source.
        seed: of the first of them, and of the bootstrap.
        progress: told which share of the work is done.

    Raises:
        ConfigError: a kind that does not exist, a strength outside [0, 1], or no seed.
        DataError: fewer than ten sources.
    """
    _check(strengths, seeds)
    if len(sources) < _LEAST_PAIRS:
        raise DataError(
            f"{len(sources)} pairs are too few to say what perturbations do: give at least "
            f"{_LEAST_PAIRS}"
        )
    asked = [(kind, strength) for kind, values in strengths.items() for strength in values]
    runs = [seeds if PERTURBATIONS[kind].is_random else 1 for kind, _ in asked]
    done, whole = 1, measure(list(sources))
    found = []
    for (kind, strength), times in zip(asked, runs, strict=True):
        damaged = np.zeros_like(whole)
        for j in range(times):
            if progress is not None:
                progress(done / (1 + sum(runs)))
            rng = np.random.default_rng([seed + j, *kind.encode()])
            damaged += measure(
                [x[PERTURBATIONS[kind].order(len(x), strength, rng)] for x in sources]
            )
            done += 1
        found.append(
            _damage(
                (kind, strength),
                damaged,
                whole * times,
                metric,
                targets=len(sources) * times,
                seed=seed,
            )
        )
    return Robustness(float(metric(whole.sum(0)[None])[0]), tuple(found), name, is_loss)
