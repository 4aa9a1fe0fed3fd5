"""How many of the last values a model of series uses: its loss with a past of k moments.

    L_k = mean over values x_t of  -log2 p(x_t | the k moments before t)

The model reads k moments from its empty state, with what it remembers of a series that it was
fitted to, and predicts the next; the values are the same for every k. The effective context is the
smallest k from which on L_k stays within `TOLERANCE` bits of that with the longest past.

Knows a model and numbers; no family.

Shapes: N values, k moments of past, D channels, K known inputs, S series.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core import tree
from seriatim.core.densities import as_density
from seriatim.core.model import SequenceModel
from seriatim.core.records import Json, to_json
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.errors import ConfigError, DataError

TOLERANCE = 0.01  # bits for each value
SERIES_CONTEXTS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 72, 96, 168, 336)
NUM_VALUES = 1_000
_LEAST = 20  # moments: fewer say nothing
_CELLS = 1 << 16  # moments that are read at once

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SeriesContext:
    """How the loss of a model of series falls with the past that it sees.

    Attributes:
        contexts: k, the numbers of moments before a value.
        bits: -log2 of the density for each value, with each of them.
        errors: the standard error of the difference to the longest.
        effective: the effective context; None: the loss still falls at the longest.
        reach: what the model declares that it can use; None: all of the past.
        num_values: the number of values that were predicted.
    """

    contexts: tuple[int, ...]
    bits: tuple[float, ...]
    errors: tuple[float, ...]
    effective: int | None
    reach: int | None
    num_values: int

    def to_json(self) -> Json:
        """The figures as JSON values."""
        return to_json(self)

    def lines(self) -> list[str]:
        """A table for people, and what follows from it."""
        rows = [
            f"{k:>8,}  {bits:>14.4f}  {bits - self.bits[-1]:>+8.4f}"
            for k, bits in zip(self.contexts, self.bits, strict=True)
        ]
        return [f"{'moments':>8}  {'bits per value':>14}  {'lost':>8}", *rows, "", self._sentence()]

    def _sentence(self) -> str:
        on = f"on {self.num_values:,} values; bits are those of a density"
        if self.effective is None:
            return f"the loss still falls at {self.contexts[-1]:,} moments ({on})"
        return (
            f"effective context: {self.effective:,}; more of the past gives less than "
            f"{TOLERANCE} bits ({on})"
        )


def series_context(
    model: SequenceModel,
    data: NumberSequences,
    index: Ints,
    *,
    contexts: Sequence[int] = SERIES_CONTEXTS,
    num_values: int = NUM_VALUES,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> SeriesContext:
    """Measure how far back a model of series looks.

    Args:
        model: any model of numbers.
        data: the series.
        index: (S,) their numbers in the training data, -1 for others.
        contexts: rising numbers of moments; those are left out that no series is longer than.
        num_values: the number of moments whose values are predicted, at most.
        seed: of their choice.
        progress: callback that receives the fraction of the work done so far.

    Raises:
        ConfigError: if contexts are not rising numbers from 0 on.
        DataError: if fewer than 20 moments have a value and a past.
    """
    if not contexts or contexts[0] < 0 or any(np.diff(contexts) <= 0):
        raise ConfigError("contexts: give rising numbers of moments, such as 1 2 4 8")
    lengths = np.diff(data.offsets)
    fitting = [k for k in contexts if k <= max(1, int(lengths.max()) // 2)]
    if not fitting:
        raise DataError(f"the series are too short for a past of {contexts[0]:,} moments")
    places, series = _places(data, fitting[-1], num_values, seed)
    bits, done = [], 0.0
    work = float(sum(k + 1 for k in fitting))
    for k in fitting:
        bits.append(_bits(model, data, places, torch.from_numpy(index[series]), k))
        done += k + 1
        if progress is not None:
            progress(done / work)
    observed = (~np.isnan(data.numbers[places])).sum(1)
    means = [float(b.sum() / observed.sum()) for b in bits]
    differences = [(b - bits[-1]) / observed for b in bits]
    errors = [float(d.std() / np.sqrt(len(d))) for d in differences]
    close = [abs(mean - means[-1]) <= TOLERANCE for mean in means]
    first = next(i for i in range(len(close)) if all(close[i:]))
    still_falls = len(fitting) > 1 and first == len(fitting) - 1
    return SeriesContext(
        contexts=tuple(fitting),
        bits=tuple(means),
        errors=tuple(errors),
        effective=None if still_falls else fitting[first],
        reach=model.reach,
        num_values=int(observed.sum()),
    )


def _places(data: NumberSequences, most: int, count: int, seed: int) -> tuple[Ints, Ints]:
    """(N,) moments with a value and `most` moments before them, in order, and their series."""
    lengths = np.diff(data.offsets)
    series = np.repeat(np.arange(len(lengths)), lengths)
    depth = np.arange(len(data.numbers)) - data.offsets[series]
    found = np.flatnonzero((depth >= most) & ~np.isnan(data.numbers).all(1))
    if len(found) < _LEAST:
        raise DataError(
            f"{len(found)} values have {most:,} moments before them, too few to say how far back "
            f"a model looks: give at least {_LEAST}, or smaller contexts"
        )
    if len(found) > count:
        found = np.sort(np.random.default_rng(seed).choice(found, count, replace=False))
    return found, series[found]


def _bits(
    model: SequenceModel, data: NumberSequences, places: Ints, index: torch.Tensor, k: int
) -> NDArray[np.float64]:
    """(N,) the surprisal of the values at `places`, given the k moments before each."""
    parts, rows = [], max(1, _CELLS // (k + 1))
    for begin in range(0, len(places), rows):
        at = places[begin : begin + rows]
        with torch.inference_mode():
            density = _predicted(model, data, at, index[begin : begin + rows], k)
            target = Values.of(_tensor(data.numbers[at], model))
            parts.append(-as_density(density).log_prob(target).double().cpu().numpy())
    bits: NDArray[np.float64] = np.concatenate(parts) / np.log(2.0)
    return bits


def _predicted(
    model: SequenceModel, data: NumberSequences, at: Ints, index: torch.Tensor, k: int
) -> Any:
    """The distributions of the values at moments (B,), given the k moments before each."""
    window = at[:, None] + np.arange(-k, 1)  # the past, and the moment itself
    known = None if data.known is None else _tensor(data.known[window], model)
    numbers = Values.of(_tensor(data.numbers[window[:, :-1]], model))
    nothing = Values.missing(
        (len(at), 1, data.numbers.shape[1]), model.device, numbers.numbers.dtype
    )
    first = NumberInput(nothing, None if known is None else known[:, :1])
    memory = model.of_series(index)
    memory = None if memory is None else tree.to(memory, model.device)
    state = model.start(len(at), memory=memory, first=first)
    past = NumberInput(numbers, None if known is None else known[:, 1:])
    return model.predict(model.update(state, past))


def _tensor(numbers: NDArray[np.float64], model: SequenceModel) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(model.device, model.dtype)
