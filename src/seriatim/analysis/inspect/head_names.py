"""Attention-head naming: which patterns a head attends to, compared with uniform attention.

A score is the mean weight on the positions that a pattern points at, over the queries that can
show the pattern; its chance is the score of uniform attention over the positions that the query
may see. Patterns: the query's own position, the position k back (the previous one is 1 back) or
ahead, the last four, the first position, induction (what followed an earlier occurrence of the
current symbol; Olsson et al. 2022, the prefix matching score), delimiters, and the same symbol
elsewhere.

    excess = (score - chance) / (1 - chance),    0 for uniform attention, 1 for nothing else

A head is named after a pattern whose excess is no accident: at least `LEAST_EXCESS`, and three
standard errors above 0 over stretches of the text. So uniform and random maps get no name. A
head over another sequence may also move along it: its monotone score is the correlation of the
two positions.

Knows attention weights and the symbols read; no model and no trace.

Shapes: H heads, T queries, S keys.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LEAST_EXCESS = 0.2
LEAST_TREND = 0.5
LEAST_QUERIES = 20  # the fewest queries that can show a pattern
_ALONG, _AGAINST = "along the source", "against the source"
_NEAR, _NEARBY = "the last 4", 4
_SPREAD = 1.5  # the ratio to the best single offset from which the last four are meant
_FARTHEST = 16  # the largest offset on either side
_STRETCHES = 10
_ERRORS = 3.0


@dataclass(frozen=True)
class HeadScore:
    """How much of a head one pattern accounts for.

    Attributes:
        pattern: the name of the pattern, for people.
        score: the mean weight on the positions of the pattern.
        chance: the score of uniform attention.
        is_named: whether the excess is significant and not small.
    """

    pattern: str
    score: float
    chance: float
    is_named: bool

    @property
    def excess(self) -> float:
        """(score - chance) / (1 - chance)."""
        return (self.score - self.chance) / (1.0 - self.chance) if self.chance < 1.0 else 0.0


@dataclass(frozen=True)
class NamedHead:
    """One head of one map.

    Attributes:
        index: the index of the head in its layer.
        scores: the scores of all patterns that the map can show: named ones first, then by
            decreasing excess.
        entropy: the mean over queries, in bits.
        even_entropy: the entropy of uniform attention.
        distance: mean |position of the query - position of the key|, in symbols; None across two
            sequences.
        even_distance: the distance of uniform attention.
        monotone: across two sequences, the correlation of the query's position with the mean
            position attended to; None within one sequence.
    """

    index: int
    scores: tuple[HeadScore, ...]
    entropy: float
    even_entropy: float
    distance: float | None
    even_distance: float | None
    monotone: float | None

    @property
    def names(self) -> list[str]:
        """The patterns that it shows significantly, the strongest first."""
        return [score.pattern for score in self.scores if score.is_named]


def visible_keys(maps: Tensor, *, is_self: bool) -> Tensor:
    """(T, S) bool, the positions that each query may see, inferred from the weights (H, T, S).

    A masked position has weight 0 exactly, but so has one whose weight in a sharp head was rounded
    to 0. So a map without any weight ahead of the queries is taken to mask what is ahead and what
    is further back than any query attends; any other map only masks what no query attends to.
    """
    (queries, slots), attended = maps.shape[1:], (maps > 0).any(0)
    back = torch.arange(queries)[:, None] - torch.arange(slots)
    if not is_self or bool((attended & (back < 0)).any()):
        return attended.any(0).expand(queries, -1)
    return (back >= 0) & (back <= int((back * attended).max()))


def is_delimiter(piece: str) -> bool:
    """Whether a symbol only separates others: spaces, line ends, punctuation, a boundary."""
    return not any(c.isalnum() for c in piece)


@dataclass(frozen=True)
class SelfMap:
    """The heads' maps of one sequence over itself.

    Attributes:
        weights: (H, T, T), each row summing to 1 over what the query sees.
        symbols: (T,) ids of the symbols read.
        pieces: the texts of the symbols.
    """

    weights: Tensor
    symbols: Tensor
    pieces: Sequence[str]


def describe_heads(maps: Sequence[SelfMap]) -> list[NamedHead]:
    """Each head of a layer, from its maps of one or several sequences."""
    return _heads([_Map(m.weights, _patterns(m.symbols, m.pieces), is_self=True) for m in maps])


def describe_cross_heads(maps: Sequence[tuple[Tensor, Sequence[str]]]) -> list[NamedHead]:
    """Each head of a layer over other sequences, such as a decoder's over its sources.

    Args:
        maps: (H, T, S) weights, and the texts of the S positions attended to.
    """
    return _heads(
        [_Map(w, _fixed_patterns(w.shape[1], pieces), is_self=False) for w, pieces in maps]
    )


class _Map:
    """The heads' maps of one sequence, the patterns in it, and uniform attention.

    Attributes:
        weights: (H, T, S).
        even: (T, S) uniform attention over what each query may see.
        has_choice: (T,) bool, the queries that see more than one position.
        patterns: (T, S) bool each, by name.
        distance: (T, S) from each query to each key; None across two sequences.
    """

    def __init__(
        self, weights: Tensor, patterns: Sequence[tuple[str, Tensor]], *, is_self: bool
    ) -> None:
        self.weights = weights.double()
        seen = visible_keys(weights, is_self=is_self)
        self.even = seen.double() / seen.sum(1, keepdim=True).clamp(min=1)
        self.has_choice = seen.sum(1) > 1
        self.patterns = dict(patterns)
        self.distance = None
        if is_self:
            position = torch.arange(weights.shape[2], dtype=torch.float64)
            self.distance = (position[: weights.shape[1], None] - position).abs()


def _heads(maps: Sequence[_Map]) -> list[NamedHead]:
    if not any(bool(m.has_choice.any()) for m in maps):
        return []
    names = list(dict.fromkeys(name for m in maps for name in m.patterns))
    even = _Means(maps, [m.even for m in maps])
    queries = sum(int(m.has_choice.sum()) for m in maps)
    heads = []
    for index in range(len(maps[0].weights)):
        weights = [m.weights[index] for m in maps]
        own = _Means(maps, weights)
        candidates = [_score(name, weights, maps) for name in names]
        scores = _one_near_name([score for score in candidates if score is not None])
        if own.monotone is not None:
            scores.append(_along(own.monotone, queries))
        heads.append(
            NamedHead(
                index=index,
                scores=tuple(sorted(scores, key=lambda score: (not score.is_named, -score.excess))),
                entropy=own.entropy,
                even_entropy=even.entropy,
                distance=own.distance,
                even_distance=even.distance,
                monotone=own.monotone,
            )
        )
    return heads


def _one_near_name(scores: Sequence[HeadScore]) -> list[HeadScore]:
    """One name for nearby positions: the offset with most of the weight, or "the last 4"."""
    offsets = {_offset_name(k) for k in range(1, _NEARBY + 1)}
    near = [s for s in scores if s.pattern == _NEAR and s.is_named]
    single = [s for s in scores if s.pattern in offsets and s.is_named]
    if not near or not single:
        return list(scores)
    is_spread = near[0].excess > _SPREAD * max(s.excess for s in single)
    dropped = offsets if is_spread else {_NEAR}
    return [replace(s, is_named=False) if s.pattern in dropped else s for s in scores]


def _along(monotone: float, queries: int) -> HeadScore:
    """Whether a head moves along the other sequence, or against its order.

    Chance is 0; a correlation of N independent pairs has a standard error of 1 / sqrt(N - 1).
    """
    pattern = _AGAINST if monotone < 0 else _ALONG
    is_named = abs(monotone) >= max(LEAST_TREND, _ERRORS / math.sqrt(max(1, queries - 1)))
    return HeadScore(pattern, abs(monotone), 0.0, is_named)


class _Means:
    """Means over the queries of all sequences; see `NamedHead`."""

    def __init__(self, maps: Sequence[_Map], weights: Sequence[Tensor]) -> None:
        entropies, distances, trends = [], [], []
        for m, w in zip(maps, weights, strict=True):
            entropies.append(_entropy(w)[m.has_choice])
            if m.distance is not None:
                distances.append((w * m.distance).sum(1)[m.has_choice])
            else:
                position = torch.arange(w.shape[1], dtype=torch.float64)
                trends.append(_trend((w @ position)[m.has_choice]))
        self.entropy = float(torch.cat(entropies).mean())
        self.distance = float(torch.cat(distances).mean()) if distances else None
        self.monotone = sum(trends) / len(trends) if trends else None


# ---- patterns -----------------------------------------------------------------------------------


def _patterns(symbols: Tensor, pieces: Sequence[str]) -> list[tuple[str, Tensor]]:
    """(name, (T, T) bool, the keys that each query points at) of every pattern."""
    count = len(symbols)
    position = torch.arange(count)
    behind = position[:, None] - position  # how far back
    same = symbols[:, None] == symbols
    followed = torch.zeros_like(same)
    # s follows an earlier occurrence of the query's symbol: x_{s-1} = x_t, s - 1 < t.
    followed[:, 1:] = same[:, :-1] & (behind[:, :-1] > 0)
    patterns = [(_offset_name(k), behind == k) for k in range(-_FARTHEST, _FARTHEST + 1)]
    patterns += [(_NEAR, (behind > 0) & (behind <= _NEARBY))]
    patterns += [("induction", followed), ("same symbol", same & (behind != 0))]
    return [*patterns, *_fixed_patterns(count, pieces)]


def _fixed_patterns(queries: int, pieces: Sequence[str]) -> list[tuple[str, Tensor]]:
    """Patterns that do not depend on the query."""
    first = torch.arange(len(pieces)) == 0
    delimiter = torch.tensor([is_delimiter(piece) for piece in pieces])
    patterns = [("first position", first), ("delimiter", delimiter)]
    return [(name, where.expand(queries, -1)) for name, where in patterns]


def _offset_name(k: int) -> str:
    named = {0: "itself", 1: "previous position", -1: "next position"}
    return named.get(k, f"{abs(k)} {'back' if k > 0 else 'ahead'}")


def _score(name: str, weights: Sequence[Tensor], maps: Sequence[_Map]) -> HeadScore | None:
    """The score of one pattern; None if too few queries can show it.

    A query counts if the pattern points at some, and not all, of the positions it may see.
    """
    gains, chances = [], []
    for m, w in zip(maps, weights, strict=True):
        where = m.patterns[name]
        expected = (m.even * where).sum(1)
        counts = m.has_choice & (expected > 0) & (expected < 1 - 1e-9)
        gains.append(((w * where).sum(1) - expected)[counts])
        chances.append(expected[counts])
    gained, expected = torch.cat(gains), torch.cat(chances)
    if len(gained) < LEAST_QUERIES:
        return None
    chance, mean = float(expected.mean()), float(gained.mean())
    stretches = torch.stack([part.mean() for part in gained.tensor_split(_STRETCHES)])
    error = float(stretches.std()) / math.sqrt(_STRETCHES)
    is_named = mean >= LEAST_EXCESS * (1.0 - chance) and mean > _ERRORS * error
    return HeadScore(name, chance + mean, chance, is_named)


def _entropy(weights: Tensor) -> Tensor:
    """(T,) the entropy of each query's weights, in bits."""
    nats: Tensor = -torch.special.xlogy(weights, weights).sum(1)
    return nats / math.log(2)


def _trend(values: Tensor) -> float:
    """Pearson's r of values (T,) with their positions; 0 where they never change."""
    if len(values) < 3 or float(values.std()) < 1e-9:
        return 0.0
    position = torch.arange(len(values), dtype=torch.float64)
    return float(torch.corrcoef(torch.stack([position, values]))[0, 1])
