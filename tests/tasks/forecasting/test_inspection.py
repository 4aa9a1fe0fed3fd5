"""What happens inside a forecaster while it reads a series."""

import json
from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import DataError


def _series(length: int = 120) -> np.ndarray:
    rng = np.random.default_rng(0)
    y = np.zeros(length)
    for t in range(2, length):
        y[t] = 0.6 * y[t - 1] - 0.3 * y[t - 2] + rng.normal()
    y[length - 20] = np.nan
    return y


def test_lags_of_a_linear_model_are_its_coefficients() -> None:
    y = _series()
    forecaster = st.Forecaster(st.AR(order=2)).fit(y)
    found = forecaster.inspect(y, length=40)
    shifted = y.copy()
    shifted[-2] += 1
    moved = forecaster.predict(1, data=shifted).mean - forecaster.predict(1, data=y).mean
    assert found.lags[1] == pytest.approx(moved.item(), abs=1e-6)
    assert found.lags[:2] == pytest.approx([0.6, -0.3], abs=0.2)
    assert not np.nan_to_num(found.lags[2:]).any()
    assert np.isnan(found.lags[19])  # the gap
    assert found.before == 80


def test_a_gap_is_no_lag_that_is_told() -> None:
    y = _series(60)
    assert "nan" not in str(st.Forecaster(st.HMM(num_states=2)).fit(y).inspect(y, length=50))


def test_innovations_are_values_less_their_means() -> None:
    y = _series()
    forecaster = st.Forecaster(st.AR(order=2)).fit(y)
    found = forecaster.inspect(y, start=90, length=20)
    expected = y[95] - forecaster.predict(1, data=y[:95]).mean.item()
    assert found.innovations[5] == pytest.approx(expected)
    width = (found.high[5] - found.low[5]) / (2 * 1.2815515655446004)  # of the normal's 0.9
    assert found.deviations[5] == pytest.approx(expected / width, rel=1e-6)
    assert np.isnan(found.innovations[10]) and found.to_json()["innovations"][10] is None


def test_components_of_a_part_are_those_of_the_whole() -> None:
    y = np.arange(90) % 4 + np.cumsum(np.random.default_rng(1).normal(size=90))
    y[60:63] = np.nan
    forecaster = st.Forecaster(st.LinearGaussian(season_length=4)).fit(y)
    part = forecaster.inspect(y, start=50, length=20)
    whole = forecaster.inspect(y, length=90)
    assert list(part.hidden.components) == ["level", "season"]
    for name, component in part.hidden.components.items():
        other = whole.hidden.components[name]
        for edge in ("low", "median", "high"):
            got, expected = getattr(component, edge), getattr(other, edge)
            np.testing.assert_allclose(got, expected[50:70], rtol=1e-7, atol=1e-7)
    sum_ = sum(c.median for c in part.hidden.components.values())
    filled = forecaster.impute(y, only_missing=True).column("y")
    np.testing.assert_allclose(sum_[10:13], filled, rtol=1e-7)
    assert "smoothed, at the end, with 80 % bands: level" in str(part)


def test_states_of_a_part_are_those_of_the_whole(tmp_path: Path) -> None:
    y = np.repeat([0.0, 5.0, 0.0, 5.0], 20) + np.random.default_rng(1).normal(size=80)
    y[33] = np.nan
    forecaster = st.Forecaster(st.HMM(num_states=2)).fit(y)
    found = forecaster.inspect(y, start=15, length=30)
    states = found.hidden.states
    assert states is not None
    assert states.path.tolist() == [1] * 5 + [2] * 20 + [1] * 5
    np.testing.assert_allclose(states.posterior.sum(1), 1)
    assert (states.posterior[:, 0] > 0.5).tolist() == (states.path == 1).tolist()
    whole = forecaster.inspect(y, length=80).hidden.states
    assert whole is not None
    np.testing.assert_allclose(states.posterior, whole.posterior[15:45])
    written = json.loads(json.dumps(found.to_json()))
    assert written["states"]["path"] == states.path.tolist()
    assert "components" not in written
    page = found.report().write(tmp_path / "page.html").read_text()
    assert "Most probable path" in page and "Innovations" in page


def test_bits_and_bands_are_those_of_the_score() -> None:
    y = _series()
    forecaster = st.Forecaster(st.AR(order=2)).fit(y)
    found = forecaster.inspect(y, start=90, length=20)
    bits = next(iter(forecaster.sequence_bits(y))).bits
    np.testing.assert_allclose(found.bits[~np.isnan(found.bits)], bits[90:109])
    one = forecaster.predict(1, data=y[:95]).quantiles[0, :, 0, 0]
    np.testing.assert_allclose([found.low[5], found.median[5], found.high[5]], one)
    assert np.isnan(found.bits[10])
    assert "read before" in str(found)


@pytest.mark.parametrize(
    ("model", "tap"),
    [
        (st.LSTM(hidden_size=4, num_layers=1), "forget"),
        (st.Transformer(model_size=8, num_layers=1, num_heads=2), "attention"),
    ],
)
def test_gates_and_attention_of_networks_are_recorded_and_drawn(
    model: object, tap: str, tmp_path: Path
) -> None:
    forecaster = st.Forecaster(model).fit(_series(), steps=1)
    found = forecaster.inspect(_series(), length=30)
    names = [name for name in found.taps if tap in name]
    assert names
    assert len(found.taps[names[0]]) == 30
    page = found.report().write(tmp_path / "page.html").read_text()
    assert names[0] in page
    assert "One moment ahead" in page


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = tmp_path / "y.csv", tmp_path / "model"
    data.write_text("y\n" + "\n".join("" if v != v else f"{v}" for v in _series(60)) + "\n")
    st.Forecaster(st.AR(order=2)).fit(_series(60)).save(model)
    assert main(["inspect", str(model), str(data), "--length", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["bits"]) == 10
    assert main(["inspect", str(model), str(data), "--text", "abc"]) != 0
    assert "reads a file of series" in capsys.readouterr().err
    assert main(["inspect", str(model), str(data), "--start", "60"]) == 3
    assert (
        "seriatim: the series 'y' has 60 moments, none of them from 60 on"
        in capsys.readouterr().err
    )


def test_a_folder_gets_the_page_and_the_findings(tmp_path: Path) -> None:
    data = tmp_path / "a.csv"
    rows = "".join(f"{t},{t % 5}\n" for t in range(60))
    data.write_text("ds,y\n" + rows)
    model, out = str(tmp_path / "m"), tmp_path / "out"
    fit = ["fit", str(data), "--task", "forecast", "--model", "ar", "--order", "5", "--quiet"]
    assert main([*fit, "--out", model]) == 0
    assert main(["inspect", model, str(data), "--out", str(out)]) == 0
    assert "One moment ahead" in (out / "report.html").read_text()
    found = json.loads((out / "inspection.json").read_text())
    assert len(found["values"]) == 60 and len(found["lags"]) == 60


def test_a_part_beyond_the_end_is_refused() -> None:
    y = _series(30)
    with pytest.raises(DataError, match="has 30 moments, none of them from 50 on"):
        st.Forecaster("naive").fit(y).inspect(y, start=50)
