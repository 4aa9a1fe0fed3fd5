"""A task: a model bound to a kind of data, which is fitted, scored, saved and loaded.

`Task` writes the road once: open the parts, resume, encode, build, train, record, score. A task
fills in what is its own: how data is opened, which vocabularies it has, which batches it learns
from. Knows sources, training and folders; no family of models.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeAlias, TypeVar

import torch
from torch import nn

from seriatim.core.model import TargetModel
from seriatim.core.records import Json, from_json
from seriatim.core.validation import checked_arguments
from seriatim.data.splits import SplitRecord
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, ModelError, TrainingError
from seriatim.metrics.pieces import SampleLimit
from seriatim.tasks import storage
from seriatim.tasks.budget_policy import BudgetChoice
from seriatim.tasks.hub import Hub, push_model
from seriatim.tasks.options import DataFiles, TaskOptions
from seriatim.tasks.parts import Fractions, split_parts
from seriatim.tasks.protocols import NOUNS, EachScore, Opened
from seriatim.tasks.scoring import count_scored, final_limit
from seriatim.tasks.training_record import TrainingRecord, read_training
from seriatim.tasks.unknown import UnknownCount, note_unknown_parts
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.console import Reporter, console_callbacks
from seriatim.train.callbacks.history import History
from seriatim.train.distributed import current
from seriatim.train.options import TrainingOptions

if TYPE_CHECKING:
    from seriatim.analysis.robustness.result import Robustness
    from seriatim.laws.check import LawReport
    from seriatim.tasks.analyses import OutputMetricName
    from seriatim.tasks.job import TrainingJob
    from seriatim.train.checkpoint.resume import CheckpointFolder

Log: TypeAlias = Callable[[str], None]
Options: TypeAlias = TrainingOptions | Mapping[str, Any]
Data = TypeVar("Data")  # what the user gives
Part = TypeVar("Part", bound=Opened)  # the data once it is opened
Encoded = TypeVar("Encoded")  # the data as numbers
FactsT = TypeVar("FactsT")
ScoreT = TypeVar("ScoreT")

CHOICE = "choice"  # the name of the document that says what was chosen for a budget
SCORED = ("valid", "test")  # the parts that are scored at the end


class Task(ABC, Generic[Data, Part, Encoded, FactsT, ScoreT]):
    """A model bound to data.

    Attributes:
        model: the model; None before fitting.
        vocabulary: the vocabulary (of a translator, that of the targets); None before fitting.
        training: the record of how the model came about; empty before fitting.
        device: the device on which to compute.
    """

    name: ClassVar[str]  # in config.json
    noun: ClassVar[str]  # "a language model"
    reads: ClassVar[Literal["text", "pairs", "labelled", "series"]]  # the kind of its data
    example: ClassVar[str]  # a command to try with a saved model
    unit: ClassVar[str] = "symbol"  # what losses are averaged over
    runs_in_processes: ClassVar[bool] = True  # whether several processes can share the training
    record_type: ClassVar[Any]  # the `TrainingRecord` of this task

    def __init__(self, device: str | None) -> None:
        self.model: TargetModel | None = None
        self.vocabulary: Vocabulary | None = None
        self.training: TrainingRecord[FactsT, ScoreT] = TrainingRecord()
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def __repr__(self) -> str:
        shown = "not fitted yet" if self.model is None else self.headline()
        return f"{type(self).__name__}({shown})"

    @property
    def reads_events(self) -> bool:
        """Whether its sequences are lists of events, so that a text is one of them."""
        return self.vocabulary is not None and self.vocabulary.is_events

    @property
    def table_format(self) -> str | None:
        """The format of stdin, if it is not text."""
        return None

    # ---- fitting --------------------------------------------------------------------------------

    @checked_arguments
    def fit(
        self,
        train: Data,
        *,
        valid: Data | None = None,
        test: Data | None = None,
        split: Fractions | None = None,
        steps: int | None = None,
        epochs: float | None = None,
        minutes: float | None = None,
        seed: int | None = None,
        options: Options | None = None,
        callbacks: Callbacks | None = None,
        checkpoints: "CheckpointFolder" = None,
        resume: bool = False,
        score: bool = True,
        full_scores: bool = False,
        allow_unknown: bool = False,
    ) -> Self:
        """Fit to data; a model that is already fitted is trained further and keeps its vocabulary.

        Args:
            train: the training data.
            valid: the data for early stopping; without it a part of `train` is split off.
            test: the data for the final scores; without `valid` and `test`, both are split off.
            split: the fractions of training, validation and test; None: the task's own, for most
                0.8, 0.1 and 0.1.
            steps, epochs, minutes: the budget, at most one of them; see `TrainingOptions`.
            seed: the seed of weights, data order and dropout.
            options: the other training options; a mapping adds to the defaults of the model,
                `TrainingOptions` are taken as they are; None: the defaults of the model.
            callbacks: functions to be called while it is fitted; None: progress on stderr.
            checkpoints: a folder in which the run is saved every minute, or `Checkpoints`; it
                remains when the run is over: remove it once the model is saved.
            resume: resume the run in that folder, to the bit, if there is one.
            score: whether to score the validation and test parts once the model is fitted.
            full_scores: whether to score all of them; otherwise a sample that takes a twentieth
                of a budget in minutes, or has a tenth of the symbols that were trained on.
            allow_unknown: whether to train a fitted model further on data most of whose symbols
                it does not know.

        Returns:
            This task, fitted; `training` holds the record.

        Raises:
            DataError: if the data cannot be used, or most of it is unknown to a fitted model.
        """
        from seriatim.tasks.job import TrainingJob
        from seriatim.train.checkpoint.resume import open_run

        began = time.perf_counter()
        with Reporter(is_quiet=not current().is_main, is_patient=True, unit=self.unit) as reporter:
            callbacks = (callbacks or console_callbacks(reporter)).begun()
            budget = {"steps": steps, "epochs": epochs, "minutes": minutes, "seed": seed}
            given = {name: value for name, value in budget.items() if value is not None}
            wanted = self._merged(options, given, None)  # a mistake is found before data are read
            parts, record = self._open_parts(train, valid, test, split)
            about = self._about(wanted, parts)
            run, documents = open_run(
                checkpoints,
                resume,
                model=about["model"],
                data=about["data"],
                documents=(*self.document_names, *(() if wanted.minutes is None else (CHOICE,))),
            )
            if documents is not None:
                self._adopt(documents[: len(self.document_names)])
            with current().main_first():  # it fills the cache, and the others map its files
                corpora = self._encode(parts, callbacks.log)
            unknown = {name: self._unknown(corpus) for name, corpus in corpora.items()}
            allow = allow_unknown if self.model is not None else None
            note_unknown_parts(unknown, callbacks.remark, allow=allow)
            merged = self._merged(options, given, corpora["train"])
            is_new, choice = self.model is None, BudgetChoice()
            if merged.minutes is not None and not isinstance(options, TrainingOptions):
                asked = {**(options or {}), **given}
                if documents is not None:
                    choice = from_json(BudgetChoice, documents[-1], name=CHOICE)
                else:
                    left = 60.0 * merged.minutes - current().longest(callbacks.passed)
                    choice = self._choose(asked, corpora, left)
                merged = self._merged(self._adapted(choice, asked), {}, corpora["train"])
                if choice.sentence:
                    callbacks.remark(choice.sentence)
            if self.model is None:
                self.model = self._build(merged.seed, corpora["train"]).to(self.device)
            self.training = replace(
                self._described(),
                data={name: self._facts(corpus) for name, corpus in corpora.items()},
                split=record,
                run=about,
                notes=tuple(dict.fromkeys(note for part in parts.values() for note in part.notes)),
                seed=merged.seed,
                choice=None if choice == BudgetChoice() else choice.to_json(),
            )
            begun_with = {**self._documents(), CHOICE: choice.to_json()}
            scored = self._num_scored_after(corpora) if score else 0
            job = TrainingJob(merged, callbacks, run, begun_with, is_new, scored)
            self._learn_and_record(corpora, job)
            done = time.perf_counter()
            if score and current().is_main:
                history = None if full_scores else self.training.fit
                limit = final_limit(merged, history, sum(name in parts for name in SCORED))
                self._score_parts(parts, corpora, limit, callbacks)
            end = time.perf_counter()
            self.training = replace(self.training, seconds=end - began, scoring_seconds=end - done)
            return self

    def _open_parts(
        self, train: Data, valid: Data | None, test: Data | None, split: Fractions | None
    ) -> tuple[dict[str, Part], Json | None]:
        """The parts by name, and how they were split, if they were."""
        parts = {"train": self._open_training(train)}
        given = {"valid": valid, "test": test}
        parts |= {name: self._open(data) for name, data in given.items() if data is not None}
        split = self._default_split() if split is None else split
        return split_parts(parts, split, self._split)

    def check_same_run(
        self,
        finished: Path,
        train: Data,
        *,
        valid: Data | None = None,
        test: Data | None = None,
        split: Fractions | None = None,
        options: Options | None = None,
        allow_changed_data: bool = False,
    ) -> None:
        """Refuse a finished run that is another one than `fit` would begin with these arguments.

        Args:
            finished: the folder of a fitted model; one of an older version records no run and is
                not compared.
            train, valid, test, split, options: as of `fit`.
            allow_changed_data: whether the data may be other data.

        Raises:
            ConfigError: if the model, its symbols or an option differ.
            DataError: if the data differs and that is not allowed.
        """
        from seriatim.train.checkpoint.store import check_unchanged

        wanted = self._merged(options, {}, None)
        parts, _ = self._open_parts(train, valid, test, split)
        run = self.load(finished).training.run
        if run is not None:
            about = self._about(wanted, parts)
            check_unchanged(finished, run, about, allow_data=allow_changed_data)

    def _about(self, options: TrainingOptions, parts: Mapping[str, Part]) -> dict[str, Json]:
        """What a run is, so that it is resumed as no other one."""
        begun_from = None if self.model is None else self._fingerprint()
        chosen = {k: v for k, v in options.to_json().items() if k != "distributed"}
        return {
            "model": {"task": self.name, **self._identity(), "begun from": begun_from},
            "options": chosen,
            "data": {name: part.fingerprint() for name, part in parts.items()},
        }

    def _merged(
        self, options: Options | None, given: Mapping[str, Any], corpus: Encoded | None
    ) -> TrainingOptions:
        if isinstance(options, TrainingOptions):
            return replace(options, **given)
        return self._suited({**(options or {}), **given}, corpus)

    def _learn_and_record(self, corpora: Mapping[str, Encoded], job: "TrainingJob") -> None:
        began = time.perf_counter()
        try:
            result = self._learn(corpora, job)
        except TrainingError as error:
            self.training = replace(self.training, error=str(error))
            raise
        fit, counted = (result, None) if isinstance(result, History) else (None, result)
        seconds = time.perf_counter() - began
        self.training = replace(self.training, fit=fit, closed_form=counted, fit_seconds=seconds)

    def _score_parts(
        self,
        parts: Mapping[str, Part],
        corpora: Mapping[str, Encoded],
        limit: SampleLimit | None,
        callbacks: Callbacks,
    ) -> None:
        """Score validation and test; Ctrl-C skips the scores and keeps the fitted model."""
        try:
            for name in (name for name in SCORED if name in parts):
                callbacks.log(f"scoring the {name} part")
                progress = partial(count_scored, callbacks, name)
                score = self._score_part(parts[name], corpora[name], limit, progress)
                self.training = self.training.with_score(name, score)
        except KeyboardInterrupt:
            self.training = replace(self.training, not_scored="interrupted")

    # ---- on disk --------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the model as a folder, whole or not at all.

        Raises:
            OutputError: if the folder is taken, or the disk is full.
        """
        storage.save(
            Path(path),
            task=self.name,
            config=self._config(),
            documents={**self._documents(), "training": self.training.to_json()},
            modules=self._modules(),
            overwrite=overwrite,
        )

    def push(self, repo: str, *, private: bool = True, hub: Hub | None = None) -> str:
        """Upload the model to a repository OWNER/NAME, where `from_pretrained` finds it.

        Args:
            repo: the name; the repository is made if it is not there.
            private: whether a new repository is seen by its owner alone.
            hub: where to; None: huggingface.co, as who is logged in.

        Raises:
            ConfigError, OutputError, MissingExtraError: as of `hub.push_model`.
        """
        return push_model(self, repo, private=private, hub=hub)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        classes: Iterable[type] = (),
        device: str | None = None,
        verify: bool = True,
    ) -> Self:
        """The model that `save` wrote.

        Args:
            path: the folder.
            classes: your own classes that the model uses, such as a cell.
            device: the device on which to compute; None: a GPU if there is one.
            verify: whether to refuse files that were altered since they were written; large files
                of weights are compared only by `seriatim info --verify`.

        Raises:
            ModelError: if there is no model, or it is damaged, of a newer version or another task.
        """
        path = Path(path)
        header = storage.read_header(path)
        check_task(path, header.task, cls, f"{cls.__name__}.load")
        with storage.refusing_damage(path, header.seriatim):
            if verify:
                storage.check_contents(path, header, most=storage.CHECKED_AT_LOAD)
            task = cls._restored(path, tuple(classes), device)
            storage.check_size(path, lambda: task._build(0, None))
            task.model = task._build(0, None)  # the weights made here are replaced at once
            storage.read_weights(path, task._modules())
            task.model = task.model.to(task.device).eval()
            task.training = read_training(cls.record_type, path / "training.json", header.format)
        return task

    @classmethod
    def unfitted(cls, path: str | PathLike[str], *, device: str | None = None) -> Self:
        """The task in a folder without its weights; `training.fit.repetition` repeats its fit."""
        path = Path(path)
        check_task(path, storage.read_header(path).task, cls, f"{cls.__name__}.unfitted")
        return cls._restored(path, (), device)

    # ---- what a task fills in -------------------------------------------------------------------

    document_names: ClassVar[Sequence[str]]  # the keys of `_documents`

    @classmethod
    @abstractmethod
    def from_options(cls, options: TaskOptions) -> Self:
        """A task from the options of the command line.

        Raises:
            ConfigError: if an option does not exist or belongs to another task.
        """

    @abstractmethod
    def open_files(self, files: DataFiles) -> Data:
        """The data in files named on the command line.

        Raises:
            ConfigError: if an option belongs to another task.
        """

    @abstractmethod
    def score(
        self,
        data: Data,
        *,
        restart_every: int | None = None,
        exact: bool = False,
        limit: int | None = None,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> ScoreT:
        """How well the model predicts data.

        Of a model of unbounded reach, sequences of more than 16,384 symbols are read in pieces side
        by side, each after a warm-up; `coverage` of the score says how it was read.

        Args:
            data: what `fit` takes.
            restart_every: of a text that is a stream: the number of symbols after which the state
                is reset; None: never.
            exact: whether to read every sequence through one state, from its beginning to its end.
            limit: the most symbols to score, about, in pieces, sequences or pairs that are spread
                all over the data; None: all.
            allow_unknown: whether to score data most of whose symbols are unknown.
            progress: callback that receives the number of symbols or sequences scored so far; None:
                it is shown on stderr.

        Raises:
            DataError: if there is nothing to score, or most of it is unknown.
        """

    each_columns: ClassVar[Sequence[str]] = ()  # above the lines of `score_each`

    @abstractmethod
    def score_each(
        self,
        data: Data,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[EachScore]:
        """How well the model predicts each sequence or pair, in order."""

    @abstractmethod
    def robustness(
        self,
        data: Data,
        *,
        metric: "OutputMetricName | None" = None,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> "Robustness":
        """How much trimmed, missing and permuted elements worsen the predictions.

        Args:
            data: what `fit` takes.
            metric: for a translator, the metric of its output.
            seed: the seed of the perturbations.
            progress: callback that receives the fraction of the work done so far.
        """

    @abstractmethod
    def training_options(self, given: Mapping[str, Any]) -> TrainingOptions:
        """Training options: those given, then those that suit the model, then the defaults."""

    @abstractmethod
    def check(self, *, seconds: float = 60.0) -> "LawReport":
        """Check the fitted model against the laws of the contract."""

    @abstractmethod
    def info(self) -> Json:
        """What the model is, its size, and how it came about, as JSON values."""

    @abstractmethod
    def describe(self) -> list[tuple[str, str]]:
        """The rows of a table of `info` for people."""

    @abstractmethod
    def headline(self) -> str:
        """The kind and the size of the model, in a line."""

    @abstractmethod
    def describe_score(self, score: ScoreT) -> list[str]:
        """A score for people, in lines."""

    @abstractmethod
    def _open_training(self, data: Data) -> Part:
        """Open the whole training data; here is decided what holds for all parts."""

    @abstractmethod
    def _open(self, data: Data) -> Part: ...

    def _default_split(self) -> Fractions:
        """The fractions of training, validation and test, if none are given."""
        return 0.8, 0.1, 0.1

    @abstractmethod
    def _split(
        self, part: Part, fractions: Fractions
    ) -> tuple[Sequence[Part | None], SplitRecord]: ...

    @abstractmethod
    def _encode(self, parts: Mapping[str, Part], log: Log) -> dict[str, Encoded]:
        """The parts as numbers; chooses the vocabulary first, where there is none yet."""

    def _choose(
        self, given: Mapping[str, Any], corpora: Mapping[str, Encoded], seconds: float
    ) -> BudgetChoice:
        """What suits the seconds that are left, beside the training options that were given."""
        return BudgetChoice()

    def _adapted(self, choice: BudgetChoice, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options given and chosen; the model takes what was chosen of it."""
        return choice.of_training(given)

    def _num_scored_after(self, corpora: Mapping[str, Encoded]) -> int:
        """The symbols that are scored after training, if they take long."""
        return 0

    def _suited(self, given: Mapping[str, Any], corpus: Encoded | None) -> TrainingOptions:
        """`training_options`; a translator suits them to the training data, once it is read."""
        return self.training_options(given)

    @abstractmethod
    def _build(self, seed: int, corpus: Encoded | None) -> TargetModel:
        """A new model."""

    @abstractmethod
    def _learn(self, corpora: Mapping[str, Encoded], job: "TrainingJob") -> History | Json:
        """Train the model; returns the history, or facts about a fit in closed form."""

    @abstractmethod
    def _score_part(
        self,
        part: Part,
        corpus: Encoded,
        limit: SampleLimit | None,
        progress: Callable[[int], None],
    ) -> ScoreT:
        """The score of a part, or of a sample of it."""

    @abstractmethod
    def _unknown(self, corpus: Encoded) -> Sequence[UnknownCount]:
        """The unknown symbols of a part, of each side of pairs."""

    @abstractmethod
    def _facts(self, corpus: Encoded) -> FactsT: ...

    @abstractmethod
    def _described(self) -> TrainingRecord[FactsT, ScoreT]:
        """A new record with the facts about the vocabularies."""

    @abstractmethod
    def _identity(self) -> Json:
        """The options that make a run another one."""

    @abstractmethod
    def _fingerprint(self) -> str:
        """A hash of the weights."""

    @abstractmethod
    def _documents(self) -> dict[str, Json]:
        """The vocabularies and the like, written beside checkpoints and weights."""

    @abstractmethod
    def _adopt(self, documents: Sequence[Any]) -> None:
        """Take the documents of a run that is resumed."""

    @abstractmethod
    def _config(self) -> object:
        """The record that is written to config.json."""

    @abstractmethod
    def _modules(self) -> dict[str, nn.Module]:
        """The modules whose weights are saved."""

    @classmethod
    @abstractmethod
    def _restored(cls, path: Path, classes: tuple[type, ...], device: str | None) -> Self:
        """The task in a folder, without its model."""


AnyTask: TypeAlias = Task[Any, Any, Any, Any, Any]


def check_task(path: Path, name: str, task: type[AnyTask], user: str) -> None:
    """See that a folder holds a model of a task.

    Args:
        path: the folder, for the message.
        name: the name of the task in its config.json.
        task: the task that is needed.
        user: what needs it, for the message.

    Raises:
        ModelError: if the folder holds a model of another task.
    """
    if name == task.name:
        return
    if name not in NOUNS:
        raise ModelError(
            f"{path} holds a model of the task {name!r}, and this seriatim knows "
            f"{', '.join(NOUNS)}: update seriatim"
        )
    raise ModelError(f"{path} is {NOUNS[name]}; {user} needs {task.noun}")


def not_fitted(task: AnyTask) -> ConfigError:
    """The error of a task that is used before it is fitted."""
    noun = task.noun.removeprefix("a ")
    return ConfigError(f"this {noun} is not fitted yet: call fit, or load one")
