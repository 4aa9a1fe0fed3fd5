"""What a model says was hidden behind a series: smoothed components, or states and their path.

Knows models that declare it, and arrays; no family.

Shapes: T moments, K states.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.forecasting import HasComponents, HasDiscreteStates
from seriatim.core.model import SequenceModel
from seriatim.core.records import Json
from seriatim.core.values import NumberInput, Values
from seriatim.report.series_plots import or_gaps
from seriatim.tasks.forecasting.given_series import Floats, GivenSeries
from seriatim.tasks.forecasting.states import Ints, Reader, Standing

_BAND = 0.1, 0.5, 0.9
_SHOWN = 8  # components and states that are written in the summary


@dataclass(frozen=True)
class Component:
    """A hidden part of a series, given all values of it.

    Attributes:
        low, median, high: (T,) the quantiles .1, .5 and .9 of each moment.
    """

    low: Floats
    median: Floats
    high: Floats


@dataclass(frozen=True)
class StatePath:
    """The hidden states of a series, given all values of it.

    Attributes:
        posterior: (T, K) the probability of each state at each moment.
        path: (T,) the states that are most probable together (Viterbi), from 1.
        log_probability: ln p of the whole series with its whole path, in nats.
    """

    posterior: Floats
    path: Ints
    log_probability: float


@dataclass(frozen=True)
class HiddenParts:
    """What was hidden, as far as the model says.

    Attributes:
        components: the components by name; none: the model has none.
        states: the states; None: the model has none.
    """

    components: Mapping[str, Component]
    states: StatePath | None

    def to_json(self) -> dict[str, Json]:
        """A dict of JSON values, without what the model does not have."""
        found: dict[str, Json] = {}
        if self.components:
            found["components"] = {
                name: {edge: or_gaps(getattr(c, edge)) for edge in ("low", "median", "high")}
                for name, c in self.components.items()
            }
        if self.states is not None:
            found["states"] = {
                "posterior": self.states.posterior.tolist(),
                "path": self.states.path.tolist(),
                "log_probability": self.states.log_probability,
            }
        return found

    def lines(self) -> list[str]:
        """Sentences for people."""
        told = []
        if self.components:
            each = [
                f"{name} {c.median[-1]:.5g} ({c.low[-1]:.5g} to {c.high[-1]:.5g})"
                for name, c in list(self.components.items())[:_SHOWN]
            ]
            told.append(f"smoothed, at the end, with 80 % bands: {', '.join(each)}")
        if self.states is not None:
            path = self.states.path
            counts = np.bincount(path, minlength=self.states.posterior.shape[1] + 1)[1:]
            each = [f"{100 * n / len(path):.0f} % in state {k}" for k, n in enumerate(counts, 1)]
            changes = int((np.diff(path) != 0).sum())
            told.append(
                f"most probable states: {', '.join(each[:_SHOWN])}; {changes:,} changes, at the "
                f"end in state {path[-1]}"
            )
        return told


@torch.inference_mode()
def hidden_parts(
    model: SequenceModel, given: GivenSeries, row: int, standing: Standing, at: int, end: int
) -> HiddenParts:
    """The hidden parts of the moments at .. end - 1 of one series, given all of its values.

    Args:
        model: the model.
        given: the series.
        row: the number of the series.
        standing: what is kept of it before `at`.
        at, end: places in the data.
    """
    first, last = int(given.offsets[row]), int(given.offsets[row + 1])
    components: dict[str, Component] = {}
    if isinstance(model, HasComponents):
        # What came before is in the carry; what comes after the part has to be read.
        for name, density in model.components(
            standing.carry, _inputs(model, given, standing, at, last)
        ).items():
            edges = [density.quantile(torch.tensor(q, dtype=torch.float64)) for q in _BAND]
            low, median, high = (_array(edge[0, : end - at, 0]) for edge in edges)
            components[name] = Component(low, median, high)
    states = None
    if isinstance(model, HasDiscreteStates):
        # The best path of a part is that of the whole, so all of the series is read.
        whole = Values.of(torch.as_tensor(given.numbers[None, first:last]).to(model.device))
        path, log_probability = model.best_states(whole)
        states = StatePath(
            _array(model.posterior(whole)[0, at - first : end - first]),
            path[0, at - first : end - first].cpu().numpy() + 1,
            float(log_probability[0]),
        )
    return HiddenParts(components, states)


def _inputs(
    model: SequenceModel, given: GivenSeries, standing: Standing, at: int, last: int
) -> NumberInput:
    """The moment before `at`, then all until `last`."""
    known = Reader(given, model).known(np.array([at]), last - at)
    if known is not None:  # of the next moment; after the last one, none is needed
        known = torch.cat([known, known[:, -1:]], 1)
    own = Values.of(torch.as_tensor(given.numbers[None, at:last]).to(model.device, torch.float64))
    before = standing.last
    values = Values(
        torch.cat([before.numbers[:, None], own.numbers], 1),
        torch.cat([before.is_observed[:, None], own.is_observed], 1),
    )
    return NumberInput(values, known)


def _array(values: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.double().cpu().numpy()
    return found
