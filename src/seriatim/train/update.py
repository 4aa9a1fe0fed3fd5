"""One update of the weights: forward, backward, clip, step.

Knows a model, a source of batches, an optimiser and a schedule; does not know how long a run
is, nor what validation says. Here belongs whatever changes with a step. What is minimised is

    - sum over the batch's targets of ln p(target | everything before it) / n      (nats)

with n the mean number of targets of a batch, so that every target of an epoch counts alike.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from seriatim import tree
from seriatim.batch import Batch
from seriatim.data.batches import BatchSource
from seriatim.errors import TrainingError
from seriatim.model import Carry, TargetModel
from seriatim.train.objectives import make_objective
from seriatim.train.optimiser import clip_gradient, make_optimiser, trainable
from seriatim.train.options import TrainingOptions
from seriatim.train.schedule import make_schedule

MAX_PENDING = 256  # losses left on the device before they are looked at


class Trainer:
    """The weights and all that an update changes with them.

    Losses and gradient norms stay on the device until `flush`, so that a step waits for nothing.
    """

    def __init__(
        self, model: TargetModel, source: BatchSource, options: TrainingOptions, steps: int
    ) -> None:
        self.model, self.source = model, source
        self.parameters = trainable(model)
        self.optimiser = make_optimiser(model, options)
        self.schedule = make_schedule(options, steps, source.steps_per_epoch)
        self.objective = make_objective(options)
        self.clip = options.clip
        self.device = model.device
        self.step = 0
        self.carry: Carry | None = None
        self.rate = self.schedule.rate(0)
        self.gradient_norm: float | None = None
        self.num_targets, self.num_places = 0.0, 0
        self._pending: list[tuple[Tensor, Tensor, float]] = []
        self._nats, self._counted = 0.0, 0.0

    def update(self) -> None:
        """One step: forward, backward, clip, update. The carry goes on without its graph."""
        batch = on_device(self.device, self.source.batch(self.step))
        carry = None if self.source.restarts(self.step) else self.carry
        goes_on = self.source.carries and not self.source.restarts(self.step + 1)
        values, carry = self.model(batch, carry, objective=self.objective, keep=goes_on)
        count = batch.num_targets()
        # Not by `count`: a batch of short lines would weigh as much as one of long lines, and the
        # fitted probability of an end would be too high.
        loss = -values.sum() / self.source.targets_per_step
        loss.backward()
        norm = clip_gradient(self.parameters, self.clip)
        self.rate = self.schedule.rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.carry = tree.detach(carry) if goes_on else None
        self.step += 1
        self.num_targets += count
        self.num_places += math.prod(batch.shape)
        self._pending.append((loss.detach(), norm, count))
        if len(self._pending) >= MAX_PENDING:
            self.flush()

    def flush(self) -> None:
        """Bring losses and norms over, and see that they are numbers.

        Raises:
            TrainingError: one is not; the message names the first such step.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        losses = torch.stack([loss for loss, _, _ in pending]).tolist()
        norms = torch.stack([norm for _, norm, _ in pending]).tolist()
        first = self.step - len(pending)
        for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), first):
            if not math.isfinite(loss):
                raise broken("loss", loss, step + 1, self.schedule.rate(step))
            if not math.isfinite(norm):
                raise broken("norm of the gradient", norm, step + 1, self.schedule.rate(step))
        self._nats += sum(losses) * self.source.targets_per_step
        self._counted += sum(count for _, _, count in pending)
        self.gradient_norm = norms[-1]

    @property
    def loss(self) -> float | None:
        """Mean nats per target since `forget`, as far as flushed."""
        return self._nats / self._counted if self._counted else None

    def forget(self) -> None:
        """Begin a new mean of the loss."""
        self._nats, self._counted = 0.0, 0.0


def broken(what: str, value: float, step: int, rate: float) -> TrainingError:
    """The error of a loss or gradient that is not a number."""
    return TrainingError(
        f"the {what} is {value} at step {step:,} with a learning rate of {rate:g}; the model "
        "keeps the best weights before it: lower learning_rate, set clip, or add warmup"
    )


def on_device(device: torch.device, batch: Batch) -> Batch:
    """A batch where the model is; lengths stay on the CPU."""
    if device.type == "cpu":
        return batch
    moved: Batch = tree.to(replace(batch, lengths=None), device)
    return replace(moved, lengths=batch.lengths)
