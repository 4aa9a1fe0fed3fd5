"""Data-parallel training: how processes share a batch and hold the model (DDP and FSDP2).

The batch of a step is a function of (seed, step), so every process knows it whole and takes the
rows r, r + P, r + 2P .. of it, r its rank among P. Each divides its part of the loss by the
*global* number of targets; the gradients are then summed over the processes,

    g = sum_r d/dw [ - sum over the targets of rank r of ln p(target) / n ],

which is the gradient of one process up to rounding. There are two ways to hold the weights: every
process has all of them (`Replicated`: DDP, Li et al. 2020), or some rows of each tensor, which
are gathered when needed (`Sharded`: FSDP2, Zhao et al. 2023; ZeRO stage 3, Rajbhandari et al.
2020).

Knows torch.distributed and a model to call; knows no family and no text.
"""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.model import Carry, Objective, TargetModel
from seriatim.data.batches.corpus import BatchSource
from seriatim.errors import DataError, TrainingError
from seriatim.layers.blocks import Unit
from seriatim.train.distributed import Ranks
from seriatim.train.options import TrainingOptions

# ---- rows ---------------------------------------------------------------------------------------


def local_rows(batch: Batch, ranks: Ranks) -> Batch:
    """The rows r, r + P .. of a batch; where there are none, its first row with weight 0.

    A rank without rows still takes part: the others wait for its gradient.
    """
    if ranks.size == 1:
        return batch
    num_rows = batch.shape[0]
    if ranks.rank >= num_rows:
        return filler(batch)
    own: Batch = tree.select(batch, torch.arange(ranks.rank, num_rows, ranks.size))
    return own


def filler(batch: Batch) -> Batch:
    """The first row of a batch, with weight 0 on all targets."""
    first: Batch = tree.select(batch, torch.zeros(1, dtype=torch.int64))
    weights = torch.zeros(first.shape, device=tree.leaves(first.inputs)[0].device)
    return replace(first, weights=weights)


def local_carry(carry: Carry, ranks: Ranks) -> Carry:
    """The rows of a carry that belong to this rank's rows of the batch."""
    if ranks.size == 1 or carry is None:
        return carry
    num_rows = tree.rows(carry)
    start = ranks.rank if ranks.rank < num_rows else 0
    return tree.select(carry, torch.arange(start, num_rows, ranks.size))


def split_batch(
    batch: Batch, carry: Carry | None, num_parts: int
) -> list[tuple[Batch, Carry | None]]:
    """A batch and its carry split by rows into parts of nearly equal size, in order.

    Parts beyond the number of rows hold a row with weight 0.
    """
    if num_parts == 1:
        return [(batch, carry)]
    parts = []
    for rows in torch.arange(batch.shape[0]).tensor_split(num_parts):
        part = filler(batch) if len(rows) == 0 else tree.select(batch, rows)
        rows = rows if len(rows) else torch.zeros(1, dtype=torch.int64)
        parts.append((part, None if carry is None else tree.select(carry, rows)))
    return parts


def check_enough(num_targets: int, ranks: Ranks) -> None:
    """Check that every process has something to train on.

    Raises:
        DataError: if there are fewer targets than processes.
    """
    if num_targets < ranks.size:
        raise DataError(
            f"the training text has {num_targets:,} symbols for {ranks.size:,} processes: give at "
            "least one for each process, or use fewer processes"
        )


# ---- models -------------------------------------------------------------------------------------


class Parallelism(ABC):
    """How the processes hold a model and sum its gradients."""

    is_sharded = False  # whether each process holds only some rows of the weights

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    @contextmanager
    def distribute(self, model: TargetModel) -> Iterator[TargetModel]:
        """Context with the model to train in place of `model`, which has its weights afterwards."""
        yield model

    def copy(self, model: TargetModel) -> TargetModel:
        """A copy of a distributed model, for measurements that change it. A collective."""
        return copy.deepcopy(model)

    @abstractmethod
    def wrap(self, model: TargetModel, source: BatchSource) -> nn.Module:
        """The module that is called in training in place of the model."""

    @abstractmethod
    def gradient_sync(self, called: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        """Context of forward and backward of a part of a batch; the last one sums the gradients."""

    def full(self, tensor: Tensor) -> Tensor:
        """The whole tensor, of which each process may hold some rows. A collective."""
        return tensor

    def local(self, tensor: Tensor) -> Tensor:
        """The rows of a tensor that this process holds."""
        return tensor

    def shard(self, tensor: Tensor, like: Tensor) -> Tensor:
        """The inverse of `full`: the rows that this process holds, sharded as `like` is."""
        return tensor


class Alone(Parallelism):
    """One process."""

    def wrap(self, model: TargetModel, source: BatchSource) -> nn.Module:
        return model

    def gradient_sync(self, called: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        return nullcontext()


class Replicated(Parallelism):
    """Every process holds all weights; gradients are averaged during the backward pass (DDP)."""

    def wrap(self, model: TargetModel, source: BatchSource) -> nn.Module:
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

    def gradient_sync(self, called: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        module: Any = called
        no_sync: AbstractContextManager[None] = nullcontext() if is_last else module.no_sync()
        return no_sync


class Sharded(Parallelism):
    """Every process holds some rows of every tensor, its gradient and its moments (FSDP2)."""

    is_sharded = True
    _gather: Callable[[], TargetModel]
    _release: Callable[[], None]

    @contextmanager
    def distribute(self, model: TargetModel) -> Iterator[TargetModel]:
        """Context with a sharded copy; meanwhile the model itself takes no memory."""
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
                    own[name].copy_(self.full(shard))
            return model

        self._gather, self._release = gather, release
        release()
        try:
            yield shards
        except TrainingError:  # raised by all ranks at the same step, unlike other errors
            gather()
            raise
        gather()

    def copy(self, model: TargetModel) -> TargetModel:
        plain = copy.deepcopy(self._gather())  # FSDP2 refuses to copy its modules
        self._release()
        return self._cut(plain)

    def _cut(self, model: TargetModel) -> TargetModel:
        """The model itself, of which this process keeps some rows."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(model.device.type, (self.ranks.size,))
        for module in model.modules():
            if isinstance(module, Unit):
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model

    def wrap(self, model: TargetModel, source: BatchSource) -> nn.Module:
        return model

    @contextmanager
    def gradient_sync(self, called: Any, is_last: bool) -> Iterator[None]:
        called.set_requires_gradient_sync(is_last)
        with warnings.catch_warnings():
            # The values of a forward may be a view; nothing here writes to them in place.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
            yield

    def full(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def local(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        local: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        return local

    def shard(self, tensor: Tensor, like: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
            return tensor
        if tensor.shape != like.shape:
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


class _Detached(nn.Module):
    """A model that detaches its carry: DDP would wait for gradients through it."""

    def __init__(self, model: TargetModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, carry: Carry | None, *, objective: Objective, keep: bool
    ) -> tuple[Tensor, Carry | None]:
        values, carry = self.model(batch, carry, objective=objective, keep=keep)
        return values, None if carry is None else tree.detach(carry)


def _has_idle_parameters(model: TargetModel, source: BatchSource) -> bool:
    """Whether some parameter gets no gradient in a carried step, such as a learned start."""
    if not source.carries:
        return False
    batch = filler(source.batch(0)).to(model.device)
    cuda = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        _, carry = model(batch, keep=True)
        values, _ = model(batch, tree.detach(carry), keep=True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(values.sum(), parameters, allow_unused=True)
    return any(gradient is None for gradient in gradients)


PARALLELISMS: Mapping[str, type[Parallelism]] = {"ddp": Replicated, "fsdp": Sharded}


def make_parallelism(options: TrainingOptions, ranks: Ranks) -> Parallelism:
    """The parallelism that the options name; `Alone` with one process."""
    return Alone(ranks) if ranks.size == 1 else PARALLELISMS[options.distributed](ranks)
