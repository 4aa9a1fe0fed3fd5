"""Comparing models under one budget: the same text, the same parts, the same rules.

Every model is fitted by `LanguageModel`, scored symbol by symbol, measured, and saved; what can be
said of them is in `conclusions`. No family is known here, only whether a model is counted: no
budget cuts counting short, and other seeds do not change it.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from seriatim.comparison.conclusions import conclude
from seriatim.comparison.entrants import (
    Budget,
    Entrant,
    Models,
    Prepared,
    TooSmallError,
    name_entrants,
    prepare,
)
from seriatim.comparison.record import EvaluationBits, InferenceCost, NotRun, RunRecord
from seriatim.comparison.result import ModelComparison
from seriatim.comparison.scored_runs import LN2, ScoredRuns
from seriatim.comparison.shared_data import DataOptions, SharedData, open_shared_data
from seriatim.comparison.sizing import NoWidthError
from seriatim.comparison.store import (
    REPORT,
    ComparisonFolder,
    ComparisonPlan,
    EntrantPlan,
    Run,
    TrainedRun,
    slug,
)
from seriatim.core.validation import checked_arguments
from seriatim.data.corpus import Corpus
from seriatim.data.sources import Sequences
from seriatim.errors import ConfigError, MissingExtraError, TrainingError
from seriatim.metrics.cost import generation_speed, num_bytes, operations_per_symbol, state_sizes
from seriatim.metrics.likelihood import score_corpus
from seriatim.metrics.pieces import SampleLimit
from seriatim.metrics.size import num_parameters
from seriatim.models.options.registry import describe
from seriatim.tasks import storage
from seriatim.tasks.language_model import LanguageModel
from seriatim.tasks.parts import Fractions
from seriatim.tasks.scoring import score_of
from seriatim.tasks.surprisal_judge import Data
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import Progress
from seriatim.train.closed_form import ClosedForm
from seriatim.train.options import BUDGETS

MOST_VALID = 16_384  # symbols of the validation text, from which the mixture's weights are taken


@dataclass(frozen=True)
class ComparisonCallbacks:
    """Functions that a comparison calls, each of which may be left out.

    Attributes:
        progress: receives the name of a model and the progress of its training.
        message: receives log messages.
        counted: receives sentences that say how far anything but training has come, many times a
            second.
        finished: receives every model and its figures, when it is fitted and scored.
    """

    progress: Callable[[str, Progress], None] | None = None
    message: Callable[[str], None] | None = None
    finished: Callable[[LanguageModel, RunRecord], None] | None = None
    counted: Callable[[str], None] | None = None

    def log(self, sentence: str) -> None:
        """Pass a log message on, if anybody listens."""
        if self.message is not None:
            self.message(sentence)

    def count_scored(self, name: str, symbols: int) -> None:
        """Say how many symbols of the test text a model has scored, if anybody listens."""
        if self.counted is not None:
            self.counted(f"{name}: scored {symbols:,} symbols of the test text")

    def of_model(self, name: str, prepared: Prepared) -> Callbacks:
        """The callbacks for the training of one model."""
        progress, message, counted = self.progress, self.message, self.counted
        return Callbacks(
            progress=None if progress is None else lambda p: progress(name, p),
            message=None if message is None else lambda sentence: message(f"{name}: {sentence}"),
            counted=None if counted is None else lambda sentence: counted(f"{name}: {sentence}"),
            estimate=prepared.estimate,
        )


@checked_arguments
def compare(
    data: Data,
    models: Models = None,
    *,
    minutes: float | None = None,
    tokens: float | None = None,
    operations: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    parameters: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    symbols: str = "char",
    min_count: int = 1,
    max_symbols: int | None = None,
    sequences: Sequences | None = None,
    valid: Data | None = None,
    test: Data | None = None,
    split: Fractions | None = None,
    options: Mapping[str, Any] | None = None,
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_minutes: float = 1.0,
    device: str | None = None,
    callbacks: ComparisonCallbacks | None = None,
) -> ModelComparison:
    """Train models under one budget and say which is better, and how sure that is.

    Args:
        data: a path, a `Source`, or texts.
        models: configurations (or `Entrant`s) by name, or names of families; None: all families.
        minutes, tokens, operations, steps, epochs: what each model may spend on training, at most
            one of them; see `Budget`. Without any budget: two minutes.
        parameters: the size of each model, within 2 %, for which its width is solved. Alone,
            training is as long as the training options say.
        seeds: the number of seeds of each model; with 3 or more, families are compared too.
        seed: the first seed.
        symbols: the vocabulary of all models that have none of their own: "byte", "char", "word",
            "bpe:N"; "auto": what `look` advises.
        min_count, max_symbols: limits on a vocabulary of characters or words; see `LanguageModel`.
        sequences: what one sequence is; None: as `open_source` decides.
        valid, test: validation and test data; what is missing is split off.
        split: fractions of train, validation and test; None: 80, 10 and 10 %, with at most
            100,000 bytes for each of the last two.
        options: training options of all models, by name.
        out: a folder for the models, the figures and the report; None: nothing is saved.
        resume: continue the comparison in that folder; finished runs are not repeated.
        overwrite: replace the comparison in that folder.
        checkpoint_minutes: minutes between two checkpoints of the model in training.
        device: where to compute; None: a GPU if there is one.
        callbacks: functions to be called on the way.

    Raises:
        ConfigError: if options contradict each other, or models cannot be compared.
        DataError: if the data cannot be read or is too short to split.
        OutputError: if `out` holds a comparison already, or cannot be written.
        KeyboardInterrupt: after Ctrl-C; what is finished is saved in `out`, with a checkpoint of
            the model in training.
    """
    began, callbacks = time.perf_counter(), callbacks or ComparisonCallbacks()
    if seeds < 1:
        raise ConfigError(f"seeds = {seeds}: give 1 or more")
    if out is None and (resume or overwrite):
        raise ConfigError("resume and overwrite need a folder: give out")
    entrants = name_entrants(models)
    _check_names(entrants)
    budget = Budget.of(
        minutes=minutes,
        tokens=tokens,
        operations=operations,
        steps=steps,
        epochs=epochs,
        parameters=parameters,
    )
    folder = (
        None if out is None else ComparisonFolder(Path(out), resume=resume, overwrite=overwrite)
    )
    data_options = DataOptions(valid, test, split, sequences, symbols, min_count, max_symbols)
    run = _ComparisonRun(
        entrants=entrants,
        budget=budget,
        data=open_shared_data(data, entrants, data_options, callbacks.log),
        training=dict(options or {}),
        seeds=range(seed, seed + seeds),
        folder=folder,
        device=device,
        checkpoint_minutes=checkpoint_minutes,
        callbacks=callbacks,
    )
    run.check()
    if folder is not None:
        folder.begin(run.plan())
    before_runs = time.perf_counter() - began
    runs = run.run_all()
    callbacks.log("comparing")
    began = time.perf_counter()
    scored = ScoredRuns(run.data, runs)
    record = conclude(scored, budget.record(), before_runs)
    record = record.with_more_overhead(time.perf_counter() - began)
    fitted = {n: run.fitted.get((n, best.record.seed)) for n, best in scored.best.items()}
    comparison = ModelComparison(record, {n: lm for n, lm in fitted.items() if lm is not None})
    return comparison if folder is None else _save(comparison, folder, callbacks)


def _save(
    comparison: ModelComparison, folder: ComparisonFolder, callbacks: ComparisonCallbacks
) -> ModelComparison:
    """Write the result and the report."""
    folder.save_result(comparison.record)
    began = time.perf_counter()
    try:
        comparison.report().write(folder.out / REPORT)
    except MissingExtraError as error:
        callbacks.log(f"no report: {error}")
    record = comparison.record.with_more_overhead(time.perf_counter() - began)
    folder.save_result(record)
    return ModelComparison(record, comparison.fitted)


def _check_names(entrants: Mapping[str, Entrant]) -> None:
    owners: dict[str, str] = {}
    for name in entrants:
        owner = owners.setdefault(slug(name).lower(), name)
        if owner != name:
            raise ConfigError(f"the models {owner} and {name} would share a folder: rename one")


@dataclass(frozen=True, kw_only=True)
class _ComparisonRun:
    """All runs of all models; the models that are saved nowhere are collected in `fitted`."""

    entrants: Mapping[str, Entrant]
    budget: Budget
    data: SharedData
    training: Mapping[str, Any]
    seeds: range
    folder: ComparisonFolder | None
    device: str | None
    checkpoint_minutes: float
    callbacks: ComparisonCallbacks
    fitted: dict[tuple[str, int], LanguageModel] = field(default_factory=dict)

    def check(self) -> None:
        """Check the training options of every model before any is trained.

        Raises:
            ConfigError: if some cannot be used.
        """
        for name in (*BUDGETS, "seed"):
            if name in self.training or any(name in e.training for e in self.entrants.values()):
                raise ConfigError(
                    f"{name} is the same for all models: give it to the comparison, not among the "
                    "training options"
                )
        for name, entrant in self.entrants.items():
            try:
                lm = LanguageModel(entrant.config)
                lm.training_options({**self.training, **entrant.training}, preset=entrant.preset)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None

    def plan(self) -> ComparisonPlan:
        """What must be the same for the comparison to be resumed."""
        return ComparisonPlan(
            data={name: part.fingerprint() for name, part in self.data.parts.items()},
            budget=self.budget.record(),
            training=self.training,
            symbols={name: v.fingerprint() for name, v in self.data.vocabularies.items()},
            seed=self.seeds.start,
            models={
                name: EntrantPlan(
                    config=describe(entrant.config),
                    symbols=entrant.symbols,
                    training=dict(entrant.training),
                    preset=entrant.preset,
                )
                for name, entrant in self.entrants.items()
            },
        )

    def run_all(self) -> dict[str, list[Run]]:
        """The runs of each model, those that were finished before included."""
        runs: dict[str, list[Run]] = {name: [] for name in self.entrants}
        for seed in self.seeds:  # all models once, before any of them twice
            for name, finished in runs.items():
                if finished and not _depends_on_seed(finished[0]):
                    continue
                run = None if self.folder is None else self.folder.load(name, seed)
                finished.append(self._run(name, seed) if run is None else run)
        return runs

    def _run(self, name: str, seed: int) -> Run:
        """Train, score and save one model with one seed."""
        began, entrant, data = time.perf_counter(), self.entrants[name], self.data
        spec = data.vocabulary_of[name]
        first = next(iter(data.corpora.values()))
        try:
            prepared = prepare(
                entrant,
                self.budget,
                data.vocabularies[spec],
                data.corpora[spec]["train"],
                epochs_of_tokens=(self.budget.tokens or 0) / first["train"].num_scored,
                training=self.training,
                seed=seed,
                device=self.device,
            )
            path = self._fit(name, seed, prepared)
        except (TooSmallError, NoWidthError, TrainingError) as error:
            run: Run = NotRun(
                name=name,
                seed=seed,
                family=entrant.config.family,
                symbols=spec,
                reason=str(error),
                other_seconds=time.perf_counter() - began,
            )
        else:
            self.callbacks.log(f"{name}: scoring the test text")
            run = self._measure(name, seed, prepared.lm, path, began)
            if self.callbacks.finished is not None:
                self.callbacks.finished(prepared.lm, run.record)
        if self.folder is not None:
            self.folder.save(run)
        return run

    def _fit(self, name: str, seed: int, prepared: Prepared) -> Path | None:
        """Fit a model; returns its folder."""
        path = checkpoints = None
        if self.folder is not None:
            path = self.folder.model(name, seed, self.seeds.start)
            checkpoints = self.folder.checkpoints(path, self.checkpoint_minutes)
        prepared.lm.fit(
            self.data.parts["train"],
            valid=self.data.parts["valid"],
            options=prepared.options,
            callbacks=self.callbacks.of_model(name, prepared),
            checkpoints=checkpoints,
            score=False,
        )
        fit = prepared.lm.training.fit
        if fit is not None and fit.stopped == "interrupted":
            raise KeyboardInterrupt
        return path

    def _measure(
        self, name: str, seed: int, lm: LanguageModel, path: Path | None, began: float
    ) -> TrainedRun:
        """Score and measure a fitted model, and save it."""
        model, spec = lm.model, self.data.vocabulary_of[name]
        assert model is not None  # it is fitted
        corpora = self.data.corpora[spec]
        scored = score_corpus(
            model, corpora["test"], progress=partial(self.callbacks.count_scored, name)
        )
        valid = score_corpus(model, corpora["valid"], limit=SampleLimit(symbols=MOST_VALID)).nats
        score = score_of(scored, corpora["test"], self.data.vocabularies[spec])
        lm.training = lm.training.with_score("test", score)
        fit = _fit_summary(lm, corpora["train"])
        cost = None
        if seed == self.seeds.start:
            cost = InferenceCost(
                state_bytes=tuple(state_sizes(model)),
                generate_symbols_per_second=generation_speed(model),
                operations_per_symbol=operations_per_symbol(model),
            )
        if path is None:
            self.fitted[name, seed] = lm
        else:
            lm.save(path, overwrite=True)
            shutil.rmtree(path / storage.CHECKPOINTS, ignore_errors=True)
        record = RunRecord(
            name=name,
            seed=seed,
            family=lm.config.family,
            symbols=spec,
            config=describe(lm.config)["options"],
            is_counted=isinstance(model, ClosedForm),
            parameters=num_parameters(model),
            bytes=num_bytes(model),
            reach=model.reach,
            train_seconds=fit.seconds,
            train_symbols=fit.num_symbols,
            train_symbols_per_second=fit.num_symbols / max(fit.seconds, 1e-9),
            score_symbols_per_second=score.symbols_per_second,
            history=fit.history,
            notes=fit.notes,
            bits_per_symbol=score.bits_per_symbol,
            bits_per_character=score.bits_per_character,
            valid_nats=float(np.mean(valid, dtype=np.float64)),
            cost=cost,
            folder=None if path is None else str(path),
            other_seconds=max(0.0, time.perf_counter() - began - lm.training.fit_seconds),
        )
        return TrainedRun(record, valid, scored.nats)


def _depends_on_seed(run: Run) -> bool:
    """Whether another seed would give another run."""
    return isinstance(run, TrainedRun) and not run.record.is_counted


@dataclass(frozen=True)
class _FitSummary:
    """What a comparison reads of a model's training record."""

    seconds: float
    num_symbols: int
    history: tuple[EvaluationBits, ...]
    notes: tuple[str, ...]


def _fit_summary(lm: LanguageModel, train: Corpus) -> _FitSummary:
    fit = lm.training.fit
    if fit is None:  # counted: once through the text
        return _FitSummary(lm.training.fit_seconds, train.num_scored, (), ())
    history = tuple(
        EvaluationBits(
            step=evaluation.step,
            epoch=evaluation.epoch,
            seconds=evaluation.seconds,
            train=_as_bits(evaluation.train_nats),
            valid=_as_bits(evaluation.valid_nats),
        )
        for evaluation in fit.evaluations
    )
    return _FitSummary(fit.seconds, fit.num_targets, history, fit.notes)


def _as_bits(nats: float | None) -> float | None:
    return None if nats is None or not math.isfinite(nats) else nats / LN2
