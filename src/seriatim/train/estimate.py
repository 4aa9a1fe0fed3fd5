"""What a run will cost, before it begins: one step on a copy, measured.

Knows a model, a source of batches and the memory of a device; knows no family. On a CPU the
memory of a step is what autograd keeps for the backward pass, counted as it is put away; on a
GPU it is what the device says.
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

QUICK = 5.0  # seconds: a first step shorter than this is measured again, all kernels set up


class NoMemoryError(TrainingError):
    """A step did not fit into memory: nothing is wrong with the run itself."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take, roughly.

    Attributes:
        parameters: numbers that are trained.
        steps: of the run.
        seconds: of its steps; evaluations come on top.
        weight_bytes: weights, their gradients, their average if one is kept, and the best
            weights beside them.
        moment_bytes: of the optimizer.
        step_bytes: what a step keeps for its backward pass, at its height.
    """

    parameters: int
    steps: int
    seconds: float
    weight_bytes: int
    moment_bytes: int
    step_bytes: int

    @property
    def bytes(self) -> int:
        """All three."""
        return self.weight_bytes + self.moment_bytes + self.step_bytes


def estimate(
    trial: Trainer, steps: int, clock: Callable[[], float] = time.perf_counter
) -> Estimate:
    """Measure a step or two.

    Args:
        trial: of a copy of the model, which is spoilt.
        steps: of the run.
    """
    own = trial.parallelism.local
    parameters = [own(p) for p in trial.parameters]
    height, seconds = _measured_step(trial, clock)
    if trial.ranks.longest(seconds) < QUICK:
        trial.step = 0  # the same batch: for sizes not met before kernels are set up anew
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
    """(bytes at the height of a step, its seconds)."""
    kept = _Kept(trial)
    device = trial.device
    began = clock()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        trial.update()
        trial.flush()
        return torch.cuda.max_memory_allocated(device) - before, clock() - began
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        trial.update()
    trial.flush()
    return kept.most, clock() - began


class _Kept:
    """Counts the storages that autograd puts away, each once; the weights themselves do not count.

    The first one taken out again is the beginning of the backward pass, after which the counting
    starts anew: the parts of a batch that is accumulated do not add up.
    """

    def __init__(self, trial: Trainer) -> None:
        self._weights = {
            trial.parallelism.local(p).untyped_storage().data_ptr() for p in trial.parameters
        }
        self._storages: dict[int, int] = {}
        self._is_forward = True
        self.most = 0

    def pack(self, tensor: Tensor) -> Tensor:
        if not self._is_forward:
            self._storages, self._is_forward = {}, True
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        if self._is_forward:
            self.most, self._is_forward = max(self.most, sum(self._storages.values())), False
        return tensor


# ---- too little memory --------------------------------------------------------------------------


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, on a GPU or (as far as it tells) on a CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "not enough memory" in said or "can't allocate memory" in said or "out of memory" in said
    )


def out_of_memory(options: TrainingOptions, step: int) -> NoMemoryError:
    """The error of a step that did not fit."""
    rows = (
        f"{options.batch_size} rows"
        if options.token_budget is None
        else f"{options.token_budget:,} places"
    )
    parts = "" if options.accumulate == 1 else f" in {options.accumulate} parts"
    return NoMemoryError(
        f"there is not enough memory for step {step:,} with batches of {rows} x {options.length}"
        f"{parts}: use --auto-batch, raise accumulate (the same gradients in smaller parts), set "
        "recompute, or lower batch_size, length or the sizes of the model"
    )


@contextmanager
def explain_out_of_memory(options: TrainingOptions, step: Callable[[], int]) -> Iterator[None]:
    """Inside, too little memory becomes a sentence that says what to lower.

    Raises:
        NoMemoryError: in its place.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(options, step()) from None


def fit_into_memory(
    options: TrainingOptions, most: int, trial: Callable[[TrainingOptions], Trainer]
) -> TrainingOptions:
    """The options with the fewest parts, 1, 2, 4 .. times those given, of which a step fits.

    The gradients, and so what is learnt, are those of the whole batch, up to rounding.

    Args:
        most: parts that make sense, the rows of a batch.
        trial: a trainer of a copy of the model.

    Raises:
        NoMemoryError: not even single rows fit.
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
        if options.accumulate >= most:
            raise out_of_memory(options, 1)
        options = replace(options, accumulate=min(2 * options.accumulate, most))
