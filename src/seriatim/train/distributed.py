"""Many processes, one run: who does what, what they tell each other, how a model is spread.

The batch of a step is a function of (seed, step), so every process knows it whole and takes the
rows r, r + P, r + 2P .. of it, r its rank among P. Each divides its part of the loss by the
*global* number of targets; the gradients are then added up over the processes,

    g = sum_r d/dw [ - sum over the targets of rank r of ln p(target) / n ],

which is the gradient of one process up to rounding. Two ways to hold the weights: every process
has all of them (`Replicated`: DDP, Li et al. 2020), or a share of each tensor, gathered when its
turn comes (`Sharded`: FSDP2, Zhao et al. 2023; ZeRO stage 3, Rajbhandari et al. 2020).

Knows torch.distributed and a model to call; knows no family, no text, no command line. Alone,
with one process, everything here does nothing, and torch.distributed is not imported.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError, TrainingError

SECONDS_BETWEEN_VOTES = 0.05
MAX_STEPS_BETWEEN_VOTES = 64


class LostProcessError(TrainingError):
    """Another process of the run has ended before its time."""


# ---- the processes ------------------------------------------------------------------------------


class Ranks:
    """The processes of a run, as one of them sees it; this class is a run of one process.

    Whatever is named a collective must be called by all of them, in the same order.

    Attributes:
        rank: 0 .. size - 1; rank 0 alone writes and reports.
        size: P, the number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed of this process's own, for dropout; that of rank 0 is the seed itself."""
        return (seed + self.rank * 0x9E3779B97F4A7C15) % 2**63

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the ranks' tensors, the same bits on all of them. A collective."""
        return values

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether some rank raises it. A collective."""
        return flags

    def longest(self, seconds: float) -> float:
        """The greatest of the ranks' numbers. A collective."""
        return seconds

    def agreed(self, number: int) -> int:
        """The number of rank 0. A collective."""
        return number

    def gather_rows(self, rows: Tree | None, num_rows: int) -> Tree | None:
        """The rows of all ranks in the order of the global batch, on every rank. A collective.

        Args:
            rows: those of this rank, r, r + P ..; or a filler where it has none.
            num_rows: of the global batch.
        """
        return rows

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Rank 0 goes through the block before the others: it fills caches, they find them."""
        yield


ALONE = Ranks()


class Group(Ranks):
    """The processes that torch.distributed has brought together."""

    def __init__(self, *, backend: str, timeout: timedelta = timedelta(minutes=30)) -> None:
        """
        Args:
            backend: "gloo", or "cpu:gloo,cuda:nccl": what is agreed on goes over the CPU always.
            timeout: after which a collective that some rank does not join fails.
        """
        import torch.distributed as dist

        dist.init_process_group(backend, timeout=timeout)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._dist = dist
        self._store = dist.distributed_c10d._get_default_store()
        self._num_waits = 0

    def sum(self, values: Tensor) -> Tensor:
        total = values.detach().clone()
        self._dist.all_reduce(total)
        return total

    def any(self, *flags: bool) -> tuple[bool, ...]:
        return tuple(bool(x) for x in self._greatest([float(flag) for flag in flags]))

    def longest(self, seconds: float) -> float:
        return self._greatest([seconds])[0]

    def agreed(self, number: int) -> int:
        told = torch.tensor([number])
        self._dist.broadcast(told, 0)
        return int(told)

    def _greatest(self, numbers: Sequence[float]) -> list[float]:
        told = torch.tensor(numbers, dtype=torch.float64)
        self._dist.all_reduce(told, self._dist.ReduceOp.MAX)
        found: list[float] = told.tolist()
        return found

    def gather_rows(self, rows: Tree | None, num_rows: int) -> Tree | None:
        if rows is None:
            return None
        most = -(-num_rows // self.size)
        # Rank r's k-th row is row k * P + r: stacked ranks first, they are read the other way.
        order = [(i % self.size) * most + i // self.size for i in range(num_rows)]

        def gather(leaf: Tensor) -> Tensor:
            padded = leaf.new_zeros(most, *leaf.shape[1:])
            padded[: leaf.shape[0]] = leaf
            parts = [torch.empty_like(padded) for _ in range(self.size)]
            self._dist.all_gather(parts, padded)
            return torch.cat(parts)[torch.tensor(order, device=leaf.device)]

        return tree.map_leaves(gather, tree.detach(rows))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        self._num_waits += 1
        key = f"seriatim/first/{self._num_waits}"
        if not self.is_main:
            while not self._store.check([key]):  # no time limit: reading may take hours
                if self.failure() is not None:
                    raise LostProcessError("rank 0 has ended before its time")
                time.sleep(0.05)
        yield
        if self.is_main:
            self._store.set(key, "done")

    # ---- failures ------------------------------------------------------------------------------

    def tell_failure(self, message: str, code: int) -> bool:
        """Leave word of a failure for the others; False where one did so before."""
        mine = f"{code} {self.rank} {message}"
        try:
            stored: bytes = self._store.compare_set("seriatim/failure", "", mine)
        except RuntimeError:  # whoever held the store is gone: nobody else will speak
            return True
        return stored.decode() == mine

    def failure(self) -> tuple[int, str] | None:
        """(exit code, message) of the first rank that failed; None: none has."""
        try:
            if not self._store.check(["seriatim/failure"]):
                return None
            code, _, message = self._store.get("seriatim/failure").decode().split(" ", 2)
        except RuntimeError:
            return None
        return int(code), message

    def leave(self) -> None:
        """Take leave of the others."""
        self._dist.destroy_process_group()


_current: Ranks = ALONE


def current() -> Ranks:
    """The processes of this run: those that `join` brought together, or this one alone."""
    return _current


def join(*, timeout: timedelta = timedelta(minutes=30)) -> Ranks:
    """Join the other processes, as torchrun's RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say.

    Gloo on CPUs; NCCL where there is a GPU for each process of the machine.

    Raises:
        ConfigError: the machine has GPUs, but fewer than processes.
    """
    global _current  # noqa: PLW0603
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    backend = "gloo"
    if torch.cuda.is_available():
        num_gpus = torch.cuda.device_count()
        if local_size > num_gpus:
            raise ConfigError(
                f"{local_size} processes on a machine of {num_gpus} GPUs: give at most one process "
                "a GPU, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU"
            )
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    _current = Group(backend=backend, timeout=timeout)
    return _current


def leave() -> None:
    """The end of a process that had joined; it should then end by `os._exit`.

    After gloo, torch 2.13 sometimes aborts while the interpreter shuts down, all work done.
    """
    global _current
    ranks, _current = _current, ALONE
    if isinstance(ranks, Group):
        ranks.leave()


class Vote:
    """Flags that some rank may raise at any time, decided by all at the same step.

    Alone, at every step. With others every 0.05 s or so, by the time that the slowest needed
    since the vote before, so that agreeing costs nothing.
    """

    def __init__(self, ranks: Ranks, clock: Callable[[], float] = time.perf_counter) -> None:
        self._ranks, self._clock = ranks, clock
        self._next, self._step, self._at = 0, 0, clock()

    def __call__(self, step: int, *flags: bool) -> tuple[bool, ...]:
        """Which flags are raised, as far as all know it at this step."""
        if self._ranks.size == 1:
            return flags
        if step < self._next:
            return (False,) * len(flags)
        found = self._ranks.any(*flags)
        now = self._clock()
        per_step = self._ranks.longest((now - self._at) / max(1, step - self._step))
        steps = int(SECONDS_BETWEEN_VOTES / max(per_step, 1e-9)) if step > self._step else 1
        self._next = step + min(max(1, steps), MAX_STEPS_BETWEEN_VOTES)
        self._step, self._at = step, now
        return found
