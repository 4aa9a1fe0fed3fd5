"""Recording: what happens inside a model while it scores, generates or trains.

    with record(model) as trace:
        model.log_prob(batch)
    trace.names                       # "layers.0.hidden", "layers.0.forget", ..
    trace["layers.0.hidden"]          # (B, T, D)

Recording changes nothing: layers run the same kernels, gates are recovered from what those
expose, and attention maps are computed separately. Nothing is stored in the model.

Several calls within one `with` are concatenated along time, whether they continue one sequence
(chunks, single steps) or begin another. Knows records and how they are joined; no family, and not
what any name means.

Shapes: B rows, T recorded elements, H heads, S slots, D features.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.analysis.settings import MAX_GIGABYTES
from seriatim.core import taps
from seriatim.core.batch import valid_mask
from seriatim.core.taps import Record, Recorder
from seriatim.errors import ConfigError


@contextmanager
def record(
    module: nn.Module,
    *,
    only: Collection[str] | None = None,
    gradients: bool = False,
    max_gigabytes: float = MAX_GIGABYTES,
) -> Iterator["Trace"]:
    """Record what happens inside a model, in this thread, until the `with` ends.

    Recurrent layers record "hidden", (B, T, D), and their gates: an LSTM "forget", "input",
    "output", "candidate" and "cell", a GRU "reset", "update" and "candidate". Attention records
    its maps, (B, H, T, S), rows summing to 1: "attention.self", and in a decoder over its source
    "attention.cross". A Markov model records the "context" it knew, (B, T), and when it scores,
    the "order" of the match, (B, T), and the "backoff" path, (B, T, n).

    A user's own cell records its output and what its `inside` returns. The encoder of a model
    that was bound to its source before the `with` is not recorded. A compiled model records
    nothing.

    Args:
        module: a model, or any part of one; the model of a task is its `model`.
        only: patterns of names, such as "layers.0", "*.forget" or "decoder.*.cross"; anything else
            is not even computed. None records everything.
        gradients: whether to keep the graph of the values, for `torch.autograd.grad`; the next
            step is then computed from the recorded value of a step (see `Trace.parts`).
        max_gigabytes: the limit of the whole recording; more is refused before it is computed.

    Raises:
        ConfigError: if `module` is not a module, or a sequence is too long to be recorded.
    """
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"record takes a model, not {type(module).__name__}: the model of a task is its "
            "`model`, so write record(task.model)"
        )
    recorder = Recorder(module, only=only, gradients=gradients, max_bytes=int(max_gigabytes * 1e9))
    with taps.recording(recorder):
        yield Trace(recorder)


def tap_patterns(only: Sequence[str | int] | None) -> list[str] | None:
    """Patterns of names for `record`; a number is a layer anywhere in the model; None: all."""
    patterns = []
    for one in map(str, only or ()):
        patterns += [f"layers.{one}", f"*.layers.{one}"] if one.isdigit() else [one]
    return patterns or None


class Trace:
    """The recorded tensors by name; the valid elements of each row come first, then zeros."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._joined: dict[str, tuple[int, Tensor]] = {}

    def __repr__(self) -> str:
        return f"Trace({', '.join(self.names) or 'nothing recorded'})"

    @property
    def names(self) -> list[str]:
        """The recorded names, in the order of their first record."""
        return list(self._recorder.records)

    def __contains__(self, name: object) -> bool:
        return name in self._recorder.records

    def __getitem__(self, name: str) -> Tensor:
        """All calls joined, (B, T, ..); a map of self-attention is (B, H, T, S).

        The columns of a map of self-attention are the recorded elements, as its rows are; if the
        model read elements before the recording began, the first S - T columns are theirs. The
        columns of a map over a source are the positions of the source.

        Raises:
            ConfigError: if there is no such name, if the calls have different numbers of rows, or
                if the joined map is too large.
        """
        records = self._of(name)
        count, joined = self._joined.get(name, (0, torch.empty(0)))
        if count != len(records):
            joined = self._join(name, records)
            self._joined[name] = len(records), joined
        return joined

    def parts(self, name: str) -> list[Tensor]:
        """The value of each call, (B, L, ...), or (B, ...) for a single step.

        With gradients=True they are nodes of the graph. Within a chunk no step depends on the
        part of another; to see gradients through time, advance one element at a time.
        """
        return [r.value for r in self._of(name)]

    def lengths(self, name: str) -> Tensor | None:
        """(B,) the number of recorded elements of each row; None if every row has all T."""
        records = self._of(name)
        if all(r.lengths is None for r in records):
            return None
        valid = _valid(records).sum(1)
        return None if bool((valid == valid.max()).all()) else valid

    def clear(self) -> None:
        """Discard everything recorded so far."""
        self._recorder.clear()
        self._joined.clear()

    def _of(self, name: str) -> list[Record]:
        records = self._recorder.records.get(name)
        if records is None:
            names = ", ".join(self.names) or "nothing"
            raise ConfigError(f"nothing was recorded as {name!r}: there is {names}")
        return records

    def _join(self, name: str, records: list[Record]) -> Tensor:
        rows = {len(r.value) for r in records}
        if len(rows) > 1:
            raise ConfigError(
                f"{name} was recorded with {' and with '.join(map(str, sorted(rows)))} rows, which "
                "cannot be joined: record one batch at a time, or use parts(name)"
            )
        if records[0].keys is not None:
            return _packed(_on_one_axis(name, records, self._recorder.max_bytes), _valid(records))
        axis = 1 if records[0].axis is None else records[0].axis
        values = [r.value.unsqueeze(1) if r.axis is None else r.value for r in records]
        if axis == 2:
            widest = max(v.shape[-1] for v in values)
            values = [F.pad(v, (0, widest - v.shape[-1])) for v in values]
        if len({v.shape[axis + 1 :] for v in values}) > 1:
            raise ConfigError(f"{name} was recorded in several shapes: use parts(name)")
        joined = torch.cat(values, axis)
        if all(r.lengths is None for r in records):
            return joined
        if axis == 1:
            return _packed(joined.unsqueeze(1), _valid(records)).squeeze(1)
        return _packed(joined, _valid(records))


def _size(r: Record) -> int:
    """The number of elements L of a record; 1 for a single step."""
    return 1 if r.axis is None else r.value.shape[r.axis]


def _valid(records: list[Record]) -> Tensor:
    """(B, T) bool, the valid elements among all recorded ones."""
    rows = len(records[0].value)
    masks = [
        torch.ones(rows, _size(r), dtype=torch.bool)
        if r.lengths is None
        else valid_mask(r.lengths.cpu(), _size(r))
        for r in records
    ]
    return torch.cat(masks, 1)


def _packed(values: Tensor, valid: Tensor) -> Tensor:
    """Values (B, H, T, ...) with the valid elements (B, T) of each row first, then zeros."""
    if bool(valid.all()):
        return values
    counts = valid.sum(1)
    order = torch.argsort(~valid, dim=1, stable=True)[:, : int(counts.max())]
    at = order.to(values.device)
    rows = torch.arange(len(values), device=values.device)[:, None]
    picked = values.transpose(1, 2)[rows, at].transpose(1, 2)
    is_valid = valid_mask(counts, picked.shape[2]).to(values.device)
    return picked.masked_fill(~is_valid.view(len(values), 1, -1, *[1] * (values.ndim - 3)), 0)


def _on_one_axis(name: str, records: list[Record], max_bytes: int | None) -> Tensor:
    """Maps (B, H, T, S) whose columns are elements; T still includes padding.

    The column of an element is the number of valid elements of its row recorded before it, plus
    the number of elements read before the recording began.
    """
    valid = _valid(records)
    counts, begins = F.pad(valid.cumsum(1), (1, 0)), np.cumsum([0, *map(_size, records)])
    spans = [_keys(r) + counts[:, at : at + 1] for r, at in zip(records, begins, strict=False)]
    real = [s[s > taps.NO_POSITION // 2] for s in spans]
    left = -min(0, *(int(s.min()) for s in real if len(s)))
    slots = left + int(valid.sum(1).max())
    like = records[0].value
    shape = (*like.shape[:2], valid.shape[1], slots)
    needed = torch.Size(shape).numel() * like.element_size()
    if max_bytes is not None and needed > max_bytes:
        raise ConfigError(
            f"{name} as one map of {shape[2]:,} x {slots:,} takes {needed / 1e9:.2g} GB: record a "
            "shorter text, allow more with max_gigabytes, or use parts(name)"
        )
    whole = like.new_zeros(shape)
    for r, span, (begin, end) in zip(records, spans, pairwise(begins), strict=True):
        part = whole[:, :, begin:end]
        column = span + left
        first = int(column[0, 0])
        if bool((column == torch.arange(first, first + column.shape[1])).all()):
            part[..., first : first + column.shape[1]] = r.value
            continue
        is_outside = ((column < 0) | (column >= slots)).to(like.device)
        value = r.value.masked_fill(is_outside[:, None, None], 0)
        index = column.clamp(0, slots - 1).to(like.device)[:, None, None].expand_as(value)
        part.scatter_add_(-1, index, value)
    return whole


def _keys(r: Record) -> Tensor:
    """(B, W) the keys of a record, on the CPU."""
    keys = r.keys if r.keys is not None else torch.arange(r.value.shape[-1])
    return keys.cpu().expand(len(r.value), -1)
