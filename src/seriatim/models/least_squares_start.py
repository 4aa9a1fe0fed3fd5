"""Where training of a network over numbers begins: its linear part is fitted by least squares.

The direct effect of lagged values, which gradients find slowly as lags resemble one another, is the
ridge estimate, drawn to "the next value is the last one",

    a = (C^T C + r I)^-1 C^T (y - z_1)

for next values y, the last value z_1, and C of z_1 and the differences of the others to it. The
initial width of the density is the root of the mean square of what remains, so that a network
begins as a pooled AR model.

Knows the network; no options.

Shapes: B rows, L moments, D channels, P lags.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from seriatim.core.values import NumberSequences, Values
from seriatim.models.density_heads import DensityHead
from seriatim.models.running_scale import Standard

Read = Callable[[Values], tuple[Tensor, Tensor, Standard, Values]]

MOST_MOMENTS = 2**18  # of the training data that are read
MOST_OF_SERIES = 2**12
FEWEST_BEFORE = 16  # values of a series before one that counts: the scale is a guess until then
LARGEST = 10.0  # standardized values beyond this are left out
RIDGE = 1e-3  # of the mean square of the lagged values
ROWS = 64


def start_from_least_squares(head: DensityHead, data: NumberSequences, read: Read) -> None:
    """Set the direct effect of the lags, and the initial widths, if the data suffices.

    Args:
        head: the output layer.
        data: the training data.
        read: a function from the values (B, L, D) of series to the standardized last value and
            the differences of the other lagged values to it (B, L, D, P), whether they were
            observed, the standards, and the values as they are standardized.
    """
    num_channels, num_lags = head.direct.shape
    # Of moments whose lagged values were all observed, and of all.
    gram = torch.zeros(2, num_channels, num_lags + 1, num_lags + 1, dtype=torch.float64)
    count = torch.zeros(2, num_channels, dtype=torch.float64)
    for values in _series(data):
        lagged, observed, standard, seen = read(values)
        level, scale = standard.level[:, :-1], standard.scale[:, :-1]
        lagged = lagged[:, :-1].double()
        y = (seen.numbers[:, 1:] - level) / scale
        counts = seen.is_observed[:, 1:] & (standard.count[:, :-1] >= FEWEST_BEFORE)
        joined = torch.cat([lagged, (y - lagged[..., 0])[..., None]], -1)
        counts &= joined.abs().amax(-1) <= LARGEST
        for i, chosen in enumerate((counts & observed[:, :-1].all(-1), counts)):
            kept = torch.where(chosen[..., None], joined, 0.0)
            gram[i] += torch.einsum("bldp,bldq->dpq", kept, kept)
            count[i] += chosen.sum((0, 1))
    for channel in range(num_channels):
        enough = count[:, channel] > 2 * num_lags + FEWEST_BEFORE
        if bool(enough.any()):
            i = int(not enough[0])
            _set(head, channel, gram[i, channel], float(count[i, channel]))


def _set(head: DensityHead, channel: int, gram: Tensor, count: float) -> None:
    square, product, total = gram[:-1, :-1], gram[:-1, -1], gram[-1, -1]
    if float(total) < 1e-12 * count:  # the series are constant: nothing can be told
        return
    ridge = RIDGE * float(gram.diagonal().mean()) * torch.eye(len(square), dtype=square.dtype)
    a = torch.linalg.solve(square + ridge, product)
    rest = total - 2 * a @ product + a @ square @ a
    width = max(math.sqrt(max(float(rest), 0.0) / count), 1e-2)
    with torch.no_grad():
        head.direct[channel].copy_(a)
        head.set_width(channel, width)


def _series(data: NumberSequences) -> Iterator[Values]:
    """The last moments of series from all over the data, (B, L, D) each, gaps at the end."""
    offsets = np.asarray(data.offsets)
    sizes = np.minimum(np.diff(offsets), MOST_OF_SERIES)
    order = np.argsort(np.arange(len(sizes)) * 0.6180339887 % 1.0, kind="stable")
    order = order[np.cumsum(sizes[order]) - sizes[order] < MOST_MOMENTS]
    for begin in range(0, len(order), ROWS):
        chosen = order[begin : begin + ROWS]
        longest = int(sizes[chosen].max())
        numbers = np.full((len(chosen), longest, data.numbers.shape[1]), np.nan)
        for row, series in enumerate(chosen):
            end = offsets[series + 1]
            numbers[row, : sizes[series]] = data.numbers[end - sizes[series] : end]
        if longest > 1:
            yield Values.of(torch.from_numpy(numbers))
