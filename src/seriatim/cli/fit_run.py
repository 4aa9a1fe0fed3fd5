"""What `fit` does with every task alike: fit, save whatever was learnt, say what came of it.

Knows a task by what all tasks have; no data.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from seriatim.cli.fit_request import FitRequest
from seriatim.cli.output import Reporter, print_json
from seriatim.cli.run_folder import RunFolder, estimate_line
from seriatim.errors import OutputError, TrainingError

if TYPE_CHECKING:
    from seriatim.train.callbacks.callbacks import Callbacks
    from seriatim.train.callbacks.history import Progress


class Task(Protocol):
    """A language model, a translator or a labeller."""

    model: Any
    training: dict[str, Any]

    def fit(
        self,
        data: Any,
        /,
        *,
        valid: Any,
        test: Any,
        split: tuple[float, float, float],
        options: Any,
        callbacks: "Callbacks",
        checkpoints: Any,
    ) -> Any:
        """Fit to data."""

    def info(self) -> dict[str, Any]:
        """What it is."""

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write it as a folder."""


def fit_and_tell(
    task: Task,
    asked: FitRequest,
    parts: tuple[Any, Any, Any],
    options: Any,
    summary: Callable[[dict[str, Any], Path], str],
) -> None:
    """Fit, save, and print what came of it.

    Args:
        task: what is fitted.
        asked: what the command was told.
        parts: of training, validation and test; the latter may be None.
        options: of training.
        summary: what to print for people, of what the task says of itself and where it is.

    Raises:
        TrainingError: training broke down; the last good weights are saved.
        OutputError: there is no room at the place; the model is saved elsewhere.
    """
    from seriatim.train.callbacks.callbacks import Callbacks
    from seriatim.train.distributed import current

    train, valid, test = parts
    quiet, json = asked.output
    reporter = Reporter(is_quiet=quiet or json)
    out = _fitted(
        task,
        asked.place,
        reporter,
        lambda progress: task.fit(
            train,
            valid=valid,
            test=test,
            split=asked.split,
            options=options,
            callbacks=Callbacks(
                progress=progress,
                message=reporter.say,
                estimate=lambda found: reporter.note(estimate_line(found)),
            ),
            checkpoints=asked.place.checkpoints(),
        ),
    )
    if not current().is_main:
        return
    if json:
        print_json({**task.info(), "out": str(out)})
    else:
        print(summary(task.info(), out))


def _fitted(
    lm: Task,
    place: RunFolder,
    reporter: Reporter,
    fit: Callable[[Callable[["Progress"], None]], Any],
) -> Path:
    """Fit a model and save it; returns where.

    Args:
        lm: the model.
        place: the folder of the run.
        fit: fits, given whom to tell of the progress.

    Raises:
        TrainingError: training broke down; the last good weights are saved.
        OutputError: there is no room at the place; the model is saved elsewhere.
    """
    from seriatim.train.distributed import LostProcessError, current
    from seriatim.train.estimate import NoMemoryError

    try:
        with place.listening(reporter) as progress:
            fit(progress)
    except TrainingError as error:
        if lm.model is None or not current().is_main or isinstance(error, LostProcessError):
            raise
        if isinstance(error, NoMemoryError) and not place.has_begun:
            place.abandon()  # nothing was learnt yet
            raise
        lm.training["fit"] = {"stopped": str(error)}
        out = _saved(lm, place.out, overwrite=place.overwrite)
        place.end(lm.training, reporter, is_cut_short=isinstance(error, NoMemoryError))
        raise TrainingError(f"{error}; the last good weights are saved in {out}") from None
    if not current().is_main:
        return place.out
    out = _saved(lm, place.out, overwrite=place.overwrite)
    place.end(lm.training, reporter)
    reporter.done()
    return out


def _saved(lm: Task, out: Path, *, overwrite: bool) -> Path:
    """Where the model was saved: `out`, or elsewhere rather than nowhere."""
    try:
        lm.save(out, overwrite=overwrite)
        return out
    except OutputError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="seriatim-")) / out.name
        lm.save(elsewhere)
        raise OutputError(f"{error}; the model is saved in {elsewhere} instead") from None
