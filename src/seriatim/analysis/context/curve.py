"""The curve of memory: bits against the number of elements seen, from paired samples.

    bits(k) = full + P_k mean over samples at k of (surprise with k elements - full surprise)

P_k is the share of targets that have more than k elements before them; the others see everything
with k, and count 0. The effective context is found in all k at once: samples at different k are
of different targets, so each is nearly independent, and the falling curve that is nearest to them
all (isotonic regression) crosses the threshold c after the m for which

    sum over k <= m of w_k (D_k - c)

is greatest, w_k being how many samples there are at k. No curve needs to be fitted for that.

Knows numbers; no model.

Shapes: N targets, K the greatest context, S samples, G blocks, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.analysis.context.restarts import Elements, Floats, Ints
from seriatim.metrics.bootstrap import resampled_sums

TOLERANCE = 0.01  # of the full surprise
FLOOR = 0.001  # bits: where nearly everything is certain, 1 % would be nothing

_RESAMPLES = 1000
_LEVEL = 0.95
_LN2 = float(np.log(2))


@dataclass(frozen=True)
class Samples:
    """Surprises with k elements seen, each beside the full surprise of the same target.

    Attributes:
        k: (S,) elements seen, from 1 on.
        target: (S,) which target.
        difference: (S,) surprise with k elements - full surprise, nats.
        depth: targets with at least k + depth - 1 elements before their input could be sampled
            at k; for all others the difference is 0.
    """

    k: Ints
    target: Ints
    difference: Floats
    depth: int = 1


@dataclass(frozen=True)
class ContextCurve:
    """Bits against the number of elements seen. Intervals are 95 % of a bootstrap over blocks.

    Attributes:
        bits: (K + 1,) mean bits per symbol with k = 0 .. K elements seen.
        intervals: (K + 1, 2) of them, on texts like this.
        full: bits with everything seen.
        full_interval: of it.
        effective: the smallest k from which on the bits are within 1 % (and 0.001 bits) of full;
            None: not with K.
        effective_interval: of it; None in it: more than K.
        targets: how many symbols are counted.
    """

    bits: Floats = field(repr=False)
    intervals: Floats = field(repr=False)
    full: float
    full_interval: tuple[float, float]
    effective: int | None
    effective_interval: tuple[int | None, int | None]
    targets: int

    def at(self, contexts: Sequence[int]) -> dict[str, Any]:
        """Bits and intervals at some k, JSON values."""
        k = [min(k, len(self.bits) - 1) for k in contexts]
        return {"bits": self.bits[k].tolist(), "intervals": self.intervals[k].tolist()}

    def figures(self) -> dict[str, Any]:
        """Everything but the curve, JSON values."""
        return {
            "full": self.full,
            "full_interval": list(self.full_interval),
            "effective": self.effective,
            "effective_interval": list(self.effective_interval),
            "targets": self.targets,
        }


def estimate(
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
        samples: any number, at any k.
        longest: K; nothing was sampled beyond it.
        nothing: (N,) surprises with nothing seen, nats.
        among: (N,) the targets that count; None: all.
        seed: of the bootstrap.
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
    """(G, 3 + 3 K) for every block: full nats, targets, nats with nothing seen; then for every k
    the summed differences, the samples, and the targets that could be sampled."""
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
