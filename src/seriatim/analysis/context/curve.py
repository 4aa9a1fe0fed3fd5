"""The curve of memory: bits against the number of elements seen, from paired samples.

    bits(k) = full + P_k mean over samples at k of (surprisal with k elements - full surprisal)

P_k is the fraction of targets that have more than k elements before them; the others see everything
with k, and count 0. The effective context is estimated from all k at once: samples at different k
are of different targets, so each is nearly independent, and the falling curve that is nearest to
them all (isotonic regression) crosses the threshold c after the m for which

    sum over k <= m of w_k (D_k - c)

is greatest, where w_k is the number of samples at k. No curve needs to be fitted for that.

Knows numbers; no model.

Shapes: N targets, K the greatest context, S samples, G blocks, R resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.analysis.context.restarts import Elements, Ints
from seriatim.analysis.context.result import ContextCurve
from seriatim.metrics.bootstrap import Floats, resampled_sums

TOLERANCE = 0.01  # of the full surprisal
FLOOR = 0.001  # bits: where nearly everything is certain, 1 % would be nothing

_RESAMPLES = 1000
_LEVEL = 0.95
_LN2 = float(np.log(2))


@dataclass(frozen=True)
class Samples:
    """Surprisals with k elements seen, each paired with the full surprisal of the same target.

    Attributes:
        k: (S,) elements seen, from 1 on.
        target: (S,) the index of the target.
        difference: (S,) surprisal with k elements - full surprisal, nats.
        depth: targets with at least k + depth - 1 elements before their input could be sampled
            at k; for all others the difference is 0.
    """

    k: Ints
    target: Ints
    difference: Floats
    depth: int = 1


def estimate_curve(
    data: Elements,
    samples: Samples,
    longest: int,
    *,
    nothing: Floats,
    among: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> ContextCurve:
    """The curve of samples, and its bootstrap over blocks of targets.

    Args:
        data: the text.
        samples: any number of samples, at any k.
        longest: K; nothing was sampled beyond it.
        nothing: (N,) surprisals with nothing seen, nats.
        among: (N,) the targets that count; None: all.
        seed: the seed of the bootstrap.
    """
    sums = _in_blocks(data, samples, longest, nothing, among)
    point, drawn = sums.sum(0, keepdims=True), resampled_sums(sums, _RESAMPLES, seed)
    weights = point[0, 3 + longest : 3 + 2 * longest]
    full, bits = _curve(point, longest)
    fulls, resampled = _curve(drawn, longest)
    edges = [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]
    effective = _crossing(full, bits, weights)
    low, high = np.quantile(
        _crossing(fulls, resampled, weights), edges, method="inverted_cdf"
    ).tolist()
    return ContextCurve(
        bits=bits[0],
        intervals=np.quantile(resampled, edges, axis=0).T,
        full=float(full[0]),
        full_interval=(float(np.quantile(fulls, edges[0])), float(np.quantile(fulls, edges[1]))),
        effective=_or_none(int(effective[0]), longest),
        effective_interval=(_or_none(int(low), longest), _or_none(int(high), longest)),
        targets=int(point[0, 1]),
    )


def _in_blocks(
    data: Elements,
    samples: Samples,
    longest: int,
    nothing: Floats,
    among: NDArray[np.bool_] | None,
) -> Floats:
    """(G, 3 + 3 K) sums of every block: full nats, targets, nats with nothing seen; then for every
    k the differences, the samples, and the targets that could be sampled."""
    counted = np.ones(len(data)) if among is None else among.astype(np.float64)
    block = np.arange(len(data)) // data.block
    groups = int(block[-1]) + 1

    def per_block(values: Floats) -> Floats:
        return np.bincount(block, values, groups).astype(np.float64)[:, None]

    weight = counted[samples.target]
    at = block[samples.target] * longest + samples.k - 1

    def per_k(values: Floats) -> Floats:
        sums = np.bincount(at, values, groups * longest).astype(np.float64)
        return sums.reshape(groups, longest)

    return np.concatenate(
        [
            per_block(data.nats * counted),
            per_block(counted),
            per_block(nothing * counted),
            per_k(samples.difference * weight),
            per_k(weight),
            _could_be_sampled(data, samples.depth, longest, counted, block),
        ],
        1,
    )


def _could_be_sampled(
    data: Elements, depth: int, longest: int, counted: Floats, block: Ints
) -> Floats:
    """(G, K) targets with at least k + depth - 1 elements before their input."""
    most = np.clip(data.depth - depth + 1, 0, longest)  # the greatest such k, up to K
    groups = int(block[-1]) + 1
    table = np.bincount(block * (longest + 1) + most, counted, groups * (longest + 1))
    ending = table.reshape(groups, longest + 1)[:, :0:-1]
    return np.asarray(ending.cumsum(1)[:, ::-1], np.float64)


def _curve(sums: Floats, longest: int) -> tuple[Floats, Floats]:
    """Full bits (R,) and bits with k = 0 .. K elements (R, K + 1), of sums (R, 3 + 3 K)."""
    of_k = sums[:, 3:].reshape(len(sums), 3, longest)
    count = np.maximum(sums[:, 1:2], 1.0)
    difference, sampled, could = of_k[:, 0], of_k[:, 1], of_k[:, 2]
    added = difference / np.maximum(sampled, 1.0) * could / count
    full, nothing = sums[:, 0:1] / count, sums[:, 2:3] / count
    return full[:, 0] / _LN2, np.concatenate([nothing, full + added], 1) / _LN2


def _crossing(full: Floats, bits: Floats, weights: Floats) -> Ints:
    """(R,) the smallest k from which on the bits are near full; K + 1: none."""
    threshold = np.maximum(TOLERANCE * full, FLOOR)
    w = np.maximum(np.concatenate([weights[:1], weights]), 1.0)
    excess = np.cumsum(w * (bits - (full + threshold)[:, None]), 1)
    return np.asarray(np.argmax(np.concatenate([0 * excess[:, :1], excess], 1), 1), np.int64)


def _or_none(k: int, longest: int) -> int | None:
    return None if k > longest else k
