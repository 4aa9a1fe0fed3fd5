"""Several networks that predict together, and how many a budget holds."""

from pathlib import Path

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core.ensembles import Mixture
from seriatim.models.build import build_number_model
from seriatim.tasks.forecasting import path_error, training
from seriatim.tasks.forecasting.config import with_season
from seriatim.tasks.forecasting.training import _choose, choose_members
from seriatim.train.options import TrainingOptions

OPTIONS = {"batch_size": 2, "length": 16}


def _series(count: int = 3, length: int = 120) -> list[np.ndarray]:
    t, rng = np.arange(length), np.random.default_rng(0)
    return [50 * (i + 1) + 9 * np.sin(t / 4 + i) + rng.normal(size=length) for i in range(count)]


def test_members_are_trained_apart_and_predict_together() -> None:
    fitted = st.Forecaster(st.LSTM(hidden_size=4, members=2)).fit(
        _series(), steps=6, options=OPTIONS
    )
    assert isinstance(fitted.model, Mixture)
    first, second = fitted.model.members
    assert not first.input.weight.equal(second.input.weight)
    assert fitted.training.fit is not None
    assert "the error of 2 networks over" in fitted.training.fit.notes[-1]
    assert fitted.model.log_weights.exp().sum().item() == pytest.approx(1.0)


def test_members_are_saved_and_fitted_alike_from_the_same_seed(tmp_path: Path) -> None:
    def fit() -> st.Forecaster:
        forecaster = st.Forecaster(st.LSTM(hidden_size=4, members=2))
        return forecaster.fit(_series(), steps=4, options=OPTIONS, score=False)

    fitted, again = fit(), fit()
    assert fitted.model is not None and again.model is not None
    assert fitted.model.fingerprint() == again.model.fingerprint()
    fitted.save(tmp_path / "model")
    loaded = st.Forecaster.load(tmp_path / "model")
    one, other = (f.predict(5, num_samples=20).quantile(0.5) for f in (fitted, loaded))
    np.testing.assert_array_equal(one, other)


def test_a_network_with_worse_paths_is_left_out() -> None:
    element = st.Numbers(1, 0, "real")
    torch.manual_seed(0)
    mixture = build_number_model(st.LSTM(hidden_size=4, members=2), element)
    assert isinstance(mixture, Mixture)
    good, bad = mixture.members
    with torch.no_grad():
        bad.head.linear.bias[0] = 30.0  # drifts
    data = st.Forecaster(st.LSTM())._open(_series())
    held_out = path_error.held_out_futures(data, np.full(3, 90), 12, 60)
    notes = _choose(mixture, [good, bad], held_out)  # type: ignore[list-item]
    assert list(mixture.members) == [good] and mixture.log_weights.tolist() == [0.0]
    assert notes[0].endswith("(left out)")


def test_the_error_of_paths_is_smallest_for_the_true_distribution() -> None:
    rng = np.random.default_rng(1)
    walks = [rng.normal(size=200).cumsum() for _ in range(100)]
    forecaster = st.Forecaster(st.Naive()).fit(walks)
    data, model = forecaster._open(walks), forecaster.model
    assert model is not None
    held_out = path_error.held_out_futures(data, np.full(100, 150), 20, 60)
    assert held_out is not None
    true = path_error.path_error(model, held_out)
    for factor in (0.3, 3.0):
        model.series_spread[..., 0] *= factor
        model.shared_spread[..., 0] *= factor
        assert path_error.path_error(model, held_out) > true
        model.series_spread[..., 0] /= factor
        model.shared_spread[..., 0] /= factor


@pytest.mark.parametrize(("seconds", "members"), [(1e-3, None), (1e5, 3)])
def test_a_budget_holds_as_many_networks_as_can_be_trained(
    seconds: float, members: int | None
) -> None:
    data = st.Forecaster(st.LSTM())._open(_series())
    trial = build_number_model(st.LSTM(hidden_size=4), st.Numbers(1, 0, "real"))
    options = TrainingOptions(**OPTIONS)
    choice = choose_members(trial, data, options, 2, seconds)
    assert choice.model.get("members") == members


def test_lags_go_by_the_typical_series() -> None:
    config = with_season(st.LSTM(), 24, None, 300)
    assert config.lags is not None and 168 in config.lags and 335 not in config.lags
    assert 337 in (with_season(st.LSTM(), 24, None, 528).lags or ())


def test_networks_that_predict_together_are_calibrated_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each alone would be as wide as the whole should be, and the whole wider."""
    monkeypatch.setattr(training, "path_error", lambda *_: 1.0)
    calibrated: list[st.SequenceModel] = []
    monkeypatch.setattr(training, "calibrate_widths", lambda model, _: calibrated.append(model))
    fitted = st.Forecaster(st.LSTM(hidden_size=4, members=2))
    fitted.fit(_series(), steps=2, options=OPTIONS, score=False)
    assert calibrated == [fitted.model]
    assert isinstance(fitted.model, Mixture) and fitted.model.num_widths == 1
    before = fitted.predict(4, num_samples=400).quantile(0.9)
    fitted.model.set_widths(torch.tensor([1.5]))
    assert (fitted.predict(4, num_samples=400).quantile(0.9) > before).all()


@pytest.mark.parametrize("kept", [1, 2])
def test_networks_that_were_left_out_are_not_saved(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([1.0, 1.01 if kept == 2 else 2.0, 5.0])
    monkeypatch.setattr(training, "path_error", lambda *_: next(errors))
    fitted = st.Forecaster(st.LSTM(hidden_size=4, members=3))
    fitted.fit(_series(), steps=2, options=OPTIONS)
    assert fitted.config.members == kept  # type: ignore[attr-defined]
    fitted.save(tmp_path / "model")
    loaded = st.Forecaster.load(tmp_path / "model")
    assert isinstance(loaded.model, Mixture) == (kept > 1)
    one, other = (f.predict(5, num_samples=20).quantile(0.5) for f in (fitted, loaded))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("errors", "kept"),
    [((-0.01, 0.5), [0]), ((0.0, 0.0), [0, 1]), ((np.nan, 0.3), [1]), ((np.nan, np.nan), [0])],
)
def test_one_network_is_always_kept(
    errors: tuple[float, ...], kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate may be below 0 where nothing is uncertain, and paths may diverge."""
    mixture = build_number_model(st.LSTM(hidden_size=4, members=2), st.Numbers(1, 0, "real"))
    assert isinstance(mixture, Mixture)
    members = list(mixture.members)
    left = iter(errors)
    monkeypatch.setattr(training, "path_error", lambda *_: next(left))
    held_out = path_error.held_out_futures(
        st.Forecaster(st.LSTM())._open(_series()), np.full(3, 90), 12, 60
    )
    _choose(mixture, members, held_out)  # type: ignore[arg-type]
    assert list(mixture.members) == [members[i] for i in kept]
