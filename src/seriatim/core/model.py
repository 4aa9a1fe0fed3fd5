"""The contract: a sequence is explained one element at a time.

    p(x_1 .. x_T) = prod_t p(x_t | s_{t-1}),      s_t = fold(s_{t-1}, x_t)

A family answers one question, *what to keep of the past*, with three methods: `empty` (nothing
seen yet), `advance` (fold a chunk) and `emit` (what comes next). A family that is conditioned on
a source adds a fourth, `encode`. Everything else is final and written here once. This module
knows no family, no text and no optimizer.

Shapes: B rows, L elements of a chunk, V symbols, D features.
"""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import forking, tree
from seriatim.core.batch import Batch
from seriatim.core.distributions import Distribution
from seriatim.core.elements import Element, Symbols
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError

forking.use_one_thread_in_children()

Features: TypeAlias = Tree  # what `emit` reads, (B, ...) or (B, L, ...)
Carry: TypeAlias = Tree  # the state that a family folds; every tensor leaf has B in axis 0
Objective: TypeAlias = Callable[[Distribution, Tree, Features], Tensor]


@tree.register
@dataclass(frozen=True)
class State:
    """What a model remembers of B sequences. Immutable: old states stay usable.

    Attributes:
        features: (B, ...) the input of `emit` after the last valid element.
        carry: the state that the family folds.
    """

    features: Features
    carry: Carry


class RowSteps(Protocol):
    """Steps of a single row in numpy, bound to the present weights; see `row_steps`."""

    def after(self, carry: Carry, symbol: int) -> tuple[Features, Carry]:
        """The features (1, ...) and the carry after a symbol, as `advance` of it gives them."""

    def logits(self, features: Any) -> NDArray[Any]:
        """(1, V) the logits of the next symbol, as `emit` gives them."""


def log_likelihood(distribution: Distribution, targets: Tree, features: Features) -> Tensor:
    """The objective of maximum likelihood: ln p(target), (B, L), nats."""
    return distribution.log_prob(targets)


class TargetModel(nn.Module, ABC):
    """A model that scores the targets of a batch: the interface of training and evaluation."""

    @abstractmethod
    def forward(
        self,
        batch: Batch,
        carry: Carry | None = None,
        *,
        objective: Objective = log_likelihood,
        keep: bool = False,
    ) -> tuple[Tensor, Carry | None]:
        """(B, L) the objective at every target, 0 at padding; and the carry, if any."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


class SequenceModel(TargetModel):
    """A distribution over sequences of elements, folded from left to right.

    A family implements `empty`, `advance` and `emit`, and may declare its `reach`. The final
    methods follow from these; a class that overrides one is refused at its definition.

    Attributes:
        element: what the sequences consist of.
        num_series: the number of sequences of which it keeps parameters, see `of_series`.
    """

    num_series: int = 0

    def __init__(self, element: Element) -> None:
        """
        Args:
            element: what the sequences consist of: `Symbols(num_symbols, boundary)` or
                `Numbers(num_channels)`.
        """
        super().__init__()
        self.element = element

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _FINAL & cls.__dict__.keys():
            raise TypeError(
                f"{cls.__name__} overrides {name}, which is final: implement empty, advance and "
                "emit; everything else follows from them"
            )

    @property
    def num_symbols(self) -> int:
        """V, of a model of symbols.

        Raises:
            ConfigError: if it is a model of numbers.
        """
        return self._symbols().num_symbols

    @property
    def boundary(self) -> int:
        """The symbol that begins and ends a sequence, of a model of symbols.

        Raises:
            ConfigError: if it is a model of numbers.
        """
        return self._symbols().boundary

    def _symbols(self) -> Symbols:
        if isinstance(self.element, Symbols):
            return self.element
        raise ConfigError(
            f"{type(self).__name__} is a model of numbers, and a model of symbols is needed here"
        )

    # ---- what a family implements ---------------------------------------------------------------

    @abstractmethod
    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The carry before anything was seen, on the device and in the precision of the weights.

        Args:
            batch_size: B.
            memory: the memory of the source, for models that take one.
            capacity: the number of elements to reserve space for, in tensors of constant shape
                (for compilation and export); None: grow as needed.
        """

    @abstractmethod
    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        """Fold a chunk: in training (L = T), of a prompt (L = its length) and in a step (L = 1).

        Args:
            carry: the carry after the preceding elements; never modified.
            x: (B, L, ...) the chunk.
            lengths: (B,) on the CPU, the number of valid elements of each row, possibly 0; None: L.
            keep: whether the carry is needed. Without it a layer may choose a kernel that does
                not track where ragged rows end.

        Returns:
            Features (B, L, ...) after each element (arbitrary at padding), and the carry after
            each row's last valid element (None is allowed without `keep`).
        """

    @abstractmethod
    def emit(self, features: Features) -> Distribution:
        """The distribution of the next element, with batch shape (B,) or (B, L)."""

    def encode(self, source: Batch) -> Tree:
        """The memory of a source, for `empty(memory=...)`; every tensor has B in axis 0.

        Args:
            source: inputs (B, S, ...) and lengths; padding of one row must not affect another.

        Raises:
            ConfigError: if this model takes no source.
        """
        raise ConfigError(
            f"{type(self).__name__} takes no source, but one was given: leave it out, or "
            "build an encoder-decoder"
        )

    def first(self, batch_size: int) -> Tree:
        """(B, 1, ...) the element that is folded before the first one, such as the boundary."""
        return self.element.first(batch_size, self.device, self.dtype)

    def of_series(self, index: Tensor) -> Tree | None:
        """What is particular to sequences that were seen in training, for `empty(memory=...)`.

        A model of many series may keep parameters of each, such as its level. They are in the
        carry of a row as the memory of a source is, so that rows remain independent.

        Args:
            index: (B,) the numbers of the sequences in the training data; -1: another one.

        Returns:
            A tree with B rows; None: the model treats all sequences alike.
        """
        return None

    def row_steps(self) -> RowSteps | None:
        """Steps of a single row of symbols that are faster than `step` and `predict`, and equal.

        Ask before every step: they hold for the weights of this moment. None: there are none.
        """
        return None

    @property
    def reach(self) -> int | None:
        """The number of most recent inputs that can affect a prediction; None: unbounded."""
        return None

    @property
    def marginalizes(self) -> bool:
        """Whether a prediction after a gap is exactly the marginal over the missing value.

        A network that takes a gap as an input of its own does not.
        """
        return False

    @property
    def positions_at_once(self) -> int:
        """The number of positions to score at once, so that their rows of V fit in memory."""
        return max(1, min(16_000_000 // self.element.size, 32_768))

    # ---- what follows from it -------------------------------------------------------------------

    @final  # type: ignore[misc]  # nn.Module declares forward as an attribute
    def forward(
        self,
        batch: Batch,
        carry: Carry | None = None,
        *,
        objective: Objective = log_likelihood,
        keep: bool = False,
    ) -> tuple[Tensor, Carry | None]:
        """Score every target of a batch: the one entry point of training, DDP, FSDP and compile.

        The source of a batch is encoded here, so that gradients reach the encoder.

        Args:
            batch: the inputs and targets (B, L).
            carry: the carry after the elements before this chunk; None: start from nothing.
            objective: a function of (distribution, targets, features); by default the
                log-likelihood in nats.
            keep: whether the carry after the chunk is needed.

        Returns:
            (B, L) the objective times the target weights, 0 at padding; and the carry.
        """
        if carry is None:
            memory = None if batch.source is None else self.encode(batch.source)
            carry = self.empty(batch.shape[0], memory=memory)
        features, carry = self.advance(carry, batch.inputs, batch.lengths, keep=keep)
        distribution, targets = self.emit(features), batch.targets
        if batch.lengths is not None or batch.weights is not None:
            needed = batch.target_weights() != 0
            distribution, targets = distribution.masked(needed), batch.scored(needed)
        return batch.weigh(objective(distribution, targets, features)), carry

    @final
    def log_prob(self, batch: Batch) -> Tensor:
        """(B, L) ln p(target | everything before it) in nats, 0 at padding."""
        return self.forward(batch)[0]

    @final
    def start(
        self,
        batch_size: int,
        *,
        memory: Tree | None = None,
        capacity: int | None = None,
        first: Tree | None = None,
    ) -> State:
        """The state of B sequences before their first element.

        Args:
            batch_size: B.
            memory: the memory of the source, for models that take one.
            capacity: as of `empty`.
            first: (B, 1, ...) the input before the first element; None: that of `first`.
        """
        carry = self.empty(batch_size, memory=memory, capacity=capacity)
        first = self.first(batch_size) if first is None else first
        features, carry = self.advance(carry, first, None)
        return State(tree.at_last(features, None), carry)

    @final
    def update(self, state: State, x: Tree, lengths: Tensor | None = None) -> State:
        """The state after a chunk x (B, L, ...); rows of length 0 are unchanged."""
        if tree.leaves(x)[0].shape[1] == 0:
            return state
        features, carry = self.advance(state.carry, x, lengths)
        return State(tree.last_valid(features, lengths, state.features), carry)

    @final
    def step(self, state: State, x: Tree) -> State:
        """The state after one element per row, x (B, ...)."""
        x = x.unsqueeze(1) if isinstance(x, Tensor) else tree.map_leaves(lambda t: t[:, None], x)
        features, carry = self.advance(state.carry, x, None)
        return State(tree.at_last(features, None), carry)

    @final
    def predict(self, state: State) -> Distribution:
        """The distribution of the next element of each row, with batch shape (B,)."""
        return self.emit(state.features)

    @final
    def bind(self, source: Batch, on_advance: Callable[[], None] | None = None) -> "SequenceModel":
        """This model conditioned on a source: a model like any other, sharing the weights.

        No gradient reaches the encoder through it: training puts the source into its batches.

        Args:
            source: one row for all sequences, or one row per sequence.
            on_advance: callback before every chunk that is folded, so that a long search can be
                watched; what it raises ends the search.
        """
        with torch.no_grad():
            return BoundModel(self, self.encode(source), on_advance)

    # ---- states as bytes ------------------------------------------------------------------------

    @final
    def save_state(self, state: State) -> bytes:
        """A state as bytes, to be resumed later or elsewhere by a model with the same weights."""
        return tree.to_bytes(state, owner=self.fingerprint())

    @final
    def load_state(self, data: bytes) -> State:
        """The inverse of `save_state`, on this model's device.

        Raises:
            ModelError: if the bytes are damaged, or the state is from a model with other weights.
        """
        state: State = tree.to(tree.from_bytes(data, owner=self.fingerprint()), self.device)
        return state

    @final
    def fingerprint(self) -> str:
        """16 hexadecimal digits that depend on every weight, buffer and size of the model."""
        versions = tuple(map(_identity, self.state_dict().values()))
        if self.__dict__.get("_fingerprint", (None, ""))[0] != versions:
            digest = hashlib.blake2b(digest_size=8)
            for name, tensor in self.state_dict().items():
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(
                    tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
                )
            # Hashing 60 MB of weights takes longer than a step: cache it until a weight changes.
            object.__setattr__(self, "_fingerprint", (versions, digest.hexdigest()))
        fingerprint: str = self.__dict__["_fingerprint"][1]
        return fingerprint


# `typing.final` marks the methods that it decorates.
_FINAL = frozenset(n for n, m in vars(SequenceModel).items() if getattr(m, "__final__", False))


class BoundModel(SequenceModel):
    """A model conditioned on the memory of a source; see `SequenceModel.bind`."""

    def __init__(
        self,
        model: SequenceModel,
        memory: Tree,
        on_advance: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(model.element)
        self.model, self.memory, self._on_advance = model, memory, on_advance
        self.train(model.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BoundModel":
        """Apply to the memory whatever moves or casts the weights."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.memory = tree.map_leaves(fn, self.memory)
        return self

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The carry of the model, with the bound memory."""
        if memory is not None:
            raise ConfigError("this model is already bound to a source: bind the original model")
        rows, memory = tree.rows(self.memory), self.memory
        if rows not in (1, batch_size):
            raise ConfigError(
                f"{rows} sources do not fit {batch_size} sequences: give one, or one for each"
            )
        if rows != batch_size:
            memory = tree.repeat(memory, batch_size)
        return self.model.empty(batch_size, memory=memory, capacity=capacity)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        """Delegates to the model."""
        if self._on_advance is not None:
            self._on_advance()
        return self.model.advance(carry, x, lengths, keep=keep)

    def emit(self, features: Features) -> Distribution:
        """Delegates to the model."""
        return self.model.emit(features)

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The model under the name of the whole, so that its parts keep their names."""
        return {"": self.model}

    @property
    def reach(self) -> int | None:
        """Delegates to the model."""
        return self.model.reach

    @property
    def marginalizes(self) -> bool:
        """Delegates to the model."""
        return self.model.marginalizes

    @property
    def positions_at_once(self) -> int:
        """Delegates to the model."""
        return self.model.positions_at_once


def _identity(t: Tensor) -> tuple[int, int, torch.dtype]:
    """A value that changes whenever a tensor is replaced or modified in place."""
    # Tensors created in inference mode have no version, and are not trained in place either.
    return t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype
