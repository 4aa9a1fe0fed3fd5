"""One update of the weights: forward, backward, clip, step.

Knows a model, a source of batches, an optimizer and a schedule; not the length of a run, and no
validation. Everything that a step changes is kept here. The quantity that is minimized is

    - sum over the batch's targets of ln p(target | everything before it) / n      (nats)

with n the mean number of targets of a batch, so that all targets of an epoch have the same weight.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.column_major import (
    is_column_major,
    to_column_major,
    to_row_major,
    transposed_weights,
)
from seriatim.core.model import Carry, TargetModel
from seriatim.core.products import refuse_rounded
from seriatim.data.batches.corpus import BatchSource
from seriatim.errors import TrainingError
from seriatim.layers.blocks import Unit
from seriatim.train.averaging import Average
from seriatim.train.compiled import Compiled
from seriatim.train.distributed import ALONE, Ranks
from seriatim.train.objectives import make_objective
from seriatim.train.optimizer import clip_gradient, make_optimizer, moments, set_moments, trainable
from seriatim.train.options import TrainingOptions
from seriatim.train.parallel import local_carry, local_rows, make_parallelism, split_batch
from seriatim.train.precision import autocast, choose_precision
from seriatim.train.schedule import PlateauState, make_schedule

MAX_PENDING = 256  # losses left on the device before they are read


@dataclass(frozen=True)
class TrainerNumbers:
    """The numbers that an update changes.

    Attributes:
        step: the number of updates done.
        schedule: the state of the learning rate schedule; None if it has none.
        num_targets: the number of targets trained on.
        num_positions: the number of places for targets of all batches, padding and gaps included.
        nats: the sum of the loss since the last evaluation.
        counted: the number of targets in that sum.
        rate: the learning rate of the last update.
        gradient_norm: the norm of the last gradient, before clipping.
    """

    step: int
    schedule: PlateauState | None
    num_targets: float
    num_positions: int
    nats: float
    counted: float
    rate: float
    gradient_norm: float | None


@dataclass(frozen=True)
class TrainerState:
    """Everything that updates have changed, except the weights and torch's generators.

    Attributes:
        numbers: the step, the state of the schedule, and the sums of the loss.
        moments: the state of the optimizer, by "parameter name/kind of moment".
        carry: the state of the rows of a stream; None where no state is carried.
        average: the average of the weights by parameter name; empty if none is kept.
    """

    numbers: TrainerNumbers
    moments: dict[str, Tensor]
    carry: Carry | None
    average: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """The weights of a model, and everything else that an update changes.

    Losses and gradient norms stay on the device until `flush`, so that no step waits for them.
    Until `release`, some weights may have the memory layout that is fastest to train.
    """

    def __init__(
        self,
        model: TargetModel,
        source: BatchSource,
        options: TrainingOptions,
        steps: int,
        ranks: Ranks | None = None,
    ) -> None:
        """
        Args:
            model: the model, laid out over the processes as `options.distributed` says.
            ranks: the processes that share each batch; None: this one alone.
        """
        refuse_rounded(model)
        self.model, self.source = model, source
        self.ranks = ALONE if ranks is None else ranks
        self.parallelism = make_parallelism(options, self.ranks)
        self.device = model.device
        self.products = choose_precision(options.precision, model).products
        self._laid: list[Tensor] = []
        is_narrow_cpu = self.products == "bf16" and self.device.type == "cpu"
        if is_narrow_cpu and not self.parallelism.is_sharded:
            self._laid = to_column_major(model)
        self.called = self.parallelism.wrap(model, source)
        self.compiled = Compiled(self.called) if options.compile else None
        units = [module for module in model.modules() if isinstance(module, Unit)]
        for unit in units:
            unit.recomputes = options.recompute
        self.recomputes_nothing = options.recompute and not units
        self.num_parts = options.accumulate
        self.parameters = trainable(model)
        # Not `_laid` alone: a model may have column-major weights of its own.
        self._by_columns = [p for p in self.parameters if is_column_major(p)]
        self.optimizer = make_optimizer(model, options)
        self.average: Average | None = None
        if options.average is not None:
            self.average = Average(model, options.average, self.parallelism)
        self.schedule = make_schedule(options, steps, source.steps_per_epoch)
        self.objective = make_objective(options)
        self.clip = options.clip
        self.step = 0
        self.carry: Carry | None = None
        self.rate = self.schedule.rate(0)
        self.gradient_norm: float | None = None
        self.last_nats, self.last_count = 0.0, 0.0  # of the last flushed step, and its targets
        self.norms: list[float] = []  # of the steps flushed since the monitor last read them
        self.num_targets, self.num_positions = 0.0, 0
        self._num_rows = 0  # of the last batch
        self._pending: list[tuple[Tensor, Tensor, float]] = []
        self._nats, self._counted = 0.0, 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user about options that had no effect."""
        notes = [] if self.compiled is None or self.compiled.note is None else [self.compiled.note]
        if self.recomputes_nothing:
            notes.append(
                "recompute: this model has no blocks to recompute, so the option changes nothing"
            )
        return tuple(notes)

    def update(self) -> None:
        """One step: forward, backward, clip, update. The carry is kept without its graph."""
        batch = self.source.batch(self.step)
        carry = None if self.source.restarts(self.step) else self.carry
        keeps_carry = self.source.carries and not self.source.restarts(self.step + 1)
        count = batch.num_targets()
        loss, carry = self._gradient(batch, carry, keeps_carry)
        norm = clip_gradient(self.parameters, self.clip, self.parallelism.full)
        self.rate = self.schedule.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        with transposed_weights(self._by_columns):
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.carry = carry
        self.step += 1
        if self.average is not None:
            self.average.take(self.step)
        self.num_targets += count
        self.num_positions += batch.num_places
        self._num_rows = batch.shape[0]
        self._pending.append((loss, norm, count))
        if len(self._pending) >= MAX_PENDING:
            self.flush()

    def release(self) -> None:
        """Restore the memory layout of the weights at the end. No update may follow."""
        to_row_major(self._laid)

    def _gradient(
        self, batch: Batch, carry: Carry | None, keeps_carry: bool
    ) -> tuple[Tensor, Carry | None]:
        """This rank's part of the loss, (), and its rows' carry, without their graphs."""
        rows = -(-batch.shape[0] // self.ranks.size)
        own = local_rows(batch, self.ranks)
        cut = split_batch(own, carry, min(self.num_parts, rows))
        losses: list[Tensor] = []
        carries: list[Carry] = []
        for i, (part, before) in enumerate(cut):
            with self.parallelism.gradient_sync(self.called, i == len(cut) - 1):
                with autocast(self.products, self.device):
                    values, after = (self.compiled or self.called)(
                        on_device(self.device, part),
                        before,
                        objective=self.objective,
                        keep=keeps_carry,
                    )
                # Not divided by the targets of this batch: a batch of short lines would weigh as
                # much as one of long lines, and the fitted probability of an end would be too high.
                part_loss = -values.sum() / self.source.targets_per_step
                # DDP and FSDP average gradients over the ranks, but the loss is a sum over them.
                (part_loss * self.ranks.size).backward()
            losses.append(part_loss.detach())
            if keeps_carry and i < own.shape[0]:
                after = tree.detach(after)
                # Autocast may have left parts of it in bfloat16, and the carry outlives the step.
                is_narrow = self.products == "bf16"
                carries.append(tree.to(after, self.parameters[0].dtype) if is_narrow else after)
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if not keeps_carry:
            return loss, None
        return loss, carries[0] if len(carries) == 1 else tree.cat(carries)

    def judged(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are evaluated: the average, if one is kept."""
        if self.average is None or self.step == 0:
            return nullcontext()
        return self.average.in_place()

    def flush(self) -> None:
        """Read the losses and norms from the device and check them. A collective of the ranks.

        Raises:
            TrainingError: if one is not finite; the message names the first such step.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        losses = self.ranks.sum(torch.stack([loss for loss, _, _ in pending])).tolist()
        norms = torch.stack([norm for _, norm, _ in pending]).tolist()
        first = self.step - len(pending)
        for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), first):
            if not math.isfinite(loss):
                raise broken("loss", loss, step + 1, self.schedule.rate(step))
            if not math.isfinite(norm):
                raise broken("norm of the gradient", norm, step + 1, self.schedule.rate(step))
        for loss in losses:  # one by one, so that the sum does not depend on when this is called
            self._nats += loss * self.source.targets_per_step
        self._counted += sum(count for _, _, count in pending)
        self.last_count = pending[-1][2]
        self.last_nats = losses[-1] * self.source.targets_per_step / max(self.last_count, 1.0)
        self.gradient_norm = norms[-1]
        self.norms += norms

    @property
    def loss(self) -> float | None:
        """The mean nats per target of the flushed steps since `forget`; None if there are none."""
        return self._nats / self._counted if self._counted else None

    def forget(self) -> None:
        """Start a new mean of the loss."""
        self._nats, self._counted = 0.0, 0.0

    def state(self) -> TrainerState:
        """What `restore` needs to resume to the bit; its tensors are those in use, not copies.

        A collective of the ranks: the state of all of them, independent of their number; where each
        rank holds its own rows of the moments, those are left as they are.
        """
        self.flush()
        numbers = TrainerNumbers(
            step=self.step,
            schedule=self.schedule.state,
            num_targets=self.num_targets,
            num_positions=self.num_positions,
            nats=self._nats,
            counted=self._counted,
            rate=self.rate,
            gradient_norm=self.gradient_norm,
        )
        carry = self.ranks.gather_rows(self.carry, self._num_rows)
        average = {} if self.average is None else self.average.tensors
        return TrainerState(numbers, moments(self.model, self.optimizer), carry, average)

    def restore(self, state: TrainerState) -> None:
        """Return to the step at which `state` was taken."""
        n = state.numbers
        self.step, self.rate, self.gradient_norm = n.step, n.rate, n.gradient_norm
        self.num_targets, self.num_positions = n.num_targets, n.num_positions
        self._nats, self._counted, self._pending = n.nats, n.counted, []
        self.schedule.state = n.schedule
        parameters = dict(self.model.named_parameters())
        own_moments = {
            key: self.parallelism.shard(value, parameters[key.rpartition("/")[0]])
            for key, value in state.moments.items()
        }
        set_moments(self.model, self.optimizer, own_moments)
        if self.average is not None:
            self.average.restore(state.average)
        self._num_rows = 0 if state.carry is None else tree.rows(state.carry)
        self.carry = tree.to(local_carry(state.carry, self.ranks), self.device)


def broken(what: str, value: float, step: int, rate: float) -> TrainingError:
    """The error for a loss or gradient norm that is not finite."""
    return TrainingError(
        f"the {what} is {value} at step {step:,} with a learning rate of {rate:g}; the model "
        "keeps the best weights before it: lower learning_rate, or set clip=1 or warmup=500"
    )


def on_device(device: torch.device, batch: Batch) -> Batch:
    """A batch on the device of the model; lengths stay on the CPU."""
    return batch if device.type == "cpu" else batch.to(device)
