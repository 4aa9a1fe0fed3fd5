"""Widths that give a model the number of parameters that is wanted."""

from dataclasses import fields, replace

import pytest

import seriatim as st
from seriatim.comparison.sizing import NoWidthError, num_weights, sized, weightless
from seriatim.metrics.size import num_parameters
from seriatim.models import ModelConfig
from seriatim.models.build import build_model
from seriatim.train.closed_form import ClosedForm

V, BOUNDARY = 80, 1
TRAINED = {
    "autoregressive": st.Autoregressive(),
    "rnn": st.RNN(),
    "lstm of two layers": st.LSTM(num_layers=2, dropout=0.1),
    "lstm, tied": st.LSTM(tie_embeddings=True),
    "gru": st.GRU(embedding_size=32),
    "transformer": st.Transformer(num_layers=2),
    "transformer, classic": st.Transformer.classic(num_layers=2),
}


@pytest.mark.parametrize("parameters", [20_000, 150_000, 1_000_000])
@pytest.mark.parametrize("name", TRAINED)
def test_a_width_is_found_within_two_percent(name: str, parameters: int) -> None:
    result = sized(TRAINED[name], V, BOUNDARY, parameters)
    count = num_parameters(build_model(result, V, BOUNDARY))
    assert abs(count - parameters) <= 0.02 * parameters
    assert count == num_weights(result, V, BOUNDARY)


@pytest.mark.parametrize("name", TRAINED)
def test_nothing_but_widths_changes(name: str) -> None:
    config = TRAINED[name]
    result = sized(config, V, BOUNDARY, 70_000)
    changed = {f.name for f in fields(config) if getattr(config, f.name) != getattr(result, f.name)}  # type: ignore[arg-type]
    assert changed <= set(config.widths)


def test_a_number_that_no_width_gives_is_refused_with_the_nearest() -> None:
    with pytest.raises(NoWidthError, match=r"autoregressive 1,000 parameters within 2%.*nearest"):
        sized(st.Autoregressive(), V, BOUNDARY, 1000)


def test_a_family_that_names_no_width_cannot_be_sized() -> None:
    with pytest.raises(NoWidthError, match="markov names no options that set its width"):
        sized(st.Markov(), V, BOUNDARY, 1000)


@pytest.mark.parametrize("config", TRAINED.values(), ids=TRAINED)
def test_a_model_without_values_has_the_right_type_and_reach(config: ModelConfig) -> None:
    empty, whole = weightless(config, V, BOUNDARY), build_model(config, V, BOUNDARY)
    assert (type(empty), empty.reach) == (type(whole), whole.reach)
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    assert isinstance(weightless(st.Markov(), V, BOUNDARY), ClosedForm)


def test_every_width_that_a_family_names_is_an_option_of_it() -> None:
    for config in TRAINED.values():
        for name in config.widths:
            assert replace(config, **{name: getattr(config, name)}) == config  # type: ignore[arg-type]
