"""Taps: named points inside layers at which a recorder takes the values that pass.

A layer asks whether a value is wanted and puts it; it does not know the recorder and stores
nothing. Without a recorder this costs one read of a variable. Recorders belong to the thread or
task that started them, so concurrent streams do not see each other's values.

    if taps.is_on() and taps.wanted(self, "hidden"):
        taps.put(self, "hidden", taps.Record(h, lengths))

The name of a value is the path of the module that put it, within the recorded model, followed by
the name of the tap: "layers.0.hidden". A module whose parts should have names other than its
attributes defines `tap_children`.

Knows modules and tensors; no layer and no model.

Shapes: B rows, L elements of one call, H heads, W slots that a block of queries attends to.
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
    """The value that one call put at a tap.

    Attributes:
        value: (B, L, ...); for attention weights (B, H, L, W); for a single step (B, ...).
        lengths: (B,) on the CPU, the number of valid elements of each row, which come first;
            None: all.
        axis: the time axis; None: a single step, which has none.
        keys: (W,) or (B, W) the positions of the elements in the slots relative to the first
            query of this record, which is at 0; earlier ones are negative, and an empty slot is
            near `NO_POSITION`. None: slots are not elements of this sequence.
    """

    value: Tensor
    lengths: Tensor | None = None
    axis: int | None = 1
    keys: Tensor | None = None


@runtime_checkable
class Named(Protocol):
    """A module that defines the names of its parts."""

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The parts by name; "" gives a part the name of the whole."""


class Recorder:
    """Collects the values that the modules of one model put.

    Attributes:
        records: the records by name, in order of arrival.
        max_bytes: the maximal size of all records together; None: no bound.
        keeps_graph: whether values keep their autograd graph.
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
            module: the model whose taps are recorded.
            only: patterns such as "layers.0.*" or "*.attention.self"; a name is wanted if it or
                one of its parents matches. None: every name is wanted.
            gradients: whether to keep the autograd graph of the values.
            max_bytes: the maximal size of all records together; None: no bound.
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
            ConfigError: if the value is wanted, but the records would exceed `max_bytes`.
        """
        path = self._paths.get(owner)
        if path is None or not self._matches(full := _join(path, name)):
            return False
        if self.max_bytes is not None and self._num_bytes + num_bytes > self.max_bytes:
            sizes = (num_bytes, self._num_bytes + num_bytes, self.max_bytes)
            own, total, allowed = (f"{size / 1e9:.2g} GB" for size in sizes)
            raise ConfigError(
                f"recording {full} would take {own}, {total} in total, more than the allowed "
                f"{allowed}: record a shorter text or fewer names with only=[..], or allow more "
                "with max_gigabytes"
            )
        return True

    def take(self, owner: nn.Module, name: str, record: Record) -> None:
        """Store a record, if it is wanted."""
        if not self.wants(owner, name, record.value.nbytes):
            return
        if record.value.requires_grad and not self.keeps_graph:
            record = replace(record, value=record.value.detach())
        self._num_bytes += record.value.nbytes
        self.records.setdefault(_join(self._paths[owner], name), []).append(record)

    def repeated(self) -> "Recorder":
        """A recorder that wants the same and stores nothing: for a repeated computation."""
        return _Repeated(self)

    def clear(self) -> None:
        """Delete all records."""
        self.records.clear()
        self._num_bytes = 0

    def _matches(self, name: str) -> bool:
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
    """Every module and its name; a module in several places has the first of its names."""
    paths: dict[nn.Module, str] = {}

    def visit(part: nn.Module, path: str) -> None:
        if part in paths:
            return
        paths[part] = path
        named = part.tap_children() if isinstance(part, Named) else dict(part.named_children())
        for name, child in named.items():
            visit(child, _join(path, name))

    visit(module, "")
    return paths


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


# ---- what layers call ---------------------------------------------------------------------------

_RECORDERS: ContextVar[tuple[Recorder, ...]] = ContextVar("recorders", default=())


def is_on() -> bool:
    """Whether any recorder is active here; none is while code is being compiled."""
    return not torch.compiler.is_compiling() and bool(_RECORDERS.get())


def wanted(owner: nn.Module, name: str, num_bytes: int = 0) -> bool:
    """Whether a recorder takes this value.

    Args:
        owner: the module that would put it.
        name: the name of the tap.
        num_bytes: the size of the value.

    Raises:
        ConfigError: if the value is too large to be recorded.
    """
    return is_on() and any(r.wants(owner, name, num_bytes) for r in _RECORDERS.get())


def grad_mode() -> torch.set_grad_enabled:
    """A context for values computed only for recorders: no graph unless one of them keeps it."""
    keeps_graph = any(recorder.keeps_graph for recorder in _RECORDERS.get())
    return torch.set_grad_enabled(keeps_graph and torch.is_grad_enabled())


def put(owner: nn.Module, name: str, record: Record) -> None:
    """Give a value of `owner` to every recorder that wants it."""
    for recorder in _RECORDERS.get():
        recorder.take(owner, name, record)


# ---- what recorders call ------------------------------------------------------------------------


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Activate this recorder, in addition to those already active."""
    token = _RECORDERS.set((*_RECORDERS.get(), recorder))
    try:
        yield
    finally:
        _RECORDERS.reset(token)


@contextmanager
def recording_only(*recorders: Recorder) -> Iterator[None]:
    """Activate these recorders and no others."""
    token = _RECORDERS.set(recorders)
    try:
        yield
    finally:
        _RECORDERS.reset(token)


def recomputing() -> AbstractContextManager[None]:
    """A context for repeating a recorded computation, which runs the same and records nothing."""
    return recording_only(*(recorder.repeated() for recorder in _RECORDERS.get()))
