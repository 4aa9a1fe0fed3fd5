"""The folder of a comparison: what is finished is never trained again.

    plan.json                 what is compared: data, budget, training options, models
    runs/NAME.SEED.json       a finished run: its figures; written last
    runs/NAME.SEED.test.npy   nats of every scored symbol of the test text
    runs/NAME.SEED.valid.npy  and of a sample of the validation text
    models/NAME               the model of the first seed; models/NAME.SEED of the others
    compare.json, report.html the result
    context/NAME.json         the effective context of a model, once it was measured
    robustness/NAME.json      and its robustness

A run that was interrupted has `checkpoints` in its model's folder. Knows files; no model and no
text.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from seriatim.comparison.record import FORMAT, BudgetRecord, ComparisonRecord, NotRun, RunRecord
from seriatim.core import atomic
from seriatim.core.records import Json, from_json, read_json, read_record, to_json
from seriatim.errors import ConfigError, DataError, ModelError, OutputError
from seriatim.tasks import storage
from seriatim.train.checkpoint.store import Checkpoints

PLAN, RESULT, REPORT = "plan.json", "compare.json", "report.html"
CONTEXT, ROBUSTNESS = "context", "robustness"
_RUNS, _MODELS = "runs", "models"
T = TypeVar("T")
_MAX_SHOWN = 200  # characters of an option in a message


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of one model with one seed.

    Attributes:
        record: its figures.
        valid: nats of a sample of the symbols of the validation text.
        test: nats of the symbols of the test text.
    """

    record: RunRecord
    valid: NDArray[np.float32] = field(repr=False)
    test: NDArray[np.float32] = field(repr=False)


Run: TypeAlias = TrainedRun | NotRun


@dataclass(frozen=True, kw_only=True)
class EntrantPlan:
    """A model of a comparison; see `entrants.Entrant`."""

    config: Json
    symbols: str | None
    training: Json
    preset: str | None


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """What must stay the same for a comparison to be resumed; models and seeds may be added.

    Attributes:
        data: the fingerprint of each part.
        budget: what every model may spend.
        training: training options of all models.
        symbols: the fingerprint of each vocabulary.
        seed: the first seed.
        models: by name.
        format: the version of the folder's layout.
    """

    data: Mapping[str, str]
    budget: BudgetRecord
    training: Json
    symbols: Mapping[str, str]
    seed: int
    models: Mapping[str, EntrantPlan]
    format: int = FORMAT


class ComparisonFolder:
    """The folder of one comparison."""

    def __init__(self, out: Path, *, resume: bool = False, overwrite: bool = False) -> None:
        """Open a folder, or empty it if a comparison in it may be overwritten.

        Raises:
            OutputError: if it holds something that may neither be resumed nor overwritten.
        """
        self.out = out
        self._is_resumed = resume and (out / PLAN).is_file()
        if out.exists() and not self._is_resumed and not _is_empty(out):
            if not (out / PLAN).is_file():
                raise OutputError(
                    f"{out} exists and is not the folder of a comparison: choose another --out"
                )
            if not overwrite:
                raise OutputError(
                    f"{out} holds a comparison: continue it with --resume, replace it with "
                    "--overwrite, or choose another --out"
                )
            for name in (PLAN, RESULT, REPORT):
                (out / name).unlink(missing_ok=True)
            for name in (_RUNS, _MODELS):
                shutil.rmtree(out / name, ignore_errors=True)

    def begin(self, plan: ComparisonPlan) -> None:
        """Write the plan, or check it against the plan of the comparison that is resumed.

        Raises:
            DataError: if the data is not the same.
            ConfigError: if options are not the same.
            OutputError: if the folder cannot be written.
        """
        plan = from_json(ComparisonPlan, to_json(plan), name="the plan")
        if self._is_resumed:
            before = self._read_plan()
            self._check(before, plan)
            plan = replace(plan, models={**before.models, **plan.models})
        try:
            (self.out / _RUNS).mkdir(parents=True, exist_ok=True)
            (self.out / _MODELS).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.out}: {error.strerror}; choose another --out"
            ) from None
        _write(self.out / PLAN, plan)

    def _read_plan(self) -> ComparisonPlan:
        path = self.out / PLAN
        value = read_json(path)
        if value.get("format") != FORMAT:
            raise OutputError(
                f"{self.out} was written by another version of seriatim: choose another --out, or "
                "replace it with --overwrite"
            )
        return from_json(ComparisonPlan, value, name=str(path))

    def _check(self, before: ComparisonPlan, plan: ComparisonPlan) -> None:
        if before.data != plan.data:
            raise DataError(
                f"the comparison in {self.out} was begun with other data, or another split: give "
                "the same, or start over with --overwrite"
            )
        for name, old, new in (
            ("budget", before.budget.sentence, plan.budget.sentence),
            ("training options", before.training, plan.training),
            ("symbols", before.symbols, plan.symbols),
            ("first seed", before.seed, plan.seed),
        ):
            if old != new:
                raise ConfigError(
                    f"the comparison in {self.out} was begun with the {name} {_shown(old)}, not "
                    f"{_shown(new)}: give the same, or start over with --overwrite"
                )
        for name, model in plan.models.items():
            other = before.models.get(name, model)
            if other != model:
                raise ConfigError(
                    f"the comparison in {self.out} was begun with another model {name}: "
                    f"{_differences(to_json(other), to_json(model))}; give it another name, or "
                    "start over with --overwrite"
                )

    def model(self, name: str, seed: int, first: int) -> Path:
        """The folder of a model; that of the `first` seed has no seed in its name."""
        return self.out / _MODELS / (slug(name) if seed == first else f"{slug(name)}.{seed}")

    def checkpoints(self, model: Path, minutes: float) -> Checkpoints:
        """Checkpoints of a run in its model's folder, from which it is resumed."""
        return Checkpoints(folder=model / storage.CHECKPOINTS, minutes=minutes, resume=True)

    def load(self, name: str, seed: int) -> Run | None:
        """A finished run; None if there is none.

        Raises:
            ModelError: if its files are damaged.
        """
        path = self._run(name, seed)
        if not path.is_file():
            return None
        value = read_json(path)
        if value.get("status") == "not run":
            return from_json(NotRun, value, name=str(path))
        record = from_json(RunRecord, value, name=str(path))
        try:
            valid, test = (np.load(_array(path, part)) for part in ("valid", "test"))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path} is there without its arrays ({error}): remove it to train the model again"
            ) from None
        return TrainedRun(record, valid, test)

    def save(self, run: Run) -> None:
        """Write a finished run, whose model is saved already.

        Raises:
            OutputError: if it cannot be written.
        """
        record = run.record if isinstance(run, TrainedRun) else run
        path = self._run(record.name, record.seed)
        try:
            if isinstance(run, TrainedRun):
                np.save(_array(path, "valid"), run.valid)
                np.save(_array(path, "test"), run.test)
            _write(path, record)
        except OSError as error:
            raise OutputError(f"could not write {path}: {error.strerror or error}") from None

    def save_result(self, record: ComparisonRecord) -> None:
        """Write the result of the comparison."""
        _write(self.out / RESULT, record)

    def _run(self, name: str, seed: int) -> Path:
        return self.out / _RUNS / f"{slug(name)}.{seed}.json"


def read_result(folder: Path) -> ComparisonRecord:
    """The result of a finished comparison.

    Raises:
        ModelError: if the folder holds none, or it is damaged.
    """
    path = folder / RESULT
    if not path.is_file():
        raise ModelError(
            f"{folder} holds no finished comparison: give a folder that seriatim compare --out "
            "has written"
        )
    value = read_json(path)
    if value.get("format") != FORMAT:
        raise ModelError(f"{path} was written by another version of seriatim: compare again")
    return from_json(ComparisonRecord, value, name=str(path))


# ---- analyses of the models ---------------------------------------------------------------------


def save_analysis(folder: Path, name: str, record: Json) -> None:
    """Write what an analysis measured of a model, in a folder of its own.

    Raises:
        OutputError: if it cannot be written.
    """
    path = folder / f"{slug(name)}.json"
    try:
        folder.mkdir(exist_ok=True)
        path.write_text(json.dumps(record), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def load_analyses(kind: type[T], folder: Path, names: Sequence[str]) -> list[tuple[str, T]]:
    """What an analysis measured of the models: pairs of a name and a record.

    Raises:
        ModelError: if a file is damaged.
    """
    paths = {name: folder / f"{slug(name)}.json" for name in names}
    return [(name, read_record(kind, path)) for name, path in paths.items() if path.is_file()]


def slug(name: str) -> str:
    """A file name for a model that every file system accepts."""
    return re.sub(r"[^\w.=+-]+|\.$", "-", name)


def _write(path: Path, record: object) -> None:
    """Write a record as JSON, whole or not at all."""
    with atomic.write(path) as part:
        part.write_text(json.dumps(to_json(record), ensure_ascii=False, indent=1), encoding="utf-8")


def _array(path: Path, part: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('.json')}.{part}.npy")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _differences(old: Json, new: Json) -> str:
    """The options that differ: `hidden_size 32, not 16`."""
    before, now = _options(old), _options(new)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{n} {_shown(before.get(n))}, not {_shown(now.get(n))}" for n in names)


def _options(record: Json) -> Json:
    """The options of a record and of the records in it, by name."""
    options = {name: value for name, value in record.items() if not isinstance(value, Mapping)}
    for value in record.values():
        options |= _options(value) if isinstance(value, Mapping) else {}
    return options


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < _MAX_SHOWN else text[:_MAX_SHOWN] + " ..."
