"""The memory of a source: the keys and values that a decoder attends to, computed once.

Target sequences of one source share its memory: repeating rows, or picking rows whose sources stay
in blocks, as beam search does at every step, copies nothing. The queries of one block then attend
to their source together. Knows trees and attention; no model.

Shapes: M sources, G target sequences of each, B = M G rows, H heads, L queries, S positions, d_k
and d_v sizes of a key and a value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.core import tree
from seriatim.core.tree import Node, Tree, register
from seriatim.layers.attention import AttentionMask, attend, join_groups, split_groups

Layers: TypeAlias = tuple[Tensor, ...]  # for every layer (M, H, S, d_k) or (M, H, S, d_v)


@register
@dataclass(frozen=True, eq=False)
class Memory(Node):
    """B rows of memory.

    Attributes:
        keys, values: the keys and values of every layer; empty for a decoder without attention.
        bias: (M, 1, 1, S) added to scores, -inf at padding; None: there is no padding.
        initial: the state that a decoder starts from, every leaf (B, ...).
        group: G; rows m G .. (m + 1) G - 1 belong to source m.
    """

    keys: Layers
    values: Layers
    bias: Tensor | None
    initial: Tree = ()
    group: int = 1

    # ---- as a node of trees ----

    def parts(self) -> tuple[tuple[Tree, ...], tuple[Any, ...]]:
        """The memory of every row, copied from its source."""
        alone = (self.keys, self.values, self.bias)
        if self.group > 1:
            alone = tree.map_leaves(lambda t: t.repeat_interleave(self.group, 0), alone)
        return (*alone, self.initial), (self.group,)

    @classmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """Rows that share a source in the blocks they had, if these are still equal.

        A kernel rounds differently for blocks of another size: a saved state is continued exactly
        only with the same blocks.
        """
        keys, values, bias, initial = subtrees
        (group,) = static
        whole = cls(tuple(keys), tuple(values), bias, initial)
        if group == 1 or not all(tree.is_in_blocks(t, group) for t in tree.leaves(subtrees[:3])):
            return whole
        keys, values, bias = tree.map_leaves(lambda t: t[::group], subtrees[:3])
        return replace(whole, keys=tuple(keys), values=tuple(values), bias=bias, group=group)

    @classmethod
    def cat_rows(cls, nodes: Sequence[Self]) -> Self:
        """Rows of sources of any lengths: the shorter ones are padded."""
        if any(node.group != nodes[0].group for node in nodes):
            nodes = [node.ungrouped() for node in nodes]
        initial = tree.cat([node.initial for node in nodes])
        if not nodes[0].keys:
            return replace(nodes[0], initial=initial)
        size = max(node.keys[0].shape[2] for node in nodes)

        def join(layers: Sequence[Layers]) -> Layers:
            padded = ([F.pad(t, (0, 0, 0, size - t.shape[2])) for t in ts] for ts in layers)
            return tuple(torch.cat(ts) for ts in zip(*padded, strict=True))

        bias = None
        if any(node.bias is not None or node.keys[0].shape[2] < size for node in nodes):
            bias = torch.cat([node._bias_of(size) for node in nodes])
        keys, values = join([n.keys for n in nodes]), join([n.values for n in nodes])
        return cls(keys, values, bias, initial, nodes[0].group)

    def select_rows(self, index: Tensor) -> Self:
        """The rows `index`; if they come in blocks of one source each, nothing is copied."""
        initial = tree.select(self.initial, index)
        if not self.keys:
            return replace(self, initial=initial)
        sources, group = tree.regroup_blocks(index, self.group)
        shared = replace(self, initial=initial, group=group)
        if torch.equal(sources, torch.arange(self.keys[0].shape[0])):
            return shared
        sources = sources.to(self.keys[0].device)
        keys, values, bias = tree.select((self.keys, self.values, self.bias), sources)
        return replace(shared, keys=keys, values=values, bias=bias)

    def repeat_rows(self, n: int) -> Self:
        """Every row n times, with the same source: nothing is copied."""
        return replace(self, initial=tree.repeat(self.initial, n), group=self.group * n)

    def _bias_of(self, size: int) -> Tensor:
        """(M, 1, 1, size)."""
        like = self.keys[0]
        bias = self.bias
        if bias is None:
            bias = like.new_zeros(like.shape[0], 1, 1, like.shape[2])
        return F.pad(bias, (0, size - bias.shape[3]), value=-math.inf)

    # ---- attention ----

    @property
    def num_rows(self) -> int | None:
        """B; None: there are no tensors."""
        if self.keys:
            return self.keys[0].shape[0] * self.group
        leaves = tree.leaves(self.initial)
        return leaves[0].shape[0] if leaves else None

    def ungrouped(self) -> Self:
        """Every row with a source of its own."""
        return self if self.group == 1 else self.build(self.parts()[0], (1,))

    def attend(self, layer: int, q: Tensor) -> Tensor:
        """(B, H, L, d_v) `layers.attention.attend` of queries q (B, H, L, d_k) to their sources."""
        mask = AttentionMask(self.bias, group=self.group)
        return attend(q, self.keys[layer], self.values[layer], mask)

    def join_groups(self, q: Tensor) -> Tensor:
        """(B, H, L, d) as (M, H, G L, d): the queries of one source side by side."""
        return join_groups(q, self.group)

    def split_groups(self, y: Tensor) -> Tensor:
        """The inverse of `join_groups`."""
        return split_groups(y, self.group)
