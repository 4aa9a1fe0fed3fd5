"""What a forecaster keeps of its series: where they stand, and the end of what was observed.

Both are stored beside the weights, so that a saved forecaster predicts without any data, and goes
on with new values. Knows arrays and models; no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seriatim.core import tree
from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberSequences
from seriatim.tasks.forecasting.states import Standing
from seriatim.tasks.past import Past

KEPT = 512  # moments of each series that are kept for pictures
KEPT_IN_ALL = 1 << 18


@dataclass(frozen=True)
class MemorySizes:
    """The sizes of a `SeriesMemory`.

    Attributes:
        standing: the bytes of the states.
        series: S.
        moments: the moments that are kept of all series together.
        channels: D.
        known: K.
    """

    standing: int
    series: int
    moments: int
    channels: int
    known: int


class SeriesMemory(nn.Module):
    """Where S series stand, and their last moments."""

    def __init__(self, sizes: MemorySizes) -> None:
        super().__init__()
        self.sizes = sizes
        moments, series = sizes.moments, sizes.series
        self.register_buffer("standing", torch.zeros(sizes.standing, dtype=torch.uint8))
        self.register_buffer("last_times", torch.zeros(series, dtype=torch.int64))
        self.register_buffer("offsets", torch.zeros(series + 1, dtype=torch.int64))
        self.register_buffer("times", torch.zeros(moments, dtype=torch.int64))
        numbers = torch.zeros(moments, sizes.channels, dtype=torch.float64)
        self.register_buffer("numbers", numbers)
        last = torch.zeros(series, sizes.known, dtype=torch.float64)
        self.register_buffer("last_inputs", last)

    @classmethod
    def of(
        cls,
        model: SequenceModel,
        standing: Standing,
        data: NumberSequences,
        times: NDArray[Any],
    ) -> "SeriesMemory":
        """What is kept of whole series.

        Args:
            model: the model of the states.
            standing: the states at their ends.
            data: the series.
            times: (N,) the time of each moment.
        """
        offsets = np.asarray(data.offsets)
        kept = keep_ends(offsets)
        at = np.concatenate([np.arange(e - k, e) for e, k in zip(offsets[1:], kept, strict=True)])
        return cls._filled(
            model,
            standing,
            _ends(times, offsets),
            [times[at].astype(np.int64), np.asarray(data.numbers[at], np.float64)],
            kept,
            last_known(data),
        )

    @classmethod
    def _filled(
        cls,
        model: SequenceModel,
        standing: Standing,
        ends: NDArray[np.int64],
        moments: Sequence[NDArray[Any]],
        kept: NDArray[np.int64],
        known: NDArray[np.float64],
    ) -> "SeriesMemory":
        times, numbers = moments
        blob = tree.to_bytes(standing, owner=model.fingerprint())
        sizes = MemorySizes(len(blob), len(kept), len(times), numbers.shape[1], known.shape[1])
        memory = cls(sizes)
        arrays = {
            "standing": np.frombuffer(blob, np.uint8).copy(),
            "last_times": ends,
            "offsets": np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
            "times": times,
            "numbers": numbers,
            "last_inputs": known,
        }
        memory.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
        return memory

    def updated(
        self,
        model: SequenceModel,
        standing: Standing,
        new: NumberSequences,
        times: NDArray[Any],
        rows: NDArray[np.int64],
        num_series: int,
    ) -> "SeriesMemory":
        """What is kept after new moments of some series.

        Args:
            model: the model of the states.
            standing: the states of all series now.
            new: the new moments.
            times: (N,) their times.
            rows: the series of each of `new`; beyond those that are kept, other ones.
            num_series: the number of all series.
        """
        old, fresh = self.past(range(self.sizes.series), "int64"), num_series - self.sizes.series
        before = [*old.times, *([times[:0].astype(np.int64)] * fresh)]
        values = [*old.numbers, *([new.numbers[:0]] * fresh)]
        ends = np.resize(self.ends("int64"), num_series)
        known = np.resize(self.last_known(), (num_series, self.sizes.known))
        offsets, news = np.asarray(new.offsets), last_known(new)
        for i, row in enumerate(rows.tolist()):
            own = slice(offsets[i], offsets[i + 1])
            before[row] = np.concatenate([before[row], times[own].astype(np.int64)])
            values[row] = np.concatenate([values[row], new.numbers[own]])
            ends[row], known[row] = before[row][-1], news[i]
        lengths = np.concatenate([[0], np.cumsum([len(b) for b in before])]).astype(np.int64)
        kept = keep_ends(lengths)
        moments = [
            np.concatenate([part[len(part) - k :] for part, k in zip(parts, kept, strict=True)])
            for parts in (before, values)
        ]
        return self._filled(model, standing, ends, moments, kept, known)

    def read(self, model: SequenceModel) -> Standing:
        """Where the series stand."""
        blob = self.get_buffer("standing").numpy().tobytes()
        standing: Standing = tree.to(tree.from_bytes(blob, owner=model.fingerprint()), model.device)
        return standing

    def past(self, rows: Sequence[int], kind: str) -> Past:
        """The last moments of some series.

        Args:
            rows: the series.
            kind: the type of the times, such as "datetime64[ns]".
        """
        offsets = self.get_buffer("offsets").tolist()
        times, numbers = self.get_buffer("times").numpy(), self.get_buffer("numbers").numpy()
        spans = [slice(offsets[i], offsets[i + 1]) for i in rows]
        return Past([times[s].astype(kind) for s in spans], [numbers[s] for s in spans])

    def ends(self, kind: str) -> NDArray[Any]:
        """(S,) the times of the last moments."""
        return self.get_buffer("last_times").numpy().astype(kind)

    def last_known(self) -> NDArray[np.float64]:
        """(S, K) the known inputs of the last moments."""
        known: NDArray[np.float64] = self.get_buffer("last_inputs").numpy()
        return known


def keep_ends(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the last moments of each series are kept."""
    most = max(1, min(KEPT, KEPT_IN_ALL // max(1, len(offsets) - 1)))
    return np.minimum(np.diff(offsets), most).astype(np.int64)


def _ends(times: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    whole = np.append(times.astype(np.int64), 0)  # a series of length 0 has no time
    ends: NDArray[np.int64] = np.where(np.diff(offsets) > 0, whole[offsets[1:] - 1], 0)
    return ends


def last_known(data: NumberSequences) -> NDArray[np.float64]:
    """(S, K) the known inputs of the last moments of series."""
    offsets = np.asarray(data.offsets)
    if data.known is None:
        return np.zeros((len(offsets) - 1, 0))
    return np.asarray(data.known[np.maximum(offsets[1:] - 1, 0)], np.float64)
