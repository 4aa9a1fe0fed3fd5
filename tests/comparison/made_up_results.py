"""Records as the commands write them, made up: what a report must be able to show."""

import math
from collections.abc import Sequence
from dataclasses import replace

from seriatim.analysis.context.result import (
    ContextRecord,
    CurveRecord,
    DecayRecord,
    InfluenceRecord,
)
from seriatim.analysis.robustness.result import PerturbationResult, Robustness
from seriatim.comparison.record import (
    BlockRecord,
    BudgetRecord,
    ComparisonRecord,
    DataRecord,
    EvaluationBits,
    MixtureRecord,
    ModelResult,
    NotRun,
    Overhead,
    PairRecord,
    Recommendation,
    SeedBits,
    VocabularySize,
)

FAMILIES = ("markov", "autoregressive", "rnn", "lstm", "gru", "transformer")
CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def comparison(names: Sequence[str] = FAMILIES, *, seeds: int = 3) -> ComparisonRecord:
    """A comparison of models of these names; the first is counted, the others are trained."""
    models = tuple(model(name, i, seeds) for i, name in enumerate(names))
    pairs = tuple(pair(a, b) for i, a in enumerate(models) for b in models[i + 1 :])
    return ComparisonRecord(
        data=DataRecord(
            name="novels",
            sequences="stream",
            num_sequences={"train": 1, "valid": 1, "test": 1},
            characters={"train": 5_200_000, "test": 600_000},
            symbols={"char": VocabularySize("char", 90)},
            unknown={"char": 0},
        ),
        budget=BudgetRecord(
            kind="minutes", amount=3.0, parameters=None, sentence="3 minutes of training each"
        ),
        split=None,
        metric="bits per character",
        blocks=BlockRecord(600, 1000.0),
        models=models,
        texts=pairs,
        families=pairs if seeds else (),
        mixture=mixture(names) if len(names) > 1 else None,
        notes=("nothing is said of families",),
        recommendation=recommendation(names),
        overhead=Overhead(900.0, 40.0),
    )


def mixture(names: Sequence[str]) -> MixtureRecord:
    """A mixture in which each model weighs less than the one before."""
    weights = [1.0 / (i + 1) for i in range(len(names))]
    return MixtureRecord(
        weights={n: w / sum(weights) for n, w in zip(names, weights, strict=True)},
        bits=1.62,
        interval=(1.60, 1.64),
        bits_per_character=1.62,
        contributions={n: 0.1 * w for n, w in zip(names, weights, strict=True)},
        best=names[0],
        gain=0.13,
        p_value=0.001,
        left_out=(),
    )


def recommendation(names: Sequence[str]) -> Recommendation:
    """The first model, if there is one."""
    if not names:
        return Recommendation(None, (), "No model was trained: raise the budget.")
    return Recommendation(names[0], (names[0],), f"Take {names[0]}: none needs fewer bits.")


def not_run(name: str, reason: str) -> NotRun:
    """A model that could not take a step."""
    return NotRun(name=name, seed=0, family=name, symbols="char", reason=reason, other_seconds=0.1)


def with_model(record: ComparisonRecord, added: ModelResult | NotRun) -> ComparisonRecord:
    """The comparison with one more model."""
    return replace(record, models=(*record.models, added))


def model(name: str, i: int = 1, seeds: int = 1) -> ModelResult:
    """The i-th best model; 0 is counted, and the state of every sixth grows."""
    bits, grows = 1.75 + 0.06 * i, i % 6 == 5
    return ModelResult(
        name=name,
        family=name,
        seed=0,
        symbols="char",
        config={},
        is_counted=i == 0,
        parameters=250_000 * (i + 1),
        bytes=1_000_000 * (i + 1),
        reach=None,
        state_bytes=tuple((2**p, 1000 * 2**p if grows else 400 * (i + 1)) for p in range(0, 13, 2)),
        operations_per_symbol=500_000.0 * (i + 1),
        generate_symbols_per_second=9_000.0 / (i + 1),
        score_symbols_per_second=90_000.0 / (i + 1),
        train_seconds=2.0 if i == 0 else 180.0,
        train_symbols=5_200_000,
        train_symbols_per_second=40_000.0 / (i + 1),
        epochs=1.0,
        history=() if i == 0 else history(bits),
        notes=(),
        bits=bits,
        interval=(bits - 0.02, bits + 0.02),
        bits_per_character=bits,
        bits_per_byte=bits * 0.98,
        bits_per_symbol=bits,
        seeds=tuple(SeedBits(s, bits + 0.01 * (s - 1), None) for s in range(seeds)),
        folder=None,
    )


def history(bits: float) -> tuple[EvaluationBits, ...]:
    """Evaluations that fall towards a number of bits."""
    return tuple(
        EvaluationBits(
            step=50 * t,
            epoch=0.1 * t,
            seconds=9.0 * t,
            train=bits + 2 / t,
            valid=bits + 2.2 / t,
        )
        for t in range(1, 21)
    )


def pair(a: ModelResult, b: ModelResult) -> PairRecord:
    """Two models that are told apart if more than 0.1 bits lie between them."""
    difference = a.bits - b.bits
    is_significant = abs(difference) > 0.1
    verb = "beats" if is_significant else "is not told apart from"
    p_value = 0.0004 if is_significant else 0.3
    return PairRecord(
        a=a.name,
        b=b.name,
        difference=difference,
        interval=(difference - 0.09, difference + 0.09),
        p_value=p_value,
        p_value_alone=p_value,
        is_significant=is_significant,
        sentence=f"{a.name} {verb} {b.name} on text like this",
    )


def curve(
    bits: Sequence[float],
    *,
    contexts: Sequence[int] = CONTEXTS,
    full: float = 2.0,
    effective: int | None = 30,
    effective_interval: tuple[int | None, int | None] = (20, 40),
    targets: int = 100_000,
) -> CurveRecord:
    """A curve with narrow intervals, from 4.2 bits with nothing seen."""
    return CurveRecord(
        contexts=tuple(contexts),
        bits=tuple(bits),
        intervals=tuple((b - 0.03, b + 0.03) for b in bits),
        nothing=4.2,
        nothing_interval=(4.1, 4.3),
        full=full,
        full_interval=(full - 0.03, full + 0.03),
        effective=effective,
        effective_interval=effective_interval,
        targets=targets,
    )


def effective_context(*, memory: float = 20.0, gradients: bool = True) -> ContextRecord:
    """The effective context of a model that remembers about `memory` symbols."""
    bits = [2.0 + 2.2 * math.exp(-k / memory) for k in CONTEXTS]
    distance = tuple(range(1, 65))
    method = "gradient" if gradients else "replacement"
    return ContextRecord(
        curve=curve(
            bits,
            effective=round(4.7 * memory),
            effective_interval=(round(3 * memory), round(6 * memory)),
        ),
        categories={
            name: curve([b * f for b in bits], full=2.0 * f, targets=9000)
            for name, f in {"letter": 1.1, "space": 0.5, "punctuation": 1.4}.items()
        },
        reach=None,
        seen_reach=None,
        shuffled=curve([b * 0.97 for b in bits[1:]], contexts=CONTEXTS[1:]),
        replaced=curve([b * 1.02 for b in bits[1:]], contexts=CONTEXTS[1:]),
        influence=InfluenceRecord(
            distance,
            tuple(math.exp(-d / memory) / memory for d in distance),
            method,  # type: ignore[arg-type]
        ),
        gradient_decay=DecayRecord(
            distance, {str(n): tuple(0.9**d * (n + 1) for d in distance) for n in range(2)}
        )
        if gradients
        else None,
    )


def robustness(*, damage: float = 1.0) -> Robustness:
    """Perturbations that cost in proportion to their strength."""
    strengths = {
        "trimmed-start": (0.1, 0.25, 0.5),
        "trimmed-end": (0.1, 0.25, 0.5),
        "omitted": (0.01, 0.05, 0.1, 0.2),
        "swapped": (0.01, 0.05, 0.1, 0.2),
        "blocks": (0.25, 0.5, 1.0),
    }
    return Robustness(
        2.0,
        tuple(
            perturbation(kind, s, 2.0 + damage * s / max(values))
            for kind, values in strengths.items()
            for s in values
        ),
    )


def perturbation(
    kind: str,
    strength: float,
    bits: float,
    *,
    intact: float = 2.0,
    chance: tuple[float, float] = (1.93, 2.07),
) -> PerturbationResult:
    """The result of one perturbation."""
    return PerturbationResult(
        kind=kind,
        strength=strength,
        bits=bits,
        interval=(1.9, 3.2),
        intact=intact,
        chance=chance,
        targets=9000,
    )
