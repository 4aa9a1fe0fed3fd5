"""Taps: named places inside of layers, from which a recorder takes what flows by.

A layer asks whether anybody wants a value and puts it there; it never learns who, and keeps
nothing. With no recorder at work that is one look at a variable. Recorders belong to the thread,
or the task, that began them, so streams side by side do not see each other's.

    if taps.is_on() and taps.wanted(self, "hidden"):
        taps.put(self, "hidden", taps.Record(h, lengths))

A value is known by the module that put it: its name is the path of the module in the model that
is recorded, and the name of the tap, "layers.0.hidden". A module whose parts should go by other
names than its attributes says so in `tap_children`.

Knows modules and tensors; no layer, no model and no time but its axis.

Shapes: B rows, L elements of one call, H heads, W slots that a block of queries looks at.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seriatim.errors import ConfigError

# The position of a slot that holds no element. Its offset from any real position is below half
# of this, and that of an element never is.
NO_POSITION = -(2**62)


@dataclass(frozen=True)
class Record:
    """What one call put.

    Attributes:
        value: (B, L, ...); a map of attention (B, H, L, W); of a single step (B, ...).
        lengths: (B,) on the CPU, how many elements of each row are valid, which come first;
            None: all.
        axis: of time; None: a single step, which has no such axis.
        keys: (W,) or (B, W) where the elements of the slots stand, counted from the first query
            of this record: its own is at 0, earlier ones below; `NO_POSITION` for a slot of
            nothing. None: slots are not elements of this sequence.
    """

    value: Tensor
    lengths: Tensor | None = None
    axis: int | None = 1
    keys: Tensor | None = None


@runtime_checkable
class Named(Protocol):
    """A module that says what its parts are called."""

    def tap_children(self) -> Mapping[str, nn.Module]:
        """Its parts by their names; "" gives a part the name of the whole."""


class Recorder:
    """Takes what the modules of one model put.

    Attributes:
        records: what came, by name, in the order in which it came.
        max_bytes: of all records together.
        keeps_graph: whether values come with the graph that leads to them.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        only: Collection[str] | None = None,
        gradients: bool = False,
        max_bytes: int | None = None,
    ) -> None:
        """
        Args:
            module: whose taps are recorded.
            only: patterns such as "layers.0.*" or "*.attention.self"; a name is wanted if it, or
                something that it lies in, fits one. None: everything is.
            gradients: keep the graph that leads to the values.
            max_bytes: refuse to hold more; None: no bound.
        """
        self.only = None if only is None else tuple(only)
        self.max_bytes = max_bytes
        self.records: dict[str, list[Record]] = {}
        self.keeps_graph = gradients
        self._paths = _paths(module)
        self._num_bytes = 0

    def wants(self, owner: nn.Module, name: str, num_bytes: int = 0) -> bool:
        """Whether this recorder takes the value.

        Raises:
            ConfigError: it would, but the records would be larger than is allowed.
        """
        path = self._paths.get(owner)
        if path is None or not self._is_asked(full := _join(path, name)):
            return False
        if self.max_bytes is not None and self._num_bytes + num_bytes > self.max_bytes:
            raise ConfigError(
                f"recording {full} would take {_gigabytes(num_bytes)}, with all before it "
                f"{_gigabytes(self._num_bytes + num_bytes)}, more than the "
                f"{_gigabytes(self.max_bytes)} allowed: record a shorter text, fewer names with "
                "only=[..], or allow more with max_gigabytes"
            )
        return True

    def take(self, owner: nn.Module, name: str, record: Record) -> None:
        """Keep a record, if it is wanted."""
        if not self.wants(owner, name, record.value.nbytes):
            return
        if record.value.requires_grad and not self.keeps_graph:
            record = replace(record, value=record.value.detach())
        self._num_bytes += record.value.nbytes
        self.records.setdefault(_join(self._paths[owner], name), []).append(record)

    def repeated(self) -> "Recorder":
        """Wants the same and takes nothing: for what is computed a second time."""
        return _Repeated(self)

    def clear(self) -> None:
        """Forget all records."""
        self.records.clear()
        self._num_bytes = 0

    def _is_asked(self, name: str) -> bool:
        if self.only is None:
            return True
        return any(fnmatchcase(name, p) or fnmatchcase(name, f"{p}.*") for p in self.only)


class _Repeated(Recorder):
    def __init__(self, first: Recorder) -> None:
        self.first, self.keeps_graph = first, first.keeps_graph

    def wants(self, owner: nn.Module, name: str, num_bytes: int = 0) -> bool:
        return self.first.wants(owner, name)

    def take(self, owner: nn.Module, name: str, record: Record) -> None:
        pass


def _paths(module: nn.Module) -> dict[nn.Module, str]:
    """Every module and its name; of one that stands in several places, the first."""
    found: dict[nn.Module, str] = {}

    def visit(part: nn.Module, path: str) -> None:
        if part in found:
            return
        found[part] = path
        named = part.tap_children() if isinstance(part, Named) else dict(part.named_children())
        for name, child in named.items():
            visit(child, _join(path, name))

    visit(module, "")
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2g} GB"


# ---- what layers call ---------------------------------------------------------------------------

_RECORDERS: ContextVar[tuple[Recorder, ...]] = ContextVar("recorders", default=())


def is_on() -> bool:
    """Whether anything records here. Nothing does in what is being compiled."""
    return not torch.compiler.is_compiling() and bool(_RECORDERS.get())


def wanted(owner: nn.Module, name: str, num_bytes: int = 0) -> bool:
    """Whether a recorder takes this value.

    Args:
        owner: the module that would put it.
        name: of the tap.
        num_bytes: how large it would be.

    Raises:
        ConfigError: it is too large to be recorded.
    """
    return is_on() and any(r.wants(owner, name, num_bytes) for r in _RECORDERS.get())


def grad_mode() -> torch.set_grad_enabled:
    """A `with` for what is computed for recorders alone: with a graph only if one keeps it."""
    is_kept = any(recorder.keeps_graph for recorder in _RECORDERS.get())
    return torch.set_grad_enabled(is_kept and torch.is_grad_enabled())


def put(owner: nn.Module, name: str, record: Record) -> None:
    """Give every recorder that wants it what `owner` has made."""
    for recorder in _RECORDERS.get():
        recorder.take(owner, name, record)


# ---- what recorders call ------------------------------------------------------------------------


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let this recorder take what is put, beside those already at work."""
    token = _RECORDERS.set((*_RECORDERS.get(), recorder))
    try:
        yield
    finally:
        _RECORDERS.reset(token)


@contextmanager
def recording_only(*recorders: Recorder) -> Iterator[None]:
    """Let these take what is put, and nobody else."""
    token = _RECORDERS.set(recorders)
    try:
        yield
    finally:
        _RECORDERS.reset(token)


def recomputing() -> AbstractContextManager[None]:
    """A `with` for a computation that was recorded here before and must run just as it did."""
    return recording_only(*(recorder.repeated() for recorder in _RECORDERS.get()))
