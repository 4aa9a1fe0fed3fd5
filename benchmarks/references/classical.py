"""Linear models of numbers on the series of textbooks, beside what others computed.

Brockwell and Davis (Yule-Walker and Burg on sunspots), statsmodels 0.15 (exact likelihoods and
vector autoregressions), R (the same orders). The data are public: sunspots and macrodata of
statsmodels.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import seriatim as st
from benchmarks.references import hidden_states
from benchmarks.references.figures import Figure
from benchmarks.references.series import Series, log_likelihoods
from seriatim.models.build import build_number_model
from seriatim.models.linear.ar import ARModel

Array = NDArray[np.float64]


def figures(data: Path) -> Iterator[Figure]:
    """Every figure."""
    for check in CHECKS:
        yield from check(data)
    yield from hidden_states.figures(data)


def _table(data: Path, name: str) -> Array:
    path = data / "statsmodels-series" / f"{name}.csv"
    return np.genfromtxt(path, delimiter=",", names=True)


def _fitted(config: st.AR, x: Array) -> tuple[ARModel, dict[str, object]]:
    model = build_number_model(config, st.Numbers(), 1)
    assert isinstance(model, ARModel)
    return model, model.fit_series(Series(x))


def _old_sunspots(data: Path) -> Iterator[Figure]:
    """Sunspots 1770 to 1869, order 2, around their mean."""
    table = _table(data, "sunspots")
    x = table["SUNACTIVITY"][(table["YEAR"] >= 1770) & (table["YEAR"] <= 1869)]
    expected = {"yule-walker": (1.3173, -0.6338, 290.0), "burg": (1.3954, -0.7080, 228.64)}
    for estimator, (first, second, variance) in expected.items():
        model, _ = _fitted(st.AR(2, estimator=estimator), x)  # type: ignore[arg-type]
        name = f"sunspots 1770-1869, {estimator}"
        weights = model.shared_weights[0, 0].flip(-1).tolist()
        yield Figure(f"{name}, first coefficient", first, weights[0], 1e-4)
        yield Figure(f"{name}, second coefficient", second, weights[1], 1e-4)
        found = float(model.shared_spread[0, 0, 0]) ** 2
        yield Figure(f"{name}, variance", variance, found, 0.05)


def _all_sunspots(data: Path) -> Iterator[Figure]:
    """All 309 years, order 9 with a mean, exact maximum likelihood; whole and with gaps."""
    x = _table(data, "sunspots")["SUNACTIVITY"].copy()
    for name, expected in (("whole", -1274.311), ("30 % removed", -998.412)):
        model, facts = _fitted(st.AR(9, estimator="exact"), x)
        found = float(log_likelihoods(model, x).sum())
        yield Figure(f"sunspots, AR(9), exact maximum, {name}", expected, found, 1e-3)
        assert abs(found - float(facts["log_likelihood"])) < 1e-6  # type: ignore[arg-type]
        x[np.random.default_rng(0).random(len(x)) < 0.3] = np.nan


def _macrodata(data: Path) -> Iterator[Figure]:
    """Growth of product, consumption and investment: order 2, given the first two moments."""
    table = _table(data, "macrodata")
    columns = [table[name] for name in ("realgdp", "realcons", "realinv")]
    x = np.diff(np.log(np.stack(columns, 1)), axis=0)
    model = build_number_model(st.VAR(2), st.Numbers(num_channels=3), 1)
    model.fit_series(Series(x))  # type: ignore[operator]
    found = float(log_likelihoods(model, x)[2:].sum())
    yield Figure("macrodata, VAR(2), log-likelihood", 1962.571, found, 1e-3)


CHECKS: list[Callable[[Path], Iterator[Figure]]] = [_old_sunspots, _all_sunspots, _macrodata]
