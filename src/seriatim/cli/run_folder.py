"""The folder of a run of `fit`, which can be interrupted and resumed at any time.

    OUT/checkpoints/    the last checkpoint; removed once the model is saved
    OUT/log.jsonl       a line per evaluation, and one every ten seconds
    OUT/loss.png        the loss curve, if the extra `report` is installed
    OUT/tensorboard/    with --tensorboard

Knows the folder of a run; knows no model and no data.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Group, Parameter

from seriatim.cli.output import Flag, Reporter, print_json
from seriatim.errors import ConfigError, MissingExtraError, OutputError
from seriatim.report.terminal import count_noun, format_bytes, format_duration

if TYPE_CHECKING:
    from seriatim.tasks.training_record import TrainingRecord
    from seriatim.train.callbacks.callbacks import Callbacks
    from seriatim.train.callbacks.history import Evaluation, Progress
    from seriatim.train.checkpoint.store import Checkpoints
    from seriatim.train.estimate import Estimate

_LONG_RUNS = Group("Long runs", sort_key=3)
_NEW, _RESUMABLE, _FINISHED = 0, 1, 2


@Parameter(name="*", group=_LONG_RUNS)
@dataclass(frozen=True, kw_only=True)
class KeepOptions:
    """The options of `fit` about checkpoints and logs.

    Attributes:
        resume: resume the run in --out, to the bit; start it if there is none.
        allow_changed_data: resume even if the data has changed.
        checkpoint_minutes: the time between two checkpoints, in minutes; 0: after every step.
        keep_checkpoints: keep the last checkpoint in --out/checkpoints when the model is saved.
        tensorboard: also log to --out/tensorboard.
        log_every: also log every so many steps to --out/log.jsonl; 1: each step.
        plot: warn if the loss curve cannot be drawn to --out/loss.png.
    """

    resume: Flag = False
    allow_changed_data: Flag = False
    checkpoint_minutes: float = 1.0
    keep_checkpoints: Flag = False
    tensorboard: Flag = False
    log_every: int | None = None
    plot: Flag = False


class RunFolder:
    """The folder of one run of `fit`."""

    def __init__(
        self, out: Path, options: KeepOptions | None, *, overwrite: bool, threads: int | None
    ) -> None:
        """
        Raises:
            ConfigError: if options contradict each other.
            OutputError: if something is in the folder that may not be replaced.
        """
        from seriatim.train.distributed import current

        self.out, self.options = out, options or KeepOptions()
        self._threads = threads
        if self.options.allow_changed_data and not self.options.resume:
            raise ConfigError("--allow-changed-data belongs to --resume: give both, or neither")
        if self.options.log_every is not None and self.options.log_every < 1:
            raise ConfigError(f"--log-every {self.options.log_every}: give 1 or more")
        ranks = current()
        # One process looks: the others might already see what it has begun to write.
        state = ranks.agreed(self._look(overwrite=overwrite) if ranks.is_main else 0)
        self.is_resumed, self.is_finished = state == _RESUMABLE, state == _FINISHED
        self.overwrite = overwrite or self.is_resumed

    def _look(self, *, overwrite: bool) -> int:
        from seriatim.tasks import storage

        if storage.is_cut_short(self.out):
            if self.options.resume:
                return _RESUMABLE
            if not overwrite:
                raise OutputError(
                    f"{self.out} holds an interrupted run: resume it (--resume), replace it "
                    "(--overwrite), or choose another folder"
                )
        if self.options.resume and storage.is_model(self.out):
            return _FINISHED
        storage.check_free(self.out, overwrite=overwrite)
        return _NEW

    def checkpoints(self) -> "Checkpoints":
        """The folder of the checkpoints, and how often they are written."""
        from seriatim.tasks import storage
        from seriatim.train.checkpoint.store import Checkpoints

        return Checkpoints(
            folder=self.out / storage.CHECKPOINTS,
            minutes=self.options.checkpoint_minutes,
            resume=self.is_resumed,
            allow_changed_data=self.options.allow_changed_data,
            threads=self._threads,
        )

    @contextlib.contextmanager
    def listening(self, reporter: Reporter) -> Iterator["Callbacks"]:
        """Callbacks of a run: to the terminal, the log and TensorBoard, on rank 0 only.

        What an earlier run left in the folder is removed, unless it is resumed; its model stays.

        Raises:
            MissingExtraError: if TensorBoard is requested and not installed.
        """
        from seriatim.tasks import storage
        from seriatim.train.callbacks.callbacks import Callbacks
        from seriatim.train.callbacks.log import JsonLines, call_all
        from seriatim.train.distributed import current

        every = self.options.log_every
        callbacks = Callbacks(
            progress=reporter.progress,
            message=reporter.say,
            counted=reporter.counted,
            note=reporter.note,
            estimate=lambda estimate: reporter.note(estimate_line(estimate)),
        )
        if not current().is_main:
            yield callbacks
            return
        if not self.is_resumed:
            storage.clear_run(self.out)
        log = JsonLines(self.out / storage.LOG)
        with contextlib.ExitStack() as open_logs:
            progress: list[Callable[[Progress], None]] = [reporter.progress, log]
            if self.options.tensorboard:
                from seriatim.train.callbacks.tensorboard import TensorBoard

                board = TensorBoard(self.out / storage.TENSORBOARD)
                progress.append(open_logs.enter_context(board))
            on_step = None if every is None else log.every(every)
            yield replace(callbacks, progress=call_all(*progress), on_step=on_step)

    @property
    def has_begun(self) -> bool:
        """Whether there is a checkpoint, so that the run has come to its first step."""
        from seriatim.tasks import storage
        from seriatim.train.checkpoint.store import HEAD

        return (self.out / storage.CHECKPOINTS / HEAD).exists()

    def abandon(self) -> None:
        """Remove what a run left that never began."""
        from seriatim.tasks import storage

        shutil.rmtree(self.out / storage.CHECKPOINTS, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.out.rmdir()

    def say_finished(self, *, json: bool) -> None:
        """Say that there is nothing to resume."""
        from seriatim.core.records import to_json
        from seriatim.tasks.registry import load

        task = load(self.out)
        fit = task.training.fit
        if json:
            record = None if fit is None else to_json(fit)
            print_json({"out": str(self.out), "finished": True, "fit": record})
            return
        done = "" if fit is None else f" after {count_noun(fit.steps_done, 'step')} ({fit.stopped})"
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
        """Draw the loss curve, and remove the checkpoints of a run that is over."""
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
                reporter.note(f"the loss curve was not drawn: {error}")


def estimate_line(estimate: "Estimate") -> str:
    """The cost of a run, in a line."""
    return (
        f"{count_noun(estimate.parameters, 'parameter')}; {count_noun(estimate.steps, 'step')} in "
        "about "
        f"{format_duration(estimate.seconds)}, evaluations not counted; about "
        f"{format_bytes(estimate.bytes)} of memory beside the program's own "
        f"({format_bytes(estimate.weight_bytes)} weights, "
        f"{format_bytes(estimate.moment_bytes)} optimizer, "
        f"{format_bytes(estimate.step_bytes)} a step)"
    )
