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

import copy
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.model import Carry, Objective, TargetModel
from seriatim.core.tree import Tree
from seriatim.data.batches.corpus import BatchSource
from seriatim.errors import ConfigError, DataError, TrainingError
from seriatim.layers.blocks import Unit
from seriatim.train.options import TrainingOptions

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


# ---- rows ---------------------------------------------------------------------------------------


def own_rows(batch: Batch, ranks: Ranks) -> Batch:
    """The rows r, r + P .. of a batch; where there are none, its first row without weight.

    A rank without rows takes part all the same: the others wait for its share of the gradient.
    """
    if ranks.size == 1:
        return batch
    num_rows = batch.shape[0]
    if ranks.rank >= num_rows:
        return filler(batch)
    own: Batch = tree.select(batch, torch.arange(ranks.rank, num_rows, ranks.size))
    return own


def filler(batch: Batch) -> Batch:
    """The first row of a batch, without any target that counts."""
    first: Batch = tree.select(batch, torch.zeros(1, dtype=torch.int64))
    weights = torch.zeros(first.shape, device=tree.leaves(first.inputs)[0].device)
    return replace(first, weights=weights)


def own_carry(carry: Carry, ranks: Ranks) -> Carry:
    """The rows of a carry that belong to this rank's rows of the batch."""
    if ranks.size == 1 or carry is None:
        return carry
    num_rows = tree.rows(carry)
    start = ranks.rank if ranks.rank < num_rows else 0
    return tree.select(carry, torch.arange(start, num_rows, ranks.size))


def parts(batch: Batch, carry: Carry | None, num_parts: int) -> list[tuple[Batch, Carry | None]]:
    """A batch and its carry cut by rows into parts of nearly equal size, in order.

    Parts beyond the number of rows hold a row without weight.
    """
    if num_parts == 1:
        return [(batch, carry)]
    found = []
    for rows in torch.arange(batch.shape[0]).tensor_split(num_parts):
        part = filler(batch) if len(rows) == 0 else tree.select(batch, rows)
        rows = rows if len(rows) else torch.zeros(1, dtype=torch.int64)
        found.append((part, None if carry is None else tree.select(carry, rows)))
    return found


def check_enough(num_targets: int, ranks: Ranks) -> None:
    """
    Raises:
        DataError: there are fewer targets than processes.
    """
    if num_targets < ranks.size:
        raise DataError(
            f"the training text has {num_targets:,} symbols to learn from, and {ranks.size:,} "
            "processes share it: give at least one for each, or fewer processes"
        )


# ---- how a model is spread ----------------------------------------------------------------------


class Spread(ABC):
    """How the processes hold a model and add up its gradients."""

    is_sharded = False  # whether each process holds only some rows of the weights

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    @contextmanager
    def held(self, model: TargetModel) -> Iterator[TargetModel]:
        """The model to be trained in place of `model`, which has its weights afterwards."""
        yield model

    def copied(self, model: TargetModel) -> TargetModel:
        """A copy of what `held` gave, held alike, to be spoilt by measurements. A collective."""
        return copy.deepcopy(model)

    @abstractmethod
    def ready(self, model: TargetModel, source: BatchSource) -> nn.Module:
        """What is called in training in place of the model."""

    @abstractmethod
    def summing(self, called: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a part of a batch: gradients are added up in the last."""

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor of which each process may hold a share. A collective."""
        return tensor

    def own(self, tensor: Tensor) -> Tensor:
        """What this process holds of a tensor of which each may hold a share."""
        return tensor

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:
        """The inverse of `whole`: what this process holds of it, as it holds `like`."""
        return tensor


class Alone(Spread):
    """One process."""

    def ready(self, model: TargetModel, source: BatchSource) -> nn.Module:
        return model

    def summing(self, called: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        return nullcontext()


class Replicated(Spread):
    """Every process holds all weights; gradients are averaged while backward goes on (DDP)."""

    def ready(self, model: TargetModel, source: BatchSource) -> nn.Module:
        from torch.nn.parallel import DistributedDataParallel

        with warnings.catch_warnings():
            # torch 2.13 has a new name for broadcast_buffers, which torch 2.10 does not know.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                _Detached(model),
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                find_unused_parameters=_has_idle_parameters(model, source),
            )

    def summing(self, called: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        module: Any = called
        no_sync: AbstractContextManager[None] = nullcontext() if is_last else module.no_sync()
        return no_sync


class Sharded(Spread):
    """Every process holds a share of every tensor, of its gradient and of its moments (FSDP2)."""

    is_sharded = True
    _gather: Callable[[], TargetModel]
    _release: Callable[[], None]

    @contextmanager
    def held(self, model: TargetModel) -> Iterator[TargetModel]:
        """Shards; meanwhile the model itself keeps no memory."""
        shards = self._cut(copy.deepcopy(model))
        tensors = {t.untyped_storage().data_ptr(): t for t in model.state_dict().values()}
        sizes = [(t, t.untyped_storage().nbytes()) for t in tensors.values()]

        def release() -> None:
            for tensor, _ in sizes:
                tensor.untyped_storage().resize_(0)

        def gather() -> TargetModel:
            for tensor, size in sizes:
                tensor.untyped_storage().resize_(size)
            own = model.state_dict()
            with torch.no_grad():
                for name, shard in shards.state_dict().items():
                    own[name].copy_(self.whole(shard))
            return model

        self._gather, self._release = gather, release
        release()
        try:
            yield shards
        except TrainingError:  # all ranks meet it at the same step; of others nothing is known
            gather()
            raise
        gather()

    def copied(self, model: TargetModel) -> TargetModel:
        plain = copy.deepcopy(self._gather())  # FSDP2 refuses to copy its own
        self._release()
        return self._cut(plain)

    def _cut(self, model: TargetModel) -> TargetModel:
        """The model itself, of which this process keeps its share."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(model.device.type, (self.ranks.size,))
        for module in model.modules():
            if isinstance(module, Unit):
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model

    def ready(self, model: TargetModel, source: BatchSource) -> nn.Module:
        return model

    @contextmanager
    def summing(self, called: Any, is_last: bool) -> Iterator[None]:
        called.set_requires_gradient_sync(is_last)
        with warnings.catch_warnings():
            # The values of a forward may be a view; nothing here writes to them in place.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
            yield

    def whole(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def own(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        local: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        return local

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
            return tensor
        if tensor.shape != like.shape:
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


class _Detached(nn.Module):
    """A model whose carry leaves without its graph: DDP would wait for gradients through it."""

    def __init__(self, model: TargetModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, carry: Carry | None, *, objective: Objective, keep: bool
    ) -> tuple[Tensor, Carry | None]:
        values, carry = self.model(batch, carry, objective=objective, keep=keep)
        return values, None if carry is None else tree.detach(carry)


def _has_idle_parameters(model: TargetModel, source: BatchSource) -> bool:
    """Whether some parameter gets no gradient in a step that goes on, such as a learnt start."""
    if not source.carries:
        return False
    batch = filler(source.batch(0)).to(model.device)
    cuda = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        _, carry = model(batch, keep=True)
        values, _ = model(batch, tree.detach(carry), keep=True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(values.sum(), parameters, allow_unused=True)
    return any(gradient is None for gradient in found)


SPREADS: Mapping[str, type[Spread]] = {"ddp": Replicated, "fsdp": Sharded}


def make_spread(options: TrainingOptions, ranks: Ranks) -> Spread:
    """The spread that the options name; alone, none."""
    return Alone(ranks) if ranks.size == 1 else SPREADS[options.distributed](ranks)
