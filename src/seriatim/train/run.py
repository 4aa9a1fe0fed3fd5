"""A training run: updates and evaluations, checkpoints between them, a history at the end.

Knows a trainer, a plan of how many steps there are and how often to evaluate, callbacks, the other
processes and a writer of checkpoints. Knows no family, no text and no file.

All processes of a run go through the same steps; rank 0 alone reports and writes. What only one of
them knows (the clock, Ctrl-C) is voted on, so that all do the same at the same step.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from seriatim.core.model import TargetModel
from seriatim.data.batches.corpus import BatchSource, EvaluationPass
from seriatim.errors import ModelError, TrainingError
from seriatim.train.budget import Plan, measured_again
from seriatim.train.callbacks.callbacks import Callbacks, StopTraining, call
from seriatim.train.callbacks.history import Evaluation, History, Progress, Stopped, TrainingStep
from seriatim.train.callbacks.monitor import Monitor, state_size
from seriatim.train.callbacks.reporter import ProgressReporter
from seriatim.train.checkpoint import snapshot
from seriatim.train.checkpoint.numbers import RunNumbers, RunSeconds
from seriatim.train.checkpoint.snapshot import Snapshot
from seriatim.train.checkpoint.writer import CheckpointWriter
from seriatim.train.distributed import ALONE, Ranks, Vote
from seriatim.train.early_stopping import EarlyStopping
from seriatim.train.estimate import explain_out_of_memory
from seriatim.train.evaluation import mean_nats
from seriatim.train.options import TrainingOptions
from seriatim.train.signals import Signals
from seriatim.train.trainer import Trainer, TrainerNumbers, TrainerState, broken

T = TypeVar("T")


@dataclass(frozen=True)
class RunContext:
    """What surrounds a run.

    Attributes:
        callbacks: functions to be called while it trains.
        began: the time at which everything began, planning included.
        ranks: the processes that share the run.
        folder: the folder of the checkpoints, the same for all processes; None: none are written.
        writer: the writer of the checkpoints, on rank 0.
    """

    callbacks: Callbacks
    began: float
    ranks: Ranks = ALONE
    folder: Path | None = None
    writer: CheckpointWriter | None = None

    @property
    def has_checkpoints(self) -> bool:
        """Whether checkpoints are written."""
        return self.folder is not None


class TrainingRun:
    """A run of updates and evaluations; `train` returns its history."""

    def __init__(
        self,
        model: TargetModel,
        source: BatchSource,
        valid: EvaluationPass | None,
        options: TrainingOptions,
        plan: Plan,
        context: RunContext,
    ) -> None:
        self.model, self.source, self.valid = model, source, valid
        self.options, self.plan, self.context = options, plan, context
        self.callbacks, self.ranks = context.callbacks, context.ranks
        self.clock = context.callbacks.clock
        self.trainer = Trainer(model, source, options, plan.steps, self.ranks)
        self.trainer.schedule.pace = plan.pace
        self.monitor = Monitor(options.clip)
        self.vote = Vote(self.ranks, self.clock)
        callback = self.callbacks.progress if self.ranks.is_main else None
        self.reporter = ProgressReporter(callback, self.clock, context.began)
        self.early_stopping = EarlyStopping(model, options.patience)
        self.evaluations: list[Evaluation] = []
        self.notes: list[str] = []
        self.resumed_at: list[int] = []
        self.signals = Signals(is_held=False)
        # Reading a loss is a collective, so all ranks do it, or none.
        self._reads_steps = bool(self.ranks.agreed(int(self.callbacks.on_step is not None)))
        self._is_stopped = False  # by a callback
        self._stretch_step, self._stretch_began, self._look = 0, self.clock(), 0.0

    def note(self, sentence: str) -> None:
        """Add a sentence to the history and to the next report."""
        self.notes.append(sentence)
        self.reporter.add(sentence)

    # ---- training ------------------------------------------------------------------------------

    def train(self) -> History:
        """Train until the plan is done, patience has run out, or the run is stopped."""
        stopped: Stopped = "interrupted"
        is_held = self.context.has_checkpoints or self.ranks.size > 1
        try:
            self.model.train()
            named = explain_out_of_memory(self.options, lambda: self.trainer.step + 1)
            with Signals(is_held=is_held) as self.signals, named:
                if self.resumed_at:
                    self._report_note(
                        f"resumed at step {self.trainer.step:,} of {self.plan.steps:,}"
                    )
                elif self.context.has_checkpoints:
                    self._checkpoint()
                stopped = self._steps()
                if self.context.has_checkpoints:
                    self._checkpoint(wait=True)
        except KeyboardInterrupt:
            pass
        except TrainingError:
            self.early_stopping.load_best()
            raise
        finally:
            if self.context.writer is not None:
                self.context.writer.wait()
            self.model.zero_grad()
            self.model.eval()
        self._choose_weights(stopped)
        history = self._history(stopped)
        self._call(self.callbacks.on_end, history)
        return history

    def _steps(self) -> Stopped:
        while True:
            if self.plan.is_due(self.trainer.step) and not self._is_evaluated():
                self._evaluate()
            if self._stretch_is_over():
                self._measure_pace()
                if self.plan.is_due(self.trainer.step) and not self._is_evaluated():
                    continue  # there was no time for another step, and this is the last
            if self.early_stopping.has_stalled(self.evaluations):
                return "patience"
            if self.trainer.step >= self.plan.steps:
                return "finished"
            if self._should_stop():
                return "stopped"
            if self._stretch_is_over():
                continue  # it took too long, and ends here
            self.trainer.update()
            if self._reads_steps:
                self._step_done()

    def _step_done(self) -> None:
        """Pass the last update to whoever follows every step."""
        trainer = self.trainer
        trainer.flush()
        self._call(
            self.callbacks.on_step,
            TrainingStep(
                step=trainer.step,
                epoch=trainer.step / self.source.steps_per_epoch,
                train_nats=trainer.last_nats,
                learning_rate=trainer.rate,
                gradient_norm=trainer.gradient_norm or 0.0,
                num_targets=trainer.last_count,
                seconds=self.clock() - self.reporter.began,
            ),
        )

    def _call(self, callback: Callable[[T], object] | None, value: T) -> None:
        """Call a callback, on rank 0 alone."""
        if callback is not None and self.ranks.is_main:
            with self._stoppable():
                call(callback, f"after step {self.trainer.step:,}", value)

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Inside, a callback that raises StopTraining ends the run before its next step."""
        try:
            yield
        except StopTraining as reason:
            self._is_stopped = True
            why = f": {reason}" if str(reason) else ""
            self.notes.append(f"stopped by a callback after step {self.trainer.step:,}{why}")

    def _stretch_is_over(self) -> bool:
        """Whether the pace of a run in minutes is measured at this step, and has not been yet."""
        timing, step = self.plan.timing, self.trainer.step
        if timing is None or step == self._stretch_step:
            return timing is not None and step == 0 and self._look > 0.0
        return timing.measure_at == step

    def _measure_pace(self) -> None:
        """Begin another stretch: how many steps are left, at the speed of the last one."""
        trainer, plan, step = self.trainer, self.plan, self.trainer.step
        trainer.flush()
        seconds = self.clock() - self._stretch_began - self._look
        done = step - self._stretch_step
        assert plan.timing is not None
        # At step 0 only the evaluation has been timed anew.
        step_seconds = max(seconds, 0.0) / done if done else plan.timing.step_seconds
        step_seconds = self.ranks.longest(step_seconds)
        now = self.ranks.longest(self.clock() - self.reporter.began)
        look = self.ranks.longest(self._look)
        self.plan = measured_again(plan, step, now, step_seconds, look)
        trainer.schedule.pace = self.plan.pace
        self._stretch_step, self._stretch_began, self._look = step, self.clock(), 0.0

    def _is_evaluated(self) -> bool:
        return bool(self.evaluations) and self.evaluations[-1].step == self.trainer.step

    def _should_stop(self) -> bool:
        """Between two steps: report, write a checkpoint, and see whether the run is to end."""
        writer, now, timing = self.context.writer, self.clock(), self.plan.timing
        stops, is_signalled, is_checkpoint_due, is_report_due, is_late = self.vote(
            self.trainer.step,
            self._is_asked_to_stop(),
            self.signals.pending is not None,
            writer is not None and writer.is_due,
            self.reporter.is_due(now),
            timing is not None and now - self.reporter.began > timing.late,
        )
        if is_late and timing is not None and self.trainer.step > self._stretch_step:
            timing = replace(timing, measure_at=self.trainer.step)
            self.plan = replace(self.plan, timing=timing)  # voted on, so all ranks do so
        if is_report_due and not self._is_evaluated():
            self.trainer.flush()
            self._report(now)
        if is_checkpoint_due:
            self._checkpoint()
        if (is_signalled or stops) and self.context.has_checkpoints:
            self._checkpoint(wait=True)
        if is_signalled:
            if self.context.has_checkpoints:
                step = f"{self.trainer.step:,}"
                self._report_note(f"cut short at step {step}: resume it with --resume")
            self.signals.deliver()
            raise KeyboardInterrupt  # the signal came to another process, or is ignored here
        return stops

    def _is_asked_to_stop(self) -> bool:
        should_stop, is_asked = self.callbacks.should_stop, self._is_stopped
        if should_stop is not None and not is_asked:
            with self._stoppable():
                is_asked = call(should_stop, f"after step {self.trainer.step:,}")
        return is_asked or self._is_stopped

    # ---- evaluating ----------------------------------------------------------------------------

    def _evaluate(self) -> None:
        trainer = self.trainer
        trainer.flush()
        self._monitor(is_evaluation=True)
        began = self.clock()
        with trainer.judged():
            nats = self._validation_loss()
            is_best = self.early_stopping.observe(trainer.step, nats)
        now = self.clock()
        self.reporter.evaluating += now - began
        self._look = now - began
        self.evaluations.append(
            Evaluation(
                step=trainer.step,
                epoch=trainer.step / self.source.steps_per_epoch,
                train_nats=trainer.loss,
                valid_nats=nats,
                learning_rate=trainer.rate,
                gradient_norm=trainer.gradient_norm,
                seconds=now - self.reporter.began,
                is_best=is_best,
            )
        )
        self._report(now, is_evaluation=True)
        self._call(self.callbacks.on_evaluation, self.evaluations[-1])
        trainer.forget()

    def _validation_loss(self) -> float | None:
        """Nats per target of the validation data; None without any."""
        if self.valid is None:
            return None
        limit, trainer = self.plan.evaluate_symbols, self.trainer
        nats = mean_nats(self.model, self.valid, limit=limit, ranks=self.ranks)
        if not math.isfinite(nats):
            raise broken("validation loss", nats, trainer.step, trainer.rate)
        trainer.schedule.observe(nats)
        return nats

    def _monitor(self, *, is_evaluation: bool = False) -> None:
        norms, self.trainer.norms = self.trainer.norms, []
        warnings = self.monitor.see_gradients(norms, self.trainer.step)
        if is_evaluation:  # not by the clock: a run that was resumed sees the same
            size = state_size(self.trainer.carry)
            warnings += self.monitor.see_state(size, self.trainer.step)
        for warning in warnings:
            self.note(warning)

    # ---- reporting -----------------------------------------------------------------------------

    def _report_note(self, sentence: str) -> None:
        self.reporter.add(sentence)
        self._report(self.clock())

    def _report(self, now: float, *, is_evaluation: bool = False) -> None:
        if not self.reporter.is_listened_to:
            return
        writer, trainer, reporter = self.context.writer, self.trainer, self.reporter
        plan, step = self.plan, trainer.step
        if writer is not None and (news := writer.news()) is not None:
            reporter.add(news)
        last = self.evaluations[-1] if self.evaluations else None
        progress = Progress(
            step=step,
            steps=plan.steps,
            epoch=step / self.source.steps_per_epoch,
            train_nats=trainer.loss,
            valid_nats=None if last is None else last.valid_nats,
            learning_rate=trainer.rate,
            gradient_norm=trainer.gradient_norm,
            tokens_per_second=reporter.tokens_per_second(now, trainer.num_targets),
            seconds=now - reporter.began,
            seconds_left=reporter.seconds_left(
                now, step, plan.steps, plan.evaluate_every, len(self.evaluations)
            ),
            is_best=is_evaluation and last is not None and last.is_best,
            is_evaluation=is_evaluation,
        )
        with self._stoppable():
            reporter.report(progress, now)

    # ---- checkpoints ----------------------------------------------------------------------------

    def _checkpoint(self, *, wait: bool = False) -> None:
        """Write a checkpoint. A collective of the ranks, of which rank 0 writes."""
        writer = self.context.writer
        if writer is not None:
            writer.wait()  # the copies that it writes are about to change
        instant = self.snapshot()
        if self.trainer.parallelism.is_sharded and self.context.folder is not None:
            from seriatim.train.checkpoint import shards

            rest = shards.keep(self.context.folder, instant, self.ranks)
            if rest is None:
                self._report_note(
                    "a checkpoint could not be written; training continues: free some space"
                )
                return
            instant = rest
        if writer is not None:
            writer.keep(instant, wait=wait)
            if wait and (news := writer.news()) is not None:
                self._report_note(news)

    def snapshot(self) -> Snapshot:
        """The run at this instant, between two steps; its tensors are those in use."""
        state = self.trainer.state()
        self._monitor()
        weights = snapshot.unique_tensors(self.model)
        best = self.early_stopping.best
        tensors = {
            **snapshot.add_prefix(weights, "weights"),
            **snapshot.add_prefix(state.moments, "moments"),
            **snapshot.add_prefix(state.average, "average"),
            **snapshot.add_prefix(snapshot.tree_to_tensors(state.carry), "carry"),
            **snapshot.add_prefix(self._random_states(), "random"),
        }
        return Snapshot(
            numbers=self._numbers(state.numbers),
            tensors=tensors,
            best={} if best is None else {n: w for n, w in best.weights.items() if n in weights},
            best_step=None if best is None else best.step,
        )

    def _numbers(self, trainer: TrainerNumbers) -> RunNumbers:
        now, best = self.clock(), self.early_stopping.best
        return RunNumbers(
            step=trainer.step,
            plan=self.plan,
            accumulate=self.options.accumulate,
            precision=self.options.precision,
            threads=torch.get_num_threads(),
            processes=self.ranks.size,
            evaluations=tuple(self.evaluations),
            best_nats=None if best is None else best.nats,
            monitor=self.monitor.state,
            notes=tuple(self.notes),
            resumed_at=tuple(self.resumed_at),
            seconds=RunSeconds(
                now - self.reporter.began, now - self.reporter.started, self.reporter.evaluating
            ),
            trainer=trainer,
        )

    def restore(self, saved: Snapshot) -> None:
        """Return to the instant of a snapshot.

        Raises:
            ModelError: if it has other tensors than this run.
        """
        numbers, parallelism = saved.numbers, self.trainer.parallelism
        own = self.model.state_dict()
        if saved.shards and self.context.folder is not None:
            from seriatim.train.checkpoint import shards

            saved = shards.complete(self.context.folder, saved, own)

        def shared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: parallelism.shard(t, own[n]) if n in own else t for n, t in tensors.items()}

        try:
            if saved.best_step is not None:
                snapshot.load_unique_tensors(self.model, shared(saved.best))
                self.early_stopping.take(saved.best_step, numbers.best_nats)
            snapshot.load_unique_tensors(
                self.model, shared(snapshot.select_prefix(saved.tensors, "weights"))
            )
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelError(f"the checkpoint belongs to another model: {reason}") from None
        carry = snapshot.tensors_to_tree(snapshot.select_prefix(saved.tensors, "carry"))
        moments = snapshot.select_prefix(saved.tensors, "moments")
        average = snapshot.select_prefix(saved.tensors, "average")
        self.trainer.restore(TrainerState(numbers.trainer, moments, carry, average))
        self._set_random_states(snapshot.select_prefix(saved.tensors, "random"))
        self.evaluations = list(numbers.evaluations)
        self.monitor.state = numbers.monitor
        self.notes = list(numbers.notes)
        self.resumed_at = [*numbers.resumed_at, self.trainer.step]
        seconds, now = numbers.seconds, self.clock()
        reporter = self.reporter
        reporter.began, reporter.started = now - seconds.total, now - seconds.running
        reporter.evaluating = seconds.evaluating
        self.trainer.schedule.pace = self.plan.pace
        self._stretch_step, self._stretch_began, self._look = self.trainer.step, now, 0.0

    def _random_states(self) -> dict[str, Tensor]:
        """The generators of all ranks, (P, bytes). A collective."""
        gathered = {}
        for name, state in snapshot.random_states(self.trainer.device).items():
            states = torch.zeros(self.ranks.size, state.numel(), dtype=torch.uint8)
            states[self.ranks.rank] = state
            gathered[name] = self.ranks.sum(states)
        return gathered

    def _set_random_states(self, gathered: Mapping[str, Tensor]) -> None:
        rank = self.ranks.rank
        if rank < min(states.shape[0] for states in gathered.values()):
            snapshot.set_random_states(
                self.trainer.device,
                {name: states[rank].clone() for name, states in gathered.items()},
            )
        else:  # more processes than before: this one has drawn nothing yet
            torch.manual_seed(self.ranks.seed(self.options.seed) ^ self.trainer.step)

    # ---- ending --------------------------------------------------------------------------------

    def _choose_weights(self, stopped: Stopped) -> None:
        """End with the best weights; with the present ones, if finite, where none was evaluated."""
        was_evaluated = self.valid is not None and len(self.evaluations) > 1
        is_cut_short = stopped in ("stopped", "interrupted")
        if is_cut_short and not was_evaluated and self.trainer.step > 0:
            whole = self.trainer.parallelism.full
            if all(bool(whole(p.detach().isfinite().all())) for p in self.trainer.parameters):
                self.early_stopping.end_with_current(self.trainer.step)
                return
        self.early_stopping.load_best()

    def _history(self, stopped: Stopped) -> History:
        now, trainer, best = self.clock(), self.trainer, self.early_stopping.best
        positions = max(1, trainer.num_positions)
        return History(
            options=self.options.to_json(),
            steps=self.plan.steps,
            steps_done=trainer.step,
            steps_per_epoch=self.source.steps_per_epoch,
            evaluate_every=self.plan.evaluate_every,
            evaluate_symbols=self.plan.evaluate_symbols,
            carried=self.source.carries,
            stopped=stopped,
            evaluations=tuple(self.evaluations),
            best_step=0 if best is None else best.step,
            best_valid_nats=None if best is None else best.nats,
            num_targets=round(trainer.num_targets),
            padding_fraction=1.0 - trainer.num_targets / positions if trainer.step else 0.0,
            seconds=now - self.reporter.began,
            tokens_per_second=self.reporter.tokens_per_second(now, trainer.num_targets),
            evaluating_seconds=self.reporter.evaluating,
            notes=(*self.source.notes, *self._warmup_note(), *self.trainer.notes, *self.notes),
            resumed_at=tuple(self.resumed_at),
            pace=self.plan.pace,
            threads=torch.get_num_threads(),
        )

    def _warmup_note(self) -> tuple[str, ...]:
        requested, taken = self.options.warmup, self.trainer.schedule.warmup
        note = (
            f"warmup of {requested} steps is more than half of {self.plan.steps}: "
            f"shortened to {taken}"
        )
        return () if requested == taken else (note,)
