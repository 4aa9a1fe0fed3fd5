"""What one element of a sequence is: a symbol, or the numbers of a moment.

Code that is written once for all models asks the element of a model, never its family.

Shapes: B rows, D channels, K known inputs, V symbols.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError

Support: TypeAlias = Literal["real", "positive", "count"]


class Element(ABC):
    """What a model is a distribution of, one after another."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The numbers that describe the distribution of one element, about: V, or D."""

    @abstractmethod
    def first(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> Tree:
        """(B, 1, ...) the input before the first element, if nothing else is known."""

    @abstractmethod
    def sample_input(
        self, shape: tuple[int, int], device: torch.device, dtype: torch.dtype
    ) -> Tree:
        """(B, L, ...) inputs that are possible, to try a model with."""


@dataclass(frozen=True)
class Symbols(Element):
    """One of V symbols.

    Attributes:
        num_symbols: V, boundary included.
        boundary: the symbol that is fed before the first element and, in sequences with an end,
            predicted after the last.
    """

    num_symbols: int
    boundary: int

    def __post_init__(self) -> None:
        if not 0 <= self.boundary < self.num_symbols:
            raise ValueError(
                f"boundary {self.boundary} is not a symbol in 0 .. {self.num_symbols - 1}"
            )

    @property
    def size(self) -> int:
        """V."""
        return self.num_symbols

    def first(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> Tree:
        """(B, 1) the boundary."""
        return torch.full((batch_size, 1), self.boundary, device=device)

    def sample_input(
        self, shape: tuple[int, int], device: torch.device, dtype: torch.dtype
    ) -> Tree:
        """(B, L) the boundary everywhere."""
        return torch.full(shape, self.boundary, device=device)


@dataclass(frozen=True)
class Numbers(Element):
    """D numbers of one moment, each observed or missing.

    A series has no end: no boundary is predicted. The input before its first element holds no
    observed value.

    Attributes:
        num_channels: D.
        num_known: K, the inputs that are known ahead, such as the hour or a price; the input of a
            moment holds those of the next one, whose values are to be predicted.
        support: the values that can occur: any real number, positive ones, or counts 0, 1, 2 ...
    """

    num_channels: int = 1
    num_known: int = 0
    support: Support = "real"

    @property
    def size(self) -> int:
        """D."""
        return self.num_channels

    def first(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> NumberInput:
        """(B, 1, ...) no value is observed yet.

        Raises:
            ConfigError: if there are known inputs, which only the data can give.
        """
        if self.num_known:
            raise ConfigError(
                f"the model takes {self.num_known} inputs that are known ahead: start it with "
                "first=NumberInput(...), which holds those of the first moment"
            )
        shape = (batch_size, 1, self.num_channels)
        return NumberInput(Values.missing(shape, device, dtype), None)

    def sample_input(
        self, shape: tuple[int, int], device: torch.device, dtype: torch.dtype
    ) -> NumberInput:
        """(B, L, ...) ones, observed, and known inputs of 0."""
        numbers = torch.ones(*shape, self.num_channels, device=device, dtype=dtype)
        known = numbers.new_zeros(*shape, self.num_known) if self.num_known else None
        return NumberInput(Values(numbers, torch.ones_like(numbers, dtype=torch.bool)), known)
