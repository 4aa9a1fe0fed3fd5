"""The processes of a distributed run, and what they communicate.

Knows torch.distributed; knows no model, no text, no command line. With one process everything
here does nothing, and torch.distributed is not imported. `parallel` says how the processes share
a batch and hold the model.
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
    """Another process of the run has ended early."""


# ---- the processes ------------------------------------------------------------------------------


class Ranks:
    """The processes of a run, as one of them sees them; this class is a run of one process.

    A method called a collective must be called by all of them, in the same order.

    Attributes:
        rank: the number of this process, 0 .. size - 1; rank 0 alone writes and reports.
        size: the number P of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """The seed of this process, for dropout; that of rank 0 is the seed itself."""
        return (seed + self.rank * 0x9E3779B97F4A7C15) % 2**63

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the ranks' tensors, the same bits on all of them. A collective."""
        return values

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether some rank raises it. A collective."""
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
            rows: the rows of this rank, r, r + P ..; or a filler where it has none.
            num_rows: the number of rows of the global batch.
        """
        return rows

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Context that rank 0 runs through before the others, which then find its caches filled."""
        yield


ALONE = Ranks()


class Group(Ranks):
    """The processes connected by torch.distributed."""

    def __init__(self, *, backend: str, timeout: timedelta = timedelta(minutes=30)) -> None:
        """
        Args:
            backend: "gloo", or "cpu:gloo,cuda:nccl"; decisions always go over the CPU.
            timeout: the time after which a collective fails that some rank does not join.
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
        shared = torch.tensor([number])
        self._dist.broadcast(shared, 0)
        return int(shared)

    def _greatest(self, numbers: Sequence[float]) -> list[float]:
        greatest = torch.tensor(numbers, dtype=torch.float64)
        self._dist.all_reduce(greatest, self._dist.ReduceOp.MAX)
        return list(greatest.tolist())

    def gather_rows(self, rows: Tree | None, num_rows: int) -> Tree | None:
        if rows is None:
            return None
        most = -(-num_rows // self.size)
        # Rank r's k-th row is row k * P + r, and the gathered rows are stacked rank by rank.
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
                    raise LostProcessError("rank 0 has ended early")
                time.sleep(0.05)
        yield
        if self.is_main:
            self._store.set(key, "done")

    # ---- failures ------------------------------------------------------------------------------

    def report_failure(self, message: str, code: int) -> bool:
        """Tell the others of a failure; False if another one was first."""
        mine = f"{code} {self.rank} {message}"
        try:
            stored: bytes = self._store.compare_set("seriatim/failure", "", mine)
        except RuntimeError:  # the process of the store has ended: nobody else can report
            return True
        return stored.decode() == mine

    def failure(self) -> tuple[int, str] | None:
        """(exit code, message) of the first rank that failed; None: none has failed."""
        try:
            if not self._store.check(["seriatim/failure"]):
                return None
            code, _, message = self._store.get("seriatim/failure").decode().split(" ", 2)
        except RuntimeError:
            return None
        return int(code), message

    def leave(self) -> None:
        """Disconnect from the others."""
        self._dist.destroy_process_group()


_current: Ranks = ALONE


def current() -> Ranks:
    """The processes of this run: those connected by `join`, or this one alone."""
    return _current


def join(*, timeout: timedelta = timedelta(minutes=30)) -> Ranks:
    """Connect to the other processes by torchrun's RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    Gloo on CPUs; NCCL where there is a GPU for each process of the machine.

    Args:
        timeout: the time after which a collective fails that some process does not join.

    Raises:
        ConfigError: if the machine has GPUs, but fewer than processes.
    """
    global _current  # noqa: PLW0603
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    backend = "gloo"
    if torch.cuda.is_available():
        num_gpus = torch.cuda.device_count()
        if local_size > num_gpus:
            raise ConfigError(
                f"{local_size} processes on a machine with {num_gpus} GPUs: start at most one "
                "process per GPU, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU"
            )
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    _current = Group(backend=backend, timeout=timeout)
    return _current


def leave() -> None:
    """Disconnect a process; it should then end by `os._exit`.

    After gloo, torch 2.13 sometimes aborts while the interpreter shuts down, all work done.
    """
    global _current
    ranks, _current = _current, ALONE
    if isinstance(ranks, Group):
        ranks.leave()


class Vote:
    """Flags that any rank may raise at any time, decided by all at the same step.

    One process decides at every step; several about every 0.05 s, by the time that the slowest
    needed since the previous vote, so that agreeing costs nothing.
    """

    def __init__(self, ranks: Ranks, clock: Callable[[], float] = time.perf_counter) -> None:
        self._ranks, self._clock = ranks, clock
        self._next, self._step, self._at = 0, 0, clock()

    def __call__(self, step: int, *flags: bool) -> tuple[bool, ...]:
        """The flags that are raised, as agreed by all at this step."""
        if self._ranks.size == 1:
            return flags
        if step < self._next:
            return (False,) * len(flags)
        raised = self._ranks.any(*flags)
        now = self._clock()
        per_step = self._ranks.longest((now - self._at) / max(1, step - self._step))
        steps = int(SECONDS_BETWEEN_VOTES / max(per_step, 1e-9)) if step > self._step else 1
        self._next = step + min(max(1, steps), MAX_STEPS_BETWEEN_VOTES)
        self._step, self._at = step, now
        return raised
