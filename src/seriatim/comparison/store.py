"""The folder of a comparison: what is finished is never trained again.

    plan.json                 what is compared: data, split, budget, models
    runs/NAME.SEED.json       a finished run: its figures; written last
    runs/NAME.SEED.test.npy   nats of every scored symbol of the test text
    runs/NAME.SEED.valid.npy  and of the beginning of the validation text
    models/NAME               the model of the first seed; models/NAME.SEED of the others
    compare.json, report.html what came of it

A run that was cut short stands in its model's folder, as `checkpoints`. Knows files; no model
and no text.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.core import atomic
from seriatim.errors import ConfigError, DataError, ModelError, OutputError
from seriatim.tasks import storage
from seriatim.train.checkpoint.store import Checkpoints

FORMAT = 1
PLAN, RESULT, REPORT = "plan.json", "compare.json", "report.html"
_RUNS, _MODELS = "runs", "models"
_WHAT = {
    "budget": "the budget",
    "training": "the training options",
    "symbols": "the symbols",
    "seed": "the first seed",
}


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of one model with one seed.

    Attributes:
        record: its figures, JSON values; "status" is "ok" or "not run", with a "reason".
        valid: nats of the beginning of the validation text, empty if it was not run.
        test: nats of the test text, likewise.
    """

    record: Mapping[str, Any]
    valid: NDArray[np.float32]
    test: NDArray[np.float32]

    @property
    def is_ok(self) -> bool:
        """Whether there is a model."""
        return bool(self.record["status"] == "ok")


class ComparisonFolder:
    """The folder of one comparison."""

    def __init__(self, out: Path, *, resume: bool = False, overwrite: bool = False) -> None:
        """
        Raises:
            OutputError: something stands there that may not be replaced or gone on with.
        """
        self.out = out
        self.goes_on = resume and (out / PLAN).is_file()
        if out.exists() and not self.goes_on and not _is_empty(out):
            if not (out / PLAN).is_file():
                raise OutputError(f"{out} exists and holds no comparison: choose another place")
            if not overwrite:
                raise OutputError(
                    f"{out} holds a comparison: go on with it (--resume), begin anew in its place "
                    "(--overwrite), or choose another place"
                )
            for name in (PLAN, RESULT, REPORT):
                (out / name).unlink(missing_ok=True)
            for name in (_RUNS, _MODELS):
                shutil.rmtree(out / name, ignore_errors=True)

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Write down what is compared, or hold it against what was written down before.

        Models and seeds may come on top of those that stand there.

        Raises:
            DataError: the data is not what it was.
            ConfigError: options are not what they were.
            OutputError: the place cannot be written.
        """
        plan = {"format": FORMAT, **plain(plan)}
        if self.goes_on:
            before = _read(self.out / PLAN)
            self._check(before, plan)
            plan["models"] = {**before["models"], **plan["models"]}
        try:
            (self.out / _RUNS).mkdir(parents=True, exist_ok=True)
            (self.out / _MODELS).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.out}: {error.strerror}; choose another --out"
            ) from None
        write_json(self.out / PLAN, plan)

    def _check(self, before: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        if before.get("format") != FORMAT:
            raise OutputError(f"{self.out} was written by another seriatim: begin anew elsewhere")
        if before["data"] != plan["data"]:
            raise DataError(
                f"the comparison in {self.out} was begun with other data, or another split: give "
                "the same, or begin anew (--overwrite)"
            )
        for name, words in _WHAT.items():
            if before[name] != plan[name]:
                raise ConfigError(
                    f"the comparison in {self.out} was begun with {words} {_shown(before[name])}, "
                    f"and now they are {_shown(plan[name])}: give the same, or begin anew "
                    "(--overwrite)"
                )
        for name, model in plan["models"].items():
            if before["models"].get(name, model) != model:
                raise ConfigError(
                    f"the comparison in {self.out} was begun with another model {name}: "
                    f"{_shown(before['models'][name])}, and now it is {_shown(model)}: give the "
                    "same, give it another name, or begin anew (--overwrite)"
                )

    def model(self, name: str, seed: int, first: int) -> Path:
        """The folder of a model."""
        return self.out / _MODELS / (slug(name) if seed == first else f"{slug(name)}.{seed}")

    def checkpoints(self, model: Path, minutes: float) -> Checkpoints:
        """Where and how often the run of a model is kept; one that stands there goes on."""
        return Checkpoints(folder=model / storage.CHECKPOINTS, minutes=minutes, resume=True)

    def found(self, name: str, seed: int) -> TrainedRun | None:
        """A run that is finished.

        Raises:
            ModelError: its files are damaged.
        """
        path = self._run(name, seed)
        if not path.is_file():
            return None
        record = _read(path)
        if record["status"] != "ok":
            return TrainedRun(record, _NOTHING, _NOTHING)
        try:
            return TrainedRun(record, *(np.load(_beside(path, part)) for part in ("valid", "test")))
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path} stands without its arrays ({error}): remove it, and the model is trained "
                "again"
            ) from None

    def keep(self, name: str, seed: int, run: TrainedRun) -> None:
        """Write down a finished run; its model is saved already.

        Raises:
            OutputError: there is no room for it.
        """
        path = self._run(name, seed)
        try:
            if run.is_ok:
                np.save(_beside(path, "valid"), run.valid)
                np.save(_beside(path, "test"), run.test)
            write_json(path, run.record)
        except OSError as error:
            raise OutputError(f"could not write {path}: {error.strerror or error}") from None

    def _run(self, name: str, seed: int) -> Path:
        return self.out / _RUNS / f"{slug(name)}.{seed}.json"


_NOTHING: NDArray[np.float32] = np.zeros(0, np.float32)


def not_run(record: Mapping[str, Any], reason: str) -> TrainedRun:
    """The run of a model that could not be trained, and why."""
    return TrainedRun({**record, "status": "not run", "reason": reason}, _NOTHING, _NOTHING)


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it is when it was written and read again."""
    found: dict[str, Any] = json.loads(json.dumps(record))
    return found


def slug(name: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^\w.=+-]+", "-", name)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with atomic.write(path) as part:
        part.write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}): remove it, or begin anew") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object: remove it, or begin anew")
    return found


def _beside(path: Path, part: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('.json')}.{part}.npy")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 200 else text[:200] + " .."
