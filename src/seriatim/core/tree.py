"""Trees of tensors: what states, batches and features are made of.

A tree is a tensor, None, a tuple, list or dict of trees, or a registered dataclass (a *node*).
Every tensor leaf of a state has its B rows in axis 0; that one rule is what lets beam search,
streaming and batching handle any model's memory. The functions here know nothing of models.

All of them build on torch's pytree, so a node registered here also passes through
`torch.compile`, `torch.export`, DDP and FSDP.
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
    """A node that has its own idea of its leaves, or of how rows of several are put together."""

    @abstractmethod
    def parts(self) -> tuple[tuple[Tree, ...], tuple[Any, ...]]:
        """(subtrees, static values): what `build` needs to make an equal node."""

    @classmethod
    @abstractmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """The inverse of `parts`, with subtrees that may have other rows, types or devices."""

    @classmethod
    @abstractmethod
    def cat_rows(cls, nodes: Sequence[Self]) -> Self:
        """One node whose rows are those of `nodes`, in order."""

    def select_rows(self, index: Tensor) -> Self:
        """The rows `index`; a node whose rows share something may keep it shared."""
        return self._each(lambda t: t.index_select(0, index.to(t.device)))

    def repeat_rows(self, n: int) -> Self:
        """Every row n times in a row; a node may share instead of copying."""
        return self._each(lambda t: t.repeat_interleave(n, 0))

    def _each(self, f: Callable[[Tensor], Tensor]) -> Self:
        subtrees, static = self.parts()
        return self.build(map_leaves(f, subtrees), static)


def register(cls: type[T]) -> type[T]:
    """Class decorator: make a dataclass a node of trees.

    A `Node` says itself what its leaves are. Any other dataclass has its fields as subtrees.
    Registered names are also what a saved state may contain; nothing is ever imported by name.
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
        flatten_with_keys_fn=flatten_with_keys,  # torch.export asks for it
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
    """f applied to the tensors of trees of one shape; None stays None."""
    if isinstance(tree, Tensor):  # most trees, and pytree takes longer than a step's product
        return f(tree, *rest)
    return pytree.tree_map(lambda *t: f(*t) if isinstance(t[0], Tensor) else t[0], tree, *rest)


def rows(tree: Tree) -> int:
    """B, the number of rows that every leaf has in axis 0."""
    for leaf in pytree.tree_iter(tree):  # only as far as needed: a node may have to make its leaves
        if isinstance(leaf, Tensor):
            return leaf.shape[0]
    raise ValueError("a tree without tensors has no rows")


def select(tree: Tree, index: Tensor) -> Tree:
    """The rows `index` (K,), in that order, repeats allowed: what beam search does to a state."""

    def pick(part: Any) -> Any:
        if isinstance(part, Node):
            return part.select_rows(index)
        return part.index_select(0, index.to(part.device)) if isinstance(part, Tensor) else part

    return pytree.tree_map(pick, tree, is_leaf=lambda x: isinstance(x, Node))


def regroup_blocks(index: Tensor, size: int) -> tuple[Tensor, int]:
    """How rows that are picked out of blocks of `size` rows come in blocks again.

    Args:
        index: (K,) rows; row r lies in block r // size.
        size: of the old blocks.

    Returns:
        The old block (K / n,) of each new one, on the CPU, and n, as large as it can be: rows
        i n .. (i + 1) n - 1 of those picked all lie in the same old block.
    """
    blocks, runs = torch.unique_consecutive(index.cpu() // size, return_counts=True)
    n = math.gcd(*runs.tolist()) or 1
    return blocks.repeat_interleave(runs // n), n


def is_in_blocks(t: Tensor, size: int) -> bool:
    """Whether the rows of t come in blocks of `size` equal ones."""
    if t.is_meta or t.shape[0] % size:
        return False
    return torch.equal(t, t[::size].repeat_interleave(size, 0))


def repeat(tree: Tree, n: int) -> Tree:
    """Every row n times in a row: r0 r0 .. r1 r1 .. (never r0 r1 .. r0 r1 ..)."""

    def stretch(part: Any) -> Any:
        if isinstance(part, Node):
            return part.repeat_rows(n)
        return part.repeat_interleave(n, 0) if isinstance(part, Tensor) else part

    return pytree.tree_map(stretch, tree, is_leaf=lambda x: isinstance(x, Node))


def cat(trees: Sequence[Tree]) -> Tree:
    """The rows of several trees of one structure, in order."""

    def join(*nodes: Any) -> Any:
        if isinstance(nodes[0], Node):
            return type(nodes[0]).cat_rows(nodes)
        return torch.cat(nodes) if isinstance(nodes[0], Tensor) else nodes[0]

    first, *others = trees
    return pytree.tree_map(join, first, *others, is_leaf=lambda x: isinstance(x, Node))


def where_rows(chosen: Tensor, new: Tree, old: Tree) -> Tree:
    """The rows of `new` that are chosen (B,), those of `old` elsewhere; leaves (B, ...)."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(chosen.to(b.device).view(-1, *[1] * (b.ndim - 1)), a, b)

    return map_leaves(choose, new, old)


def at_last(states: Tree, lengths: Tensor | None) -> Tree:
    """What stands at each row's last valid element, at the first one where none is valid.

    Args:
        states: leaves (B, L, ...), one for each element.
        lengths: (B,) how many elements of each row are valid; None: all L.
    """

    def pick(t: Tensor) -> Tensor:
        if lengths is None:
            return t.select(1, -1)
        n = lengths.to(t.device)
        return t[torch.arange(len(n), device=t.device), (n - 1).clamp(min=0)]

    return map_leaves(pick, states)


def last_valid(new: Tree, lengths: Tensor | None, old: Tree) -> Tree:
    """As `at_last`; `old`, leaves (B, ...), of rows without a valid element."""
    last = at_last(new, lengths)
    return last if lengths is None else where_rows(lengths > 0, last, old)


def detach(tree: Tree) -> Tree:
    """The same values, cut from the graph: between chunks of truncated backpropagation."""
    return map_leaves(Tensor.detach, tree)


def to(tree: Tree, target: torch.device | torch.dtype | str) -> Tree:
    """Every leaf on another device; or, given a dtype, every floating leaf in that precision."""
    if isinstance(target, torch.dtype):
        return map_leaves(lambda t: t.to(target) if t.is_floating_point() else t, tree)
    return map_leaves(lambda t: t.to(target), tree)


def num_bytes(tree: Tree) -> int:
    """Bytes held by the leaves."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(tree))


# ---- trees as bytes -----------------------------------------------------------------------------


def to_bytes(tree: Tree, *, owner: str) -> bytes:
    """A tree as bytes: structure as JSON, tensors as safetensors. `owner` names whose it is.

    Layout: magic, two lengths (little-endian uint64), JSON header, safetensors block.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps({"owner": owner, "tree": _describe(tree, tensors)}).encode()
    block = safetensors.torch.save(tensors)
    body = struct.pack("<QQ", len(header), len(block)) + header + block
    return _MAGIC + hashlib.blake2b(body, digest_size=16).digest() + body


def from_bytes(data: bytes, *, owner: str) -> Tree:
    """The inverse of `to_bytes`.

    Raises:
        ModelError: not such bytes, truncated or altered, or written for another owner.
    """
    start = len(_MAGIC) + 16
    body = data[start:]
    if not data.startswith(_MAGIC):
        raise ModelError(
            f"these {len(data)} bytes are not a saved state: expected the bytes that save_state "
            "returned; was the right file read?"
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
    if tree is None or isinstance(tree, Tensor):
        if tree is None:
            return None
        tensors[str(len(tensors))] = tree.detach().cpu().contiguous().clone()
        return "tensor"
    if isinstance(tree, dict):
        return {"dict": [[key, _describe(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, (tuple, list)) and type(tree) in (tuple, list):
        return {type(tree).__name__: [_describe(value, tensors) for value in tree]}
    name = type(tree).__name__
    if _NODES.get(name) is not type(tree):
        raise TypeError(
            f"a state holds a {name}, which is no tensor, tuple, list, dict or registered node: "
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
