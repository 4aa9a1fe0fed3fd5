"""Networks over numbers: a causal level and scale, lags, gaps, densities in the data's units."""

from typing import Any

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core import tree
from seriatim.core.elements import Numbers, Support
from seriatim.core.values import NumberInput, Values
from seriatim.data.batches.series import SeriesWindows
from seriatim.decode.forecast import forecast
from seriatim.errors import ConfigError
from seriatim.models.build import build_model, build_number_model
from seriatim.models.density_heads import HEADS
from seriatim.models.running_scale import Kind, RunningScale

CONFIGS: dict[str, Any] = {
    "rnn": st.RNN(hidden_size=5, lags=(2,)),
    "lstm": st.LSTM(hidden_size=5, num_layers=2, lags=(1, 3)),
    "gru": st.GRU(hidden_size=5),
    "transformer": st.Transformer(model_size=8, num_layers=2, num_heads=2, context=5),
    "autoregressive": st.Autoregressive(window=3, hidden_size=6, embedding_size=4, direct=True),
}


def series(rows: int = 3, length: int = 12, channels: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, length, channels, dtype=torch.float64, generator=generator)
    x = 50 + 10 * x
    x[0, 4] = torch.nan
    return x


def scanned(x: torch.Tensor, kind: Kind, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The level and the scale of one series, by the sums of the module, value after value."""
    decay = 1 - 1 / window
    values, deviations, levels, scales = [], [], [], []
    for number in x.tolist():
        if number == number:
            if kind == "ratio":
                deviations += [1.0] if not values else []  # usual scale, of weight 0.1
                deviations.append(abs(number))
            elif not values:
                deviations.append(
                    0.5 * abs(number) + float(np.float32(1e-3)) if kind == "level" else 0.5
                )
            else:
                deviations.append(abs(number - levels[-1]))
            values.append(number)
        if not values:
            levels.append(0.0)
            scales.append(1.0)
            continue
        weights = decay ** np.arange(len(values))[::-1]
        levels.append(float(weights @ np.array(values) / weights.sum()))
        if kind == "ratio":
            weights = np.concatenate([[0.1 * weights[0]], weights])
        else:
            weights = weights.copy()
            weights[0] *= 0.1
        scales.append(float(weights @ np.array(deviations) / weights.sum()))
    return np.array([0.0] * len(levels) if kind == "ratio" else levels), np.array(scales)


@pytest.mark.parametrize("kind", ["level", "log", "ratio"])
def test_level_and_scale_are_what_the_module_says(kind: Kind) -> None:
    x = series().abs()
    x[1, :3] = torch.nan
    scale = RunningScale(1, kind, 6).double()
    y = scale.seen(Values.of(x))
    standard, _ = scale.fold(scale.empty(3), y, None)
    for row in range(3):
        numbers = x[row, :, 0].log() if kind == "log" else x[row, :, 0]
        levels, scales = scanned(numbers, kind, 6)
        np.testing.assert_allclose(standard.level[row, :, 0], levels, rtol=1e-12)
        np.testing.assert_allclose(standard.scale[row, :, 0], scales, rtol=1e-12)


def test_a_huge_value_changes_nothing_before_it() -> None:
    torch.manual_seed(0)
    model = build_number_model(CONFIGS["lstm"], Numbers(1)).double().eval()
    x = series()
    changed = x.clone()
    changed[:, 8] = 1e12
    with torch.no_grad():
        before, after = (
            model.advance(model.empty(3), NumberInput(Values.of(v)), None)[0] for v in (x, changed)
        )
    assert torch.equal(before.h[:, :8], after.h[:, :8])
    assert torch.equal(before.standard.scale[:, :8], after.standard.scale[:, :8])
    assert not torch.equal(before.h[:, 8], after.h[:, 8])


@pytest.mark.parametrize("density", ["normal", "student-t", "mixture"])
@pytest.mark.parametrize("name", CONFIGS)
def test_shifted_and_scaled_series_have_shifted_and_scaled_densities(
    name: str, density: str
) -> None:
    """p(a x + b) = p(x) / a, once the level and scale are those of the series alone."""
    torch.manual_seed(0)
    model: Any = build_number_model(CONFIGS[name], Numbers(1), density=density).double().eval()
    x = series(length=30)
    model.scale.first_deviation.zero_()  # the guess at a first deviation knows units
    model.scale.least_scale.fill_(1e-12)
    model.input.weight.data[:, -2] = 0  # so does the scale, as an input
    values, other = Values.of(x), Values.of(1e4 * x + 7e5)
    with torch.no_grad():
        features = model.advance(model.empty(3), NumberInput(values), None)[0]
        shifted = model.advance(model.empty(3), NumberInput(other), None)[0]
        p = model.emit(features).log_prob(values)
        q = model.emit(shifted).log_prob(other)
    seen = values.is_observed[:, 2:, 0]
    expected = (p - np.log(1e4))[:, 2:]
    torch.testing.assert_close(q[:, 2:][seen], expected[seen], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("support", "auto"),
    [("real", "student-t"), ("positive", "log-normal"), ("count", "negative-binomial")],
)
def test_auto_is_by_support_and_every_density_learns(support: Support, auto: str) -> None:
    x = (10 * series().abs()).round().nan_to_num(0.0) + 1
    values = Values.of(x.where(series() == series(), torch.nan))
    possible = [name for name, kind in HEADS.items() if support in kind.supports]
    for name in ("auto", None, *possible):
        torch.manual_seed(0)
        element = Numbers(1, support=support)
        model: Any = build_number_model(CONFIGS["gru"], element, density=name).double()
        if name in ("auto", None):
            assert model.head.kind == HEADS[auto]
        batch = st.Batch(NumberInput(Values.missing(x.shape, model.device, model.dtype)), values)
        log_prob = model.log_prob(batch)
        assert bool(log_prob.isfinite().all())
        assert bool((log_prob[~values.is_observed[..., 0]] == 0).all())
        log_prob.sum().backward()
        for part, weight in model.named_parameters():
            assert weight.grad is not None and bool(weight.grad.isfinite().all()), part


def test_the_first_forecast_of_an_untrained_network_is_the_last_value() -> None:
    torch.manual_seed(0)
    model: Any = build_number_model(CONFIGS["lstm"], Numbers(2), density="normal").double().eval()
    model.head.linear.weight.data.zero_()
    x = series(channels=2)
    with torch.no_grad():
        state = model.update(model.start(3), NumberInput(Values.of(x)))
    torch.testing.assert_close(model.predict(state).mean, x[:, -1])


def test_constants_of_the_data_are_saved_with_the_weights() -> None:
    class Made:
        numbers = np.array([[1.0], [3.0], [np.nan], [10.0], [30.0]])
        known = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
        offsets = np.array([0, 3, 5])

    model: Any = build_number_model(CONFIGS["gru"], Numbers(1, num_known=1))
    model.prepare_series(Made())
    assert model.scale.usual_level.item() == pytest.approx(11.0)
    assert model.scale.usual_scale.item() == pytest.approx(np.abs([10, 8, 1, 19]).mean())
    assert model.scale.first_deviation.item() == pytest.approx(0.5)
    assert model.known_mean.item() == 2.0
    again: Any = build_number_model(CONFIGS["gru"], Numbers(1, num_known=1))
    again.load_state_dict(model.state_dict())
    assert again.scale.usual_scale.item() == model.scale.usual_scale.item()


@pytest.mark.parametrize("support", ["real", "positive", "count"])
@pytest.mark.parametrize("kind", ["constant", "zero", "one value", "none"])
def test_degenerate_training_data_leaves_finite_forecasts(kind: str, support: Support) -> None:
    x = np.full(40, 5.0)
    if kind == "zero" and support != "positive":
        x[:] = 0.0
    if kind == "one value":
        x[1:] = np.nan
    if kind == "none":
        x[:] = np.nan

    class Made:
        numbers = x[:, None]
        known = None
        offsets = np.array([0, 0, 40])

    torch.manual_seed(0)
    model: Any = build_number_model(st.GRU(hidden_size=4, lags=(7,)), Numbers(1, support=support))
    model.prepare_series(Made())
    values = Values.of(torch.from_numpy(Made.numbers)[None])
    batch = st.Batch(NumberInput(values), values)
    log_prob = model.log_prob(batch)
    log_prob.sum().backward()
    assert bool(log_prob.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
    state = model.update(model.start(1), NumberInput(values))
    assert bool(model.predict(state).sample(torch.tensor([0.3])).numbers.isfinite().all())


def test_wrong_densities_and_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="no such density 'norml'; did you mean normal"):
        build_number_model(st.LSTM(), Numbers(1), density="norml")
    with pytest.raises(ConfigError, match="negative-binomial is of count numbers, and these are"):
        build_number_model(st.LSTM(), Numbers(1), density="negative-binomial")
    with pytest.raises(ConfigError, match="numbers have no embeddings to tie"):
        build_number_model(st.LSTM(tie_embeddings=True), Numbers(1))
    with pytest.raises(ConfigError, match="lags"):
        st.LSTM(lags=(0,))


def test_training_begins_with_the_least_squares_effect_of_the_lags() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros(3000)
    for t in range(2, len(x)):
        x[t] = 1.2 * x[t - 1] - 0.5 * x[t - 2] + 0.1 * rng.standard_normal()
    x[rng.random(len(x)) < 0.02] = np.nan

    class Made:
        numbers = np.stack([x, 500 + 10 * x], 1)
        known = None
        offsets = np.array([0, 1000, 1000, 3000])

    model: Any = build_number_model(st.GRU(hidden_size=4, lags=(1, 2)), Numbers(2))
    model.prepare_series(Made())
    for channel in range(2):
        # x_t - x_{t-1} = -0.3 x_{t-1} - 0.5 (x_{t-2} - x_{t-1}) + e.
        assert model.head.direct[channel].tolist() == pytest.approx([-0.3, -0.5], abs=0.06)
    model.head.linear.weight.data.zero_()
    with torch.no_grad():
        state = model.update(
            model.start(1), NumberInput(Values.of(torch.from_numpy(Made.numbers[None, :1000])))
        )
    density = model.predict(state)
    assert density.scale[0].tolist() == pytest.approx([0.1, 1.0], rel=0.3)


def test_a_series_too_short_for_least_squares_leaves_the_first_effect() -> None:
    class Made:
        numbers = np.arange(9.0)[:, None]
        known = None
        offsets = np.array([0, 9])

    model: Any = build_number_model(st.GRU(hidden_size=4, lags=(1, 2)), Numbers(1))
    model.prepare_series(Made())
    assert model.head.direct[0].tolist() == [0.0, 0.0]


def test_options_of_numbers_are_refused_for_symbols() -> None:
    with pytest.raises(ConfigError, match="lags of lstm apply to numbers, and here are symbols"):
        build_model(st.LSTM(lags=(1, 24)), 5, 0)


@pytest.mark.parametrize("kind", ["level", "log", "ratio"])
def test_one_absurd_value_does_not_spoil_the_level_and_scale(kind: Kind) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (10 * torch.rand(1, 300, 1, dtype=torch.float64, generator=generator)).ceil()
    spoilt = x.clone()
    spoilt[0, 100] = 1e9
    scale = RunningScale(1, kind, 256).double()
    good, bad = (scale.fold(scale.empty(1), scale.seen(Values.of(v)), None)[0] for v in (x, spoilt))
    assert 0.5 < float((bad.scale / good.scale)[0, 100:].max()) < 2
    assert float(((bad.level - good.level) / good.scale).abs().max()) < 1
    z = scale.standardized(scale.seen(Values.of(spoilt)).numbers[..., None], bad)
    assert float(z.abs().max()) < 100


def test_an_absurd_value_in_the_training_data_does_not_spoil_its_constants() -> None:
    class Made:
        numbers = np.random.default_rng(0).random((300, 1))
        known = None
        offsets = np.array([0, 200, 300])

    scale = RunningScale(1, "level", 256)
    Made.numbers[[50, 220]] = 1e9
    scale.prepare(Made.numbers, Made.offsets)
    assert scale.usual_scale.item() < 1
    assert scale.least_scale.item() < 1e-3


@pytest.mark.parametrize("kind", ["level", "log", "ratio"])
def test_a_series_that_has_changed_is_followed(kind: Kind) -> None:
    x = 10 + torch.randn(1, 500, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0, 200:] *= 1e4
    scale = RunningScale(1, kind, 64).double()
    y = scale.seen(Values.of(x.round().clamp_min(1)))
    standard, _ = scale.fold(scale.empty(1), y, None)
    z = scale.standardized(y.numbers[..., None], standard)
    assert float(z[0, 260].abs()) < 10
    # Moment after moment, the same: what is too far away does not depend on the chunks.
    state, scales = scale.empty(1), []
    for t in range(500):
        one, state = scale.fold(state, Values(y.numbers[:, [t]], y.is_observed[:, [t]]), None)
        scales.append(one.scale)
    torch.testing.assert_close(torch.cat(scales, 1), standard.scale, rtol=1e-12, atol=0)


def test_small_changes_at_a_high_level_are_seen_in_float32() -> None:
    x = np.sin(np.arange(400) / 5)[:, None]

    class Low:
        numbers = x
        known = None
        offsets = np.array([0, 400])

    class High(Low):
        numbers = 1e8 + x

    means = []
    for data in (Low, High):
        torch.manual_seed(0)
        model: Any = build_number_model(st.LSTM(hidden_size=5, lags=(1, 2)), Numbers(1))
        model.prepare_series(data())
        values = SeriesWindows(data(), batch_size=1, length=400, context=0, seed=0).batch(0).targets
        with torch.no_grad():
            state = model.update(model.start(1), NumberInput(values))
            path = forecast(model, state, 20, quantiles=(0.5,))[0]
        means.append(path[0, :, 0] - (1e8 if data is High else 0))
    assert float(means[0].std()) > 0.3
    torch.testing.assert_close(means[1], means[0], atol=0.2, rtol=0)


def test_hidden_inputs_are_hidden_in_training_alone_and_by_the_seed() -> None:
    x = Values.of(series(rows=40, length=200))
    batch = st.Batch(NumberInput(x), x)
    torch.manual_seed(0)
    hiding: Any = build_number_model(st.GRU(hidden_size=5, hide_inputs=0.3), Numbers(1))
    reading: Any = build_number_model(st.GRU(hidden_size=5, hide_inputs=0.0), Numbers(1))
    reading.load_state_dict(hiding.state_dict())
    with torch.no_grad():
        torch.manual_seed(1)
        first, second = hiding.log_prob(batch), hiding.log_prob(batch)
        torch.manual_seed(1)
        again = hiding.log_prob(batch)
        assert torch.equal(first, again) and not torch.equal(first, second)
        features, _ = hiding.advance(hiding.empty(40), batch.inputs, None)
        read = features.standard.count[1:, -1, 0]
        assert 20 < int((read == 200).sum()) < 37  # most rows are read as they are
        assert 110 < float(read.min()) < 150
        assert torch.equal(first == 0, ~x.is_observed[..., 0])  # every target has a score
        assert torch.equal(hiding.eval().log_prob(batch), reading.eval().log_prob(batch))
        features, _ = reading.train().advance(reading.empty(40), batch.inputs, None)
    assert int(features.standard.count[-1, -1]) == 200


def test_a_gap_among_the_lagged_values_is_the_mean_of_its_neighbours_once_both_are_known() -> None:
    """In whole and in two chunks; the last value has nothing after it yet."""
    model: Any = build_number_model(st.GRU(hidden_size=4, lags=(1, 2)), Numbers(1)).eval()
    x = torch.tensor([1.0, torch.nan, torch.nan, 7.0, torch.nan])[None, :, None]
    inputs = NumberInput(Values.of(x.double()))
    whole, _ = model.advance(model.empty(1), inputs, None)
    z, standard = whole.lagged, whole.standard
    z = torch.stack([z[..., 0], z[..., 1] + z[..., 0]], -1)  # of the last value and the one before
    read = (z * standard.scale[..., None] + standard.level[..., None])[0, :, 0]
    assert read[1:].flatten().tolist() == pytest.approx([1, 1, 1, 1, 7, 4, 7, 7], rel=1e-5)
    first, rest = (tree.map_leaves(lambda t, s=s: t[:, s], inputs) for s in np.s_[:2, 2:])
    carry = model.advance(model.empty(1), first, None)[1]
    assert torch.equal(model.advance(carry, rest, None)[0].lagged, whole.lagged[:, 2:])
