"""What follows from the runs of a comparison: figures, statements, a mixture, a recommendation.

Two kinds of statement are kept apart. *This model beats that one on text like this* is said of the
best run of each model, chosen by validation loss. *This family beats that one under this budget*
is said only of families with three seeds or more.

Knows what was measured and what it is called; trains nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from seriatim.comparison.advice import family_sentence, recommend, text_sentence
from seriatim.comparison.record import (
    BlockRecord,
    BudgetRecord,
    ComparisonRecord,
    DataRecord,
    Interval,
    MixtureRecord,
    ModelFigures,
    ModelResult,
    NotRun,
    Overhead,
    PairRecord,
    SeedBits,
    VocabularySize,
)
from seriatim.comparison.scored_runs import LN2, ScoredRuns
from seriatim.comparison.store import TrainedRun
from seriatim.data.corpus import Corpus
from seriatim.errors import DataError
from seriatim.metrics.bootstrap import Floats, bootstrap_interval, ratio
from seriatim.metrics.significance import (
    MIN_BLOCKS,
    MIN_SEEDS,
    BestMixture,
    PairwiseDifference,
    best_mixture,
    pairwise_differences,
)
from seriatim.report.terminal import count_noun

UNEQUAL = 0.1  # of the time: a model that had more or less is named


def conclude(scored: ScoredRuns, budget: BudgetRecord, seconds: float) -> ComparisonRecord:
    """Everything that can be said.

    Args:
        scored: the runs and what they take for the test text.
        budget: what every model could spend.
        seconds: the time that the comparison took outside its runs.
    """
    unit = "character" if scored.is_by_character else "symbol"
    models = tuple(_model(scored, name) for name in scored.runs)
    texts, families, notes = _pairs(scored)
    notes = [*notes, *_unequal_time(scored, budget)]
    mixture = _mixture(scored)
    return ComparisonRecord(
        data=_data(scored),
        budget=budget,
        split=scored.data.split,
        metric=f"bits per {unit}",
        blocks=BlockRecord(scored.blocks.count, float(np.median(scored.blocks.sizes))),
        models=models,
        texts=tuple(_pair(p, text_sentence(p, unit)) for p in texts),
        families=tuple(_pair(p, family_sentence(p, unit, budget.sentence)) for p in families),
        mixture=mixture,
        notes=tuple(notes),
        recommendation=recommend(
            [model for model in models if isinstance(model, ModelResult)],
            texts,
            families,
            mixture,
            unit=unit,
        ),
        overhead=_overhead(scored, seconds),
        references=_references(scored),
    )


# ---- pairs --------------------------------------------------------------------------------------


def _pairs(
    scored: ScoredRuns,
) -> tuple[Sequence[PairwiseDifference], Sequence[PairwiseDifference], list[str]]:
    """The differences of models, those of families, and why any are missing."""
    if scored.blocks.count < MIN_BLOCKS:
        note = (
            f"the test text has {count_noun(scored.blocks.count, 'block')}, and {MIN_BLOCKS} are "
            "needed to say that a difference is more than luck: give more text"
        )
        return [], [], [note]
    best = {name: scored.bits(name, run)[None] for name, run in scored.best.items()}
    families, notes = _families(scored)
    return pairwise_differences(best, scored.sizes), families, notes


def _families(scored: ScoredRuns) -> tuple[Sequence[PairwiseDifference], list[str]]:
    """The differences of families with enough seeds, and why any are missing."""
    counted = {name for name, runs in scored.trained.items() if runs[0].record.is_counted}
    families = {
        name: np.stack([scored.bits(name, run) for run in runs])
        for name, runs in scored.trained.items()
        if len(runs) >= MIN_SEEDS or name in counted
    }
    if len(families) < 2 or families.keys() <= counted:
        one = all(len(runs) == 1 for runs in scored.trained.values())
        seeds = "One seed cannot" if one else f"Fewer than {MIN_SEEDS} seeds cannot"
        return [], [f"{seeds} show that a family is better; use --seeds {MIN_SEEDS}"]
    few = [name for name in scored.trained if name not in families]
    notes = [f"{', '.join(few)} had fewer than {MIN_SEEDS} seeds and are not compared as families"]
    return pairwise_differences(families, scored.sizes), notes if few else []


def _pair(pair: PairwiseDifference, sentence: str) -> PairRecord:
    return PairRecord(
        a=pair.a,
        b=pair.b,
        difference=pair.difference,
        interval=pair.interval,
        p_value=pair.p_value,
        p_value_alone=pair.p_value_alone,
        is_significant=pair.is_significant,
        sentence=sentence,
    )


# ---- the mixture --------------------------------------------------------------------------------


def _mixture(scored: ScoredRuns) -> MixtureRecord | None:
    """The best mixture of the models of one vocabulary, the one that most of them have."""
    by_vocabulary: dict[str, list[str]] = {}
    for name in scored.best:
        by_vocabulary.setdefault(scored.data.vocabulary_of[name], []).append(name)
    names = max(by_vocabulary.values(), key=len, default=[])
    if len(names) < 2:
        return None
    runs = {name: scored.best[name] for name in names}
    mixture = best_mixture(
        {n: r.valid for n, r in runs.items()}, {n: r.test for n, r in runs.items()}
    )
    best = min(names, key=lambda name: scored.mean_bits(name, runs[name]))
    best_run, total = runs[best], float(scored.sizes.sum())
    mixed = TrainedRun(best_run.record, best_run.valid, mixture.nats.astype(np.float32))
    blocks = scored.bits(best, mixed)
    bits, p_value = float(blocks.sum()) / total, None
    alone = scored.mean_bits(best, best_run)
    if bits >= alone:  # weights of the validation text that do worse on the test text: no mixture
        mixture, blocks = _alone(mixture, best), scored.bits(best, best_run)
        bits = alone
    if scored.blocks.count >= MIN_BLOCKS:
        pair = {"mixture": blocks[None], best: scored.bits(best, best_run)[None]}
        p_value = pairwise_differences(pair, scored.sizes)[0].p_value
    return MixtureRecord(
        weights=mixture.weights,
        bits=bits,
        interval=_interval(scored, blocks),
        bits_per_character=_per_character(scored, best, float(blocks.sum())),
        contributions={n: nats / LN2 / total for n, nats in mixture.contributions.items()},
        best=best,
        gain=alone - bits,
        p_value=p_value,
        left_out=tuple(name for name in scored.best if name not in names),
    )


def _alone(mixture: BestMixture, best: str) -> BestMixture:
    """The mixture in which one model has all of the weight."""
    weights = {name: float(name == best) for name in mixture.weights}
    kept = {name: weights[name] * nats for name, nats in mixture.contributions.items()}
    return replace(mixture, weights=weights, contributions=kept)


def _unequal_time(scored: ScoredRuns, budget: BudgetRecord) -> list[str]:
    """A sentence about the models that did not get the time that every model was to have."""
    if budget.kind != "minutes":
        return []
    asked = 60.0 * budget.amount
    short = [
        f"{name} ({runs[0].record.train_seconds:.0f} s)"
        for name, runs in scored.trained.items()
        if not runs[0].record.is_counted
        and abs(runs[0].record.train_seconds / asked - 1.0) > UNEQUAL
    ]
    if not short:
        return []
    return [f"each model was to train for {asked:.0f} s, and {', '.join(short)} did not"]


# ---- models -------------------------------------------------------------------------------------


def _model(scored: ScoredRuns, name: str) -> ModelResult | NotRun:
    """The figures of the best run of a model, with those that were measured once for all seeds."""
    first = scored.runs[name][0]
    if isinstance(first, NotRun):
        return first
    run, runs, cost = scored.best[name], scored.trained[name], first.record.cost
    assert cost is not None  # it is measured with the first seed
    corpora = scored.data.corpora[scored.data.vocabulary_of[name]]
    blocks = scored.bits(name, run)
    bits, record, test = float(blocks.sum()), run.record, corpora["test"]
    is_spelled = scored.is_by_character or test.lossless_reason is None
    figures = {f.name: getattr(record, f.name) for f in fields(ModelFigures)}
    figures |= {
        "name": name,
        "train_seconds": float(np.mean([r.record.train_seconds for r in runs])),
        "bits_per_character": _per_character(scored, name, bits),
        "bits_per_symbol": float(np.mean(run.test, dtype=np.float64)) / LN2,
    }
    return ModelResult(
        **figures,
        state_bytes=cost.state_bytes,
        operations_per_symbol=cost.operations_per_symbol,
        generate_symbols_per_second=cost.generate_symbols_per_second,
        epochs=record.train_symbols / max(corpora["train"].num_scored, 1),
        bits=bits / float(scored.sizes.sum()),
        interval=_interval(scored, blocks),
        bits_per_byte=bits / test.num_bytes if is_spelled else None,
        seeds=tuple(_seed(scored, name, r) for r in runs),
    )


def _seed(scored: ScoredRuns, name: str, run: TrainedRun) -> SeedBits:
    bits = float(scored.bits(name, run).sum())
    return SeedBits(
        run.record.seed, bits / float(scored.sizes.sum()), _per_character(scored, name, bits)
    )


def _per_character(scored: ScoredRuns, name: str, bits: float) -> float | None:
    test = scored.data.test[scored.data.vocabulary_of[name]]
    if not scored.is_by_character and test.lossless_reason is not None:
        return None
    return bits / max(test.num_characters, 1)


def _interval(scored: ScoredRuns, bits: Floats) -> Interval | None:
    if scored.blocks.count < MIN_BLOCKS:
        return None
    try:
        low, high = bootstrap_interval(np.stack([bits, scored.sizes], 1), ratio)[1]
    except DataError:
        return None
    return low, high


# ---- data and time ------------------------------------------------------------------------------


def _data(scored: ScoredRuns) -> DataRecord:
    data = scored.data
    parts = next(iter(data.corpora.values()))
    return DataRecord(
        name=data.name,
        sequences=data.parts["test"].sequences,
        num_sequences={name: corpus.num_sequences for name, corpus in parts.items()},
        characters={name: corpus.num_characters for name, corpus in parts.items()},
        symbols={
            spec: VocabularySize(vocabulary.kind, vocabulary.num_symbols)
            for spec, vocabulary in data.vocabularies.items()
        },
        unknown={spec: corpus.num_unknown for spec, corpus in data.test.items()},
        notes=tuple(dict.fromkeys(note for part in data.parts.values() for note in part.notes)),
    )


def _references(scored: ScoredRuns) -> dict[str, float]:
    """Bits of the test text by frequency alone, and with all symbols alike, in the metric."""
    spec, corpora = next(iter(scored.data.corpora.items()))
    vocabulary, test = scored.data.vocabularies[spec], corpora["test"]

    def counts(corpus: Corpus) -> Floats:
        """How often each symbol is predicted; the end of a sequence is the boundary."""
        found = np.bincount(corpus.tokens, minlength=vocabulary.num_symbols).astype(np.float64)
        found[vocabulary.boundary] += corpus.num_scored - corpus.num_tokens
        return found

    # Every symbol counts once more than it occurs, so that none is impossible.
    seen = 1.0 + counts(corpora["train"])
    totals = {
        "unigram": -float(counts(test) @ np.log2(seen / seen.sum())),
        "uniform": test.num_scored * math.log2(vocabulary.num_symbols),
    }
    return {name: total / float(scored.sizes.sum()) for name, total in totals.items()}


def _overhead(scored: ScoredRuns, seconds: float) -> Overhead:
    """Seconds of training, and of everything else; runs that were resumed count as they did."""
    training, other = 0.0, seconds
    for runs in scored.runs.values():
        for run in runs:
            if isinstance(run, NotRun):
                other += run.other_seconds
            else:
                training += run.record.train_seconds
                other += run.record.other_seconds
    return Overhead(training, other)
