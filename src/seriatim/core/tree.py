"""Trees of tensors: what states, batches and features are made of.

A tree is a tensor, None, a tuple, list or dict of trees, or a registered dataclass (a *node*).
Every tensor leaf of a state has its B rows in axis 0; this one rule lets beam search, streaming
and batching handle the state of any model. The functions here know nothing about models.

They build on torch's pytree, so a node registered here also passes through `torch.compile`,
`torch.export`, DDP and FSDP.
"""

import hashlib
import json
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Self, TypeAlias, TypeVar

import safetensors.torch
import torch
import torch.utils._pytree as pytree
from torch import Tensor

from seriatim.errors import ModelError

Tree: TypeAlias = Any  # Tensor | None | tuple | list | dict | registered node, nested
T = TypeVar("T")

_NODES: dict[str, type[Any]] = {}
_MAGIC = b"seriatim-state\x01"


class Node(ABC):
    """A node that defines its own leaves, or how the rows of several nodes are concatenated."""

    @abstractmethod
    def parts(self) -> tuple[tuple[Tree, ...], tuple[Any, ...]]:
        """(subtrees, static values) from which `build` makes an equal node."""

    @classmethod
    @abstractmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """The inverse of `parts`; the subtrees may have other rows, dtypes or devices."""

    @classmethod
    @abstractmethod
    def cat_rows(cls, nodes: Sequence[Self]) -> Self:
        """One node with the rows of all `nodes`, in order."""

    def select_rows(self, index: Tensor) -> Self:
        """The rows `index`; a node may keep storage that its rows share."""
        return self._each(lambda t: t.index_select(0, index.to(t.device)))

    def repeat_rows(self, n: int) -> Self:
        """Every row n times in succession; a node may share storage instead of copying."""
        return self._each(lambda t: t.repeat_interleave(n, 0))

    def put_rows(self, index: Tensor, node: Any) -> Any:
        """The rows of `node` in place of the rows `index`; a node may be used up by it."""
        order = torch.arange(rows(self))
        order[index.cpu()] = torch.arange(len(index)) + len(order)
        return type(self).cat_rows([self, node]).select_rows(order)

    def _each(self, f: Callable[[Tensor], Tensor]) -> Self:
        subtrees, static = self.parts()
        return self.build(map_leaves(f, subtrees), static)


def register(cls: type[T]) -> type[T]:
    """Class decorator: register a dataclass as a node of trees.

    A `Node` defines its own leaves; the subtrees of any other dataclass are its fields. A saved
    state may contain registered classes only; nothing is ever imported by name.
    """
    name = cls.__name__
    if issubclass(cls, Node):

        def flatten(node: Any) -> tuple[list[Tree], Any]:
            subtrees, static = node.parts()
            return list(subtrees), static

        def unflatten(subtrees: Any, static: Any) -> Any:
            return cls.build(tuple(subtrees), static)

    else:
        names = tuple(f.name for f in fields(cls))  # type: ignore[arg-type]

        def flatten(node: Any) -> tuple[list[Tree], Any]:
            return [getattr(node, n) for n in names], ()

        def unflatten(subtrees: Any, static: Any) -> Any:
            return cls(**dict(zip(names, subtrees, strict=True)))

    def flatten_with_keys(node: Any) -> tuple[list[tuple[Any, Tree]], Any]:
        subtrees, static = flatten(node)
        return [(pytree.SequenceKey(i), t) for i, t in enumerate(subtrees)], static

    pytree.register_pytree_node(
        cls,
        flatten,
        unflatten,
        flatten_with_keys_fn=flatten_with_keys,  # torch.export requires it
        serialized_type_name=f"seriatim.{name}",
        to_dumpable_context=list,
        from_dumpable_context=tuple,
    )
    _NODES[name] = cls
    return cls


def leaves(tree: Tree) -> list[Tensor]:
    """The tensors of a tree, in a fixed order."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def map_leaves(f: Callable[..., Tensor], tree: Tree, *rest: Tree) -> Tree:
    """f applied to the tensors of trees of equal structure; None stays None."""
    if isinstance(tree, Tensor):  # the most frequent case, for which pytree would be slow
        return f(tree, *rest)
    return pytree.tree_map(lambda *t: f(*t) if isinstance(t[0], Tensor) else t[0], tree, *rest)


def rows(tree: Tree) -> int:
    """B, the number of rows, which every leaf has in axis 0."""
    for leaf in pytree.tree_iter(tree):  # lazily: a node may have to compute its leaves
        if isinstance(leaf, Tensor):
            return leaf.shape[0]
    raise ValueError("a tree without tensors has no rows")


def select(tree: Tree, index: Tensor) -> Tree:
    """The rows `index` (K,), in that order, with repeats allowed, as in beam search."""

    def pick(part: Any) -> Any:
        if isinstance(part, Node):
            return part.select_rows(index)
        return part.index_select(0, index.to(part.device)) if isinstance(part, Tensor) else part

    return pytree.tree_map(pick, tree, is_leaf=lambda x: isinstance(x, Node))


def regroup_blocks(index: Tensor, size: int) -> tuple[Tensor, int]:
    """The largest blocks into which rows selected from blocks of `size` rows fall again.

    Args:
        index: (K,) the selected rows; row r belongs to block r // size.
        size: the size of the old blocks.

    Returns:
        The old block (K / n,) of each new block, on the CPU, and the largest block size n such
        that the selected rows i n .. (i + 1) n - 1 all belong to one old block.
    """
    blocks, runs = torch.unique_consecutive(index.cpu() // size, return_counts=True)
    n = math.gcd(*runs.tolist()) or 1
    return blocks.repeat_interleave(runs // n), n


def is_in_blocks(t: Tensor, size: int) -> bool:
    """Whether the rows of t come in blocks of `size` equal rows."""
    if t.is_meta or t.shape[0] % size:
        return False
    return torch.equal(t, t[::size].repeat_interleave(size, 0))


def repeat(tree: Tree, n: int) -> Tree:
    """Every row n times in succession: r0 r0 .. r1 r1 .. (not r0 r1 .. r0 r1 ..)."""

    def stretch(part: Any) -> Any:
        if isinstance(part, Node):
            return part.repeat_rows(n)
        return part.repeat_interleave(n, 0) if isinstance(part, Tensor) else part

    return pytree.tree_map(stretch, tree, is_leaf=lambda x: isinstance(x, Node))


def cat(trees: Sequence[Tree]) -> Tree:
    """The rows of several trees of equal structure, in order."""

    def join(*nodes: Any) -> Any:
        if isinstance(nodes[0], Node):
            return type(nodes[0]).cat_rows(nodes)
        return torch.cat(nodes) if isinstance(nodes[0], Tensor) else nodes[0]

    first, *others = trees
    return pytree.tree_map(join, first, *others, is_leaf=lambda x: isinstance(x, Node))


def put(tree: Tree, index: Tensor, new: Tree) -> Tree:
    """The rows of `new` in place of the rows `index` (K,) of a tree, which is used up by it."""

    def place(part: Any, other: Any) -> Any:
        if isinstance(part, Node):
            return part.put_rows(index, other)
        if isinstance(part, Tensor):
            return part.index_copy(0, index.to(part.device), other)
        return part

    return pytree.tree_map(place, tree, new, is_leaf=lambda x: isinstance(x, Node))


def where_rows(chosen: Tensor, new: Tree, old: Tree) -> Tree:
    """The rows of `new` where `chosen` (B,) is true, those of `old` elsewhere; leaves (B, ...)."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(chosen.to(b.device).view(-1, *[1] * (b.ndim - 1)), a, b)

    return map_leaves(choose, new, old)


def at_last(states: Tree, lengths: Tensor | None) -> Tree:
    """The values at each row's last valid element, or at its first if no element is valid.

    Args:
        states: a tree with leaves (B, L, ...), one value per element.
        lengths: (B,) the number of valid elements of each row; None: all L.
    """

    if lengths is None and isinstance(states, Tensor):
        return states.select(1, -1)  # once for every symbol of a stream

    def pick(t: Tensor) -> Tensor:
        if lengths is None:
            return t.select(1, -1)
        n = lengths.to(t.device)
        return t[torch.arange(n.shape[0], device=t.device), (n - 1).clamp(min=0)]

    return map_leaves(pick, states)


def last_valid(new: Tree, lengths: Tensor | None, old: Tree) -> Tree:
    """As `at_last`, with the values of `old`, leaves (B, ...), in rows without a valid element."""
    last = at_last(new, lengths)
    return last if lengths is None else where_rows(lengths > 0, last, old)


def detach(tree: Tree) -> Tree:
    """The same values, detached from the graph, as between chunks of truncated backpropagation."""
    return map_leaves(Tensor.detach, tree)


def to(tree: Tree, target: torch.device | torch.dtype | str) -> Tree:
    """Every leaf on another device; for a dtype, every floating-point leaf in that precision."""
    if isinstance(target, torch.dtype):
        return map_leaves(lambda t: t.to(target) if t.is_floating_point() else t, tree)
    return map_leaves(lambda t: t.to(target), tree)


def num_bytes(tree: Tree) -> int:
    """Bytes held by the leaves."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(tree))


# ---- trees as bytes -----------------------------------------------------------------------------


def to_bytes(tree: Tree, *, owner: str) -> bytes:
    """A tree as bytes: structure as JSON, tensors as safetensors.

    Layout: magic, BLAKE2b digest of the rest (16 bytes), two lengths (little-endian uint64), JSON
    header, safetensors block.

    Args:
        tree: the tree to save.
        owner: an identifier of the model that the state belongs to.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps({"owner": owner, "tree": _describe(tree, tensors)}).encode()
    block = safetensors.torch.save(tensors)
    body = struct.pack("<QQ", len(header), len(block)) + header + block
    return _MAGIC + hashlib.blake2b(body, digest_size=16).digest() + body


def from_bytes(data: bytes, *, owner: str) -> Tree:
    """The inverse of `to_bytes`.

    Raises:
        ModelError: if the bytes are not a saved tree, are truncated or altered, or belong to
            another owner.
    """
    start = len(_MAGIC) + 16
    body = data[start:]
    if not data.startswith(_MAGIC):
        raise ModelError(
            f"these {len(data)} bytes are not a saved state: give the bytes from save_state"
        )
    if hashlib.blake2b(body, digest_size=16).digest() != data[len(_MAGIC) : start]:
        raise ModelError("the saved state is truncated or altered; save it again from the source")
    header_size, block_size = struct.unpack("<QQ", body[:16])
    header = json.loads(body[16 : 16 + header_size])
    if header["owner"] != owner:
        raise ModelError(
            f"the saved state belongs to model {header['owner']} and this is model {owner}: load "
            "it with the model (and the weights) that saved it"
        )
    tensors = safetensors.torch.load(body[16 + header_size : 16 + header_size + block_size])
    return _rebuild(header["tree"], iter(tensors[str(i)] for i in range(len(tensors))))


def _describe(tree: Tree, tensors: dict[str, Tensor]) -> Any:
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        tensors[str(len(tensors))] = tree.detach().cpu().contiguous().clone()
        return "tensor"
    if isinstance(tree, dict):
        return {"dict": [[key, _describe(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, (tuple, list)) and type(tree) in (tuple, list):
        return {type(tree).__name__: [_describe(value, tensors) for value in tree]}
    name = type(tree).__name__
    if _NODES.get(name) is not type(tree):
        raise TypeError(
            f"a state holds a {name}, which is not a tensor, tuple, list, dict or registered node: "
            "decorate its dataclass with seriatim.core.tree.register"
        )
    if isinstance(tree, Node):
        subtrees, static = tree.parts()
    else:
        subtrees, static = tuple(getattr(tree, f.name) for f in fields(tree)), ()
    return {"node": name, "parts": [_describe(s, tensors) for s in subtrees], "static": static}


def _rebuild(spec: Any, tensors: Iterator[Tensor]) -> Tree:
    if spec is None:
        return None
    if spec == "tensor":
        return next(tensors)
    if "dict" in spec:
        return {key: _rebuild(value, tensors) for key, value in spec["dict"]}
    if "tuple" in spec:
        return tuple(_rebuild(value, tensors) for value in spec["tuple"])
    if "list" in spec:
        return [_rebuild(value, tensors) for value in spec["list"]]
    cls = _NODES.get(spec["node"])
    if cls is None:
        raise ModelError(
            f"the saved state holds a {spec['node']}, which is not registered here: import the "
            "module that defines it before loading"
        )
    parts = tuple(_rebuild(part, tensors) for part in spec["parts"])
    if issubclass(cls, Node):
        return cls.build(parts, tuple(spec["static"]))
    return cls(**dict(zip((f.name for f in fields(cls)), parts, strict=True)))
