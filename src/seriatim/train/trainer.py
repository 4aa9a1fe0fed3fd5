"""One update of the weights: forward, backward, clip, step.

Knows a model, a source of batches, an optimizer and a schedule; does not know how long a run
is, nor what validation says. Here belongs whatever changes with a step. What is minimized is

    - sum over the batch's targets of ln p(target | everything before it) / n      (nats)

with n the mean number of targets of a batch, so that every target of an epoch counts alike.
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

MAX_PENDING = 256  # losses left on the device before they are looked at


@dataclass(frozen=True)
class TrainerNumbers:
    """The numbers that updates change.

    Attributes:
        step: the number of updates done.
        schedule: the state of the learning rate schedule; None: it has none.
        num_targets: the number of targets trained on.
        num_positions: the number of positions of all batches, padding included.
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
    """All that updates have changed, except the weights and torch's generators.

    Attributes:
        numbers: the step, the schedule, the sums of the loss.
        moments: what the optimizer remembers, as "parameter name/what it is".
        carry: the state of the stream's rows, if they go on.
        average: of the weights, by parameter name, if one is kept.
    """

    numbers: TrainerNumbers
    moments: dict[str, Tensor]
    carry: Carry | None
    average: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """The weights and all that an update changes with them.

    Losses and gradient norms stay on the device until `flush`, so that a step waits for nothing.
    Until `release` some weights may lie in memory as training reads them best.
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
            model: as the spread of the options holds it.
            ranks: the processes that share each batch; None: this one alone.
        """
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
        # Whoever laid them so: a model may have such weights of its own.
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
        self.norms: list[float] = []  # of the steps flushed since somebody took them
        self.num_targets, self.num_positions = 0.0, 0
        self._num_rows = 0  # of the last batch
        self._pending: list[tuple[Tensor, Tensor, float]] = []
        self._nats, self._counted = 0.0, 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user: what was asked for and could not be done."""
        found = [] if self.compiled is None or self.compiled.note is None else [self.compiled.note]
        if self.recomputes_nothing:
            found.append(
                "recompute: this model has no blocks to compute again, so it changes nothing"
            )
        return tuple(found)

    def update(self) -> None:
        """One step: forward, backward, clip, update. The carry goes on without its graph."""
        batch = self.source.batch(self.step)
        carry = None if self.source.restarts(self.step) else self.carry
        goes_on = self.source.carries and not self.source.restarts(self.step + 1)
        count = batch.num_targets()
        loss, carry = self._gradient(batch, carry, goes_on)
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
        self.num_positions += math.prod(batch.shape)
        self._num_rows = batch.shape[0]
        self._pending.append((loss, norm, count))
        if len(self._pending) >= MAX_PENDING:
            self.flush()

    def release(self) -> None:
        """The end: the model's weights lie again as they did before. No update may follow."""
        to_row_major(self._laid)

    def _gradient(
        self, batch: Batch, carry: Carry | None, goes_on: bool
    ) -> tuple[Tensor, Carry | None]:
        """This rank's part of the loss, (), and its rows' carry, without their graphs."""
        rows = -(-batch.shape[0] // self.ranks.size)
        own = local_rows(batch, self.ranks)
        cut = split_batch(own, carry, min(self.num_parts, rows))
        shares: list[Tensor] = []
        carries: list[Carry] = []
        for i, (part, before) in enumerate(cut):
            with self.parallelism.gradient_sync(self.called, i == len(cut) - 1):
                with autocast(self.products, self.device):
                    values, after = (self.compiled or self.called)(
                        on_device(self.device, part), before, objective=self.objective, keep=goes_on
                    )
                # Not by the targets of the batch: one of short lines would weigh as much as one
                # of long lines, and the fitted probability of an end would be too high.
                share = -values.sum() / self.source.targets_per_step
                # The spread takes the mean over the ranks, and the loss is the sum.
                (share * self.ranks.size).backward()
            shares.append(share.detach())
            if goes_on and i < own.shape[0]:
                after = tree.detach(after)
                # Autocast may have left parts of it narrow, and it goes on for ever.
                is_narrow = self.products == "bf16"
                carries.append(tree.to(after, self.parameters[0].dtype) if is_narrow else after)
        loss = shares[0] if len(shares) == 1 else torch.stack(shares).sum()
        if not goes_on:
            return loss, None
        return loss, carries[0] if len(carries) == 1 else tree.cat(carries)

    def judged(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that count: the average, where one is kept."""
        if self.average is None or self.step == 0:
            return nullcontext()
        return self.average.in_place()

    def flush(self) -> None:
        """Bring losses and norms over, and see that they are numbers. A collective of the ranks.

        Raises:
            TrainingError: one is not; the message names the first such step.
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
        for loss in losses:  # one by one: the same bits however often this is called
            self._nats += loss * self.source.targets_per_step
        self._counted += sum(count for _, _, count in pending)
        self.gradient_norm = norms[-1]
        self.norms += norms

    @property
    def loss(self) -> float | None:
        """Mean nats per target since `forget`, as far as flushed."""
        return self._nats / self._counted if self._counted else None

    def forget(self) -> None:
        """Begin a new mean of the loss."""
        self._nats, self._counted = 0.0, 0.0

    def state(self) -> TrainerState:
        """What `restore` needs to go on to the bit; its tensors are those in use, not copies.

        A collective of the ranks: it is the state of all of them, whatever their number; where
        they hold shares of the moments, these are left as they are.
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
        """Stand where `state` was taken."""
        n = state.numbers
        self.step, self.rate, self.gradient_norm = n.step, n.rate, n.gradient_norm
        self.num_targets, self.num_positions = n.num_targets, n.num_positions
        self._nats, self._counted, self._pending = n.nats, n.counted, []
        self.schedule.state = n.schedule
        parameters = dict(self.model.named_parameters())
        shares = {
            place: self.parallelism.shard(value, parameters[place.rpartition("/")[0]])
            for place, value in state.moments.items()
        }
        set_moments(self.model, self.optimizer, shares)
        if self.average is not None:
            self.average.restore(state.average)
        self._num_rows = 0 if state.carry is None else tree.rows(state.carry)
        self.carry = tree.to(local_carry(state.carry, self.ranks), self.device)


def broken(what: str, value: float, step: int, rate: float) -> TrainingError:
    """The error of a loss or gradient that is not a number."""
    return TrainingError(
        f"the {what} is {value} at step {step:,} with a learning rate of {rate:g}; the model "
        "keeps the best weights before it: lower learning_rate, set clip, or add warmup"
    )


def on_device(device: torch.device, batch: Batch) -> Batch:
    """A batch where the model is; lengths stay on the CPU."""
    return batch if device.type == "cpu" else batch.to(device)
