"""Series folded side by side: batches of moments, and what is kept of each series between them.

Everything a forecaster does with its model goes through here: one pass that scores (`follow`), and
the states in which forecasts begin. What is kept of a series after its moment t is the carry after
the moments before t, and the values of t, which wait for the known inputs of t + 1 (see
`Standing`). A series of length 0 is the empty state. Knows arrays and models; no files, no names.

Shapes: B rows, L moments of a chunk, D channels, K known inputs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.densities import Density
from seriatim.core.elements import Numbers
from seriatim.core.forecasting import ReadsCarries
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.errors import ConfigError

Ints: TypeAlias = NDArray[np.int64]
CHUNK = 1024  # moments of a chunk, at most
MOMENTS_AT_ONCE = 1 << 16  # rows times moments of a chunk
ROWS = 512  # series that are folded side by side


@tree.register
@dataclass(frozen=True)
class Standing:
    """What is kept of B series: their carry, and the last values, which are not folded yet.

    Attributes:
        carry: the carry of the model after all moments but the last, every tensor with B rows.
        last: (B, D) the values of the last moment; nothing observed before the first.
    """

    carry: Tree
    last: Values

    def select(self, rows: Sequence[int] | Ints) -> "Standing":
        """Some of the series."""
        index = torch.as_tensor(np.asarray(rows, np.int64))
        chosen: Standing = tree.select(self, index)
        return chosen


def element_of(model: SequenceModel) -> Numbers:
    """What the series of a model consist of.

    Raises:
        ConfigError: if it is a model of symbols.
    """
    if not isinstance(model.element, Numbers):
        raise ConfigError(
            f"{type(model).__name__} is a model of symbols: a forecaster needs one of numbers"
        )
    return model.element


def begin(model: SequenceModel, index: Tensor) -> Standing:
    """What is kept of series of which nothing was seen.

    Args:
        model: a model of numbers.
        index: (B,) the numbers of the series in the training data; -1: another series.
    """
    rows, element = len(index), element_of(model)
    memory = model.of_series(index) if bool((index >= 0).any()) else None
    last = Values.missing((rows, element.num_channels), model.device, torch.float64)
    return Standing(model.empty(rows, memory=memory), last)


def moments(
    model: SequenceModel, standing: Standing, numbers: NDArray[np.float64], known: Tensor | None,
    lengths: Ints | None = None,
) -> Batch:  # fmt: skip
    """The next moments of B series as a batch: the values before each, and its own as target.

    Args:
        model: the model.
        standing: what is kept of the series.
        numbers: (B, L, D) the values, NaN where missing.
        known: (B, L, K) the known inputs of the same moments.
        lengths: (B,) the number of moments of each row, at least 1; None: L.
    """
    values = Values.of(torch.as_tensor(numbers).to(model.device, torch.float64))
    before = Values(
        torch.cat([standing.last.numbers[:, None], values.numbers[:, :-1]], 1),
        torch.cat([standing.last.is_observed[:, None], values.is_observed[:, :-1]], 1),
    )
    ragged = None if lengths is None else torch.as_tensor(lengths)
    return Batch(NumberInput(before, known), values, ragged)


def stand_after(standing: Standing, batch: Batch, carry: Tree) -> Standing:
    """What is kept of the series of a batch, whose carry after it is given."""
    return Standing(carry, tree.last_valid(batch.targets, batch.lengths, standing.last))


def ready(model: SequenceModel, standing: Standing, known: Tensor | None) -> State:
    """The state in which the next moment is predicted.

    Args:
        model: the model.
        standing: what is kept of B series.
        known: (B, K) the known inputs of the next moment; None: the model takes none.
    """
    inputs = NumberInput(standing.last, known)
    features, carry = model.advance(
        standing.carry, tree.map_leaves(lambda t: t[:, None], inputs), None
    )
    return State(tree.at_last(features, None), carry)


class Reader:
    """Cuts moments out of series that are stored end to end."""

    def __init__(self, data: NumberSequences, model: SequenceModel) -> None:
        """
        Args:
            data: the series; the known inputs may be more than there are values.
            model: the model that will read them.
        """
        self.data, self._model = data, model

    def known(self, begin: Ints, length: int) -> Tensor | None:
        """(B, L, K) the known inputs from a place in the data on, the last ones repeated."""
        if self.data.known is None:
            return None
        at = np.minimum(begin[:, None] + np.arange(length), len(self.data.known) - 1)
        return torch.as_tensor(self.data.known[at]).to(self._model.device, torch.float64)

    def batch(self, standing: Standing, begin: Ints, end: Ints) -> Batch:
        """The moments begin .. end - 1 of each row, places in the data; end > begin."""
        lengths = end - begin
        most = int(lengths.max())
        at = np.minimum(begin[:, None] + np.arange(most), max(len(self.data.numbers) - 1, 0))
        is_ragged = bool((lengths != most).any())
        return moments(
            self._model,
            standing,
            self.data.numbers[at],
            self.known(begin, most),
            lengths if is_ragged else None,
        )


Hook: TypeAlias = Callable[[Ints, Ints, Batch, Density], None]


@torch.inference_mode()
def follow(
    model: SequenceModel,
    data: NumberSequences,
    standing: Standing,
    begin: Ints,
    end: Ints,
    hook: Hook | None = None,
) -> Standing:
    """Fold moments begin .. end - 1 of B series, places in the data; some may have none.

    Args:
        model: the model.
        data: the series, end to end.
        standing: what is kept of the series before `begin`.
        begin, end: (B,) places in the data.
        hook: receives the rows (R,), the places of their first moments, the batch, and the
            distributions of its targets, of each chunk.

    Returns:
        What is kept of all B series afterwards.
    """
    reader = Reader(data, model)
    rows = np.arange(len(begin))
    at = begin.copy()
    while len(rows):
        rows = rows[at[rows] < end[rows]]
        if not len(rows):
            break
        chunk = max(1, min(CHUNK, MOMENTS_AT_ONCE // len(rows)))
        stop = np.minimum(at[rows] + chunk, end[rows])
        is_all = len(rows) == len(begin)
        some = standing if is_all else standing.select(rows)
        batch = reader.batch(some, at[rows], stop)
        features, carry = model.advance(some.carry, batch.inputs, batch.lengths)
        if hook is not None:
            density = model.emit(features)
            assert isinstance(density, Density)
            hook(rows, at[rows], batch, density)
        after = stand_after(some, batch, carry)
        standing = after if is_all else replaced(standing, after, rows)
        at[rows] = stop
    return standing


@torch.inference_mode()
def stand_at(
    model: SequenceModel, data: NumberSequences, standing: Standing, begin: Ints, ends: Ints
) -> Standing | None:
    """What is kept of B series at N places of each, if the model can read it off the values.

    Args:
        model: the model.
        data: the series, end to end.
        standing: what is kept of the series before `begin`.
        begin: (B,) places in the data.
        ends: (B, N) places in the data, not before `begin`.

    Returns:
        Of B N rows, N in succession for each series; None: the moments must be followed.
    """
    if not isinstance(model, ReadsCarries):
        return None
    most = max(1, int((ends - begin[:, None]).max()))
    batch = Reader(data, model).batch(standing, begin, begin + most)
    at = torch.as_tensor(ends - begin[:, None])
    carry = model.carries(standing.carry, batch.inputs, at)
    if carry is None:
        return None
    row = torch.arange(len(at))[:, None]

    def last(before: Tensor, moments: Tensor) -> Tensor:
        return torch.cat([before[:, None], moments], 1)[row, at].flatten(0, 1)

    values: Values = tree.map_leaves(last, standing.last, batch.targets)
    return Standing(carry, values)


def replaced(standing: Standing, new: Standing, rows: Ints) -> Standing:
    """Some rows of `standing` replaced by those of `new`."""
    size = tree.rows(standing)
    source = np.arange(size)
    source[rows] = size + np.arange(len(rows))
    joined: Standing = tree.select(tree.cat([standing, new]), torch.as_tensor(source))
    return joined


def row_blocks(count: int, size: int = ROWS) -> Iterator[Ints]:
    """The numbers 0 .. count - 1 in blocks."""
    for first in range(0, count, size):
        yield np.arange(first, min(first + size, count))


def stand_at_end(
    model: SequenceModel,
    data: NumberSequences,
    index: Ints,
    progress: Callable[[int], None] | None = None,
) -> Standing:
    """What is kept of whole series.

    Args:
        model: the model.
        data: S series, end to end.
        index: (S,) their numbers in the training data, -1 for others.
        progress: callback that receives the number of moments folded so far.
    """
    parts, offsets, done = [], np.asarray(data.offsets), 0
    for rows in row_blocks(len(index)):
        standing = begin(model, torch.as_tensor(index[rows]))
        parts.append(follow(model, data, standing, offsets[rows].copy(), offsets[rows + 1]))
        done += int((offsets[rows + 1] - offsets[rows]).sum())
        if progress is not None:
            progress(done)
    whole: Standing = parts[0] if len(parts) == 1 else tree.cat(parts)
    return whole
