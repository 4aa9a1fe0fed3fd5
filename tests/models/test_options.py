"""Options: messages about wrong names and values, and saved configurations that are read back."""

from collections.abc import Callable

import pytest

import seriatim as st
from seriatim.errors import ConfigError, ModelError
from seriatim.layers import LSTMCell
from seriatim.models import FAMILIES, PAIR_FAMILIES, configure, configure_encoder, describe, restore


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: configure("lstn", {}), "no such model 'lstn'; did you mean lstm?"),
        (
            lambda: configure("zebra", {}),
            "no such model 'zebra'; choose from markov, hmm, autoregressive, rnn, lstm, gru, "
            "transformer, latent",
        ),
        (
            lambda: configure("lstm", {"hiden_size": 8}),
            "unknown option hiden_size; did you mean hidden_size?",
        ),
        (
            lambda: configure("transformer", {"hidden_size": 8}),
            "hidden_size is not an option of transformer; use model_size",
        ),
        (
            lambda: configure("seq2seq", {"num_layers": 2}),
            "num_layers is not an option of seq2seq; use encoder_layers and decoder_layers",
        ),
        (
            lambda: configure("rnn", {"num_heads": 2}),
            "num_heads is not an option of rnn; choose from hidden_size, num_layers, "
            "embedding_size, dropout, variational_dropout, recurrent_dropout, weight_dropout, "
            "embedding_dropout, layer_norm, tie_embeddings, learn_initial_state, init_uniform, "
            "nonlinearity, lags, scale_window, hide_inputs, members",
        ),
        (
            lambda: configure("lstm", {}, preset="classic"),
            "lstm has no preset 'classic'; it has zaremba-small, zaremba-medium",
        ),
        (lambda: configure("latent", {}), "cell is missing: give it"),
        (lambda: configure_encoder("lstmm"), "no such encoder 'lstmm'; did you mean lstm?"),
        (
            lambda: configure_encoder("gru", {"hidden_size": 8}),
            "hidden_size is not an option of the gru encoder; use model_size",
        ),
    ],
)
def test_a_wrong_name_is_refused_with_a_right_one(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.LSTM(hidden_size=0), "hidden_size = 0: give 1 or more"),
        (lambda: st.LSTM(hidden_size=2.5), "hidden_size = 2.5: give an integer"),
        (lambda: st.LSTM(dropout=1.0), "dropout = 1.0: give less than 1"),
        (lambda: st.Markov(order=17), "order = 17: give 16 or less"),
        (lambda: st.Markov(k=0.0), "k = 0.0: give more than 0"),
        (lambda: st.Markov(k="one"), "k = 'one': give a number"),
        (lambda: st.Markov(prune=3), "prune = 3: give a list"),
        (lambda: st.RNN(layer_norm="maybe"), "layer_norm = 'maybe': give true or false"),
        (lambda: st.GRU(reset="never"), "reset = 'never': choose 'before' or 'after'"),
        (lambda: st.Latent(cell=3), "cell = 3: give a class"),
        (lambda: st.LSTM(512), "512 is given without a name: give every option as name=value"),
        (lambda: st.LSTM(hiden_size=8), "unknown option hiden_size; did you mean hidden_size?"),
        (
            lambda: st.Transformer(model_size=10, num_heads=4),
            "model_size 10 is not a multiple of num_heads 4; choose another, or give key_size",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_the_expected_ones(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("family", sorted({*FAMILIES, *PAIR_FAMILIES} - {"latent"}))
def test_a_described_configuration_is_restored(family: str) -> None:
    config = configure(family, {})
    assert restore(describe(config)) == config


def test_a_users_class_is_restored_only_if_it_is_passed() -> None:
    config = st.Latent(cell=LSTMCell, options={"forget_bias": 2.0})
    record = describe(config)
    assert record["options"]["cell"] == {"class": "LSTMCell"}
    assert restore(record, [LSTMCell]) == config
    with pytest.raises(ConfigError, match=r"this model's cell is of the class LSTMCell, .*pass"):
        restore(record)


@pytest.mark.parametrize("record", [{"family": "lstm"}, {"family": 3, "options": {}}])
def test_a_damaged_record_is_refused_at_the_border(record: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="the model's configuration is damaged"):
        restore(record)
