"""The language model: a model of symbols bound to text.

It binds a configuration to data; it holds no logic of its own and never asks which family it has.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from seriatim.analysis.robustness.perturbations import STRENGTHS
from seriatim.analysis.settings import (
    CONTEXT_LIMIT,
    CONTEXTS,
    MAX_GIGABYTES,
    ROBUSTNESS_LIMIT,
    SEEDS,
)
from seriatim.core.distributions import as_discrete
from seriatim.core.model import SequenceModel
from seriatim.core.records import Json, to_json
from seriatim.core.validation import checked_arguments
from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.file_names import check_text
from seriatim.data.sources import Sequences, Source
from seriatim.data.splits import SplitRecord, split_source
from seriatim.data.vocab.categories import CategoryChoice
from seriatim.data.vocab.fit import vocabulary_from_json
from seriatim.data.vocab.vocabulary import Ids, Text, Vocabulary
from seriatim.decode.stream import Stream
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.likelihood import score_corpus
from seriatim.metrics.pieces import SampleLimit
from seriatim.metrics.score import Score
from seriatim.metrics.size import num_parameters
from seriatim.models.build import build_model
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import configure, describe, restore
from seriatim.tasks import storage
from seriatim.tasks.analyses import OutputMetricName, categories_in, known_corpus
from seriatim.tasks.base import Log, Task, not_fitted
from seriatim.tasks.budget_policy import BudgetChoice, leaves_size_open
from seriatim.tasks.encoding import AUTO, chosen_symbols, encode_parts
from seriatim.tasks.generation import TextGenerator
from seriatim.tasks.language_defaults import suited_options
from seriatim.tasks.options import PAIR_FIELDS, DataFiles, TaskOptions, refuse
from seriatim.tasks.own_module import check_module, config_of
from seriatim.tasks.parts import Fractions
from seriatim.tasks.protocols import NOUNS
from seriatim.tasks.remembered import SavedReading, open_as_trained
from seriatim.tasks.saved_config import SavedLanguageModel, rename_options
from seriatim.tasks.scoring import score_of
from seriatim.tasks.sequence_surprisal import (
    COLUMNS,
)
from seriatim.tasks.speller import begin_speller, speller, spelling_model
from seriatim.tasks.surprisal_judge import Data, SurprisalJudge
from seriatim.tasks.text import language_facts, language_rows, score_lines
from seriatim.tasks.text_stream import (
    Prediction,
    TextStream,
    describe_reach,
    state_after,
    unknown_note,
)
from seriatim.tasks.training_record import CorpusFacts, TrainingRecord, VocabularyFacts
from seriatim.tasks.unknown import UnknownCount, check_unknown
from seriatim.train.callbacks.console import shown_in_python
from seriatim.train.callbacks.history import History
from seriatim.train.closed_form import ClosedForm
from seriatim.train.options import TrainingOptions
from seriatim.train.seeding import seeded

if TYPE_CHECKING:
    from seriatim.analysis.context.result import EffectiveContext
    from seriatim.analysis.inspect.trace import TextTrace
    from seriatim.analysis.robustness.result import Robustness
    from seriatim.laws.check import LawReport
    from seriatim.tasks.job import TrainingJob


class LanguageModel(SurprisalJudge, Task[Data, Source, Corpus, CorpusFacts, Score], TextGenerator):
    """A sequence model of text: fit, score, generate, next, surprisal, stream, save.

    Attributes:
        config: the configuration of the model.
        vocabulary: the vocabulary; None before fitting.
        sequences: what one sequence is, "line", "document" or "stream".
        model: the `SequenceModel`; None before fitting.
        training: the record of how the model came about; empty before fitting.
    """

    name = "language"
    noun = NOUNS["language"]
    reads = "text"
    example = "generate {folder}"
    each_columns = COLUMNS
    record_type = TrainingRecord[CorpusFacts, Score]
    document_names = ("symbols",)
    model: SequenceModel | None

    @checked_arguments
    def __init__(
        self,
        model: ModelConfig | SequenceModel | str = "lstm",
        *,
        symbols: str | Vocabulary = "char",
        sequences: Sequences | None = None,
        min_count: int = 1,
        max_symbols: int | None = None,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: a configuration, the name of a family for its defaults, or a module of your own,
                trained or not; with a vocabulary it can be used at once.
            symbols: "byte", "char", "word", "bpe:N", or a vocabulary to use as it is; "auto": what
                `look` advises for the training text.
            sequences: what one sequence is, "line", "document" or "stream"; None: as
                `open_source` decides for the training data.
            min_count: the least count of a character or word in training; rarer ones become
                `<unk>`.
            max_symbols: the number of symbols to keep at most.
            device: the device on which to compute; None: a GPU if there is one.
        """
        super().__init__(device)
        self.config = configure(model, {}) if isinstance(model, str) else config_of(model)
        self._module = model if isinstance(model, SequenceModel) else None
        self.sequences = sequences
        self.vocabulary = symbols if isinstance(symbols, Vocabulary) else None
        self._preset: str | None = None
        self._speller: SequenceModel | None = None
        self._begun: Future[SequenceModel | None] | None = None  # the speller, meanwhile
        self._spec = symbols if isinstance(symbols, str) else symbols.kind
        self._cut = (min_count, max_symbols)
        self._may_resize = isinstance(model, str)
        if self._module is not None and self.vocabulary is not None:
            self.model = self._build(0, None).to(self.device).eval()
            self._speller = None if self.vocabulary.unknown is None else spelling_model([])
            self.sequences = sequences or ("document" if self.vocabulary.is_document else "stream")

    @classmethod
    def from_options(cls, options: TaskOptions) -> Self:
        """A language model from the options of the command line; see `Task.from_options`."""
        refuse(options, ("source_symbols", "joint"), cls.noun)
        config = configure(options.model or "lstm", options.model_options, preset=options.preset)
        lm = cls(
            config,
            symbols=options.symbols or AUTO,
            sequences=options.sequences,
            min_count=options.min_count or 1,
            max_symbols=options.max_symbols,
        )
        is_open = leaves_size_open(config, options.model_options)
        lm.leave_open(options.preset, options.preset is None and is_open)
        return lm

    @property
    def table_format(self) -> str | None:
        """The format of the table that it was fitted to; None: it was no table."""
        return None if self.reading is None else self.reading.format

    def leave_open(self, preset: str | None, may_resize: bool) -> None:
        """Say what a budget in minutes may choose.

        Args:
            preset: the preset that the configuration was made from, whose training is kept.
            may_resize: whether the size of the model may be chosen.
        """
        self._preset, self._may_resize = preset, may_resize

    # ---- fitting --------------------------------------------------------------------------------

    def training_options(
        self, given: Mapping[str, Any], *, preset: str | None = None
    ) -> TrainingOptions:
        """Training options: those given, then those that suit the model, then the defaults.

        Args:
            given: the options by name.
            preset: the preset of the model; some have training options of their own.

        Raises:
            ConfigError: if an option or value does not exist, or options contradict each other.
        """
        return suited_options(self.config.recipe_for(preset or self._preset), given)

    def open_files(self, files: DataFiles) -> Source:
        """The text in files; see `Task.open_files`."""
        refuse(files, PAIR_FIELDS, self.noun)
        if files.names_columns or files.data is None:
            return files.open_text(self.sequences)
        return open_as_trained(
            files.data,
            self.sequences,
            self.reading,
            format=files.format,
            encoding=files.encoding,
            skip_empty=files.skip_empty,
        )

    def _open_training(self, data: Data) -> Source:
        source = self._open(data)
        self.sequences = source.sequences  # the other parts are read like this one
        self.reading = SavedReading.of(source) or self.reading
        return source

    def _open(self, data: Data) -> Source:
        return open_as_trained(data, self.sequences, self.reading)

    def _split(
        self, part: Source, fractions: Fractions
    ) -> tuple[Sequence[Source | None], SplitRecord]:
        return split_source(part, fractions)

    def _encode(self, parts: Mapping[str, Source], log: Log) -> dict[str, Corpus]:
        if self._spec == AUTO:
            self._spec, self._cut = chosen_symbols(parts["train"], self.vocabulary, self._cut, log)
        self.vocabulary, corpora = encode_parts(
            parts, self.vocabulary, spec=self._spec, cut=self._cut, log=log
        )
        if self._speller is None:
            texts = parts["train"].texts()
            self._begun = begin_speller(texts, corpora["train"], self.vocabulary)
        return corpora

    def _build(self, seed: int, corpus: Corpus | None) -> SequenceModel:
        symbols = self._vocabulary()
        if self._module is not None:
            check_module(self._module, symbols)
            return self._module
        with seeded(torch.device("cpu"), seed):
            return build_model(self.config, symbols.num_symbols, symbols.boundary)

    @classmethod
    def unfitted(cls, path: str | PathLike[str], *, device: str | None = None) -> Self:
        """See `Task.unfitted`."""
        lm = super().unfitted(path, device=device)
        lm._speller = None  # it is fitted again
        return lm

    def _choose(
        self, given: Mapping[str, Any], corpora: Mapping[str, Corpus], seconds: float
    ) -> BudgetChoice:
        if self._preset is not None:
            return BudgetChoice()
        from seriatim.tasks.budget_trials import TrialText

        symbols, may_resize = self._vocabulary(), self._may_resize and self.model is None
        text = TrialText(corpora["train"], symbols.num_symbols, symbols.boundary, self.device)
        return text.choose(self.config, given, seconds, may_resize=may_resize)

    def _adapted(self, choice: BudgetChoice, given: Mapping[str, Any]) -> Mapping[str, Any]:
        self.config = choice.of_model(self.config)
        return super()._adapted(choice, given)

    def _num_scored_after(self, corpora: Mapping[str, Corpus]) -> int:
        return sum(corpus.num_scored for name, corpus in corpora.items() if name != "train")

    def _learn(self, corpora: Mapping[str, Corpus], job: "TrainingJob") -> History | Json:
        from seriatim.tasks.counting import counting_seconds, with_counting
        from seriatim.train.loop import batches_of, validation_pass

        (model, symbols), train, valid = self._fitted(), corpora["train"], corpora.get("valid")
        if not isinstance(model, ClosedForm):
            self._end_speller()
            batches = batches_of(model, train, job.options)
            held_out = validation_pass(model, valid, job.options)
            counting = counting_seconds(train, job.options.minutes) if job.is_new else 0.0
            job = replace(job, seconds_after=counting)
            history = job.train(model, batches, held_out)
            return with_counting(history, train, held_out if counting else None, symbols)
        job.check_closed_form(self.config.family)
        job.callbacks.log(f"fitting the {self.config.family} model")
        facts = model.fit_closed_form(train, job.callbacks.count)
        self._end_speller()
        return facts

    def _end_speller(self) -> None:
        if self._begun is not None:
            self._speller, self._begun = self._begun.result(), None

    def _score_part(
        self,
        part: Source,
        corpus: Corpus,
        limit: SampleLimit | None,
        progress: Callable[[int], None],
    ) -> Score:
        model, symbols = self._fitted()
        scored = score_corpus(model, corpus, limit=limit, progress=progress)
        return score_of(scored, corpus, symbols, source=part, speller=self._speller)

    def _unknown(self, corpus: Corpus) -> list[UnknownCount]:
        return [UnknownCount.of(corpus, self.training.data.get("train"))]

    def _facts(self, corpus: Corpus) -> CorpusFacts:
        return CorpusFacts.of(corpus)

    def _described(self) -> TrainingRecord[CorpusFacts, Score]:
        return TrainingRecord(
            vocabulary=VocabularyFacts(self._spec, self._vocabulary().num_symbols)
        )

    def _identity(self) -> Json:
        return {
            "model": describe(self.config),
            "symbols": [self._spec, *self._cut],
            "sequences": self.sequences,
        }

    def _fingerprint(self) -> str:
        return self._fitted()[0].fingerprint()

    def _documents(self) -> dict[str, Json]:
        return {"symbols": self._vocabulary().to_json()}

    def _adopt(self, documents: Sequence[Any]) -> None:
        self.vocabulary = vocabulary_from_json(documents[0])

    # ---- using ----------------------------------------------------------------------------------

    def score(
        self,
        data: Data,
        *,
        restart_every: int | None = None,
        exact: bool = False,
        limit: int | None = None,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Score:
        """How well the model predicts a text; see `Task.score`."""
        source, (model, symbols) = self._open(data), self._fitted()
        corpus = self._corpus(source, allow_unknown)
        with shown_in_python(progress) as progress:
            scored = score_corpus(
                model,
                corpus,
                exact=exact,
                restart_every=restart_every,
                limit=SampleLimit.of_symbols(limit),
                progress=progress,
            )
        return score_of(scored, corpus, symbols, source=source, speller=self._speller)

    def _corpus(self, source: Source, allow_unknown: bool, *, is_kept: bool = True) -> Corpus:
        corpus = build_corpus(source, self._fitted()[1], is_kept=is_kept)
        if corpus.num_scored == 0:
            raise DataError(f"{source.name} has no symbol to score: give a text that is not empty")
        check_unknown(self._unknown(corpus), source.name, allow=allow_unknown)
        return corpus

    @checked_arguments
    def next(self, prompt: Text = "", top: int = 10) -> list[Prediction]:
        """The `top` most probable symbols after a prompt, which is as in `generate`."""
        model, symbols = self._fitted()
        with torch.inference_mode():
            state = state_after(model, self._prompt(prompt))
            values, ids = as_discrete(model.predict(state)).top(top)
        pairs = zip(ids[0].tolist(), values[0].exp().tolist(), strict=True)
        return [Prediction(symbols.name(i), p) for i, p in pairs]

    def prompt_note(self, prompt: Text) -> str | None:
        """What to know of a prompt that is unknown in part, or longer than what the model sees."""
        model, symbols = self._fitted()
        notes = [unknown_note(symbols, prompt), describe_reach(model, self._prompt(prompt))]
        return "; ".join(note for note in notes if note) or None

    def _texts(self, text: Text) -> list[Text]:
        """The sequences of a text."""
        if isinstance(text, PathLike):
            check_text(text)
        if self.sequences != "line" or not isinstance(text, str):
            return [text]
        return [*text.removesuffix("\n").split("\n")]

    def trace(
        self,
        text: Text,
        top: int = 5,
        *,
        only: Collection[str] | None = None,
        max_gigabytes: float = MAX_GIGABYTES,
    ) -> "TextTrace":
        """What happens inside the model while it reads a text.

        Args:
            text: with lines as sequences, each is read from its own beginning.
            top: the number of the most probable symbols to give at each position.
            only: the names to record, see `record`; None: everything.
            max_gigabytes: what may be recorded; more is refused.

        Raises:
            ConfigError: a text too long to be recorded.
            DataError: an empty text.
        """
        from seriatim.analysis.inspect.trace import trace_text

        model, symbols = self._fitted()
        return trace_text(
            model,
            symbols,
            [symbols.encode_prompt(t) for t in self._texts(text)],
            has_ends=self.sequences != "stream",
            top=top,
            only=only,
            max_gigabytes=max_gigabytes,
        )

    def effective_context(
        self,
        data: Data,
        *,
        contexts: Sequence[int] = CONTEXTS,
        categories: CategoryChoice = False,
        shuffled: bool = False,
        replaced: bool = False,
        gradients: bool = False,
        limit: int | None = CONTEXT_LIMIT,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> "EffectiveContext":
        """How far back the model looks on a text; see `analysis.context.measure`.

        Args:
            data: a path, a `Source`, or texts.
            contexts: numbers of elements to show, rising.
            categories: True for curves by the usual categories of symbols, or what
                `categories_of` takes.
            shuffled, replaced: what stands further back is shuffled, or replaced, too.
            gradients: the influence of each position, and gradients through time, too.
            limit: only the first so many symbols are looked at; None: all.
            seed: of the places that are looked at.
            progress: callback that receives the fraction of the work done so far.
        """
        from seriatim.analysis.context.measure import effective_context

        model, symbols = self._fitted()
        corpus = known_corpus(self._open(data), symbols)
        return effective_context(
            model,
            corpus,
            contexts=contexts,
            categories=categories_in(corpus, symbols, categories),
            shuffled=shuffled,
            replaced=replaced,
            gradients=gradients,
            limit=limit,
            seed=seed,
            progress=progress,
        )

    def robustness(
        self,
        data: Data,
        *,
        metric: OutputMetricName | None = None,
        strengths: Mapping[str, Sequence[float]] = STRENGTHS,
        limit: int | None = ROBUSTNESS_LIMIT,
        seeds: int = SEEDS,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> "Robustness":
        """How much trimmed, missing and permuted elements worsen the predictions.

        See `analysis.robustness.measure`; a language model is measured in bits and takes no
        `metric`.
        """
        from seriatim.analysis.robustness.measure import measure_robustness

        if metric is not None:
            raise ConfigError("--metric is an option of a translator; a text is measured in bits")
        model, symbols = self._fitted()
        corpus = known_corpus(self._open(data), symbols)
        return measure_robustness(
            model,
            corpus,
            strengths=strengths,
            limit=limit,
            seeds=seeds,
            seed=seed,
            progress=progress,
        )

    def stream(self, state: bytes | None = None) -> TextStream:
        """Push one element at a time and get its surprisal; `state` resumes a saved one."""
        model = self._fitted()[0]
        stream = Stream(model) if state is None else Stream.load(model, state)
        return TextStream(stream, self._reader())

    def check(self, *, seconds: float = 60.0) -> "LawReport":
        """Hold the fitted model to the laws of the contract."""
        from seriatim.laws.check import check_model

        return check_model(self._fitted()[0], seconds=seconds)

    def info(self) -> Json:
        """What it is, how large, and how it came about; JSON values."""
        facts = language_facts(self.config, *self._fitted(), self.sequences, self.training)
        reading = None if self.reading is None else to_json(self.reading)
        alarm = None if self.alarm is None else self.alarm.to_json()
        return {"task": self.name, **facts, "reading": reading, "threshold": alarm}

    def describe(self) -> list[tuple[str, str]]:
        """The rows of a table of `info` for people."""
        rows = language_rows(self.config, *self._fitted(), str(self.sequences), self.training)
        if self.reading is not None:
            rows.append(("read by", self.reading.describe()))
        return rows if self.alarm is None else [*rows, ("threshold", self.alarm.text())]

    def headline(self) -> str:
        """The kind and the size of the model, in a line."""
        model, symbols = self._fitted()
        return (
            f"{self.config.family}: {num_parameters(model):,} parameters, "
            f"{symbols.num_symbols:,} {symbols.kind} symbols"
        )

    def describe_score(self, score: Score) -> list[str]:
        """A score for people, in lines."""
        return score_lines(score)

    def _vocabulary(self) -> Vocabulary:
        if self.vocabulary is None:
            raise ConfigError("there are no symbols yet: call fit")
        return self.vocabulary

    def _fitted(self) -> tuple[SequenceModel, Vocabulary]:
        if self.model is None or self.vocabulary is None:
            raise not_fitted(self)
        return self.model, self.vocabulary

    def _prompt(self, prompt: Text) -> Ids:
        if isinstance(prompt, PathLike):
            check_text(prompt)
        return self._fitted()[1].encode_prompt(prompt)

    # ---- on disk --------------------------------------------------------------------------------

    @classmethod
    def of_model(
        cls,
        model: SequenceModel,
        *,
        config: ModelConfig,
        vocabulary: Vocabulary,
        sequences: Sequences,
        words: Sequence[str] = (),
        imported: Json | None = None,
        device: str | None = None,
    ) -> Self:
        """A language model of a model that was made elsewhere, such as one read from a file.

        Args:
            model: of these symbols.
            config: what it was built by.
            vocabulary: the vocabulary of the model.
            sequences: what one sequence is.
            words: from which the spelling of unknown ones is learnt.
            imported: facts about the file, for the record.
            device: where to compute; None: a GPU if there is one.
        """
        lm = cls(config, symbols=vocabulary, sequences=sequences, device=device)
        lm.model = model.to(lm.device).eval()
        lm._speller = None if vocabulary.unknown is None else spelling_model(words)
        lm.training = TrainingRecord(imported=imported)
        return lm

    def _config(self) -> SavedLanguageModel:
        assert self.sequences is not None  # it is fitted
        if self.config.unsavable is not None:
            raise ConfigError(self.config.unsavable)
        return SavedLanguageModel(describe(self.config), self.sequences, self.reading, self.alarm)

    def is_training_data(self, source: Source) -> bool:
        """Whether a source is what the model was fitted to, or what its training part came from."""
        run, split = self.training.run or {}, self.training.split or {}
        known = dict(run.get("data", {})).get("train"), split.get("source")
        return source.fingerprint() in known

    def _modules(self) -> dict[str, nn.Module]:
        speller = {} if self._speller is None else {"speller": self._speller}
        return {"model": self._fitted()[0], **speller}

    @classmethod
    def _restored(cls, path: Path, classes: tuple[type, ...], device: str | None) -> Self:
        saved = storage.read_config(SavedLanguageModel, path)
        symbols = vocabulary_from_json(storage.read_document(path, "symbols"))
        config = restore(rename_options(saved.model), classes)
        lm = cls(config, symbols=symbols, sequences=saved.sequences, device=device)
        lm.reading, lm.alarm = saved.reading, saved.threshold
        if symbols.unknown is not None:
            lm._speller = speller()
        return lm
