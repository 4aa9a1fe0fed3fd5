"""Every family and every ensemble obeys the twenty laws. A new family is one line here."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seriatim as st
from seriatim.laws.check import check_model
from seriatim.laws.laws import LAWS
from seriatim.models import FAMILIES, ModelConfig
from seriatim.models.build import build_model
from seriatim.train.closed_form import ClosedForm

V, BOUNDARY = 4, 1


class Elman(st.Cell):
    """A user's cell: h_t = tanh(W x + U h)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W = nn.Linear(input_size, hidden_size)
        self.U = nn.Linear(hidden_size, hidden_size)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.W(x) + self.U(h))


CONFIGS: dict[str, ModelConfig] = {
    "markov": st.Markov(order=3),
    "markov, order 1": st.Markov(order=1),
    "markov, Witten-Bell": st.Markov(order=4, smoothing="witten-bell"),
    "markov, stupid backoff": st.Markov(order=3, smoothing="stupid-backoff"),
    "markov, quantized": st.Markov(order=3, quantize_bits=4),
    "markov, a stream pruned and quantized": st.Markov(
        order=4, prune=(0, 0, 9), prune_entropy=1e-4, quantize_bits=5
    ),
    "hmm": st.HMM(num_states=3, restarts=2),
    "autoregressive": st.Autoregressive(window=3, embedding_size=4, hidden_size=6),
    "autoregressive, direct": st.Autoregressive(
        window=2, embedding_size=4, hidden_size=6, num_layers=2, direct=True
    ),
    "rnn": st.RNN(hidden_size=5, num_layers=2),
    "rnn, relu": st.RNN(hidden_size=5, nonlinearity="relu", learn_initial_state=True),
    "lstm": st.LSTM(hidden_size=5, num_layers=2),
    "lstm, one layer": st.LSTM(hidden_size=6, tie_embeddings=True, learn_initial_state=True),
    "gru": st.GRU(hidden_size=5, num_layers=2),
    "gru, reset before": st.GRU(hidden_size=5, num_layers=2, reset="before"),
    "latent": st.Latent(cell=Elman, hidden_size=5),
    "transformer": st.Transformer(model_size=8, num_layers=2, num_heads=2, context=4),
    "transformer, wide context": st.Transformer(
        model_size=8, num_layers=1, num_heads=2, context=99
    ),
    "transformer, classic": st.Transformer.classic(
        model_size=8, num_layers=2, num_heads=2, context=5
    ),
    "transformer, other sizes": st.Transformer(
        model_size=6, num_layers=2, num_heads=3, key_size=4, value_size=3, context=3
    ),
}


def build(name: str) -> st.SequenceModel:
    """A small model of this family; one that is fitted in closed form is fitted."""
    torch.manual_seed(0)
    model = build_model(CONFIGS[name], V, BOUNDARY)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)  # large enough to expose a fault
    if isinstance(model, ClosedForm):
        model.fit_closed_form(_Text())
    return model


class _Text:
    """A stream in which every context of three symbols occurs."""

    tokens = np.random.default_rng(0).integers(0, V, 2000).astype(np.uint8)
    offsets = np.array([0, 2000])
    is_stream = True


@pytest.mark.parametrize("name", CONFIGS)
def test_a_family_obeys_the_laws(name: str) -> None:
    check_model(build(name), seconds=2).raise_if_broken()


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", [st.Mixture, st.Product])
def test_an_ensemble_obeys_the_laws(ensemble: type[st.Mixture] | type[st.Product]) -> None:
    check_model(ensemble([build("lstm"), build("markov")]), seconds=2).raise_if_broken()


@pytest.mark.slow
def test_an_ensemble_of_ensembles_obeys_the_laws() -> None:
    inner = st.Mixture([build("transformer"), build("gru")], [0.25, 0.75])
    check_model(st.Product([inner, build("rnn")], [1.0, 0.5]), seconds=2).raise_if_broken()


def test_every_family_is_in_the_list() -> None:
    of_symbols = {name for name, config in FAMILIES.items() if "symbols" in config.elements}
    assert {config.family for config in CONFIGS.values()} == of_symbols


def test_an_unfitted_model_obeys_the_laws() -> None:
    check_model(build_model(st.Markov(order=3), V, BOUNDARY), seconds=2).raise_if_broken()


@pytest.mark.slow
def test_all_laws_are_reported_with_notes_on_sampling() -> None:
    torch.manual_seed(0)
    report = check_model(build_model(st.LSTM(hidden_size=4), 3000, 1), seconds=1)
    assert report.ok, str(report)
    assert [r.number for r in report.results] == list(range(1, len(LAWS) + 1))
    assert "3,000" in report.results[8].note
