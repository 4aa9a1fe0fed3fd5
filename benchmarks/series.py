"""Speed of the classical models of numbers, beside statsmodels in the same run.

    python -m benchmarks.series

Prints a table and, as its last line, JSON. Needs `seriatim[refs]`.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import seriatim as st
from benchmarks.processor import processor_name
from benchmarks.references.series import Series, as_input
from seriatim.core import tree
from seriatim.models.build import build_number_model
from seriatim.models.linear.ar import ARModel
from seriatim.models.linear.least_squares import select_orders
from seriatim.models.state_space.likelihood import diffuse_log_likelihoods
from seriatim.models.state_space.structures import structure

Array = NDArray[np.float64]
SERIES, LENGTH, MAX_ORDER, THEIRS = 1000, 500, 12, 100
UPDATES = 20_000


def autoregressions(count: int, length: int) -> Array:
    """(count, length) series of orders from 0 to 6."""
    rng = np.random.default_rng(0)
    found = np.zeros((count, length + 100))
    for row in found:
        weights = np.zeros(0)
        for partial in rng.uniform(-0.7, 0.7, size=rng.integers(0, 7)):
            weights = np.append(weights - partial * weights[::-1], partial)
        noise = rng.normal(size=len(row))
        for t in range(len(row)):
            past = row[max(0, t - len(weights)) : t][::-1]
            row[t] = noise[t] + weights[: len(past)] @ past
    return found[:, 100:]


def orders() -> dict[str, float]:
    """Orders 0 to 12 by AIC: ours for all series, statsmodels for some of them."""
    from statsmodels.tsa.ar_model import ar_select_order

    x = autoregressions(SERIES, LENGTH)
    ours, found = _seconds(lambda: select_orders(torch.from_numpy(x), MAX_ORDER, "aic"), repeat=5)

    def them() -> list[int]:
        return [len(ar_select_order(row, MAX_ORDER, ic="aic").ar_lags or ()) for row in x[:THEIRS]]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, expected = _seconds(them, repeat=1)
    return {
        "series_per_second": SERIES / ours,
        "statsmodels_series_per_second": THEIRS / theirs,
        "ratio": (SERIES / ours) / (THEIRS / theirs),
        "same_orders": float(np.mean(found[:THEIRS].numpy() == expected)),
    }


def updates() -> dict[str, float]:
    """Values of a stream that AR(24) takes in a second; statsmodels' append for some of them."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    x = autoregressions(1, UPDATES)[0]
    model = build_number_model(st.AR(24), st.Numbers(), 1)
    assert isinstance(model, ARModel)
    model.fit_series(Series(x[:2000]))
    inputs = as_input(x)
    values = [tree.map_leaves(lambda t, i=i: t[:, i], inputs) for i in range(UPDATES)]
    with torch.inference_mode():
        state = model.update(model.start(1), as_input(x[:100]))
        rates = []
        for part in range(0, UPDATES, UPDATES // 4):
            began = time.perf_counter()
            for value in values[part : part + UPDATES // 4]:
                state = model.step(state, value)
            rates.append((UPDATES // 4) / (time.perf_counter() - began))
    weights = model.shared_weights[0, 0].flip(-1).tolist()
    theirs = SARIMAX(x[:500], order=(24, 0, 0), trend="c").smooth([0.0, *weights, 1.0])
    began = time.perf_counter()
    for i in range(500, 520):
        theirs = theirs.append(x[i : i + 1])
    append = 20 / (time.perf_counter() - began)
    return {
        "values_per_second": min(rates),
        "last_quarter_to_first": rates[-1] / rates[0],
        "statsmodels_append_per_second": append,
    }


def pooled() -> dict[str, float]:
    """Seconds to fit 414 hourly series of 700 to 960 values, with the defaults for 24 hours."""
    rng = np.random.default_rng(0)
    series = []
    for _ in range(414):
        t = np.arange(rng.choice([700, 960]))
        day = sum(rng.normal() / k * np.cos(2 * np.pi * k * t / 24 + rng.normal()) for k in (1, 2))
        series.append(10 ** rng.uniform(1, 5) * np.exp(0.3 * day + 0.1 * rng.normal(size=len(t))))
    model = build_number_model(st.AR(season_length=24), st.Numbers(), len(series))
    assert isinstance(model, ARModel)
    seconds, _ = _seconds(lambda: model.fit_series(Series(*series)), repeat=1)
    return {"seconds": seconds}


def likelihoods(**options: Any) -> dict[str, float]:
    """Exact diffuse likelihoods, each series with variances of its own; statsmodels' for some.

    Ours and theirs take turns; the ratio is the median of three.
    """
    import statsmodels.api as sm

    form = structure(**options)
    rng = np.random.default_rng(0)
    y = rng.normal(size=(SERIES, LENGTH)).cumsum(1) + rng.normal(size=(SERIES, LENGTH))
    variances = rng.uniform(0.02, 1.0, (SERIES, len(form.noisy)))
    noise = rng.uniform(0.1, 2.0, SERIES)
    trend = "local linear trend" if options["slope"] else "local level"
    season = options["season_length"]
    peers = [
        sm.tsa.UnobservedComponents(row, trend, seasonal=season, use_exact_diffuse=True)
        for row in y[: THEIRS // 2]
    ]

    def ours() -> Array:
        return diffuse_log_likelihoods(form, variances, noise, y)

    def theirs() -> Array:
        each = zip(peers, noise, variances, strict=False)
        return np.array([peer.loglike(np.concatenate([[n], v])) for peer, n, v in each])

    found, expected = ours(), theirs()
    pairs = [(_seconds(ours, 1)[0], _seconds(theirs, 1)[0]) for _ in range(3)]
    each = [(SERIES / a) / (len(peers) / b) for a, b in pairs]
    return {
        "series_per_second": SERIES / float(np.median([a for a, _ in pairs])),
        "ratio": float(np.median(each)),
        "differs_by": float(np.abs(found[: len(peers)] - expected).max()),
    }


def _seconds(call: Callable[[], object], repeat: int) -> tuple[float, object]:
    """The median of the seconds of a call, and what it returned."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - began)
    return float(np.median(times)), found


def _results() -> Iterator[tuple[str, dict[str, float]]]:
    yield f"orders 0 to {MAX_ORDER} of {SERIES} series of {LENGTH}", orders()
    yield "a stream, AR(24)", updates()
    for name, slope, season in (
        ("local level", False, None),
        ("local linear trend", True, None),
        ("local level, season of 4", False, 4),
        ("local level, season of 12", False, 12),
    ):
        title = f"diffuse likelihoods of {SERIES} series of {LENGTH}, {name}"
        yield title, likelihoods(slope=slope, season_length=season)
    yield "pooled AR, 414 hourly series", pooled()


def main() -> None:
    """Run everything on one thread, as statsmodels does."""
    torch.set_num_threads(1)
    record: dict[str, object] = {"processor": processor_name(), "threads": torch.get_num_threads()}
    for name, found in _results():
        shown = ", ".join(f"{key} {value:,.4g}" for key, value in found.items())
        print(f"{name}: {shown}", flush=True)
        record[name] = found
    print(json.dumps(record))


if __name__ == "__main__":
    main()
