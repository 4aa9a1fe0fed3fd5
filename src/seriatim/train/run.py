"""A run from its first look at the validation data to its history, and how it is told and kept.

Knows a trainer, a plan of how long and how often to look at the validation data, and what stands
around the run: whoever listens, whoever may stop it, other processes, a place for checkpoints.
Knows no family, no text and no file.

Every process of a run goes through the same steps; rank 0 alone reports and writes. What only
one of them knows (the clock, Ctrl-C) is voted on, so that all do the same at the same step.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seriatim.core.model import TargetModel
from seriatim.data.batches.corpus import BatchSource, EvaluationPass
from seriatim.errors import ModelError, TrainingError
from seriatim.train.budget import Plan
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import Evaluation, History, Progress, Stopped
from seriatim.train.callbacks.monitor import Monitor, state_size
from seriatim.train.checkpoint import snapshot
from seriatim.train.checkpoint.numbers import RunNumbers, RunSeconds
from seriatim.train.checkpoint.snapshot import Snapshot
from seriatim.train.checkpoint.writer import CheckpointWriter
from seriatim.train.distributed import ALONE, Ranks, Vote
from seriatim.train.early_stopping import has_stalled
from seriatim.train.estimate import explain_out_of_memory
from seriatim.train.evaluation import mean_nats
from seriatim.train.options import TrainingOptions
from seriatim.train.signals import Signals
from seriatim.train.trainer import Trainer, TrainerNumbers, TrainerState, broken

SECONDS_BETWEEN_REPORTS = 0.25


@dataclass(frozen=True)
class RunContext:
    """What stands around a run.

    Attributes:
        callbacks: functions to be called while it trains.
        began: when all of it began, planning included.
        ranks: the processes that share the run.
        folder: where checkpoints are written, the same for all processes; None: nowhere.
        keeper: writes them, on rank 0.
    """

    callbacks: Callbacks
    began: float
    ranks: Ranks = ALONE
    folder: Path | None = None
    keeper: CheckpointWriter | None = None

    @property
    def is_kept(self) -> bool:
        """Whether checkpoints are written."""
        return self.folder is not None


@dataclass(frozen=True)
class _Best:
    step: int
    nats: float | None
    weights: dict[str, Tensor]


class TrainingRun:
    """A run of updates and evaluations; `go` returns its history."""

    def __init__(
        self,
        model: TargetModel,
        source: BatchSource,
        valid: EvaluationPass | None,
        options: TrainingOptions,
        plan: Plan,
        around: RunContext,
    ) -> None:
        self.model, self.source, self.valid = model, source, valid
        self.options, self.plan, self.around = options, plan, around
        self.callbacks, self.clock, self.ranks = (
            around.callbacks,
            around.callbacks.clock,
            around.ranks,
        )
        self.progress = self.callbacks.progress if self.ranks.is_main else None
        self.trainer = Trainer(model, source, options, plan.steps, around.ranks)
        self.monitor = Monitor(options.clip)
        self.vote = Vote(self.ranks, self.clock)
        self.evaluations: list[Evaluation] = []
        self.best: _Best | None = None
        self.began, self.started = around.began, self.clock()
        self.evaluating = 0.0  # seconds
        self.told = -math.inf
        self.notes: list[str] = []
        self.news: list[str] = []
        self.resumed_at: list[int] = []
        self.signals = Signals(is_held=False)

    def note(self, sentence: str) -> None:
        """Say something to whoever listens, and write it into the history."""
        self.notes.append(sentence)
        self.news.append(sentence)

    # ---- going ---------------------------------------------------------------------------------

    def go(self) -> History:
        """Train until the plan is done, patience has ended, or somebody ends the run."""
        stopped: Stopped = "interrupted"
        is_held = self.around.is_kept or self.ranks.size > 1
        try:
            self.model.train()
            named = explain_out_of_memory(self.options, lambda: self.trainer.step + 1)
            with Signals(is_held=is_held) as self.signals, named:
                if self.resumed_at:
                    self._say(f"resumed at step {self.trainer.step:,} of {self.plan.steps:,}")
                elif self.around.is_kept:
                    self._keep()
                stopped = self._train()
                if self.around.is_kept:
                    self._keep(wait=True)
        except KeyboardInterrupt:
            pass
        except TrainingError:
            self._put_best_back()
            raise
        finally:
            if self.around.keeper is not None:
                self.around.keeper.wait()
            self.model.zero_grad()
            self.model.eval()
        self._settle(stopped)
        return self._history(stopped)

    def _train(self) -> Stopped:
        while True:
            if self.plan.is_due(self.trainer.step) and not self._is_judged():
                self._evaluate()
            if has_stalled(self.evaluations, self.options.patience):
                return "patience"
            if self.trainer.step >= self.plan.steps:
                return "finished"
            if self._is_asked_to_stop():
                return "stopped"
            self.trainer.update()

    def _is_judged(self) -> bool:
        return bool(self.evaluations) and self.evaluations[-1].step == self.trainer.step

    def _is_asked_to_stop(self) -> bool:
        """Between two steps: tell, keep, and see whether anybody ends the run here."""
        keeper, now = self.around.keeper, self.clock()
        stops, is_signalled, is_keeping, is_telling = self.vote(
            self.trainer.step,
            self.callbacks.should_stop is not None and self.callbacks.should_stop(),
            self.signals.pending is not None,
            keeper is not None and keeper.is_due,
            self.progress is not None and now - self.told >= SECONDS_BETWEEN_REPORTS,
        )
        if is_telling and not self._is_judged():
            self.trainer.flush()
            self._tell(now)
        if is_keeping:
            self._keep()
        if is_signalled or stops:
            if self.around.is_kept:
                self._keep(wait=True)
            if is_signalled:
                self._leave()
        return stops

    def _leave(self) -> None:
        if self.around.is_kept:
            self._say(f"cut short at step {self.trainer.step:,}: go on from there with --resume")
        self.signals.deliver()
        raise KeyboardInterrupt  # the signal came to another process, or its handler ignores it

    # ---- judging -------------------------------------------------------------------------------

    def _weights(self) -> dict[str, Tensor]:
        """A copy of the model's tensors, however they lie in training, as files want them."""
        weights = copy.deepcopy(self.model.state_dict())
        return {name: tensor.contiguous() for name, tensor in weights.items()}

    def _evaluate(self) -> None:
        trainer = self.trainer
        trainer.flush()
        self._watch(is_judging=True)
        began = self.clock()
        with trainer.judged():
            nats = self._judge()
            before = None if self.best is None else self.best.nats
            is_best = nats is None or before is None or nats < before
            if is_best:
                # Bound in one go, after the copy is whole: Ctrl-C may come at any moment.
                self.best = _Best(trainer.step, nats, self._weights())
        now = self.clock()
        self.evaluating += now - began
        self.evaluations.append(
            Evaluation(
                step=trainer.step,
                epoch=trainer.step / self.source.steps_per_epoch,
                train_nats=trainer.loss,
                valid_nats=nats,
                learning_rate=trainer.rate,
                gradient_norm=trainer.gradient_norm,
                seconds=now - self.began,
                is_best=is_best,
            )
        )
        self._tell(now, is_evaluation=True)
        trainer.forget()

    def _judge(self) -> float | None:
        """Nats per target of the validation data; None without any."""
        if self.valid is None:
            return None
        limit, trainer = self.plan.evaluate_symbols, self.trainer
        nats = mean_nats(self.model, self.valid, limit=limit, ranks=self.ranks)
        if not math.isfinite(nats):
            raise broken("validation loss", nats, trainer.step, trainer.rate)
        trainer.schedule.observe(nats)
        return nats

    def _watch(self, *, is_judging: bool = False) -> None:
        norms, self.trainer.norms = self.trainer.norms, []
        warnings = self.monitor.see_gradients(norms, self.trainer.step)
        if is_judging:  # not when the clock says so: a run that was resumed sees the same
            size = state_size(self.trainer.carry)
            warnings += self.monitor.see_state(size, self.trainer.step)
        self.notes += warnings
        self.news += warnings

    # ---- telling -------------------------------------------------------------------------------

    def _say(self, sentence: str) -> None:
        self.news.append(sentence)
        self._tell(self.clock())

    def _tell(self, now: float, *, is_evaluation: bool = False) -> None:
        if self.progress is None:
            return
        if self.around.keeper is not None and (news := self.around.keeper.news()) is not None:
            self.news.append(news)
        self.told = now
        trainer, news_now, self.news = self.trainer, tuple(self.news), []
        last = self.evaluations[-1] if self.evaluations else None
        self.progress(
            Progress(
                step=trainer.step,
                steps=self.plan.steps,
                epoch=trainer.step / self.source.steps_per_epoch,
                loss=trainer.loss,
                valid=None if last is None else last.valid_nats,
                learning_rate=trainer.rate,
                gradient_norm=trainer.gradient_norm,
                tokens_per_second=self._tokens_per_second(now),
                seconds=now - self.began,
                seconds_left=self._seconds_left(now),
                is_best=is_evaluation and last is not None and last.is_best,
                is_evaluation=is_evaluation,
                notes=news_now,
            )
        )

    def _tokens_per_second(self, now: float) -> float:
        training = now - self.started - self.evaluating
        return self.trainer.num_targets / training if training > 0 else 0.0

    def _seconds_left(self, now: float) -> float:
        steps = self.plan.steps - self.trainer.step
        per_step = (now - self.started - self.evaluating) / max(1, self.trainer.step)
        looks = math.ceil(steps / self.plan.evaluate_every)
        return steps * per_step + looks * self.evaluating / max(1, len(self.evaluations))

    # ---- keeping -------------------------------------------------------------------------------

    def _keep(self, *, wait: bool = False) -> None:
        """Write a checkpoint. A collective of the ranks, of which rank 0 writes."""
        keeper = self.around.keeper
        if keeper is not None:
            keeper.wait()  # the copies that it writes are about to change
        found = self.snapshot()
        if self.trainer.parallelism.is_sharded and self.around.folder is not None:
            from seriatim.train.checkpoint import shards

            rest = shards.keep(self.around.folder, found, self.ranks)
            if rest is None:
                self._say("a checkpoint could not be written; training goes on: free some space")
                return
            found = rest
        if keeper is not None:
            keeper.keep(found, wait=wait)
            if wait and (news := keeper.news()) is not None:
                self._say(news)

    def snapshot(self) -> Snapshot:
        """The run at this instant, between two steps; its tensors are those in use."""
        state = self.trainer.state()
        self._watch()
        weights = snapshot.unique_tensors(self.model)
        best = {} if self.best is None else self.best.weights
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
            best={name: tensor for name, tensor in best.items() if name in weights},
            best_step=None if self.best is None else self.best.step,
        )

    def _numbers(self, trainer: TrainerNumbers) -> RunNumbers:
        now = self.clock()
        return RunNumbers(
            step=trainer.step,
            plan=self.plan,
            accumulate=self.options.accumulate,
            precision=self.options.precision,
            threads=torch.get_num_threads(),
            processes=self.ranks.size,
            evaluations=tuple(self.evaluations),
            best_nats=None if self.best is None else self.best.nats,
            monitor=self.monitor.state(),
            notes=tuple(self.notes),
            resumed_at=tuple(self.resumed_at),
            seconds=RunSeconds(now - self.began, now - self.started, self.evaluating),
            trainer=trainer,
        )

    def restore(self, found: Snapshot) -> None:
        """Stand where a snapshot was taken.

        Raises:
            ModelError: it has other tensors than this run.
        """
        numbers, parallelism = found.numbers, self.trainer.parallelism
        own = self.model.state_dict()
        if found.shards and self.around.folder is not None:
            from seriatim.train.checkpoint import shards

            found = shards.complete(self.around.folder, found, own)

        def shared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: parallelism.shard(t, own[n]) if n in own else t for n, t in tensors.items()}

        try:
            if found.best_step is not None:
                snapshot.load_unique_tensors(self.model, shared(found.best))
                self.best = _Best(found.best_step, numbers.best_nats, self._weights())
            snapshot.load_unique_tensors(
                self.model, shared(snapshot.select_prefix(found.tensors, "weights"))
            )
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelError(f"the checkpoint is of another model: {reason}") from None
        carry = snapshot.tensors_to_tree(snapshot.select_prefix(found.tensors, "carry"))
        moments = snapshot.select_prefix(found.tensors, "moments")
        average = snapshot.select_prefix(found.tensors, "average")
        self.trainer.restore(TrainerState(numbers.trainer, moments, carry, average))
        self._set_random_states(snapshot.select_prefix(found.tensors, "random"))
        self.evaluations = list(numbers.evaluations)
        self.monitor.restore(numbers.monitor)
        self.notes = list(numbers.notes)
        self.resumed_at = [*numbers.resumed_at, self.trainer.step]
        seconds, now = numbers.seconds, self.clock()
        self.began, self.started = now - seconds.total, now - seconds.running
        self.evaluating = seconds.evaluating

    def _random_states(self) -> dict[str, Tensor]:
        """The generators of all ranks, (P, bytes). A collective."""
        found = {}
        for name, state in snapshot.random_states(self.trainer.device).items():
            states = torch.zeros(self.ranks.size, state.numel(), dtype=torch.uint8)
            states[self.ranks.rank] = state
            found[name] = self.ranks.sum(states)
        return found

    def _set_random_states(self, found: Mapping[str, Tensor]) -> None:
        rank = self.ranks.rank
        if rank < min(states.shape[0] for states in found.values()):
            snapshot.set_random_states(
                self.trainer.device, {name: states[rank].clone() for name, states in found.items()}
            )
        else:  # more processes than before: this one has drawn nothing yet
            torch.manual_seed(self.ranks.seed(self.options.seed) ^ self.trainer.step)

    # ---- ending --------------------------------------------------------------------------------

    def _settle(self, stopped: Stopped) -> None:
        """Choose the weights to end with.

        A run cut short before it was ever judged keeps what it has learnt, as far as that is
        numbers.
        """
        was_judged = self.valid is not None and len(self.evaluations) > 1
        is_cut_short = stopped in ("stopped", "interrupted")
        if is_cut_short and not was_judged and self.trainer.step > 0 and self._is_finite():
            self.best = _Best(self.trainer.step, None, {})
            return
        self._put_best_back()

    def _is_finite(self) -> bool:
        whole = self.trainer.parallelism.full
        return all(bool(whole(p.detach().isfinite().all())) for p in self.trainer.parameters)

    def _put_best_back(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best.weights)

    def _history(self, stopped: Stopped) -> History:
        now, trainer = self.clock(), self.trainer
        places = max(1, trainer.num_positions)
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
            best_step=0 if self.best is None else self.best.step,
            best_valid_nats=None if self.best is None else self.best.nats,
            num_targets=round(trainer.num_targets),
            padding_fraction=1.0 - trainer.num_targets / places if trainer.step else 0.0,
            seconds=now - self.began,
            tokens_per_second=self._tokens_per_second(now),
            notes=(*self.source.notes, *self._warmup_note(), *self.trainer.notes, *self.notes),
            resumed_at=tuple(self.resumed_at),
        )

    def _warmup_note(self) -> tuple[str, ...]:
        asked, taken = self.options.warmup, self.trainer.schedule.warmup
        if asked == taken:
            return ()
        return (f"warmup of {asked} steps is more than half of {self.plan.steps}: it took {taken}",)
