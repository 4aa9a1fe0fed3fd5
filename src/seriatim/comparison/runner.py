"""Comparing models under one budget: the same text, the same parts, the same rules.

It binds configurations to data: every model is fitted by `LanguageModel`, scored symbol by
symbol, measured, and kept; what can be said of them is `comparing.comparison`. It never asks which
family it has, but for whether a model is counted, which no budget can cut short.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from seriatim.comparison.entrants import (
    Budget,
    Entrant,
    Models,
    Prepared,
    TooSmallError,
    entrants,
    make_budget,
    prepare,
)
from seriatim.comparison.measured import Compared
from seriatim.comparison.result import ModelComparison, conclude
from seriatim.comparison.sizing import NoWidthError
from seriatim.comparison.store import (
    REPORT,
    RESULT,
    ComparisonFolder,
    TrainedRun,
    not_run,
    plain,
    slug,
    write_json,
)
from seriatim.core.records import to_json
from seriatim.data.corpus import Corpus
from seriatim.data.sources import Sequences, Source, open_source
from seriatim.data.splits import SplitRecord, split_source
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, DataError, MissingExtraError, TrainingError
from seriatim.metrics.cost import generation_speed, num_bytes, operations_per_symbol, state_sizes
from seriatim.metrics.likelihood import summarize_surprisals, surprisals, unknown_targets
from seriatim.metrics.score import score_text
from seriatim.metrics.size import num_parameters
from seriatim.models.options.registry import describe
from seriatim.tasks import storage
from seriatim.tasks.base import Fractions, Log, split_parts
from seriatim.tasks.encoding import encode_parts
from seriatim.tasks.language_model import Data, LanguageModel
from seriatim.tasks.speller import fit_speller, spelling_bits
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import Progress
from seriatim.train.closed_form import ClosedForm
from seriatim.train.options import BUDGETS

SPLIT: Fractions = (0.8, 0.1, 0.1)
MOST_TEST = 100_000  # bytes of the validation and of the test text, where no shares are given
MOST_VALID = 16_384  # symbols of the validation text, from which the mixture's weights are taken
PIECE = 1024  # of them at once: pieces of a stream, side by side, are scored several times faster

_LEAST = 50  # symbols of each part: fewer say nothing

Report = Callable[[str, Progress], None]
Finished = Callable[[LanguageModel, Mapping[str, Any]], None]


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
    max_size: int | None = None,
    sequences: Sequences | None = None,
    valid: Data | None = None,
    test: Data | None = None,
    split: Fractions | None = None,
    training: Mapping[str, Any] | None = None,
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_minutes: float = 1.0,
    device: str | None = None,
    report: Report | None = None,
    say: Log | None = None,
    finished: Finished | None = None,
) -> ModelComparison:
    """Train models under one budget and say which is better, and how sure that is.

    Args:
        data: a path, a `Source`, or texts.
        models: configurations (or `Entrant`s) by name, or names of families; None: all families.
        minutes, tokens, operations, steps, epochs: what each model may spend on training, at most
            one; see `Budget`. Without any budget: two minutes.
        parameters: that each model has, within 2 %: its width is solved for. Alone, training is
            as long as the training options say.
        seeds: trained of each model; 3 or more, and families are compared too.
        seed: the first.
        symbols: of all models that have none of their own: "byte", "char", "word", "bpe:N".
        min_count, max_size: of characters and words; see `LanguageModel`.
        sequences: what one sequence is; None: as `open_source` decides.
        valid, test: parts of their own; what is missing is split off.
        split: shares of train, validation and test; None: 80, 10 and 10 %, but no more than
            100,000 bytes for each of the last two, which would take longer to score than it
            helps.
        training: training options of everybody, by name.
        out: a folder for the models, the figures and the report; None: nothing is kept.
        resume: go on with the comparison that stands there: what is finished is not done again.
        overwrite: begin anew in the place of the one that stands there.
        checkpoint_minutes: between two checkpoints of the model under way.
        device: where to compute; None: a GPU if there is one.
        report: told of the progress of a model, by its name.
        say: told in a sentence what is being done.
        finished: given every model, with the record of its run, when it is fitted and scored.

    Raises:
        ConfigError: options that contradict each other, or models that cannot be compared.
        DataError: data that cannot be read, or is too short to split.
        OutputError: a comparison stands at `out`, or it cannot be written.
        KeyboardInterrupt: Ctrl-C; what is finished is kept at `out`, and the model under way has
            a checkpoint there.
    """
    began, say = time.perf_counter(), say or (lambda sentence: None)
    if seeds < 1:
        raise ConfigError(f"seeds = {seeds}: give 1 or more")
    if out is None and (resume or overwrite):
        raise ConfigError("without a folder there is nothing to go on with: give out")
    who = entrants(models)
    _check_names(who)
    budget = make_budget(
        {
            "minutes": minutes,
            "tokens": tokens,
            "operations": operations,
            "steps": steps,
            "epochs": epochs,
            "parameters": parameters,
        }
    )
    place = None if out is None else ComparisonFolder(Path(out), resume=resume, overwrite=overwrite)
    arena = _open_arena(
        (data, valid, test), who, split, sequences, (symbols, min_count, max_size), say
    )
    contest = _ComparisonRun(
        who, budget, arena, dict(training or {}), (seed, seeds), place, device, checkpoint_minutes
    )
    contest.check()
    if place is not None:
        place.begin(contest.plan())
    listeners = _Listeners(
        report or (lambda name, progress: None), say, finished or (lambda lm, record: None)
    )
    runs, in_runs = contest.run(listeners)
    say("comparing")
    found = conclude(arena.compared(budget, who, runs), contest.fitted, began + in_runs)
    return found if place is None else _kept(found, place.out, say)


def _kept(found: ModelComparison, out: Path, say: Log) -> ModelComparison:
    """Write the result and the report."""
    write_json(out / RESULT, found.to_json())
    began = time.perf_counter()
    try:
        found.report().write(out / REPORT)
    except MissingExtraError as error:
        say(f"no report: {error}")
    found = found.took_also(time.perf_counter() - began)
    write_json(out / RESULT, found.to_json())
    return found


def _check_names(who: Mapping[str, Entrant]) -> None:
    taken: dict[str, str] = {}
    for name in who:
        other = taken.setdefault(slug(name).lower(), name)
        if other != name:
            raise ConfigError(f"the models {other} and {name} would have one folder: rename one")


# ---- the text -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SharedData:
    """The text that all models meet, in the symbols of each.

    Attributes:
        parts: train, valid and test.
        split: how they were split, if they were.
        specs: the name of the symbols of each model.
        alphabets: by that name.
        corpora: of each alphabet, the parts.
        spelling: of each alphabet, the bits that spell what it does not know of the test text;
            where there is only one they are not asked for.
    """

    parts: dict[str, Source]
    split: dict[str, Any] | None
    name: str
    specs: dict[str, str]
    alphabets: dict[str, Vocabulary]
    corpora: dict[str, dict[str, Corpus]]
    spelling: dict[str, float]

    def compared(
        self, budget: Budget, who: Mapping[str, Entrant], runs: Mapping[str, list[TrainedRun]]
    ) -> Compared:
        """What the conclusions are drawn from."""
        return Compared(
            name=self.name,
            budget=budget.to_json(),
            split=self.split,
            sequences=self.parts["test"].sequences,
            families={name: e.config.family for name, e in who.items()},
            specs=self.specs,
            alphabets=self.alphabets,
            corpora=self.corpora,
            spelling=self.spelling,
            runs=runs,
        )


def _open_arena(
    data: tuple[Data, Data | None, Data | None],
    who: Mapping[str, Entrant],
    split: Fractions | None,
    sequences: Sequences | None,
    symbols: tuple[str, int, int | None],
    say: Log,
) -> _SharedData:
    say("reading and splitting the text")
    source = open_source(data[0], sequences=None if isinstance(data[0], Source) else sequences)

    def open_part(part: Data) -> Source:
        kind = None if isinstance(part, Source) else source.sequences
        return open_source(part, sequences=kind)

    others = {"valid": data[1], "test": data[2]}
    opened = {name: open_part(part) for name, part in others.items() if part is not None}
    parts, record = split_parts(
        {"train": source, **opened}, split or SPLIT, _split if split is None else split_source
    )
    for name in ("valid", "test"):
        if name not in parts:
            raise ConfigError(
                f"models are compared by validation and test text, and there is no {name} text: "
                "give both, or leave them out and give split a share for each"
            )
    spec, cut = symbols[0], symbols[1:]
    specs = {name: entrant.symbols or spec for name, entrant in who.items()}
    alphabets, corpora = {}, {}
    for kind in dict.fromkeys(specs.values()):
        kind_cut = cut if kind in ("char", "word") else (1, None)
        alphabets[kind], corpora[kind] = encode_parts(parts, None, spec=kind, cut=kind_cut, log=say)
    for name, corpus in next(iter(corpora.values())).items():
        if corpus.num_scored < _LEAST:
            raise DataError(
                f"the {name} text has {corpus.num_scored} symbols to predict, too few to compare "
                f"models by, which takes {_LEAST} at least: give more data, or a {name} text"
            )
    _check_comparable(corpora)
    spelling = {}
    if len(alphabets) > 1:
        spelling = {kind: _spelling(parts, alphabets[kind]) for kind in alphabets}
    return _SharedData(
        parts,
        None if record is None else dict(record),
        source.name,
        specs,
        alphabets,
        corpora,
        spelling,
    )


def _spelling(parts: Mapping[str, Source], vocabulary: Vocabulary) -> float:
    speller = fit_speller(parts["train"].texts(), vocabulary)
    return 0.0 if speller is None else spelling_bits(speller, parts["test"].texts(), vocabulary)


def _split(source: Source, shares: Fractions) -> tuple[Any, SplitRecord]:
    """By the shares, but with no more for validation and test than it takes."""
    pieces, record = split_source(source, shares)
    total = sum(part.bytes for part in record.parts.values())
    most = MOST_TEST / total
    if max(shares[1:]) <= most:
        return pieces, record
    kept = [min(share, most) for share in shares[1:]]
    return split_source(source, (1 - sum(kept), *kept))


def _check_comparable(corpora: Mapping[str, Mapping[str, Corpus]]) -> None:
    """Whether bits per character say the same of all symbols.

    Raises:
        ConfigError: some symbols do not spell the test text, and others do.
    """
    if len(corpora) == 1:
        return
    for spec, parts in corpora.items():
        test = parts["test"]
        if test.lossless_reason is not None and not test.is_respelled:
            raise ConfigError(
                f"models of {spec} symbols cannot be compared with models of other symbols: "
                f"{test.lossless_reason}; give all models the same symbols"
            )


# ---- the models ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listeners:
    """Who is told of what is going on; see `compare`."""

    report: Report
    say: Log
    finished: Finished


@dataclass(frozen=True)
class _ComparisonRun:
    """All runs of all models."""

    who: dict[str, Entrant]
    budget: Budget
    arena: _SharedData
    training: dict[str, Any]
    seeds: tuple[int, int]
    place: ComparisonFolder | None
    device: str | None
    checkpoint_minutes: float
    fitted: dict[tuple[str, int], LanguageModel] = field(default_factory=dict)

    def check(self) -> None:
        """Whether the training options of every model can be used: to be asked before training.

        Raises:
            ConfigError: some cannot.
        """
        for name in (*BUDGETS, "seed"):
            if name in self.training or any(name in e.training for e in self.who.values()):
                raise ConfigError(
                    f"{name} is the same for all models: give it to the comparison, not among the "
                    "training options"
                )
        for name, entrant in self.who.items():
            try:
                lm = LanguageModel(entrant.config)
                lm.training_options({**self.training, **entrant.training}, preset=entrant.preset)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None

    def plan(self) -> dict[str, Any]:
        """What must be the same for the comparison to go on."""
        parts = {name: part.fingerprint() for name, part in self.arena.parts.items()}
        return {
            "data": parts,
            "budget": self.budget.to_json(),
            "training": self.training,
            "symbols": {s: a.fingerprint() for s, a in self.arena.alphabets.items()},
            "seed": self.seeds[0],
            "models": {name: entrant.to_json() for name, entrant in self.who.items()},
        }

    def run(self, listeners: _Listeners) -> tuple[dict[str, list[TrainedRun]], float]:
        """The runs of each model, those that were finished before included; and how many seconds
        the others took."""
        first, count = self.seeds
        seconds = 0.0
        found: dict[str, list[TrainedRun]] = {name: [] for name in self.who}
        for seed in range(first, first + count):  # all models once, before any of them twice
            for name, runs in found.items():
                if runs and (not runs[0].is_ok or runs[0].record["is_counted"]):
                    continue
                run = None if self.place is None else self.place.found(name, seed)
                if run is None:
                    began = time.perf_counter()
                    run = self._run(name, seed, listeners)
                    seconds += time.perf_counter() - began
                runs.append(run)
        return found, seconds

    def _run(self, name: str, seed: int, listeners: _Listeners) -> TrainedRun:
        began, entrant, arena = time.perf_counter(), self.who[name], self.arena
        spec = arena.specs[name]
        record = {"name": name, "seed": seed, "family": entrant.config.family, "symbols": spec}
        first_spec = next(iter(arena.corpora))
        tokens = self.budget.tokens or 0
        try:
            prepared = prepare(
                entrant,
                self.budget,
                arena.alphabets[spec],
                arena.corpora[spec]["train"],
                share=tokens / arena.corpora[first_spec]["train"].num_scored,
                training=self.training,
                seed=seed,
                device=self.device,
            )
            path = self._fit(name, seed, prepared, listeners)
        except (TooSmallError, NoWidthError, TrainingError) as error:
            run = not_run({**record, "other_seconds": time.perf_counter() - began}, str(error))
        else:
            listeners.say(f"{name}: scoring the test text")
            run = self._judged(record, prepared.lm, path, began)
            listeners.finished(prepared.lm, run.record)
        if self.place is not None:
            self.place.keep(name, seed, run)
        return run

    def _fit(self, name: str, seed: int, prepared: Prepared, listeners: _Listeners) -> Path | None:
        """Fit a model; returns its folder."""
        lm, path, kept = prepared.lm, None, None
        if self.place is not None:
            path = self.place.model(name, seed, self.seeds[0])
            kept = self.place.checkpoints(path, self.checkpoint_minutes)
        lm.fit(
            self.arena.parts["train"],
            valid=self.arena.parts["valid"],
            options=prepared.options,
            callbacks=Callbacks(
                progress=lambda progress: listeners.report(name, progress),
                message=lambda sentence: listeners.say(f"{name}: {sentence}"),
                estimate=prepared.announce,
            ),
            checkpoints=kept,
            score=False,
        )
        if lm.training.fit is not None and lm.training.fit.stopped == "interrupted":
            raise KeyboardInterrupt
        return path

    def _judged(
        self, record: dict[str, Any], lm: LanguageModel, path: Path | None, began: float
    ) -> TrainedRun:
        """Score and measure a fitted model, and save it."""
        corpora, model = self.arena.corpora[record["symbols"]], lm.model
        assert model is not None  # it is fitted
        symbols = self.arena.alphabets[record["symbols"]]
        scored = time.perf_counter()
        test, bounds = surprisals(model, corpora["test"])
        seconds = time.perf_counter() - scored
        head = beginning(corpora["valid"], MOST_VALID)
        valid, _ = surprisals(model, head, restart_every=PIECE if head.is_stream else None)
        fitted = summarize_surprisals(
            test, bounds, unknown_targets(corpora["test"], symbols.unknown)
        )
        score = score_text(fitted, corpora["test"], seconds)
        lm.training = lm.training.with_score("test", score)
        trained, num_trained, history = _training(lm, corpora["train"])
        record = {
            **record,
            "status": "ok",
            "reason": None,
            "config": describe(lm.config)["options"],
            "is_counted": isinstance(model, ClosedForm),
            "parameters": num_parameters(model),
            "bytes": num_bytes(model),
            "reach": model.reach,
            "train_seconds": trained,
            "train_symbols": num_trained,
            "train_symbols_per_second": num_trained / max(trained, 1e-9),
            "score_symbols_per_second": len(test) / max(seconds, 1e-9),
            "history": history,
            "notes": [] if lm.training.fit is None else list(lm.training.fit.notes),
            "bits_per_symbol": score.bits_per_symbol,
            "bits_per_character": score.bits_per_character,
            "valid_nats": float(np.mean(valid, dtype=np.float64)),
            "folder": None,
        }
        if record["seed"] == self.seeds[0]:  # what other seeds do not change
            record |= {
                "state_bytes": state_sizes(model),
                "generate_symbols_per_second": generation_speed(model),
                "operations_per_symbol": operations_per_symbol(model),
            }
        if path is None:
            self.fitted[record["name"], record["seed"]] = lm
        else:
            record["folder"] = str(path)
            lm.save(path, overwrite=True)
            shutil.rmtree(path / storage.CHECKPOINTS, ignore_errors=True)
        record["other_seconds"] = max(0.0, time.perf_counter() - began - lm.training.fit_seconds)
        return TrainedRun(plain(record), valid, test)


def _training(lm: LanguageModel, train: Corpus) -> tuple[float, float, list[dict[str, Any]]]:
    """Seconds of training, symbols trained on, and how the loss went."""
    fit = lm.training.fit
    if fit is None:  # counted: once through the text
        return lm.training.fit_seconds, train.num_scored, []
    return fit.seconds, fit.num_targets, [to_json(e) for e in fit.evaluations]


def beginning(corpus: Corpus, most: int) -> Corpus:
    """The first symbols of a stream, or the first whole sequences: at least one, at most so many
    symbols."""
    if corpus.num_tokens <= most:
        return corpus
    if corpus.is_stream:
        return Corpus.from_tokens([corpus.tokens[:most]], is_stream=True)
    count = max(1, int(np.searchsorted(corpus.offsets, most, side="right")) - 1)
    return Corpus.from_tokens(corpus.sequence(i) for i in range(count))
