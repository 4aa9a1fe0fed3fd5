"""What `fit` does so that a run can be cut short at any time, and what it leaves to be looked at.

    OUT/checkpoints/    while it goes on, or when it was cut short: removed when the model is saved
    OUT/log.jsonl       a line per evaluation, and one every ten seconds
    OUT/loss.png        the curve of the loss, where the extra `report` is installed
    OUT/tensorboard/    with --tensorboard

Knows the folder of a run; knows no model and no data.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Group, Parameter

from seriatim.cli.output import Flag, Reporter, print_json
from seriatim.errors import ConfigError, MissingExtraError, OutputError
from seriatim.report.terminal import format_bytes, format_duration

if TYPE_CHECKING:
    from seriatim.tasks.training_record import TrainingRecord
    from seriatim.train.callbacks.history import Evaluation, Progress
    from seriatim.train.checkpoint.store import Checkpoints
    from seriatim.train.estimate import Estimate

_KEEPING = Group("Long runs", sort_key=3)
_NEW, _GOES_ON, _FINISHED = 0, 1, 2


@Parameter(name="*", group=_KEEPING)
@dataclass(frozen=True, kw_only=True)
class KeepOptions:
    """What `fit` is told of keeping a run.

    Attributes:
        resume: go on with the run that stands in --out, to the bit; begin it if there is none.
        allow_changed_data: with --resume: even though the data is not what it was.
        checkpoint_minutes: between two checkpoints; 0: after every step.
        keep_checkpoints: leave the last one in --out/checkpoints when the model is saved.
        tensorboard: log to --out/tensorboard as well.
        plot: say so if the curve of the loss cannot be drawn to --out/loss.png.
    """

    resume: Flag = False
    allow_changed_data: Flag = False
    checkpoint_minutes: float = 1.0
    keep_checkpoints: Flag = False
    tensorboard: Flag = False
    plot: Flag = False


class RunFolder:
    """The folder of one run of `fit`."""

    def __init__(
        self, out: Path, options: KeepOptions | None, *, overwrite: bool, threads: int | None
    ) -> None:
        """
        Raises:
            ConfigError: options that contradict each other.
            OutputError: something stands in the folder that may not be replaced.
        """

        from seriatim.train.distributed import current

        self.out, self.options = out, options or KeepOptions()
        self._threads = threads
        if self.options.allow_changed_data and not self.options.resume:
            raise ConfigError("--allow-changed-data belongs to --resume: give both, or neither")
        ranks = current()
        # One process looks: the others might already see what it has begun to write.
        found = self._look(overwrite=overwrite) if ranks.is_main else 0
        found = ranks.agreed(found)
        self.goes_on, self.is_finished = found == _GOES_ON, found == _FINISHED
        self.overwrite = overwrite or self.goes_on

    def _look(self, *, overwrite: bool) -> int:
        from seriatim.tasks import storage

        if storage.is_cut_short(self.out):
            if self.options.resume:
                return _GOES_ON
            if not overwrite:
                raise OutputError(
                    f"{self.out} holds a run that was cut short: go on with it (--resume), begin "
                    "anew in its place (--overwrite), or choose another place"
                )
        if self.options.resume and storage.is_model(self.out):
            return _FINISHED
        storage.check_free(self.out, overwrite=overwrite)
        return _NEW

    def checkpoints(self) -> "Checkpoints":
        """Where and how often the run is kept."""
        from seriatim.tasks import storage
        from seriatim.train.checkpoint.store import Checkpoints

        return Checkpoints(
            folder=self.out / storage.CHECKPOINTS,
            minutes=self.options.checkpoint_minutes,
            resume=self.goes_on,
            allow_changed_data=self.options.allow_changed_data,
            threads=self._threads,
        )

    @contextlib.contextmanager
    def listening(self, reporter: Reporter) -> Iterator[Callable[["Progress"], None]]:
        """Who is told of the progress: the person, the log, TensorBoard; on rank 0 only.

        What an earlier run has left in the folder goes, unless it is gone on with; its model
        stays.

        Raises:
            MissingExtraError: TensorBoard is asked for, and not here.
        """
        from seriatim.tasks import storage
        from seriatim.train.callbacks.log import JsonLines, call_all
        from seriatim.train.distributed import current

        if not current().is_main:
            yield reporter.progress
            return
        if not self.goes_on:
            storage.clear_run(self.out)
        log = JsonLines(self.out / storage.LOG)
        with contextlib.ExitStack() as open_logs:
            listeners: list[Callable[[Progress], None]] = [reporter.progress, log]
            if self.options.tensorboard:
                from seriatim.train.callbacks.tensorboard import TensorBoard

                board = TensorBoard(self.out / storage.TENSORBOARD)
                listeners.append(open_logs.enter_context(board))
            yield call_all(*listeners)

    @property
    def has_begun(self) -> bool:
        """Whether a checkpoint stands: the run has come to its first step."""
        from seriatim.tasks import storage
        from seriatim.train.checkpoint.store import HEAD

        return (self.out / storage.CHECKPOINTS / HEAD).exists()

    def abandon(self) -> None:
        """Leave nothing of a run that never began."""
        from seriatim.tasks import storage

        shutil.rmtree(self.out / storage.CHECKPOINTS, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.out.rmdir()

    def say_finished(self, *, json: bool) -> None:
        """That there is nothing to go on with."""
        from seriatim.core.records import to_json
        from seriatim.tasks.registry import load

        task = load(self.out)
        fit = task.training.fit
        if json:
            record = None if fit is None else to_json(fit)
            print_json({"out": str(self.out), "finished": True, "fit": record})
            return
        done = "" if fit is None else f" after {fit.steps_done:,} steps ({fit.stopped})"
        print(
            f"{self.out} holds a finished model{done}: there is nothing to resume; "
            f"try: seriatim {task.example.format(folder=self.out)}"
        )

    def end(
        self,
        training: "TrainingRecord[Any, Any]",
        reporter: Reporter,
        *,
        is_cut_short: bool = False,
    ) -> None:
        """The model is saved: draw the curve, and remove the checkpoints of a run that is over."""
        from seriatim.tasks import storage

        self._draw(() if training.fit is None else training.fit.evaluations, reporter)
        if is_cut_short or training.is_cut_short:
            reporter.note(f"the run can be resumed: the same command with --resume ({self.out})")
        elif not self.options.keep_checkpoints:
            shutil.rmtree(self.out / storage.CHECKPOINTS, ignore_errors=True)

    def _draw(self, evaluations: "Sequence[Evaluation]", reporter: Reporter) -> None:
        from seriatim.tasks import storage
        from seriatim.train.callbacks.loss_curve import can_draw, draw_losses

        if len(evaluations) < 2 or not (can_draw() or self.options.plot):
            return
        try:
            draw_losses(evaluations, self.out / storage.CURVE)
        except (MissingExtraError, OSError) as error:
            if self.options.plot:
                reporter.note(f"the curve of the loss was not drawn: {error}")


def estimate_line(found: "Estimate") -> str:
    """What a run will cost, for people."""
    return (
        f"{found.parameters:,} parameters; {found.steps:,} steps in about "
        f"{format_duration(found.seconds)}, evaluations not counted; about "
        f"{format_bytes(found.bytes)} of memory beside the program's own "
        f"({format_bytes(found.weight_bytes)} weights, "
        f"{format_bytes(found.moment_bytes)} optimizer, {format_bytes(found.step_bytes)} a step)"
    )
