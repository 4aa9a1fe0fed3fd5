"""ETTh1 and ETTh2, hourly: mean squared error far ahead, and wQL of the last day.

Mean squared error as in LTSF-Linear: 12 months to fit, 4 to validate (not used), 4 to test; every
channel by itself, scaled by mean and deviation of the first 12 months; look-back 336; all windows
of the test months, none dropped. Ours is a one-step model, iterated: 335 steps before the next,
which is to subtract the last value from the window, with coefficients that the channels share.
Published for 96 hours: NLinear .374 and .277, corrected DLinear .384 and .282, PatchTST .385 and
.274, FITS .375 and .271.

wQL as in Chronos (Ansari et al. 2024): 14 series, everything but the last 24 hours to fit, nine
quantiles. Published: seasonal naive .1221, AutoARIMA .0890, Chronos-bolt-base .0706.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import seriatim as st
from benchmarks.references.figures import Figure
from benchmarks.references.series import Series, as_input
from seriatim.core.values import NumberInput, Values
from seriatim.decode.forecast import forecast
from seriatim.metrics.forecasting import weighted_quantile_loss
from seriatim.models.build import build_number_model
from seriatim.models.linear.ar import ARModel
from seriatim.models.options.base import ModelConfig

Array = NDArray[np.float64]
MONTH, LOOK_BACK, DAY = 30 * 24, 336, 24
HORIZONS = (96, 192, 336, 720)
TO_REACH = {"ETTh1": (0.375, 0.413, 0.441, 0.437), "ETTh2": (0.274, 0.339, 0.369, 0.399)}
LEVELS = [k / 10 for k in range(1, 10)]
DAYS: dict[str, tuple[ModelConfig, float]] = {
    "seasonal naive": (st.SeasonalNaive(season_length=24), 0.1221),
    "AR, defaults for 24 hours": (st.AR(season_length=24), 0.085),
    "AR(336) of steps, every series by itself": (
        st.AR(336, difference=True, pooling="none"),
        0.085,
    ),
}
_ROWS = 2048  # windows at once


def figures(data: Path) -> Iterator[Figure]:
    """Every figure."""
    tables = {name: _table(data, name) for name in TO_REACH}
    for name, x in tables.items():
        found = _errors(x)
        for horizon, expected, ours in zip(HORIZONS, TO_REACH[name], found, strict=True):
            what = f"{name}, mean squared error, {horizon} hours"
            yield Figure(what, expected, ours, 5e-4, at_most=True)
    series = [x[:, d].copy() for x in tables.values() for d in range(x.shape[1])]
    for name, (config, expected) in DAYS.items():
        yield Figure(f"wQL of 24 hours, {name}", expected, _wql(config, series), at_most=True)


def _table(data: Path, name: str) -> Array:
    table: Array = np.genfromtxt(data / "ett" / f"{name}.csv", delimiter=",", skip_header=1)
    return table[:, 1:]


def _model(config: ModelConfig, series: list[Array]) -> ARModel:
    model = build_number_model(config, st.Numbers(), len(series))
    assert isinstance(model, ARModel)
    model.fit_series(Series(*series))
    return model


def _errors(x: Array) -> list[float]:
    """The mean squared error at each horizon."""
    fitted, begin, end = 12 * MONTH, 16 * MONTH, 20 * MONTH
    x = (x - x[:fitted].mean(0)) / x[:fitted].std(0)
    config = st.AR(LOOK_BACK - 1, difference=True, trend="constant", pooling="full")
    model = _model(config, [part.copy() for part in x[:fitted].T])
    total, number = np.zeros(len(HORIZONS)), np.zeros(len(HORIZONS))
    for channel in x.T:
        test = channel[begin - LOOK_BACK : end]
        windows = np.lib.stride_tricks.sliding_window_view(test, LOOK_BACK)[: -HORIZONS[0]]
        for first in range(0, len(windows), _ROWS):
            rows = torch.from_numpy(windows[first : first + _ROWS].copy())[..., None]
            state = model.update(model.start(len(rows)), NumberInput(Values.of(rows)))
            path = model.ahead(state, HORIZONS[-1]).mean[..., 0].numpy()
            for i, horizon in enumerate(HORIZONS):
                futures = np.lib.stride_tricks.sliding_window_view(test[LOOK_BACK:], horizon)
                futures = futures[first : first + len(rows)]
                total[i] += np.square(path[: len(futures), :horizon] - futures).sum()
                number[i] += futures.size
    return (total / number).tolist()


def _wql(config: ModelConfig, series: list[Array]) -> float:
    """wQL of the last day of every series, pooled."""
    model = _model(config, [x[:-DAY] for x in series])
    found = []
    for i, x in enumerate(series):
        memory = model.of_series(torch.tensor([i]))
        state = model.update(model.start(1, memory=memory), as_input(x[:-DAY]))
        _, quantiles = forecast(model, state, DAY, quantiles=LEVELS)
        found.append(quantiles[0, :, :, 0].T.numpy())
    y = np.stack([x[-DAY:] for x in series])
    return float(weighted_quantile_loss(y, np.stack(found), LEVELS))
