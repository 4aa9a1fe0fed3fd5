"""Gaps filled: the distribution of each missing value, given all others or all before it.

A model that smooths gives the first, exactly; any other model the second, and that is said. Knows
models and arrays; no files.

Shapes: B rows, L moments, D channels, Q quantiles, N moments of all series.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.batch import Batch
from seriatim.core.densities import Density
from seriatim.core.forecasting import Smooths
from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberInput, Values
from seriatim.report.terminal import count_noun
from seriatim.tasks.column_table import ColumnTable
from seriatim.tasks.forecasting.given_series import GivenSeries, id_column
from seriatim.tasks.forecasting.states import Ints, Reader, begin, follow, row_blocks

FORWARD_ONLY = (
    "this model reads forwards only: gaps are filled by what came before them, and what followed "
    "is not used; ar and linear-gaussian use both"
)


class Imputed(ColumnTable):
    """Series without gaps: what was observed, and the median of what was not.

    Attributes:
        is_exact: whether each missing value was predicted from all others, before and after it.
        num_missing: the number of values that were filled.
        notes: what to know of them, as sentences.
    """

    def __init__(
        self,
        given: GivenSeries,
        quantiles: NDArray[np.float64],
        median: NDArray[np.float64],
        columns: Mapping[str, int],
        *,
        is_exact: bool,
        only_missing: bool,
    ) -> None:
        """
        Args:
            given: the series.
            quantiles: (N, D, Q) NaN where a value was observed.
            median: (N, D) the medians, NaN where a value was observed.
            columns: the number of the quantile of each column by its name.
            is_exact: whether each was predicted from all others.
            only_missing: whether moments without a gap are left out.
        """
        have, depth = given.collection, given.numbers.shape[1]
        missing = np.isnan(given.numbers)
        self.is_exact, self.num_missing = is_exact, int(missing.sum())
        self.notes = () if is_exact or not self.num_missing else (FORWARD_ONLY,)
        self._backend = have.origin.backend
        rows = missing.reshape(-1) if only_missing else np.ones(missing.size, bool)
        filled = np.where(missing, median, given.numbers)
        table: dict[str, NDArray[Any]] = {
            "unique_id": np.repeat(id_column(have, have.series_of_rows), depth)[rows],
            "ds": np.repeat(have.times, depth)[rows],
        }
        if depth > 1:
            names = np.array(have.channel_names, dtype=object)
            table["channel"] = np.tile(names, len(filled))[rows]
        table["y"] = filled.reshape(-1)[rows]
        table["is_missing"] = missing.reshape(-1)[rows]
        for name, q in columns.items():
            table[name] = np.where(missing, quantiles[..., q], given.numbers).reshape(-1)[rows]
        super().__init__(table, have.time_zone)

    @property
    def frame(self) -> Any:
        """The table as a frame of the package that the data came from; otherwise this object."""
        makers = {"pandas": self.to_pandas, "polars": self.to_polars, "pyarrow": self.to_arrow}
        return makers[self._backend]() if self._backend in makers else self

    def summary(self) -> str:
        """How many values were filled, and from what."""
        source = "from all others" if self.is_exact else "from what came before"
        return f"{count_noun(self.num_missing, 'missing value')} filled {source}"


@torch.inference_mode()
def impute_series(
    model: SequenceModel,
    given: GivenSeries,
    index: Ints,
    quantiles: Sequence[float],
    columns: Mapping[str, float],
    *,
    only_missing: bool = False,
) -> Imputed:
    """Series with their gaps filled.

    Args:
        model: the model.
        given: the series.
        index: (S,) their numbers in the training data, -1 for others.
        quantiles: those to compute.
        columns: the quantile of each column by its name.
        only_missing: whether moments without a gap are left out.
    """
    levels = tuple(sorted({*quantiles, 0.5}))
    filler = _Filler(model, given, levels)
    offsets, missing = given.offsets, np.isnan(given.numbers).any(1)
    has_gap = np.add.reduceat(missing.astype(np.int64), offsets[:-1]) > 0
    chosen = np.flatnonzero(has_gap & (np.diff(offsets) > 0))
    for block in row_blocks(len(chosen), 64):
        rows = chosen[block]
        if isinstance(model, Smooths):
            filler.smooth(rows, index[rows])
        else:
            standing = begin(model, torch.as_tensor(index[rows]))
            follow(model, given, standing, offsets[rows].copy(), offsets[rows + 1], filler.forward)
    place = {level: i for i, level in enumerate(levels)}
    return Imputed(
        given,
        filler.quantiles,
        filler.quantiles[..., place[0.5]],
        {name: place[level] for name, level in columns.items()},
        is_exact=isinstance(model, Smooths),
        only_missing=only_missing,
    )


class _Filler:
    """Takes the quantiles of missing values out of distributions."""

    def __init__(self, model: SequenceModel, given: GivenSeries, levels: Sequence[float]) -> None:
        self._model, self._given, self._levels = model, given, levels
        self.quantiles = np.full((*given.numbers.shape, len(levels)), np.nan)

    def forward(self, rows: Ints, at: Ints, batch: Batch, density: Density) -> None:
        """From the distributions of single steps."""
        self._take(at, batch.lengths, batch.targets, density)

    def smooth(self, rows: Ints, index: Ints) -> None:
        """From the distributions given everything."""
        given, model = self._given, self._model
        begins, ends = given.offsets[rows], given.offsets[rows + 1]
        lengths = ends - begins
        longest = int(lengths.max())
        at = np.minimum(begins[:, None] + np.arange(longest), len(given.numbers) - 1)
        values = Values.of(torch.as_tensor(given.numbers[at]).to(model.device, model.dtype))
        shape = (len(rows), 1, given.numbers.shape[1])
        nothing = Values.missing(shape, model.device, model.dtype)
        inputs = Values(
            torch.cat([nothing.numbers, values.numbers], 1),
            torch.cat([nothing.is_observed, values.is_observed], 1),
        )
        known = Reader(given, model).known(begins, longest)
        if known is not None:  # of the next moment; after the last one, none is needed
            known = torch.cat([known, known[:, -1:]], 1)
        numbers = torch.as_tensor(lengths)
        memory = model.of_series(torch.as_tensor(index)) if (index >= 0).any() else None
        assert isinstance(model, Smooths)
        is_ragged = bool((lengths != longest).any())
        density = model.smooth(
            NumberInput(inputs, known), numbers + 1 if is_ragged else None, memory
        )
        self._take(begins, numbers, values, density)

    def _take(self, at: Ints, lengths: Tensor | None, targets: Values, density: Density) -> None:
        missing = (~targets.is_observed).cpu().numpy()
        if not missing.any():
            return
        mean = density.mean
        bands = torch.stack(
            [density.quantile(torch.full_like(mean, level)) for level in self._levels], -1
        )
        found = bands.double().cpu().numpy()
        sizes = np.full(len(at), missing.shape[1]) if lengths is None else lengths.numpy()
        for i, (place, size) in enumerate(zip(at.tolist(), sizes.tolist(), strict=True)):
            chosen = np.where(missing[i, :size, :, None], found[i, :size], np.nan)
            self.quantiles[place : place + size] = chosen
