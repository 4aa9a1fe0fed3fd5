"""What a comparison says in sentences: of each pair of models, and which model to take.

Knows figures and significance; no model, no data.
"""

from collections.abc import Sequence

from seriatim.comparison.record import MixtureRecord, ModelResult, Recommendation
from seriatim.metrics.significance import LEVEL, PairwiseDifference, not_distinguished_from

_MIN_SAVING = 0.01  # of the bits: a mixture that saves less is not worth a sentence
_MIN_WEIGHT = 0.05  # of a model that is named in a mixture
_MOST_OF_IT = 0.9  # of the training text
# A model at most this much worse and at least so many times cheaper is named too.
_HARDLY_WORSE, _MUCH_CHEAPER = 0.02, 4.0
_STILL_FALLING = 0.02  # of the validation bits, in the last third of a training
_MIN_EVALUATIONS = 4  # fewer say nothing about a trend


def text_sentence(pair: PairwiseDifference, unit: str) -> str:
    """What is said of two models on text like the test text."""
    better, worse = _ordered(pair)
    if not pair.is_significant:
        return f"{better} and {worse} cannot be told apart on text like this: {_how(pair, unit)}."
    return f"{better} beats {worse} on text like this: {_how(pair, unit)}."


def family_sentence(pair: PairwiseDifference, unit: str, budget: str) -> str:
    """What is said of two families under a budget."""
    better, worse = _ordered(pair)
    if not pair.is_significant:
        return (
            f"{better} and {worse} cannot be told apart under this budget ({budget}): "
            f"{_how(pair, unit)}."
        )
    return f"{better} beats {worse} under this budget ({budget}): {_how(pair, unit)}."


def _ordered(pair: PairwiseDifference) -> tuple[str, str]:
    return (pair.a, pair.b) if pair.difference <= 0 else (pair.b, pair.a)


def _how(pair: PairwiseDifference, unit: str) -> str:
    low, high = sorted((abs(pair.interval[0]), abs(pair.interval[1])))
    if pair.interval[0] < 0 < pair.interval[1]:
        low = -min(abs(pair.interval[0]), abs(pair.interval[1]))
    among = "" if pair.p_value == pair.p_value_alone else " over all pairs"
    return (
        f"{abs(pair.difference):.4f} bits per {unit} less (95 %: {low:.4f} to {high:.4f}, "
        f"{_p(pair.p_value)}{among})"
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


# ---- the recommendation -------------------------------------------------------------------------


def recommend(
    models: Sequence[ModelResult],
    texts: Sequence[PairwiseDifference],
    families: Sequence[PairwiseDifference],
    mixture: MixtureRecord | None,
    *,
    unit: str,
) -> Recommendation:
    """The best model, or the cheapest of those that cannot be told apart from it, and why.

    Args:
        models: the models that were trained.
        texts: the differences of all pairs of models.
        families: the differences of all pairs of families; they decide where they are of all
            models.
        mixture: the best mixture, if there is one.
        unit: what bits are counted per.
    """
    if not models:
        return Recommendation(None, (), "No model was trained: raise the budget.")
    of_families = {pair.a for pair in families} | {pair.b for pair in families}
    by_family = bool(families) and all(model.name in of_families for model in models)
    pairs = families if by_family else texts
    ranked = sorted(models, key=lambda model: _bits(model, by_family))
    best = ranked[0]
    tied = not_distinguished_from(best.name, pairs)
    candidates = [best, *(model for model in ranked if model.name in tied)]
    chosen = min(candidates, key=lambda model: (model.operations_per_symbol, model.bytes))
    sentences = [
        _choice(ranked, chosen, pairs, unit, by_family),
        *_on_cheaper(ranked, chosen, by_family),
        *_on_mixture(mixture, unit),
        *_on_training(ranked),
    ]
    return Recommendation(chosen.name, (best.name, *tied), " ".join(sentences))


def _bits(model: ModelResult, by_family: bool) -> float:
    return model.mean_bits if by_family else model.bits


def _choice(
    ranked: Sequence[ModelResult],
    chosen: ModelResult,
    pairs: Sequence[PairwiseDifference],
    unit: str,
    by_family: bool,
) -> str:
    best = ranked[0]
    bits = _bits(best, by_family)
    where = "under this budget" if by_family else "on text like this"
    if len(ranked) == 1:
        return f"Only {best.name} was trained: {bits:.3f} bits per {unit}."
    if not pairs:
        return (
            f"{best.name} has the fewest bits, {bits:.3f} per {unit}, but the test text is too "
            "short to say that this is more than luck: give more text."
        )
    if chosen is best:
        second = ranked[1]
        return (
            f"Take {best.name}: {bits:.3f} bits per {unit}, "
            f"{_bits(second, by_family) - bits:.3f} less than {second.name}, the next best, "
            f"{_certainty(best.name, second.name, pairs, where)}."
        )
    times = _times(best.operations_per_symbol, chosen.operations_per_symbol)
    return (
        f"Take {chosen.name}: {best.name} has fewer bits, but the two cannot be told apart "
        f"{where}, and {chosen.name} needs {times} fewer operations per symbol."
    )


def _certainty(best: str, second: str, pairs: Sequence[PairwiseDifference], where: str) -> str:
    pair = next(pair for pair in pairs if {pair.a, pair.b} == {best, second})
    if pair.is_significant:
        return f"and the difference is real {where} ({_p(pair.p_value)})"
    return f"which cannot be told apart from it {where} but costs more"


def _on_cheaper(ranked: Sequence[ModelResult], chosen: ModelResult, by_family: bool) -> list[str]:
    """A model that is worse for certain, but hardly, and much cheaper."""
    most = (1 + _HARDLY_WORSE) * _bits(chosen, by_family)
    near = [model for model in ranked if _bits(model, by_family) <= most]
    cheapest = min(near, key=lambda model: model.operations_per_symbol, default=chosen)
    if cheapest.operations_per_symbol * _MUCH_CHEAPER > chosen.operations_per_symbol:
        return []
    times = _times(chosen.operations_per_symbol, cheapest.operations_per_symbol)
    return [
        f"If speed matters more, {cheapest.name} is within {_HARDLY_WORSE:.0%} of it and needs "
        f"{times} fewer operations."
    ]


def _times(more: float, less: float) -> str:
    ratio = more / max(less, 1e-9)
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def _on_mixture(mixture: MixtureRecord | None, unit: str) -> list[str]:
    if mixture is None or mixture.p_value is None or mixture.p_value >= LEVEL:
        return []
    saving = mixture.gain / (mixture.bits + mixture.gain)
    if saving < _MIN_SAVING:
        return []
    parts = ", ".join(f"{name} {weight:.0%}" for name, weight in mixture.heaviest(_MIN_WEIGHT))
    return [
        f"If every bit counts, mix them: {mixture.bits:.3f} bits per {unit}, {saving:.1%} less "
        f"than {mixture.best} alone ({parts})."
    ]


def _on_training(ranked: Sequence[ModelResult]) -> list[str]:
    sentences = []
    falling = [model.name for model in ranked if _is_falling(model)]
    if falling:
        verb = "was" if len(falling) == 1 else "were"
        sentences.append(
            f"{_listed(falling)} {verb} still improving when the budget ended, so a larger budget "
            "may change this."
        )
    partial = [model for model in ranked if model.epochs < _MOST_OF_IT and model.history]
    if partial:
        low, high = (f"{bound([m.epochs for m in partial]):.0%}" for bound in (min, max))
        seen = low if low == high else f"{low} to {high}"
        verb = "has" if len(partial) == 1 else "have"
        names = _listed([model.name for model in partial])
        sentences.append(f"{names} {verb} seen only {seen} of the training text.")
    overfitted = [model.name for model in ranked if _is_overfitted(model)]
    if overfitted:
        sentences.append(
            f"{_listed(overfitted)} got worse on the validation text towards the end: more text, "
            "dropout or a smaller model would help, more training would not."
        )
    return sentences


def _is_falling(model: ModelResult) -> bool:
    valid = _validation(model)
    if len(valid) < _MIN_EVALUATIONS or min(valid) != valid[-1]:
        return False
    before = valid[-1 - max(1, len(valid) // 3)]
    return before - valid[-1] > _STILL_FALLING * before


def _is_overfitted(model: ModelResult) -> bool:
    valid = _validation(model)
    if len(valid) < _MIN_EVALUATIONS or model.epochs <= 1:
        return False
    return min(valid) in valid[: len(valid) * 3 // 4]


def _validation(model: ModelResult) -> list[float]:
    return [e.valid for e in model.history if e.valid is not None]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
