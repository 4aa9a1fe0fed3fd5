"""Influence and decay against references, and for every family one of the two ways."""

import numpy as np
import pytest
import torch
from torch import Tensor

import seriatim as st
from seriatim import Mixture
from seriatim.analysis.context.influence import measure_gradient_decay, measure_influence
from seriatim.analysis.context.restarts import read_elements
from seriatim.core.batch import Batch
from seriatim.models.build import build_model
from tests.laws.toys import ToyAttention
from tests.oracles.memories import BagOfSymbols, LaggedCopy, lines, stream

RANDOM = stream(np.random.default_rng(0).integers(0, 6, 700))
FAMILIES = {
    "rnn": (st.RNN(hidden_size=8), "gradient"),
    "lstm": (st.LSTM(hidden_size=8, num_layers=2), "gradient"),
    "gru": (st.GRU(hidden_size=8, reset="before"), "gradient"),
    "transformer": (st.Transformer(model_size=8, num_layers=2, num_heads=2, context=5), "gradient"),
    "autoregressive": (st.Autoregressive(window=4, hidden_size=8), "replacement"),
    "markov": (st.Markov(order=4, smoothing="witten-bell"), "replacement"),
}


def _built(family: str) -> st.SequenceModel:
    torch.manual_seed(0)
    model = build_model(FAMILIES[family][0], 6, 1).eval()
    if family == "markov":
        model.fit_closed_form(RANDOM)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_measured_in_the_way_that_it_can_be(family: str) -> None:
    model = _built(family)
    result = measure_influence(model, read_elements(model, RANDOM), 60)
    assert result.method == FAMILIES[family][1]
    assert result.fractions.sum() == pytest.approx(1.0)
    assert result.mean[0] > 0
    if model.reach is not None:
        assert (result.mean[model.reach :] < 1e-6).all(), "nothing beyond the reach"


def test_the_gradient_is_that_of_the_embedding_of_the_element_at_that_distance() -> None:
    """In a text without repetition the gradient of an embedding's row is that of one element."""
    torch.manual_seed(1)
    model = build_model(st.LSTM(hidden_size=5), 12, 1).double().eval()
    data = read_elements(model, stream(np.array([3, 5, 0, 2, 4, 6, 7, 8, 9, 10, 11])))
    expected = np.zeros(len(data))
    for t in range(len(data)):
        x = torch.from_numpy(data.inputs[: t + 1])[None]
        score = model.log_prob(Batch(x, torch.from_numpy(data.targets[: t + 1])[None]))[0, -1]
        (rows,) = torch.autograd.grad(score, model.embedding.weight)
        for d in range(1, t + 2):
            expected[d - 1] += float(rows[x[0, t + 1 - d]].norm()) / len(data)
    result = measure_influence(model, data, len(data))
    np.testing.assert_allclose(result.mean, expected, rtol=1e-8)


def test_weights_and_hooks_are_left_as_they_were() -> None:
    model = _built("lstm")
    measure_influence(model, read_elements(model, RANDOM), 10)
    measure_gradient_decay(model, read_elements(model, RANDOM))
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_the_influence_of_a_copy_is_all_at_its_lag() -> None:
    model = LaggedCopy(5)
    result = measure_influence(model, read_elements(model, stream(model.text(3000))), 30)
    assert result.method == "replacement"
    assert result.fractions[4] == pytest.approx(1.0)
    assert result.fractions.sum() == pytest.approx(1.0)


def test_mixtures_are_measured_by_replacement() -> None:
    model = Mixture([_built("lstm"), _built("markov")])
    data = read_elements(model, RANDOM)
    assert measure_influence(model, data, 20).method == "replacement"
    both = Mixture([_built("lstm"), _built("gru")])
    assert measure_influence(both, data, 20).method == "replacement", "two embeddings are looked up"
    assert measure_influence(ToyAttention(6), data, 20).method == "replacement", (
        "its notes say what is real"
    )


def test_short_sequences_have_little_influence_from_afar() -> None:
    text = lines([np.random.default_rng(n).integers(2, 6, 1 + n % 5) for n in range(80)])
    for family in ("gru", "autoregressive"):
        model = _built(family)
        result = measure_influence(model, read_elements(model, text), 60)
        assert len(result.mean) == 6, "the longest has five symbols and an end"
        assert result.fractions.sum() == pytest.approx(1.0)


# ---- through time -------------------------------------------------------------------------------


class Leaky(st.Cell):
    """h' = a h + W x, whose gradient fades by exactly a each step."""

    def __init__(self, input_size: int, hidden_size: int, fade: float = 0.5) -> None:
        super().__init__(input_size, hidden_size)
        self.fade = fade
        self.inner = torch.nn.Linear(input_size, hidden_size, bias=False)

    def initial(self, batch_size: int) -> Tensor:
        return self.inner.weight.new_zeros(batch_size, self.hidden_size)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return self.fade * h + self.inner(x)

    def output(self, h: Tensor) -> Tensor:
        return h


@pytest.mark.parametrize("fade", [0.9, 0.5, 1.1])
def test_the_gradient_fades_as_the_recurrence_says(fade: float) -> None:
    torch.manual_seed(0)
    model = (
        build_model(st.Latent(cell=Leaky, hidden_size=6, options={"fade": fade}), 6, 1)
        .double()
        .eval()
    )
    result = measure_gradient_decay(model, read_elements(model, RANDOM), longest=20)
    assert result is not None
    (norms,) = result.layers.values()
    assert len(norms) == 20
    np.testing.assert_allclose(norms[1:] / norms[:-1], fade, rtol=1e-9)


def test_the_decay_is_the_gradient_by_a_state_so_many_steps_back() -> None:
    torch.manual_seed(0)
    model = build_model(st.LSTM(hidden_size=4, num_layers=2), 6, 1).double().eval()
    data = read_elements(model, stream(np.random.default_rng(0).integers(0, 6, 12)))
    result = measure_gradient_decay(model, data, longest=11)
    assert result is not None
    assert list(result.layers) == [0, 1]
    x, target = torch.from_numpy(data.inputs), torch.tensor([[data.targets[-1]]])
    for back in (1, 4, 10):
        with torch.no_grad():
            _, carry = model.advance(model.empty(1), x[None, : 12 - back], None)
        leaves = [[t.requires_grad_() for t in layer] for layer in carry]
        features, _ = model.advance(carry, x[None, 12 - back :], None)
        score = model.emit(features[:, -1:]).log_prob(target).sum()
        for i, layer in enumerate(leaves):
            parts = torch.autograd.grad(score, layer, retain_graph=True)
            norm = torch.cat([p.flatten() for p in parts]).norm()
            assert result.layers[i][back - 1] == pytest.approx(float(norm), rel=1e-9)


def test_what_carries_no_gradient_has_no_decay() -> None:
    for family in ("markov", "autoregressive"):
        model = _built(family)
        assert measure_gradient_decay(model, read_elements(model, RANDOM)) is None
    short = lines([np.zeros(0, int)] * 200)
    assert measure_gradient_decay(_built("rnn"), read_elements(_built("rnn"), short)) is None


def test_other_states_than_recurrent_ones_are_traced_too() -> None:
    for model in (_built("transformer"), BagOfSymbols(6, 1)):
        result = measure_gradient_decay(model, read_elements(model, RANDOM), longest=30)
        assert result is not None
        (norms,) = result.layers.values()
        assert len(norms) == 30
        assert np.isfinite(norms).all()
        assert norms[0] > 0
