"""Cost estimates: the time and memory of a run, measured by one step on a copy of the model.

Knows a model, a source of batches and the memory of a device; knows no family. On a CPU the
memory of a step is what autograd saves for the backward pass, counted as it is saved; on a GPU
it is what the device reports.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seriatim.errors import TrainingError
from seriatim.train.optimizer import moments
from seriatim.train.options import TrainingOptions
from seriatim.train.trainer import Trainer

QUICK = 5.0  # seconds: a shorter first step is measured again, with all kernels set up


class NoMemoryError(TrainingError):
    """A step does not fit into memory."""


@dataclass(frozen=True)
class Estimate:
    """The approximate cost of a run.

    Attributes:
        parameters: the number of trained parameters.
        steps: the number of steps of the run.
        seconds: the time of its steps; evaluations are extra.
        weight_bytes: the memory of the weights, their gradients, their average if there is one,
            and the best weights.
        moment_bytes: the memory of the optimizer.
        step_bytes: the peak memory that a step saves for its backward pass.
    """

    parameters: int
    steps: int
    seconds: float
    weight_bytes: int
    moment_bytes: int
    step_bytes: int

    @property
    def bytes(self) -> int:
        """The memory of all three."""
        return self.weight_bytes + self.moment_bytes + self.step_bytes


def estimate(
    trial: Trainer, steps: int, clock: Callable[[], float] = time.perf_counter
) -> Estimate:
    """The cost of a run, from a measured step or two.

    Args:
        trial: a trainer of a copy of the model, which is changed.
        steps: the number of steps of the run.
        clock: returns seconds, from any origin.
    """
    own = trial.parallelism.local
    parameters = [own(p) for p in trial.parameters]
    height, seconds = _measured_step(trial, clock)
    if trial.ranks.longest(seconds) < QUICK:
        trial.step = 0  # the same batch: kernels are set up again for new sizes
        height, seconds = _measured_step(trial, clock)
    size = sum(p.numel() * p.element_size() for p in parameters)
    return Estimate(
        parameters=sum(p.numel() for p in trial.parameters),
        steps=steps,
        seconds=steps * seconds,
        weight_bytes=(3 if trial.average is None else 4) * size,
        moment_bytes=sum(own(t).nbytes for t in moments(trial.model, trial.optimizer).values()),
        step_bytes=height,
    )


def _measured_step(trial: Trainer, clock: Callable[[], float]) -> tuple[int, float]:
    """(peak memory of a step in bytes, its seconds)."""
    saved = _SavedTensors(trial)
    device = trial.device
    began = clock()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        trial.update()
        trial.flush()
        return torch.cuda.max_memory_allocated(device) - before, clock() - began
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        trial.update()
    trial.flush()
    return saved.peak, clock() - began


class _SavedTensors:
    """Counts the storages that autograd saves, each once, without the weights themselves.

    The first one that is unpacked marks the beginning of the backward pass, after which counting
    starts again: the parts of an accumulated batch do not add up.
    """

    def __init__(self, trial: Trainer) -> None:
        self._weights = {
            trial.parallelism.local(p).untyped_storage().data_ptr() for p in trial.parameters
        }
        self._storages: dict[int, int] = {}
        self._is_forward = True
        self.peak = 0

    def pack(self, tensor: Tensor) -> Tensor:
        if not self._is_forward:
            self._storages, self._is_forward = {}, True
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        if self._is_forward:
            self.peak, self._is_forward = max(self.peak, sum(self._storages.values())), False
        return tensor


# ---- out of memory ------------------------------------------------------------------------------


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory, on a GPU or (if it says so) on a CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "not enough memory" in text or "can't allocate memory" in text or "out of memory" in text
    )


def out_of_memory(options: TrainingOptions, step: int) -> NoMemoryError:
    """The error of a step that does not fit into memory."""
    rows = (
        f"{options.batch_size} rows"
        if options.token_budget is None
        else f"{options.token_budget:,} positions"
    )
    parts = "" if options.accumulate == 1 else f" in {options.accumulate} parts"
    return NoMemoryError(
        f"there is not enough memory for step {step:,} with batches of {rows} x {options.length}"
        f"{parts}: use --auto-batch, raise accumulate (the same gradients in smaller parts), set "
        "recompute, or lower batch_size, length or the sizes of the model"
    )


@contextmanager
def explain_out_of_memory(options: TrainingOptions, step: Callable[[], int]) -> Iterator[None]:
    """Context in which an out-of-memory error is replaced by one that says what to lower.

    Raises:
        NoMemoryError: if memory runs out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(options, step()) from None


def fit_into_memory(
    options: TrainingOptions, max_parts: int, trial: Callable[[TrainingOptions], Trainer]
) -> TrainingOptions:
    """The options with the fewest parts per batch, 1, 2, 4 .. times the given, that fit.

    The gradients are those of the whole batch, up to rounding.

    Args:
        options: the options to start from.
        max_parts: the maximum number of parts: the rows of a batch.
        trial: a function that makes a trainer of a copy of the model.

    Raises:
        NoMemoryError: if not even single rows fit.
    """
    while True:
        try:
            trainer = trial(options)
            trainer.update()
            trainer.flush()
            return options
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, which keeps the step's tensors alive.
        if options.accumulate >= max_parts:
            raise out_of_memory(options, 1)
        options = replace(options, accumulate=min(2 * options.accumulate, max_parts))
