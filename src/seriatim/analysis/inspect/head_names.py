"""What attention heads look at: scores of each head, beside what a head without a mind would get.

A score is the mean, over the queries that can show it, of the weight on the positions that a
pattern points at; its chance is that of uniform attention over the positions the query may see.
Patterns: itself, the position k back (the previous one is 1 back) or ahead, the last four, the
first position, induction
(what followed an earlier occurrence of the current symbol; Olsson et al. 2022, the prefix
matching score), delimiters, the same symbol elsewhere.

    excess = (score - chance) / (1 - chance),    0 for uniform attention, 1 where nothing else

A head is named by a pattern where the excess is no accident: at least `LEAST_EXCESS`, and three
standard errors above 0 over stretches of the text. So uniform and random maps get no name. A
head over another sequence may also walk along it: the correlation of both positions.

Knows maps of weights and the symbols read; no model and no trace.

Shapes: H heads, T queries, S positions looked at.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LEAST_EXCESS = 0.2
LEAST_TREND = 0.5
LEAST_QUERIES = 20  # that a pattern must be shown by
_ALONG, _AGAINST = "along the source", "against the source"
_NEAR, _NEARBY = "the last 4", 4
_SPREAD = 1.5  # times as much as at the best single place: all of them are meant
_FARTHEST = 16  # offsets tried on either side
_STRETCHES = 10
_ERRORS = 3.0


@dataclass(frozen=True)
class HeadScore:
    """How much of a head one pattern accounts for.

    Attributes:
        pattern: what it points at, for people.
        score: mean weight there.
        chance: of uniform attention.
        is_named: whether it is above chance beyond doubt, and not small.
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
        index: in its layer.
        scores: of every pattern that the map could show: named ones first, the excess falling.
        entropy: mean over queries, bits; even_entropy: of uniform attention.
        distance: mean |position of the query - position looked at|, symbols; None: across two
            sequences.
        even_distance: of uniform attention.
        monotone: across two sequences: the correlation of the query's position with the mean
            position looked at; None: within one.
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
        """The patterns that it shows beyond doubt, the strongest first."""
        return [score.pattern for score in self.scores if score.is_named]


def seen_by(maps: Tensor, *, is_self: bool) -> Tensor:
    """(T, S) which positions a query may see, from the weights (H, T, S) alone.

    What a model hides has weight 0 exactly, but so has what a sharp head left so far behind that
    its weight was rounded away. So a map without any weight ahead of the queries is taken to hide
    what is ahead, and what is further back than any query ever looked; any other map only what
    no query looked at.
    """
    (queries, slots), looked = maps.shape[1:], (maps > 0).any(0)
    back = torch.arange(queries)[:, None] - torch.arange(slots)
    if not is_self or bool((looked & (back < 0)).any()):
        return looked.any(0).expand(queries, -1)
    return (back >= 0) & (back <= int((back * looked).max()))


def is_delimiter(piece: str) -> bool:
    """Whether a symbol only parts others: spaces, line ends, punctuation, a boundary."""
    return not any(c.isalnum() for c in piece)


@dataclass(frozen=True)
class SelfMap:
    """The heads' maps of one sequence over itself.

    Attributes:
        weights: (H, T, T), each row summing to 1 over what the query sees.
        symbols: (T,) ids of the symbols read.
        pieces: their texts.
    """

    weights: Tensor
    symbols: Tensor
    pieces: Sequence[str]


def describe_heads(maps: Sequence[SelfMap]) -> list[NamedHead]:
    """Each head of a layer, from its maps of one sequence or of several."""
    looks = [_Looks(m.weights, _patterns(m.symbols, m.pieces), is_self=True) for m in maps]
    return _heads(looks)


def describe_cross_heads(maps: Sequence[tuple[Tensor, Sequence[str]]]) -> list[NamedHead]:
    """Each head of a layer over other sequences, such as a decoder's over its sources.

    Args:
        maps: (H, T, S) weights, and the texts of the S positions looked at.
    """
    looks = [_Looks(w, _places(w.shape[1], pieces), is_self=False) for w, pieces in maps]
    return _heads(looks)


class _Looks:
    """One sequence: what its queries see, where the patterns point, and uniform attention.

    Attributes:
        weights: (H, T, S).
        even: (T, S) of uniform attention.
        asked: (T,) the queries that have a choice.
        patterns: (T, S) bool each, by name.
        far: (T, S) how far each position is from the query; None: across two sequences.
    """

    def __init__(
        self, weights: Tensor, patterns: Sequence[tuple[str, Tensor]], *, is_self: bool
    ) -> None:
        self.weights = weights.double()
        seen = seen_by(weights, is_self=is_self)
        self.even = seen.double() / seen.sum(1, keepdim=True).clamp(min=1)
        self.asked = seen.sum(1) > 1
        self.patterns = dict(patterns)
        self.far = None
        if is_self:
            place = torch.arange(weights.shape[2], dtype=torch.float64)
            self.far = (place[: weights.shape[1], None] - place).abs()


def _heads(looks: Sequence[_Looks]) -> list[NamedHead]:
    if not any(bool(look.asked.any()) for look in looks):
        return []
    names = list(dict.fromkeys(name for look in looks for name in look.patterns))
    even = _Means(looks, [look.even for look in looks])
    found = []
    for index in range(len(looks[0].weights)):
        weights = [look.weights[index] for look in looks]
        own = _Means(looks, weights)
        scores = [_score(name, weights, looks) for name in names]
        known = _exact([score for score in scores if score is not None])
        if own.monotone is not None:
            known.append(_along(own.monotone, sum(int(look.asked.sum()) for look in looks)))
        found.append(
            NamedHead(
                index=index,
                scores=tuple(sorted(known, key=lambda score: (not score.is_named, -score.excess))),
                entropy=own.entropy,
                even_entropy=even.entropy,
                distance=own.distance,
                even_distance=even.distance,
                monotone=own.monotone,
            )
        )
    return found


def _exact(scores: Sequence[HeadScore]) -> list[HeadScore]:
    """One name for what is near: the place back that has most of it, or else all of them."""
    offsets = {_offset_name(k) for k in range(1, _NEARBY + 1)}
    near = [s for s in scores if s.pattern == _NEAR and s.is_named]
    single = [s for s in scores if s.pattern in offsets and s.is_named]
    if not near or not single:
        return list(scores)
    is_spread = near[0].excess > _SPREAD * max(s.excess for s in single)
    dropped = offsets if is_spread else {_NEAR}
    return [replace(s, is_named=False) if s.pattern in dropped else s for s in scores]


def _along(monotone: float, queries: int) -> HeadScore:
    """Whether a head walks along the other sequence, or against its order.

    Chance is 0; a correlation of N independent pairs has an error of about 1 / sqrt(N - 1).
    """
    pattern = _AGAINST if monotone < 0 else _ALONG
    is_named = abs(monotone) >= max(LEAST_TREND, _ERRORS / math.sqrt(max(1, queries - 1)))
    return HeadScore(pattern, abs(monotone), 0.0, is_named)


class _Means:
    """Means over the queries of all sequences; see `NamedHead`."""

    def __init__(self, looks: Sequence[_Looks], weights: Sequence[Tensor]) -> None:
        entropies, distances, trends = [], [], []
        for look, w in zip(looks, weights, strict=True):
            entropies.append(_entropy(w)[look.asked])
            if look.far is not None:
                distances.append((w * look.far).sum(1)[look.asked])
            else:
                place = torch.arange(w.shape[1], dtype=torch.float64)
                trends.append(_trend((w @ place)[look.asked]))
        self.entropy = float(torch.cat(entropies).mean())
        self.distance = float(torch.cat(distances).mean()) if distances else None
        self.monotone = sum(trends) / len(trends) if trends else None


# ---- patterns -----------------------------------------------------------------------------------


def _patterns(symbols: Tensor, pieces: Sequence[str]) -> list[tuple[str, Tensor]]:
    """(name, (T, T) bool where it points) of every pattern."""
    count = len(symbols)
    place = torch.arange(count)
    behind = place[:, None] - place  # how far back
    same = symbols[:, None] == symbols
    followed = torch.zeros_like(same)
    # s follows an earlier occurrence of the query's symbol: x_{s-1} = x_t, s - 1 < t.
    followed[:, 1:] = same[:, :-1] & (behind[:, :-1] > 0)
    found = [(_offset_name(k), behind == k) for k in range(-_FARTHEST, _FARTHEST + 1)]
    found += [(_NEAR, (behind > 0) & (behind <= _NEARBY))]
    found += [("induction", followed), ("same symbol", same & (behind != 0))]
    return [*found, *_places(count, pieces)]


def _places(queries: int, pieces: Sequence[str]) -> list[tuple[str, Tensor]]:
    """Patterns that do not depend on the query."""
    first = torch.arange(len(pieces)) == 0
    delimiter = torch.tensor([is_delimiter(piece) for piece in pieces])
    found = [("first position", first), ("delimiter", delimiter)]
    return [(name, where.expand(queries, -1)) for name, where in found]


def _offset_name(k: int) -> str:
    named = {0: "itself", 1: "previous position", -1: "next position"}
    return named.get(k, f"{abs(k)} {'back' if k > 0 else 'ahead'}")


def _score(name: str, weights: Sequence[Tensor], looks: Sequence[_Looks]) -> HeadScore | None:
    """None: too few queries can show it.

    A query counts if some, and not all, of what it sees is what the pattern points at.
    """
    gains, chances = [], []
    for look, w in zip(looks, weights, strict=True):
        where = look.patterns[name]
        expected = (look.even * where).sum(1)
        counts = look.asked & (expected > 0) & (expected < 1 - 1e-9)
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
    """(T,) bits."""
    nats: Tensor = -torch.special.xlogy(weights, weights).sum(1)
    return nats / math.log(2)


def _trend(values: Tensor) -> float:
    """Pearson's r of values (T,) with their places; 0 where they never change."""
    if len(values) < 3 or float(values.std()) < 1e-9:
        return 0.0
    place = torch.arange(len(values), dtype=torch.float64)
    return float(torch.corrcoef(torch.stack([place, values]))[0, 1])
