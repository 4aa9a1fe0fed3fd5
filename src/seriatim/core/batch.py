"""Batches: inputs to fold and targets to score, ragged rows described by their lengths.

Batches are cut from `TokenSequences`: sequences of symbols stored end to end.

Shapes: B rows, L elements of a chunk.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.tree import Tree
from seriatim.core.values import Values


class TokenSequences(Protocol):
    """Sequences of symbols stored end to end, in memory or mapped from a file."""

    @property
    def tokens(self) -> NDArray[np.integer[Any]]:
        """The symbols of all sequences, without boundaries; in a stream, every symbol."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(N + 1,) sequence i is tokens[offsets[i] : offsets[i + 1]]."""

    @property
    def is_stream(self) -> bool:
        """Whether this is one endless sequence, in which the boundary is an ordinary symbol."""


@tree.register
@dataclass(frozen=True)
class Batch:
    """B sequences, or chunks of them, side by side.

    Attributes:
        inputs: (B, L, ...) the elements to fold, in order: for a sequence the boundary, then
            x_1 .. x_{L-1}; for a stream s[i : i+L].
        targets: (B, L, ...) the element to score after each input: for a sequence
            x_1 .. x_{L-1}, boundary; for a stream s[i+1 : i+L+1].
        lengths: (B,) int64 on the CPU: the number of valid elements of each row, which come
            first. None: every row is full.
        weights: (B, L) the weight of each target; None: every valid target has weight 1.
        source: the source sequences, for encoder-decoders.
    """

    inputs: Tree
    targets: Tree
    lengths: Tensor | None = None
    weights: Tensor | None = None
    source: "Batch | None" = None

    @property
    def shape(self) -> tuple[int, int]:
        """(B, L)."""
        first = tree.leaves(self.inputs)[0]
        return first.shape[0], first.shape[1]

    def target_weights(self) -> Tensor:
        """(B, L) the weight of every target: 0 at padding, `weights` or 1 elsewhere."""
        rows, length = self.shape
        device = tree.leaves(self.inputs)[0].device
        if self.lengths is None:
            valid = torch.ones(rows, length, dtype=torch.bool, device=device)
        else:
            valid = valid_mask(self.lengths, length).to(device)
        return valid.float() if self.weights is None else torch.where(valid, self.weights, 0.0)

    def weigh(self, values: Tensor) -> Tensor:
        """Values of the targets (B, L) times their weights, 0 at padding and at weight 0."""
        if self.lengths is None and self.weights is None:
            return values
        weights = self.target_weights().to(values.dtype)
        # where, not a product: values at padding, NaN included, must not reach the sum.
        return torch.where(weights != 0, values * weights, 0.0)

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device; the lengths stay on the CPU, where layers read them."""
        return replace(
            self,
            inputs=tree.to(self.inputs, device),
            targets=tree.to(self.targets, device),
            weights=tree.to(self.weights, device),
            source=None if self.source is None else self.source.to(device),
        )

    def scored(self, needed: Tensor) -> Tree:
        """The targets, of which numbers that are not needed (B, L) become gaps.

        A value at padding may be anything; behind a density, where would come too late for its
        gradient.
        """
        if not isinstance(self.targets, Values):
            return self.targets
        is_observed = self.targets.is_observed & needed[..., None]
        return Values(torch.where(is_observed, self.targets.numbers, 0.0), is_observed)

    @property
    def num_places(self) -> int:
        """B L, times D for numbers: the places for targets, padding and gaps included."""
        if isinstance(self.targets, Values):
            return self.targets.numbers.numel()
        return self.shape[0] * self.shape[1]

    def num_targets(self) -> float:
        """The sum of the target weights, by which a mean loss is divided.

        A target of numbers counts once for each of its observed values.
        """
        if isinstance(self.targets, Values):
            return float((self.target_weights() * self.targets.is_observed.sum(-1)).sum())
        if self.weights is None:
            rows, length = self.shape
            return float(rows * length if self.lengths is None else self.lengths.sum())
        return float(self.target_weights().sum())


def valid_mask(lengths: Tensor, length: int) -> Tensor:
    """(B, L) bool, on the device of `lengths`: whether an element is valid (valid ones first)."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]
