"""The contract: a sequence is explained one element at a time.

    p(x_1 .. x_T) = prod_t p(x_t | s_{t-1}),      s_t = fold(s_{t-1}, x_t)

A family answers one question, *what to keep of the past*, in three methods: `empty` (nothing
seen yet), `advance` (fold a chunk) and `emit` (what comes next). A family that answers to a
source gives a fourth, `encode`. Everything else is final and written here once. This module
knows no family, no text and no optimizer.

Shapes: B rows, L elements of a chunk, V symbols, D features.
"""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.distributions import Distribution
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError

Features: TypeAlias = Tree  # what `emit` reads, (B, ...) or (B, L, ...)
Carry: TypeAlias = Tree  # what a family folds; every tensor leaf has B in axis 0
Objective: TypeAlias = Callable[[Distribution, Tree, Features], Tensor]


@tree.register
@dataclass(frozen=True)
class State:
    """What a model remembers of B sequences. Data: old states stay usable for ever.

    Attributes:
        features: what `emit` reads after the last valid element, (B, ...).
        carry: what the family folds.
    """

    features: Features
    carry: Carry


def log_likelihood(distribution: Distribution, targets: Tree, features: Features) -> Tensor:
    """The objective of maximum likelihood: ln p(target), (B, L), nats."""
    return distribution.log_prob(targets)


class TargetModel(nn.Module, ABC):
    """Whatever scores the targets of a batch: all that training and its evaluations see."""

    @abstractmethod
    def forward(
        self,
        batch: Batch,
        carry: Carry | None = None,
        *,
        objective: Objective = log_likelihood,
        keep: bool = False,
    ) -> tuple[Tensor, Carry | None]:
        """(B, L) the objective of every target, 0 where nothing counts; and the carry, if any."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))


class SequenceModel(TargetModel):
    """A distribution over sequences of symbols, folded from left to right.

    A family implements `empty`, `advance` and `emit`, and may declare its `reach`. The methods
    marked final make the rest; overriding one is refused when the class is made.
    """

    def __init__(self, num_symbols: int, boundary: int) -> None:
        """
        Args:
            num_symbols: V, the size of the alphabet, boundary included.
            boundary: the symbol fed before the first element and, for sequences with ends,
                predicted after the last.
        """
        super().__init__()
        if not 0 <= boundary < num_symbols:
            raise ValueError(f"boundary {boundary} is none of the symbols 0 .. {num_symbols - 1}")
        self.num_symbols = num_symbols
        self.boundary = boundary

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _FINAL & cls.__dict__.keys():
            raise TypeError(
                f"{cls.__name__} overrides {name}, which is final: a family gives empty, advance "
                "and emit, and everything else follows from them"
            )

    # ---- what a family gives --------------------------------------------------------------------

    @abstractmethod
    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The carry before anything was seen, on the device and in the precision of the weights.

        Args:
            batch_size: B.
            memory: the memory of a bound source, for models that answer to one.
            capacity: room for this many elements, in tensors that never change their shape
                (for compilation and export); None: as much room as it takes.
        """

    @abstractmethod
    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        """Fold a chunk: training (L = T), a prompt (L = its length) and a step (L = 1) alike.

        Args:
            carry: what was kept of the elements before; never changed.
            x: (B, L, ...) the chunk.
            lengths: (B,) on the CPU, how many elements of each row are valid, 0 allowed; None: all.
            keep: whether the carry is wanted. Without it a layer may choose a kernel that does
                not know where ragged rows ended.

        Returns:
            Features (B, L, ...) after each element (anything at padding), and the carry after
            each row's last valid element (None is allowed when it is not wanted).
        """

    @abstractmethod
    def emit(self, features: Features) -> Distribution:
        """The distribution of the next element, of batch shape (B,) or (B, L)."""

    def encode(self, source: Batch) -> Tree:
        """The memory of a source, for `empty(memory=...)`: every tensor has B in axis 0.

        Args:
            source: inputs (B, S, ...) and lengths; padding of one row never changes another.

        Raises:
            ConfigError: this model answers to no source.
        """
        raise ConfigError(
            f"{type(self).__name__} answers to no source, but one was given: leave it out, or "
            "build an encoder-decoder"
        )

    def first(self, batch_size: int) -> Tree:
        """(B, 1, ...) what is folded before the first element: by default the boundary."""
        return torch.full((batch_size, 1), self.boundary, device=self.device)

    @property
    def reach(self) -> int | None:
        """How many of the last inputs can change a prediction; None: there is no bound."""
        return None

    @property
    def positions_at_once(self) -> int:
        """How many positions are best scored together, so that their rows of V stay in memory."""
        return max(1, min(16_000_000 // self.num_symbols, 32_768))

    # ---- what follows from it --------------------------------------------------------------------

    @final  # type: ignore[misc]  # nn.Module declares forward as an attribute
    def forward(
        self,
        batch: Batch,
        carry: Carry | None = None,
        *,
        objective: Objective = log_likelihood,
        keep: bool = False,
    ) -> tuple[Tensor, Carry | None]:
        """Score every target of a batch: the one way in for training, DDP, FSDP and compile.

        A batch with a source is encoded here, so that gradients reach the encoder.

        Args:
            batch: inputs and targets (B, L).
            carry: what was kept of the elements before this chunk; None: nothing was.
            objective: what is computed of (distribution, targets, features); by default the
                log-likelihood in nats.
            keep: whether the carry after the chunk is wanted.

        Returns:
            (B, L) the objective times the weights, 0 where nothing counts; and the carry.
        """
        if carry is None:
            memory = None if batch.source is None else self.encode(batch.source)
            carry = self.empty(batch.shape[0], memory=memory)
        features, carry = self.advance(carry, batch.inputs, batch.lengths, keep=keep)
        distribution = self.emit(features)
        if batch.lengths is not None or batch.weights is not None:
            distribution = distribution.only(batch.counted() != 0)
        return batch.weigh(objective(distribution, batch.targets, features)), carry

    @final
    def log_prob(self, batch: Batch) -> Tensor:
        """(B, L) ln p(target | everything before it) in nats, 0 where nothing counts."""
        return self.forward(batch)[0]

    @final
    def start(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> State:
        """The state of B sequences of which only the boundary was seen."""
        carry = self.empty(batch_size, memory=memory, capacity=capacity)
        features, carry = self.advance(carry, self.first(batch_size), None)
        return State(tree.at_last(features, None), carry)

    @final
    def update(self, state: State, x: Tree, lengths: Tensor | None = None) -> State:
        """The state after a chunk x (B, L, ...); rows of length 0 stay as they were."""
        if tree.leaves(x)[0].shape[1] == 0:
            return state
        features, carry = self.advance(state.carry, x, lengths)
        return State(tree.last_valid(features, lengths, state.features), carry)

    @final
    def step(self, state: State, x: Tree) -> State:
        """The state after one element per row, x (B, ...)."""
        return self.update(state, tree.map_leaves(lambda t: t.unsqueeze(1), x))

    @final
    def predict(self, state: State) -> Distribution:
        """The distribution of the next element of each row, of batch shape (B,)."""
        return self.emit(state.features)

    @final
    def bind(self, source: Batch) -> "SequenceModel":
        """This model with a source bound to it: a model like any other, sharing the weights.

        No gradient reaches the encoder through it: training puts the source into its batches.

        Args:
            source: one row, which every sequence then answers to, or a row for each.
        """
        with torch.no_grad():
            return BoundModel(self, self.encode(source))

    # ---- states as bytes -------------------------------------------------------------------------

    @final
    def save_state(self, state: State) -> bytes:
        """A state as bytes, to be continued later or elsewhere by this very model."""
        return tree.to_bytes(state, owner=self.fingerprint())

    @final
    def load_state(self, data: bytes) -> State:
        """The inverse of `save_state`, on this model's device.

        Raises:
            ModelError: altered bytes, or a state of another model or other weights.
        """
        state: State = tree.to(tree.from_bytes(data, owner=self.fingerprint()), self.device)
        return state

    @final
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any weight, buffer or size of the model."""
        versions = tuple(map(_identity, self.state_dict().values()))
        if self.__dict__.get("_fingerprint", (None, ""))[0] != versions:
            digest = hashlib.blake2b(digest_size=8)
            for name, tensor in self.state_dict().items():
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(
                    tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
                )
            # Hashing 60 MB of weights takes longer than a step: remember it while they stand.
            object.__setattr__(self, "_fingerprint", (versions, digest.hexdigest()))
        fingerprint: str = self.__dict__["_fingerprint"][1]
        return fingerprint


_FINAL = frozenset(
    {
        "forward",
        "log_prob",
        "start",
        "update",
        "step",
        "predict",
        "save_state",
        "load_state",
        "fingerprint",
        "bind",
    }
)


class BoundModel(SequenceModel):
    """A model and the memory of its source; see `SequenceModel.bind`."""

    def __init__(self, model: SequenceModel, memory: Tree) -> None:
        super().__init__(model.num_symbols, model.boundary)
        self.model, self.memory = model, memory
        self.train(model.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BoundModel":
        """What moves or rounds the weights does the same to the memory."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.memory = tree.map_leaves(fn, self.memory)
        return self

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The model's own, of the bound memory."""
        if memory is not None:
            raise ConfigError("this model is bound to a source already: bind the model it is of")
        rows, memory = tree.rows(self.memory), self.memory
        if rows not in (1, batch_size):
            raise ConfigError(
                f"{batch_size} sequences cannot answer to {rows} sources: give one source, or one "
                "for each"
            )
        if rows != batch_size:
            memory = tree.repeat(memory, batch_size)
        return self.model.empty(batch_size, memory=memory, capacity=capacity)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        """The model's own."""
        return self.model.advance(carry, x, lengths, keep=keep)

    def emit(self, features: Features) -> Distribution:
        """The model's own."""
        return self.model.emit(features)

    def tap_children(self) -> Mapping[str, nn.Module]:
        """What the model has, by its names."""
        return {"": self.model}

    @property
    def reach(self) -> int | None:
        """The model's own."""
        return self.model.reach

    @property
    def positions_at_once(self) -> int:
        """The model's own."""
        return self.model.positions_at_once


def _identity(t: Tensor) -> tuple[int, int, torch.dtype]:
    """What changes whenever a tensor is replaced, or written to in place."""
    # A tensor made in inference mode counts no versions, and is not trained in place either.
    return t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype
