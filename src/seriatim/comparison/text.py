"""What a comparison says, in words.

Knows figures and statements; no model, no data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seriatim.metrics.significance import LEVEL, PairwiseDifference, not_distinguished_from

_WORTH = 0.01  # share of the bits that a mixture must save to be spoken of
_MOST_OF_IT = 0.9  # of the training text
_HARDLY, _MUCH = 0.02, 4.0  # a model so little worse, and so many times cheaper, is named too
_FALLING = 0.02  # share by which validation fell in the last third of a training that was cut off


@dataclass(frozen=True)
class Candidate:
    """A model that may be recommended.

    Attributes:
        name: of the model.
        bits: of the model that was kept, on the test text.
        mean_bits: over the seeds.
        operations: for each symbol.
        num_bytes: of its weights or counts.
        history: evaluations of its training; none if it is counted.
        epochs: how often it has seen the training text.
    """

    name: str
    bits: float
    mean_bits: float
    operations: float
    num_bytes: int
    history: Sequence[Mapping[str, Any]]
    epochs: float


def text_sentence(found: PairwiseDifference, unit: str) -> str:
    """What is said of two models on text like the test text."""
    better, worse = _ordered(found)
    if not found.is_significant:
        return f"{better} and {worse} cannot be told apart on text like this: {_how(found, unit)}."
    return f"{better} beats {worse} on text like this: {_how(found, unit)}."


def family_sentence(found: PairwiseDifference, unit: str, budget: str) -> str:
    """What is said of two families under a budget."""
    better, worse = _ordered(found)
    if not found.is_significant:
        return (
            f"{better} and {worse} cannot be told apart under this budget ({budget}): "
            f"{_how(found, unit)}."
        )
    return f"{better} beats {worse} under this budget ({budget}): {_how(found, unit)}."


def _ordered(found: PairwiseDifference) -> tuple[str, str]:
    return (found.a, found.b) if found.difference <= 0 else (found.b, found.a)


def _how(found: PairwiseDifference, unit: str) -> str:
    low, high = sorted((abs(found.interval[0]), abs(found.interval[1])))
    if found.interval[0] < 0 < found.interval[1]:
        low = -min(abs(found.interval[0]), abs(found.interval[1]))
    among = "" if found.p_value == found.p_value_alone else " over all pairs"
    return (
        f"{abs(found.difference):.4f} bits per {unit} less (95 %: {low:.4f} to {high:.4f}, "
        f"{_p(found.p_value)}{among})"
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def advice(
    candidates: Sequence[Candidate],
    texts: Sequence[PairwiseDifference],
    families: Sequence[PairwiseDifference],
    mixture: Mapping[str, Any] | None,
    *,
    unit: str,
) -> dict[str, Any]:
    """Which model to take, and why: {"model": name or None, "sentence": str, "tied": [..]}.

    The best, or the cheapest of those that cannot be told from it.
    """
    if not candidates:
        return {"model": None, "tied": [], "sentence": "No model was trained: raise the budget."}
    of_families = {s.a for s in families} | {s.b for s in families}
    by_family = bool(families) and all(c.name in of_families for c in candidates)
    found = families if by_family else texts
    ranked = sorted(candidates, key=lambda c: c.mean_bits if by_family else c.bits)
    best = ranked[0]
    tied = not_distinguished_from(best.name, found)
    others = [c for c in ranked if c.name in tied]
    chosen = min([best, *others], key=lambda c: (c.operations, c.num_bytes))
    sentences = [_choice(ranked, chosen, found, unit, by_family)]
    sentences += _of_cheaper(ranked, chosen, by_family)
    sentences += _of_mixture(mixture, unit) + _of_training(ranked)
    return {"model": chosen.name, "tied": [best.name, *tied], "sentence": " ".join(sentences)}


def _choice(
    ranked: Sequence[Candidate],
    chosen: Candidate,
    found: Sequence[PairwiseDifference],
    unit: str,
    by_family: bool,
) -> str:
    best = ranked[0]
    bits = best.mean_bits if by_family else best.bits
    where = "under this budget" if by_family else "on this text"
    if len(ranked) == 1:
        return f"Only {best.name} was trained: {bits:.3f} bits per {unit}."
    if not found:
        return (
            f"{best.name} has the lowest figure, {bits:.3f} bits per {unit}, but the test text is "
            "too short to say that this is more than luck: give more text."
        )
    if chosen is best:
        second = ranked[1]
        gap = (second.mean_bits if by_family else second.bits) - bits
        return (
            f"Take {best.name}: {bits:.3f} bits per {unit}, {gap:.3f} less than {second.name}, the "
            f"next, {_certainty(best.name, second.name, found, where)}."
        )
    return (
        f"Take {chosen.name}: {best.name} has the lowest figure, but the two cannot be told apart "
        f"{where}, and {chosen.name} takes {_times(best.operations, chosen.operations)} fewer "
        "operations for each symbol."
    )


def _of_cheaper(ranked: Sequence[Candidate], chosen: Candidate, by_family: bool) -> list[str]:
    """A model that is worse for certain, but hardly, and much cheaper."""

    def bits(c: Candidate) -> float:
        return c.mean_bits if by_family else c.bits

    near = [c for c in ranked if bits(c) <= (1 + _HARDLY) * bits(chosen)]
    cheapest = min(near, key=lambda c: c.operations, default=chosen)
    if cheapest.operations * _MUCH > chosen.operations:
        return []
    return [
        f"If speed counts more, {cheapest.name} is within {_HARDLY:.0%} of it and takes "
        f"{_times(chosen.operations, cheapest.operations)} fewer operations."
    ]


def _certainty(best: str, second: str, found: Sequence[PairwiseDifference], where: str) -> str:
    pair = next(s for s in found if {s.a, s.b} == {best, second})
    if pair.is_significant:
        return f"and the difference is real {where} ({_p(pair.p_value)})"
    return f"which cannot be told from it {where} but costs more"


def _times(more: float, less: float) -> str:
    ratio = more / max(less, 1e-9)
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def _of_mixture(mixture: Mapping[str, Any] | None, unit: str) -> list[str]:
    if mixture is None or mixture.get("p_value", 1.0) >= LEVEL:
        return []
    share = mixture["gain"] / (mixture["bits"] + mixture["gain"])
    if share < _WORTH:
        return []
    main = sorted(mixture["weights"].items(), key=lambda item: -item[1])
    named = ", ".join(f"{name} {weight:.0%}" for name, weight in main if weight >= 0.05)
    return [
        f"If every bit counts, mix them: {mixture['bits']:.3f} bits per {unit}, {share:.1%} less "
        f"than {mixture['best']} alone ({named})."
    ]


def _of_training(ranked: Sequence[Candidate]) -> list[str]:
    falling = [c for c in ranked if _is_falling(c)]
    found = []
    if falling:
        names = _listed([c.name for c in falling])
        verb = "was" if len(falling) == 1 else "were"
        found.append(
            f"{names} {verb} still getting better when the budget ended, so more of it may change "
            "this."
        )
    part = [c for c in ranked if c.epochs < _MOST_OF_IT and c.history]
    if part:
        names, seen = _listed([c.name for c in part]), sorted(c.epochs for c in part)
        shares = f"{seen[0]:.0%}" if len(part) == 1 else f"{seen[0]:.0%} to {seen[-1]:.0%}"
        has = "has" if len(part) == 1 else "have"
        found.append(f"{names} {has} seen only {shares} of the training text.")
    overfitted = [c for c in ranked if _is_overfitted(c)]
    if overfitted:
        names = _listed([c.name for c in overfitted])
        found.append(
            f"{names} got worse on validation text towards the end: more text, dropout or a "
            "smaller model would help, more training would not."
        )
    return found


def _is_falling(c: Candidate) -> bool:
    valid = [e["valid"] for e in c.history if e["valid"] is not None]
    if len(valid) < 4 or min(valid) != valid[-1]:
        return False
    before = valid[-1 - max(1, len(valid) // 3)]
    return bool(before - valid[-1] > _FALLING * before)


def _is_overfitted(c: Candidate) -> bool:
    valid = [e["valid"] for e in c.history if e["valid"] is not None]
    return len(valid) >= 4 and min(valid) in valid[: len(valid) * 3 // 4] and c.epochs > 1


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
