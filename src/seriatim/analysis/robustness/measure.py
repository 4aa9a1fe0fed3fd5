"""Robustness: how much worse a model predicts what is intact, when sequences are damaged.

**Intact** is a target that follows the very element it follows in the whole sequence (the first
one the beginning, the end the last element). What is measured is the mean surprisal of the intact
targets in the damaged sequence, beside the surprisal of the very same targets in the whole one:
so a model that looks one element back is not affected at all, and one that looks far back shows
what damage elsewhere does to it. The targets at the damage itself are counted apart.

Long sequences are read in pieces, each from the empty state: the first begins with the boundary,
the others with the element before them.

Knows a model and arrays of symbols; no family, no text.

Shapes: T elements of a sequence, P pieces, N targets, F counts, G blocks, R resamples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seriatim.analysis.context.restarts import FractionDone, check_symbols, score_runs
from seriatim.analysis.robustness.perturbations import (
    PERTURBATIONS,
    STRENGTHS,
    Ints,
    generator,
    list_strengths,
)
from seriatim.analysis.robustness.result import PerturbationResult, Robustness
from seriatim.analysis.settings import ROBUSTNESS_LIMIT, SEEDS
from seriatim.core.batch import TokenSequences
from seriatim.core.model import SequenceModel
from seriatim.errors import DataError
from seriatim.metrics.bootstrap import Floats, Metric, block_sums, ratio, resampled_sums
from seriatim.report.terminal import count_noun

PIECE = 512  # elements of a piece, or a twentieth of a shorter text
_LEAST = 100  # targets: fewer say nothing
_LEAST_PAIRS = 10
_BLOCK = 1000  # targets of a block of the bootstrap, or a twentieth of fewer than 20,000
_RESAMPLES = 1000
_EDGES = (0.025, 0.975)
_LN2 = float(np.log(2))
_ROUNDING = 1e-5  # the same sum, made in another batch

# ---- models of sequences ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """Some elements of a sequence, with their surroundings.

    Attributes:
        before: the element before them; the boundary at a beginning.
        elements: (T,) the elements.
        has_end: whether the sequence ends after them, and its end is scored.
    """

    before: int
    elements: Ints
    has_end: bool

    def feed(self, order: Ints, boundary: int, *, restarts: bool) -> tuple[Ints, Ints, Ints]:
        """Inputs and targets of the elements left, and the index of each target in the whole piece.

        The end has index T.
        """
        x = self.elements[order]
        is_restarted = restarts and len(order) > 0 and order[0] > 0
        inputs = np.concatenate([[boundary if is_restarted else self.before], x])
        if self.has_end:
            return inputs, np.append(x, boundary), np.append(order, len(self.elements))
        return inputs[:-1], x, order


@dataclass(frozen=True)
class _FedPieces:
    """Pieces as they are fed, one after another.

    Attributes:
        inputs, targets: (N,) the symbols.
        index: (N,) the index of each target in its whole piece.
        sizes: (P,) the number of targets of each piece.
    """

    inputs: Ints
    targets: Ints
    index: Ints
    sizes: Ints

    @property
    def starts(self) -> Ints:
        """(P,) where each piece begins."""
        return np.cumsum(self.sizes) - self.sizes

    def bits(self, model: SequenceModel) -> Floats:
        """(N,) the surprisal of every target."""
        some = self.sizes > 0
        starts, sizes = self.starts[some], self.sizes[some]
        return score_runs(model, self.inputs, self.targets, starts, sizes) / _LN2


def measure_robustness(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    strengths: Mapping[str, Sequence[float]] = STRENGTHS,
    limit: int | None = ROBUSTNESS_LIMIT,
    seeds: int = SEEDS,
    seed: int = 0,
    progress: FractionDone | None = None,
) -> Robustness:
    """Measure what perturbations do to the predictions of a model.

    Args:
        model: any model of symbols.
        corpus: the text in symbols of this model.
        strengths: the strengths of every kind of perturbation to try.
        limit: about how many targets are measured, in pieces from all over the text; None: all.
        seeds: how many times each piece is damaged at random.
        seed: the first of their seeds, and the seed of the bootstrap.
        progress: a callback that receives the fraction of the work that is done.

    Raises:
        ConfigError: if a kind is unknown, a strength is outside [0, 1], or there is no seed.
        DataError: if there are fewer than 100 targets, or symbols that the model does not have.
    """
    settings = list_strengths(strengths, seeds)
    pieces = _pieces(model, corpus, limit)
    whole = _feed(model, pieces, [np.arange(len(piece.elements)) for piece in pieces])
    whole_bits = whole.bits(model)
    results = []
    for i, (kind, strength) in enumerate(settings):
        times = PERTURBATIONS[kind].repetitions(seeds)
        counts = np.zeros((len(pieces), 5))
        for j in range(times):
            orders = _orders(kind, strength, [len(piece.elements) for piece in pieces], seed + j)
            damaged = _feed(model, pieces, orders, restarts=PERTURBATIONS[kind].restarts)
            counts += _counts(damaged, damaged.bits(model), whole, whole_bits)
            if progress is not None:
                progress((i + (j + 1) / times) / len(settings))
        block = max(1, min(_BLOCK, len(whole_bits) // 20))
        grouped = block_sums(counts, whole.sizes, block)
        others = counts[:, 4].sum()
        results.append(
            _result(
                kind,
                strength,
                grouped[:, [0, 2]],
                grouped[:, [1, 2]],
                ratio,
                targets=int(counts[:, 2].sum()),
                touched=float(counts[:, 3].sum() / others) if others else None,
                seed=seed,
            )
        )
    return Robustness(float(whole_bits.mean()), tuple(results))


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
        chosen = np.linspace(0, len(spans) - 1, max(20, round(len(spans) * limit / count)))
        spans = [spans[i] for i in np.unique(chosen.astype(np.int64))]
    return [
        _Piece(
            model.boundary if is_first else int(tokens[a - 1]),
            tokens[a:b].astype(np.int64),
            is_last and not corpus.is_stream,
        )
        for a, b, is_first, is_last in spans
    ]


def _orders(kind: str, strength: float, sizes: Sequence[int], seed: int) -> list[Ints]:
    """The elements that are left of sequences of these sizes, in their new order."""
    rng = generator(kind, seed)
    return [PERTURBATIONS[kind].order(size, strength, rng) for size in sizes]


def _feed(
    model: SequenceModel,
    pieces: Sequence[_Piece],
    orders: Sequence[Ints],
    *,
    restarts: bool = False,
) -> _FedPieces:
    fed = [
        piece.feed(order, model.boundary, restarts=restarts)
        for piece, order in zip(pieces, orders, strict=True)
    ]
    inputs, targets, index = (np.concatenate(parts) for parts in zip(*fed, strict=True))
    return _FedPieces(inputs, targets, index, np.array([len(x) for x, _, _ in fed], np.int64))


def _counts(damaged: _FedPieces, bits: Floats, whole: _FedPieces, whole_bits: Floats) -> Floats:
    """(P, 5) of every piece: bits of the intact targets damaged and whole, and their number;
    bits of the others, and their number."""
    piece = np.repeat(np.arange(len(damaged.sizes)), damaged.sizes)
    before = np.concatenate([[-1], damaged.index[:-1]])
    before[damaged.starts[damaged.sizes > 0]] = -1
    ok = (damaged.index == before + 1).astype(np.float64)
    same = whole_bits[whole.starts[piece] + damaged.index]
    columns = [bits * ok, same * ok, ok, bits * (1 - ok), 1 - ok]
    return np.stack([np.bincount(piece, c, len(damaged.sizes)) for c in columns], 1)


# ---- models with a source -----------------------------------------------------------------------


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
    progress: FractionDone | None = None,
) -> Robustness:
    """Measure what perturbations of the sources do to the outputs made from them.

    There are no intact targets here: the whole output is compared with its reference.

    Args:
        sources: the symbols of each source.
        measure: a function of damaged sources, in order, that returns the counts (N, F) of their
            outputs against the references.
        metric: a function of sums of those counts.
        name: the name of the metric.
        is_loss: whether less is better.
        strengths: the strengths of every kind of perturbation to try.
        seeds: how many times each source is damaged at random.
        seed: the first of their seeds, and the seed of the bootstrap.
        progress: a callback that receives the fraction of the work that is done.

    Raises:
        ConfigError: if a kind is unknown, a strength is outside [0, 1], or there is no seed.
        DataError: if there are fewer than ten sources.
    """
    settings = list_strengths(strengths, seeds)
    if len(sources) < _LEAST_PAIRS:
        raise DataError(
            f"the data has {count_noun(len(sources), 'pair')}, too few to measure robustness: give "
            f"at least {_LEAST_PAIRS}"
        )
    total = 1 + sum(PERTURBATIONS[kind].repetitions(seeds) for kind, _ in settings)
    done, whole = 1, measure(list(sources))
    results = []
    for kind, strength in settings:
        times = PERTURBATIONS[kind].repetitions(seeds)
        damaged = np.zeros_like(whole)
        for j in range(times):
            if progress is not None:
                progress(done / total)
            orders = _orders(kind, strength, [len(x) for x in sources], seed + j)
            damaged += measure([x[order] for x, order in zip(sources, orders, strict=True)])
            done += 1
        targets = len(sources) * times
        results.append(
            _result(kind, strength, damaged, whole * times, metric, targets=targets, seed=seed)
        )
    return Robustness(float(metric(whole.sum(0)[None])[0]), tuple(results), name, is_loss)


# ---- the figures --------------------------------------------------------------------------------


def _result(
    kind: str,
    strength: float,
    damaged: Floats,
    whole: Floats,
    metric: Metric,
    *,
    targets: int,
    touched: float | None = None,
    seed: int = 0,
) -> PerturbationResult:
    """The figures from counts (G, F) of independent blocks, damaged and whole.

    The counts of a block are sums over all seeds, so the bootstrap over blocks covers the variance
    of the text and that of the damage.
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
        kind=kind,
        strength=strength,
        bits=bits,
        interval=(low, high),
        intact=intact,
        chance=(intact + float(spread[0]) - rounding, intact + float(spread[1]) + rounding),
        targets=targets,
        touched=touched,
    )


def _widening(groups: int) -> float:
    """The factor by which percentiles of few blocks must be widened (Hesterberg 2015, section 5.3).

    sqrt(G / (G - 1)) t / z, since a bootstrap divides by G and takes no account of Student's t; t
    with G - 1 degrees of freedom by its expansion in 1 / (G - 1) (Fisher, Cornish 1960).
    """
    z, df = 1.959964, groups - 1
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    return math.sqrt(groups / df) * t / z
