"""Series of different lengths as arrays: blocks of similar length, NaN where nothing was observed.

Shapes: S series, n series of a block, T moments of its longest, D channels, K known inputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.values import NumberSequences
from seriatim.errors import DataError

_CELLS = 2**22  # numbers of a block


@dataclass(frozen=True)
class Panel:
    """Some series, padded at their ends.

    Attributes:
        index: (n,) their numbers.
        values: (n, T, D) NaN where missing and behind the end.
        known: (n, T, K) 0 behind the end; None: there are none.
    """

    index: Tensor
    values: Tensor
    known: Tensor | None

    @property
    def channels(self) -> Tensor:
        """(n D, T) every channel of every series."""
        return self.values.mT.flatten(0, 1)

    def channel_known(self) -> Tensor | None:
        """(n D, T, K) the known inputs, once for every channel."""
        return None if self.known is None else self.known.repeat_interleave(self.num_channels, 0)

    @property
    def num_channels(self) -> int:
        """D."""
        return self.values.shape[-1]


def panels_of(data: NumberSequences) -> Iterator[Panel]:
    """All series in blocks of bounded size, those of similar length together."""
    lengths = np.diff(data.offsets)
    channels = data.numbers.shape[1]
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order):
            longest, shortest = lengths[order[stop]], max(1, lengths[order[start]])
            if longest > 2 * shortest or (stop + 1 - start) * longest * channels > _CELLS:
                break
            stop += 1
        yield _panel(data, order[start:stop])
        start = stop


def _panel(data: NumberSequences, index: np.ndarray) -> Panel:
    longest = int((data.offsets[index + 1] - data.offsets[index]).max())
    values = np.full((len(index), longest, data.numbers.shape[1]), np.nan)
    known = None if data.known is None else np.zeros((len(index), longest, data.known.shape[1]))
    for row, i in enumerate(index):
        begin, end = data.offsets[i], data.offsets[i + 1]
        values[row, : end - begin] = data.numbers[begin:end]
        if known is not None and data.known is not None:
            known[row, : end - begin] = data.known[begin:end]
    return Panel(
        torch.from_numpy(index.copy()),
        torch.from_numpy(values),
        None if known is None else torch.from_numpy(known),
    )


def interpolated(values: Tensor) -> Tensor:
    """(n, T, D) values whose gaps are filled on the line between their neighbours; not the ends."""
    at = torch.arange(values.shape[1], device=values.device)[:, None].expand_as(values)
    seen = ~values.isnan()
    before = torch.where(seen, at, -1).cummax(1).values
    after = torch.where(seen, at, values.shape[1]).flip(1).cummin(1).values.flip(1)
    inside = (before >= 0) & (after < values.shape[1])
    before, after = before.clamp(min=0), after.clamp(max=values.shape[1] - 1)
    fraction = (at - before) / (after - before).clamp(min=1)
    filled = torch.lerp(values.gather(1, before), values.gather(1, after), fraction.to(values))
    return torch.where(seen, values, torch.where(inside, filled, torch.nan))


def check(data: NumberSequences) -> None:
    """
    Raises:
        DataError: if there is no series, one has a channel without a value, or a value is infinite.
    """
    if len(data.offsets) < 2:
        raise DataError("there is no series to fit: give at least one")
    for i in range(len(data.offsets) - 1):
        part = data.numbers[data.offsets[i] : data.offsets[i + 1]]
        if not np.isfinite(part[~np.isnan(part)]).all():
            raise DataError(
                f"series {i} has an infinite value, which no model explains: remove it, or leave "
                "it empty as missing"
            )
        if np.isnan(part).all(0).any():
            channel = int(np.isnan(part).all(0).argmax())
            where = f" in channel {channel}" if part.shape[1] > 1 else ""
            raise DataError(f"series {i} has no value{where}: leave it out")


@dataclass(frozen=True)
class _Logarithms:
    """Series whose values are logarithms; see `with_logarithms`."""

    numbers: NDArray[np.float64]
    known: NDArray[np.float64] | None
    offsets: NDArray[np.int64]


def with_logarithms(data: NumberSequences, shift: NDArray[np.float64]) -> NumberSequences:
    """The series of ln (x + shift), for shifts (S, D) with which all values are positive."""
    each = np.repeat(shift, np.diff(data.offsets), 0)
    return _Logarithms(np.log(data.numbers + each), data.known, data.offsets)
