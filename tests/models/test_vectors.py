"""Recurrent networks over binary vectors: a distribution, and the same numbers in any chunks."""

import itertools

import pytest
import torch

import seriatim as st
from seriatim.core.batch import Batch
from seriatim.core.distributions import uniforms
from seriatim.errors import ConfigError
from seriatim.models.vectors import BernoulliVector, VectorModel

K = 3


def model(config: st.RNN | st.LSTM | st.GRU | None = None) -> VectorModel:
    torch.manual_seed(0)
    return VectorModel(config or st.LSTM(hidden_size=5, num_layers=2), K).double()


def vectors(rows: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, (rows, length, K), generator=generator)


def test_the_probabilities_of_all_vectors_sum_to_one() -> None:
    every = torch.tensor(list(itertools.product([0, 1], repeat=K)))
    q = BernoulliVector(torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64).expand(len(every), K))
    assert float(q.log_prob(every).exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_samples_have_the_frequencies_of_their_components_and_repeat() -> None:
    logits = torch.tensor([0.0, -2.0, 3.0], dtype=torch.float64).expand(20_000, K)
    u = uniforms(3, torch.arange(20_000), 0)
    drawn = BernoulliVector(logits).sample(u)
    assert torch.equal(drawn, BernoulliVector(logits).sample(u))
    assert torch.allclose(drawn.double().mean(0), logits[0].sigmoid(), atol=0.01)
    pairs = (drawn[:, 0] * drawn[:, 1]).double().mean()
    assert float(pairs) == pytest.approx(0.5 * float(logits[0, 1].sigmoid()), abs=0.01)


@pytest.mark.parametrize("config", [st.RNN(hidden_size=4), st.LSTM(hidden_size=4), st.GRU()])
def test_a_chunk_equals_its_steps_from_the_boundary_on(config: st.RNN | st.LSTM | st.GRU) -> None:
    m, x = model(config), vectors(2, 6)
    first = m.first(2)
    whole = m.log_prob(Batch(torch.cat([first, x[:, :-1]], 1), x))
    state, steps = m.start(2), []
    for t in range(6):
        steps.append(m.predict(state).log_prob(x[:, t]))
        state = m.step(state, x[:, t])
    assert torch.allclose(whole, torch.stack(steps, 1), atol=1e-12)


def test_padding_of_one_row_changes_no_other() -> None:
    m, x = model(), vectors(2, 6)
    lengths = torch.tensor([6, 2])
    ragged = m.log_prob(Batch(x, x, lengths))
    alone = m.log_prob(Batch(x[1:, :2], x[1:, :2]))
    assert torch.allclose(ragged[1, :2], alone[0], atol=1e-12)
    assert bool((ragged[1, 2:] == 0).all())


def test_sampling_of_symbols_refuses_vectors() -> None:
    m = model()
    steps = st.sample(m, m.start(2), seed=4)
    with pytest.raises(ConfigError, match="symbols"):
        next(steps)


def test_tied_embeddings_are_refused() -> None:
    with pytest.raises(ConfigError, match="tie"):
        VectorModel(st.LSTM(hidden_size=4, tie_embeddings=True), K)
