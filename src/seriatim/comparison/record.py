"""What a comparison writes down: its runs, the figures of its models, and what follows from them.

Frozen records, written as JSON (runs/NAME.SEED.json, compare.json) and checked when they are read
back. Bits are those of the comparison's `metric`, per character where the symbols spell the text,
per symbol elsewhere; histories are in bits per symbol.

Knows no model and no text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from seriatim.core.records import Json

FORMAT = 2

Interval: TypeAlias = tuple[float, float]

# ---- runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EvaluationBits:
    """One evaluation during training; losses in bits per symbol, None where not measured."""

    step: int
    epoch: float
    seconds: float
    train: float | None
    valid: float | None


@dataclass(frozen=True, kw_only=True)
class InferenceCost:
    """What a model costs when it is used; the same for every seed.

    Attributes:
        state_bytes: pairs of a sequence length and the bytes of state after it.
        generate_symbols_per_second: symbols generated per second, one sequence at a time.
        operations_per_symbol: floating-point operations of a forward pass.
    """

    state_bytes: tuple[tuple[int, int], ...]
    generate_symbols_per_second: float
    operations_per_symbol: float


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """What a model is, what its training took, and how it scores the test text.

    Attributes:
        name: the model's name in the comparison.
        seed: the seed of its training.
        family: the family of the model.
        symbols: the name of its vocabulary, such as "char" or "bpe:500".
        config: the options that the model was built with.
        is_counted: whether the model was fitted in closed form, by counting.
        parameters: the number of fitted numbers.
        bytes: the size of its weights or counts.
        reach: how many of the last inputs can change a prediction; None: no bound.
        train_seconds: the duration of training.
        train_symbols: the number of symbols trained on, repetitions included.
        train_symbols_per_second: the speed of training.
        score_symbols_per_second: the speed of scoring the test text.
        history: the evaluations during training; empty for counts.
        notes: warnings from training.
        bits_per_symbol: of the test text, in the model's own symbols.
        bits_per_character: of the test text; None where the symbols do not spell it.
        folder: where the model is saved; None: nowhere.
    """

    name: str
    seed: int
    family: str
    symbols: str
    config: Json
    is_counted: bool
    parameters: int
    bytes: int
    reach: int | None
    train_seconds: float
    train_symbols: int
    train_symbols_per_second: float
    score_symbols_per_second: float
    history: tuple[EvaluationBits, ...]
    notes: tuple[str, ...]
    bits_per_symbol: float
    bits_per_character: float | None
    folder: str | None
    status: Literal["ok"] = "ok"


@dataclass(frozen=True, kw_only=True)
class RunRecord(ModelFigures):
    """One model, trained with one seed.

    Attributes:
        valid_nats: the mean loss on a sample of the validation text, nats per symbol.
        cost: measured for the first seed only, since it is the same for the others.
        other_seconds: the time spent on this run apart from training.
    """

    valid_nats: float
    cost: InferenceCost | None
    other_seconds: float


@dataclass(frozen=True, kw_only=True)
class NotRun:
    """A model that could not be trained under the budget, and why.

    Attributes:
        name, seed, family, symbols: as in `RunRecord`.
        reason: why it could not be trained.
        other_seconds: the time until that was known.
    """

    name: str
    seed: int
    family: str
    symbols: str
    reason: str
    other_seconds: float
    status: Literal["not run"] = "not run"


# ---- the comparison -----------------------------------------------------------------------------


@dataclass(frozen=True)
class VocabularySize:
    """The kind of a vocabulary and its number of symbols."""

    kind: str
    number: int


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data that was compared on.

    Attributes:
        name: the name of the data, such as its path.
        sequences: what one sequence is: "line", "document" or "stream".
        num_sequences, characters: by part: train, valid, test.
        symbols: the vocabularies by name.
        unknown: the number of unknown symbols in the test text, by vocabulary.
        notes: how the data was read where that cannot be known.
    """

    name: str
    sequences: str
    num_sequences: Mapping[str, int]
    characters: Mapping[str, int]
    symbols: Mapping[str, VocabularySize]
    unknown: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BudgetRecord:
    """What every model could spend.

    Attributes:
        kind: what was limited: minutes, tokens, operations, steps, epochs or parameters.
        amount: how much of it.
        parameters: the number of parameters of every model; None: of any size.
        sentence: the budget in words.
    """

    kind: str
    amount: float
    parameters: int | None
    sentence: str


@dataclass(frozen=True)
class BlockRecord:
    """The blocks of the test text: their number, and the median of their characters."""

    count: int
    characters: float


@dataclass(frozen=True)
class SeedBits:
    """The test figures of one seed."""

    seed: int
    bits: float
    bits_per_character: float | None


@dataclass(frozen=True, kw_only=True)
class ModelResult(ModelFigures):
    """The figures of one model: of the seed with the best validation loss, unless said otherwise.

    `train_seconds` is the mean over the seeds.

    Attributes:
        state_bytes, generate_symbols_per_second, operations_per_symbol: as in `InferenceCost`.
        epochs: how often the training text was seen.
        bits: of the test text, in the comparison's metric.
        interval: 95 % of a bootstrap over blocks; None: the test text is too short for one.
        bits_per_byte: None where the symbols do not spell the text.
        seeds: the test figures of every seed.
    """

    state_bytes: tuple[tuple[int, int], ...]
    operations_per_symbol: float
    generate_symbols_per_second: float
    epochs: float
    bits: float
    interval: Interval | None
    bits_per_byte: float | None
    seeds: tuple[SeedBits, ...]

    @property
    def mean_bits(self) -> float:
        """The mean bits over the seeds."""
        return sum(seed.bits for seed in self.seeds) / len(self.seeds)


@dataclass(frozen=True, kw_only=True)
class PairRecord:
    """What can be said of two models, or of two families; see `PairwiseDifference`.

    Attributes:
        a, b: their names.
        difference: bits of a - bits of b.
        interval: 95 % of the difference of this pair.
        p_value: of "there is no difference", by Holm's method over all pairs.
        p_value_alone: the same, as if this were the only pair.
        is_significant: whether the two are told apart.
        sentence: the statement in words.
    """

    a: str
    b: str
    difference: float
    interval: Interval
    p_value: float
    p_value_alone: float
    is_significant: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class MixtureRecord:
    """The best mixture of the models that share a vocabulary.

    Attributes:
        weights: by model, of sum 1.
        bits, interval, bits_per_character: of the mixture on the test text, as in `ModelResult`.
        contributions: the bits that the mixture loses without each model.
        best: the best single model in it.
        gain: bits of that model - bits of the mixture.
        p_value: of "the mixture is no better than `best`"; None: the test text is too short.
        left_out: models that are not in it, because their vocabulary is another.
    """

    weights: Mapping[str, float]
    bits: float
    interval: Interval | None
    bits_per_character: float | None
    contributions: Mapping[str, float]
    best: str
    gain: float
    p_value: float | None
    left_out: tuple[str, ...]

    def heaviest(self, least: float) -> list[tuple[str, float]]:
        """Names and weights of at least `least`, the greatest weight first."""
        ranked = sorted(self.weights.items(), key=lambda item: -item[1])
        return [(name, weight) for name, weight in ranked if weight >= least]


@dataclass(frozen=True)
class Recommendation:
    """Which model to take.

    Attributes:
        model: its name; None: no model was trained.
        tied: the best model and those that cannot be told apart from it.
        sentence: the recommendation and its reasons in words.
    """

    model: str | None
    tied: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Overhead:
    """Seconds of training, and of everything else that the comparison took."""

    training_seconds: float
    other_seconds: float

    @property
    def fraction(self) -> float | None:
        """Everything else, as a fraction of training; None without training."""
        return self.other_seconds / self.training_seconds if self.training_seconds else None


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord:
    """Everything that came of a comparison: what compare.json holds.

    Attributes:
        format: the version of this layout.
        data: the data that was compared on.
        budget: what every model could spend.
        split: how the data was split, as `split_source` records it; None: the parts were given.
        metric: "bits per character", or "bits per symbol" where symbols do not spell the text.
        blocks: the blocks of the test text.
        models: in the order in which they were given.
        texts: of every pair of models, which is better on text like the test text.
        families: of every pair of families, which is better under this budget.
        mixture: the best mixture; None: no two models share a vocabulary.
        notes: what could not be said, and why.
        recommendation: which model to take.
        overhead: what the comparison took.
        references: bits of the test text that no model of ours is needed for: "unigram", each
            symbol by its frequency in the training text, and "uniform", all symbols alike.
    """

    data: DataRecord
    budget: BudgetRecord
    split: Json | None
    metric: str
    blocks: BlockRecord
    models: tuple[ModelResult | NotRun, ...]
    texts: tuple[PairRecord, ...]
    families: tuple[PairRecord, ...]
    mixture: MixtureRecord | None
    notes: tuple[str, ...]
    recommendation: Recommendation
    overhead: Overhead
    references: Mapping[str, float] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def unit(self) -> str:
        """What bits are counted per: "character" or "symbol"."""
        return self.metric.removeprefix("bits per ")

    @property
    def names(self) -> list[str]:
        """The names of all models, in the order in which they were given."""
        return [model.name for model in self.models]

    @property
    def ranked(self) -> list[ModelResult]:
        """The models that were trained, the fewest bits first."""
        trained = [model for model in self.models if isinstance(model, ModelResult)]
        return sorted(trained, key=lambda model: model.bits)

    @property
    def not_run(self) -> list[NotRun]:
        """The models that could not be trained."""
        return [model for model in self.models if isinstance(model, NotRun)]

    def with_more_overhead(self, seconds: float) -> "ComparisonRecord":
        """The same record after so many seconds more of anything but training."""
        overhead = replace(self.overhead, other_seconds=self.overhead.other_seconds + seconds)
        return replace(self, overhead=overhead)
