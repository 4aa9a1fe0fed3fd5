"""The labeller: one label for each sequence, or one for each of its elements.

It binds an encoder to labelled text and calls the functions of data, train and metrics; it
never asks which encoder it has. Probabilities are calibrated: after training, one temperature
is fitted on the validation part (Guo et al. 2017, 4.2).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from seriatim.analysis.robustness.result import Robustness
from seriatim.core.batch import Batch
from seriatim.core.records import Json, from_json
from seriatim.core.validation import checked_arguments
from seriatim.data.batches.examples import Example, ExampleBatches, ExamplePass, longest_first, pad
from seriatim.data.file_names import check_text
from seriatim.data.labels import LabelSet, Per, check_labelled, open_labelled
from seriatim.data.pairs import PairData, Pairs, split_pairs
from seriatim.data.splits import SplitRecord
from seriatim.data.vocab.fit import fit_vocabulary, vocabulary_from_json
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import ConfigError
from seriatim.laws.check import LawReport
from seriatim.metrics.error_rates import calibration, fit_temperature, label_errors
from seriatim.metrics.pieces import Coverage, SampleLimit, sample_rounds
from seriatim.metrics.size import num_parameters
from seriatim.models.build import LabelModel, build_labeller
from seriatim.models.options.encoder_decoder import EncoderConfig
from seriatim.models.options.registry import configure_encoder, used_options
from seriatim.report.terminal import text_table
from seriatim.tasks import storage
from seriatim.tasks.analyses import OutputMetricName
from seriatim.tasks.base import Log, Task, not_fitted
from seriatim.tasks.budget_batches import choose_batches
from seriatim.tasks.budget_policy import BudgetChoice
from seriatim.tasks.options import TEXT_FIELDS, DataFiles, TaskOptions, refuse, refuse_restart
from seriatim.tasks.parts import Fractions
from seriatim.tasks.protocols import NOUNS, EachScore
from seriatim.tasks.text import coverage_line, option_text
from seriatim.tasks.training_record import LabelledFacts, TrainingRecord, VocabularyFacts
from seriatim.tasks.unknown import UnknownCount, check_unknown
from seriatim.train.callbacks.console import shown_in_python
from seriatim.train.callbacks.history import History
from seriatim.train.options import BUDGETS, TrainingOptions, configure_training
from seriatim.train.seeding import seeded

if TYPE_CHECKING:
    from seriatim.tasks.job import TrainingJob

ROWS = 64  # labelled at once
# Where every label of the validation part is right, its likelihood asks for a temperature of 0.
LEAST_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Labelled:
    """The label of a sequence, or of one element.

    Attributes:
        label: the most probable label.
        probability: its calibrated probability.
        others: the next most probable labels, with their probabilities.
    """

    label: str
    probability: float
    others: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class LabelScore:
    """How well labels are predicted.

    Attributes:
        accuracy: the fraction of right labels.
        macro_f1: the mean F1 of all labels, rare and frequent ones alike.
        nats: the mean of -ln p(right label), calibrated.
        calibration_error: the mean difference between probability and accuracy (15 bins).
        num_labelled: the number of labels compared.
        labels: the names of the rows and columns of `confusion`.
        confusion: the number of times that each true label (row) was predicted as each label
            (column).
        unknown_fraction: the fraction of the symbols of the texts that were unknown.
        coverage: which of the sequences were labelled.
    """

    accuracy: float
    macro_f1: float
    nats: float
    calibration_error: float
    num_labelled: int
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    unknown_fraction: float = 0.0
    coverage: Coverage = field(default_factory=Coverage)

    def __repr__(self) -> str:
        return (
            f"LabelScore({100 * self.accuracy:.2f} % right of {self.num_labelled:,}, "
            f"macro F1 {self.macro_f1:.4f})"
        )

    def __post_init__(self) -> None:
        if {len(self.confusion), *map(len, self.confusion)} - {len(self.labels)}:
            raise ValueError(f"the confusions of {len(self.labels)} labels are no such table")

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class SavedLabeller:
    """The part of config.json that only a labeller has."""

    encoder: Json
    per: Per
    labels: tuple[str, ...]
    temperature: float


class Labeller(Task[PairData, Pairs, list[Example], LabelledFacts, LabelScore]):
    """A labeller of sequences or of elements: fit, label, score, save.

    Attributes:
        config: the configuration of the encoder.
        vocabulary: the vocabulary; None before fitting.
        labels: the labels; None before fitting.
        model: the model; None before fitting.
        temperature: the divisor of the scores that calibrates the probabilities.
        training: the record of how the model came about; empty before fitting.
    """

    name = "labelling"
    unit = "label"
    noun = NOUNS["labelling"]
    reads = "labelled"
    example = "label {folder} FILE"
    runs_in_processes = False
    record_type = TrainingRecord[LabelledFacts, LabelScore]
    document_names = ("symbols", "labels")
    model: "LabelModel | None"

    def __init__(
        self,
        model: EncoderConfig | str = "lstm",
        *,
        symbols: str = "char",
        min_count: int = 1,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: a configuration of an encoder, or "transformer", "rnn", "lstm" or "gru" for its
                defaults.
            symbols: "byte", "char", "nfd" (letters and accents apart), "word" or "bpe:N";
                labelled elements are always "word".
            min_count: the least count of a character or word in training; rarer ones become
                `<unk>`.
            device: the device on which to compute; None: a GPU if there is one.
        """
        super().__init__(device)
        self.config = configure_encoder(model) if isinstance(model, str) else model
        self.vocabulary: Vocabulary | None = None
        self.labels: LabelSet | None = None
        self.temperature = 1.0
        self._spec, self._min_count = symbols, min_count

    @classmethod
    def from_options(cls, options: TaskOptions) -> Self:
        """A labeller from the options of the command line; see `Task.from_options`."""
        others = ("source_symbols", "joint", "preset", "max_symbols", "sequences")
        refuse(options, others, cls.noun)
        kind = options.model or options.model_options.get("encoder") or "lstm"
        return cls(
            configure_encoder(kind, options.model_options),
            symbols=options.symbols or "char",
            min_count=options.min_count or 1,
        )

    # ---- fitting --------------------------------------------------------------------------------

    def training_options(self, given: Mapping[str, Any]) -> TrainingOptions:
        """Training options: those given, then those that suit a labeller, then the defaults."""
        recipe = dict(self.config.labelling_recipe)
        if any(name in given for name in BUDGETS):
            recipe = {name: value for name, value in recipe.items() if name not in BUDGETS}
        return configure_training({**recipe, **given})

    def open_files(self, files: DataFiles) -> Pairs:
        """The labelled sequences in files; see `Task.open_files`."""
        refuse(files, (*TEXT_FIELDS, "source", "target"), self.noun)
        return files.open_labelled()

    def _open_training(self, data: PairData) -> Pairs:
        part = self._open(data)
        if self.labels is None:
            # Of the whole: a label so rare that a split leaves it to the test is no mistake.
            self.labels = LabelSet.of(part)
        return part

    def _open(self, data: PairData) -> Pairs:
        return open_labelled(data)

    def _split(
        self, part: Pairs, fractions: Fractions
    ) -> tuple[Sequence[Pairs | None], SplitRecord]:
        return split_pairs(part, fractions)

    def _encode(self, parts: Mapping[str, Pairs], log: Log) -> dict[str, list[Example]]:
        labels = self.labels
        assert labels is not None  # they are read when the training data is opened
        if self.model is None:
            _log_untrained(labels, LabelSet.of(parts["train"]), log)
        for part in parts.values():
            check_labelled(part, labels)
        if self.vocabulary is None:
            log("building the vocabulary")
            self.vocabulary = fit_vocabulary(
                "word" if labels.per == "element" else self._spec,
                parts["train"].sources.texts(),
                sequences="document",
                min_count=self._min_count,
                is_only_read=True,
            )
        symbols = self.vocabulary
        return {name: _examples(part, symbols, labels) for name, part in parts.items()}

    def _build(self, seed: int, corpus: list[Example] | None) -> LabelModel:
        symbols, labels = self._vocabularies()
        with seeded(torch.device("cpu"), seed):
            return build_labeller(self.config, symbols.num_symbols, len(labels.names), labels.per)

    def _choose(
        self, given: Mapping[str, Any], corpora: Mapping[str, list[Example]], seconds: float
    ) -> BudgetChoice:
        batches = partial(_batches, corpora["train"])
        suited = partial(self._suited, corpus=corpora["train"])
        return choose_batches(suited, given, seconds, self._build, batches, self.device)

    def _learn(self, corpora: Mapping[str, list[Example]], job: "TrainingJob") -> History:
        batches = _batches(corpora["train"], job.options)
        valid = corpora.get("valid")
        validation = None if valid is None else ExamplePass(valid, batch_size=ROWS)
        history = job.train(self._fitted()[0], batches, validation)
        if valid is not None:
            job.callbacks.log("calibrating on the validation part")
            self.temperature = max(fit_temperature(*self._logits(valid)), LEAST_TEMPERATURE)
        return history

    def _score_part(
        self,
        part: Pairs,
        corpus: list[Example],
        limit: SampleLimit | None,
        progress: Callable[[int], None],
    ) -> LabelScore:
        return self._score(corpus, limit, progress)

    def _unknown(self, corpus: Sequence[Example]) -> list[UnknownCount]:
        return [self._count_unknown([_source(example)[:-1] for example in corpus])]

    def count_unknown(self, texts: Sequence[Text]) -> UnknownCount:
        """How many symbols of texts are unknown."""
        symbols = self._vocabularies()[0]
        return self._count_unknown([_encoded(text, symbols)[:-1] for text in texts])

    def _count_unknown(self, sources: Sequence[Tensor]) -> UnknownCount:
        unknown = self._vocabularies()[0].unknown
        count = 0 if unknown is None else sum(int((ids == unknown).sum()) for ids in sources)
        return UnknownCount(count, sum(map(len, sources)))

    def _facts(self, corpus: list[Example]) -> LabelledFacts:
        return LabelledFacts(len(corpus))

    def _described(self) -> TrainingRecord[LabelledFacts, LabelScore]:
        return TrainingRecord(vocabulary=VocabularyFacts.of(self._vocabularies()[0]))

    def _identity(self) -> Json:
        return {"encoder": used_options(self.config), "symbols": [self._spec, self._min_count]}

    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in self._fitted()[0].state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _documents(self) -> dict[str, Json]:
        symbols, labels = self._vocabularies()
        return {"symbols": symbols.to_json(), "labels": asdict(labels)}

    def _adopt(self, documents: Sequence[Any]) -> None:
        self.vocabulary = vocabulary_from_json(documents[0])
        self.labels = from_json(LabelSet, documents[1], name="the labels of the run")

    def _vocabularies(self) -> tuple[Vocabulary, LabelSet]:
        if self.vocabulary is None or self.labels is None:
            raise not_fitted(self)
        return self.vocabulary, self.labels

    def _fitted(self) -> tuple[LabelModel, Vocabulary, LabelSet]:
        if self.model is None:
            raise not_fitted(self)
        return self.model, *self._vocabularies()

    # ---- using ----------------------------------------------------------------------------------

    @checked_arguments
    def label(
        self,
        texts: str | Sequence[Text],
        *,
        top: int = 3,
        progress: Callable[[int], None] | None = None,
    ) -> Any:
        """The label of a sequence, or the labels of its elements; of a list of sequences, a list.

        Args:
            texts: one text, or a list of sequences; where elements have labels, a sequence is a
                list of elements, or words separated by spaces.
            top: the number of labels of each result, the others included.
            progress: callback that receives the number of sequences labelled so far.

        Returns:
            A `Labelled`, or a list of one for each element; of a list, a list of these.

        Raises:
            ConfigError: if `top` is below 1.
        """
        if top < 1:
            raise ConfigError(f"top = {top}: give 1 or more")
        check_text(texts)
        _, symbols, labels = self._fitted()
        given: Sequence[Text] = [texts] if isinstance(texts, str) else texts
        sources = [_encoded(text, symbols) for text in given]
        rows = [
            torch.from_numpy(row / self.temperature).softmax(-1)
            for row in self._rows(sources, progress)
        ]
        results = [[_labelled(p, labels.names, top) for p in row] for row in rows]
        found: list[Any] = [row[0] for row in results] if labels.per == "sequence" else [*results]
        return found[0] if isinstance(texts, str) else found

    def score(
        self,
        data: PairData,
        *,
        restart_every: int | None = None,
        exact: bool = False,
        limit: int | None = None,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> LabelScore:
        """How well the labels of labelled sequences are predicted.

        Args:
            data: labelled sequences, or what `open_labelled` takes.
            restart_every: not an option of a labeller.
            exact, limit: as of `Task.score`; sequences are read as wholes, exact or not.
            allow_unknown: whether to score data most of whose symbols are unknown.
            progress: callback that receives the number of sequences labelled so far.

        Raises:
            DataError: if there is nothing to score, or a label that training did not have.
        """
        refuse_restart(restart_every, self.noun)
        _, symbols, labels = self._fitted()
        pairs = open_labelled(data)
        check_labelled(pairs, labels)
        examples = _examples(pairs, symbols, labels)
        check_unknown(self._unknown(examples), pairs.name, allow=allow_unknown)
        with shown_in_python(progress) as progress:
            return self._score(examples, SampleLimit.of_symbols(limit), progress)

    def score_each(
        self,
        data: PairData,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[EachScore]:
        """Refused: `label` gives the probability of each label."""
        raise ConfigError("--each is not an option of a labeller: label gives each label")

    def robustness(
        self,
        data: PairData,
        *,
        metric: OutputMetricName | None = None,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Robustness:
        """Refused: perturbations are measured in bits of a text, or on translations."""
        raise ConfigError("robustness is not measured for a labeller: give a language model")

    def _score(
        self,
        examples: Sequence[Example],
        limit: SampleLimit | None,
        progress: Callable[[int], None] | None,
    ) -> LabelScore:
        sizes = np.array([len(_source(example)) for example in examples], np.int64)
        chosen: list[Example] = []
        logits, truth, every = [], [], 1
        for units, stride in sample_rounds(sizes, limit):
            some = [examples[i] for i in units.tolist()]
            rows, labels = self._logits(some, progress)
            chosen, every = chosen + some, stride
            logits.append(rows)
            truth.append(labels)
        coverage = Coverage(fraction=len(chosen) / max(len(examples), 1), every=every)
        return self._figures(chosen, np.concatenate(logits), np.concatenate(truth), coverage)

    def _figures(
        self,
        examples: Sequence[Example],
        logits: np.ndarray,
        truth: np.ndarray,
        coverage: Coverage,
    ) -> LabelScore:
        names = self._fitted()[2].names
        log_probs = torch.from_numpy(logits / self.temperature).log_softmax(-1).numpy()
        best = [names[i] for i in log_probs.argmax(-1)]
        errors = label_errors(best, [names[i] for i in truth], names)
        return LabelScore(
            accuracy=errors.accuracy,
            macro_f1=errors.macro_f1,
            nats=float(-log_probs[np.arange(len(truth)), truth].mean()),
            calibration_error=calibration(np.exp(log_probs), truth).error,
            num_labelled=len(truth),
            labels=names,
            confusion=tuple(tuple(int(n) for n in row) for row in errors.confusion),
            unknown_fraction=self._unknown(examples)[0].fraction,
            coverage=coverage,
        )

    def _logits(
        self, examples: Sequence[Example], progress: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N, C) uncalibrated scores of every label of every target, and the true labels (N,)."""
        sources = [_source(example) for example in examples]
        truth = torch.cat([example.targets for example in examples]).numpy()
        return np.concatenate(self._rows(sources, progress)), truth

    @torch.inference_mode()
    def _rows(
        self, sources: Sequence[Tensor], progress: Callable[[int], None] | None
    ) -> list[np.ndarray]:
        """For each source the scores (L, C) of its labels, float64; the longest are read first."""
        model, _, labels = self._fitted()
        scores, done = [np.empty(0)] * len(sources), 0
        for chosen in longest_first([*map(len, sources)], ROWS):
            x, lengths = pad([sources[i] for i in chosen])
            x = x.to(model.device)
            rows = model.emit(model.features(Batch(x, x, lengths))).logits.double().cpu().numpy()
            for i, row in zip(chosen, rows, strict=True):
                length = 1 if labels.per == "sequence" else len(sources[i]) - 1
                scores[i] = row[:length]
            done += len(chosen)
            if progress is not None:
                progress(done)
        return scores

    def check(self, *, seconds: float = 60.0) -> LawReport:
        """Refused: the laws are about models that fold sequences, and a labeller folds none."""
        raise ConfigError("a labeller folds no sequence, so the laws do not apply to it")

    def info(self) -> Json:
        """What the model is, its size, and how it came about, as JSON values."""
        model, symbols, labels = self._fitted()
        return {
            "task": self.name,
            "encoder": used_options(self.config),
            "per": labels.per,
            "labels": list(labels.names),
            "symbols": {"kind": symbols.kind, "number": symbols.num_symbols},
            "parameters": num_parameters(model),
            "temperature": self.temperature,
            "training": self.training.to_json(),
        }

    def describe(self) -> list[tuple[str, str]]:
        """The rows of a table of `info` for people."""
        model, symbols, labels = self._fitted()
        shown = ", ".join(labels.names[:8]) + (" .." if len(labels.names) > 8 else "")
        rows = [
            ("task", f"labelling, a label for each {labels.per}"),
            ("encoder", option_text(used_options(self.config))),
            ("labels", f"{len(labels.names):,}: {shown}"),
            ("symbols", f"{symbols.num_symbols:,} ({symbols.kind})"),
            ("parameters", f"{num_parameters(model):,}"),
        ]
        for name, score in self.training.scores.items():
            rows.append((f"{name} part", self.describe_score(score)[0]))
        return rows

    def headline(self) -> str:
        """The kind and the size of the model, in a line."""
        model, _, labels = self._fitted()
        return (
            f"{self.config.encoder}: {num_parameters(model):,} parameters, "
            f"{len(labels.names):,} labels, one for each {labels.per}"
        )

    def describe_score(self, score: LabelScore) -> list[str]:
        """A score for people, in lines; after the figures the most frequent confusions."""
        unknown = f"{100 * score.unknown_fraction:.1f} % of the symbols are unknown"
        figures = (
            f"{100 * score.accuracy:.2f} % right of {score.num_labelled:,}, macro F1 "
            f"{score.macro_f1:.4f}, calibration error {score.calibration_error:.4f}"
        )
        wrong = [
            (count, score.labels[i], score.labels[j])
            for i, row in enumerate(score.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ]
        rows = [
            [actual, predicted, str(n)] for n, actual, predicted in sorted(wrong, reverse=True)[:10]
        ]
        lines = [figures, unknown] if score.unknown_fraction else [figures]
        if score.coverage.every > 1:
            lines.append(coverage_line(score.coverage, "sequences"))
        if not rows:
            return lines
        head = ["label", "was called", "times"]
        return [*lines, *text_table([head, *rows], left=(0, 1)).splitlines()]

    # ---- on disk --------------------------------------------------------------------------------

    def _config(self) -> SavedLabeller:
        labels = self._fitted()[2]
        encoder = used_options(self.config)
        return SavedLabeller(encoder, labels.per, labels.names, self.temperature)

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self._fitted()[0]}

    @classmethod
    def _restored(cls, path: Path, classes: tuple[type, ...], device: str | None) -> Self:
        saved = storage.read_config(SavedLabeller, path)
        labeller = cls(EncoderConfig(**saved.encoder), device=device)
        labeller.vocabulary = vocabulary_from_json(storage.read_document(path, "symbols"))
        labeller.labels = LabelSet(saved.labels, saved.per)
        labeller.temperature = saved.temperature
        return labeller


def _examples(pairs: Pairs, symbols: Vocabulary, labels: LabelSet) -> list[Example]:
    examples = []
    for text, label in pairs.pairs():
        y = torch.tensor(labels.numbers(label))
        examples.append(Example(y, y, source=_encoded(text, symbols)))
    return examples


def _encoded(text: Text, symbols: Vocabulary) -> Tensor:
    """The symbols of a text, followed by the boundary."""
    return torch.from_numpy(np.append(symbols.encode_prompt(text), symbols.boundary))


def _source(example: Example) -> Tensor:
    assert example.source is not None  # every example here has one
    return example.source


def _log_untrained(labels: LabelSet, trained: LabelSet, log: Log) -> None:
    missing = [name for name in labels.names if name not in trained.names]
    if missing:
        shown = ", ".join(missing[:4]) + (" .." if len(missing) > 4 else "")
        log(
            f"no sequence labelled {shown} is in the training part, so none will be predicted: "
            "give more of them, or valid and test parts of your own"
        )


def _labelled(p: Tensor, names: Sequence[str], k: int) -> Labelled:
    values, index = p.topk(min(k, len(names)))
    best = [(names[i], float(v)) for v, i in zip(values, index.tolist(), strict=True)]
    return Labelled(*best[0], tuple(best[1:]))


def _batches(train: list[Example], options: TrainingOptions) -> ExampleBatches:
    """The batches that the options ask for."""
    return ExampleBatches(
        train,
        batch_size=options.batch_size,
        seed=options.seed,
        token_budget=options.token_budget,
    )
