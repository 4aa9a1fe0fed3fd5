"""ETTh1 and ETTh2 by networks, beside `ett`: three seeds each, and the mean of their paths.

Data, scaling, windows and errors as in `ett`; all seven channels are series that share a network.
A network reads a window from 512 hours before a forecast on, so that its level and scale have
settled, and is iterated one step after another with the mean of each.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import seriatim as st
from benchmarks.references.ett import DAY, HORIZONS, LEVELS, MONTH, TO_REACH
from benchmarks.references.series import Series
from seriatim.core.values import NumberInput, Values
from seriatim.decode.forecast import forecast, mean_path
from seriatim.metrics.forecasting import weighted_quantile_loss
from seriatim.models.build import build_number_model
from seriatim.train.options import TrainingOptions
from seriatim.train.series import SeriesValidation, fit_series

Array = NDArray[np.float64]
SEEDS = (0, 1, 2)
BEFORE = 512
LAGS = (1, 2, 3, 24, 25, 48, 168)
DAY_LAGS = (1, 2, 3, 23, 24, 25, 48, 144, 167, 168, 169)
FAMILIES: dict[str, tuple[Any, float]] = {
    "lstm": (st.LSTM(hidden_size=32, lags=LAGS), 3e-3),
    "transformer": (st.Transformer(model_size=32, num_layers=2, context=192, lags=LAGS), 2e-3),
}
EVERY = 4  # hours between the windows that are forecast
_ROWS = 1024


def jobs(data: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """A job for each family and file, and one for the last day of all series."""
    made: dict[str, Callable[[], dict[str, Any]]] = {}
    for family in FAMILIES:
        for name in TO_REACH:
            made[f"{family}, {name}"] = lambda f=family, n=name: errors(f, _table(data, n))  # type: ignore[misc]
    made["lstm, last day"] = lambda: last_day([_table(data, name) for name in TO_REACH])
    return made


def _table(data: Path, name: str) -> Array:
    table: Array = np.genfromtxt(data / "ett" / f"{name}.csv", delimiter=",", skip_header=1)
    return table[:, 1:]


def errors(family: str, x: Array) -> dict[str, Any]:
    """The mean squared error at each horizon, of each seed and of the mean of their paths."""
    fitted, begin, end = 12 * MONTH, 16 * MONTH, 20 * MONTH
    x = (x - x[:fitted].mean(0)) / x[:fitted].std(0)
    models = [_trained(family, x[:begin], fitted, seed) for seed in SEEDS]
    total = np.zeros((len(models) + 1, len(HORIZONS)))
    number = np.zeros(len(HORIZONS))
    for channel in x.T:
        starts = np.arange(begin, end - HORIZONS[0] + 1, EVERY)
        for first in range(0, len(starts), _ROWS):
            chosen = starts[first : first + _ROWS]
            rows = np.stack([channel[s - BEFORE : s] for s in chosen])
            paths = [_path(model, rows) for model in models]
            paths.append(np.mean(paths, 0))
            for i, horizon in enumerate(HORIZONS):
                fits = chosen + horizon <= end
                futures = np.stack([channel[s : s + horizon] for s in chosen[fits]])
                for m, path in enumerate(paths):
                    total[m, i] += np.square(path[fits, :horizon] - futures).sum()
                number[i] += futures.size
    found = total / number
    return {
        "horizons": HORIZONS,
        "mse_of_seeds": found[:-1].round(4).tolist(),
        "mse_of_mean": found[-1].round(4).tolist(),
    }


def _trained(family: str, x: Array, fitted: int, seed: int) -> st.SequenceModel:
    config, rate = FAMILIES[family]
    torch.manual_seed(seed)
    model = build_number_model(config, st.Numbers(), density="normal")
    whole = Series(*(channel.copy() for channel in x.T))
    train = Series(*(channel[:fitted].copy() for channel in x.T))
    valid = SeriesValidation(whole, np.full(x.shape[1], fitted), context=336)
    options = TrainingOptions(
        steps=400, batch_size=32, length=192, learning_rate=rate, warmup=20, seed=seed
    )
    fit_series(model, train, valid, options, context=168)
    return model


def _path(model: st.SequenceModel, rows: Array) -> Array:
    values = Values.of(torch.from_numpy(rows)[..., None])
    with torch.no_grad():
        state = model.update(model.start(len(rows)), NumberInput(values))
    return mean_path(model, state, HORIZONS[-1])[..., 0].double().numpy()


def last_day(tables: list[Array]) -> dict[str, Any]:
    """wQL of the last 24 hours of 14 series, of each seed."""
    series = [x[:, d].copy() for x in tables for d in range(x.shape[1])]
    train = Series(*(s[:-DAY] for s in series))
    y = np.stack([s[-DAY:] for s in series])
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        config = st.LSTM(hidden_size=64, lags=DAY_LAGS)
        model = build_number_model(config, st.Numbers(), density="student-t")
        options = TrainingOptions(
            steps=600, batch_size=64, length=96, learning_rate=5e-3, warmup=20, seed=seed
        )
        fit_series(model, train, None, options, context=169)
        past = torch.from_numpy(np.stack([s[-DAY - 4 * BEFORE : -DAY] for s in series]))
        with torch.no_grad():
            state = model.update(model.start(len(y)), NumberInput(Values.of(past[..., None])))
        _, bands = forecast(model, state, DAY, quantiles=LEVELS, num_samples=400)
        levels = bands[..., 0].transpose(1, 2).double().numpy()
        found.append(round(float(weighted_quantile_loss(y, levels, LEVELS)), 4))
    return {"wql_of_seeds": found}
