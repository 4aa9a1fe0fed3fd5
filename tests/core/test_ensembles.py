"""Mixtures and products of models."""

import pytest
import torch

import seriatim as st
from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.ensembles import Mixture, Product, em_weights
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError
from seriatim.laws.check import check_model
from tests.laws.toys import ToyAttention, ToyWindow
from tests.laws.toys_numbers import ToyRecurrent


def test_em_finds_the_weights_of_greatest_likelihood() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(2, 500).double() - torch.tensor([[1.0], [1.2]])
    best = em_weights(log_probs, steps=2000)

    def likelihood(w: float) -> float:
        mixed = torch.logsumexp(log_probs + torch.tensor([[w], [1 - w]]).log(), 0)
        return float(mixed.mean())

    grid = max((i / 1000 for i in range(1, 1000)), key=likelihood)
    assert float(best[0]) == pytest.approx(grid, abs=2e-3)


def test_members_must_share_their_symbols() -> None:
    for composed in (Mixture, Product):
        with pytest.raises(ConfigError, match="share their symbols"):
            composed([ToyWindow(3), ToyWindow(4)])
    with pytest.raises(ConfigError, match="not a distribution"):
        Mixture([ToyWindow(), ToyWindow()], [0.5, 0.6])


def test_the_state_of_a_mixture_is_the_states_of_its_members() -> None:
    mixture = Mixture([ToyWindow(), ToyAttention()])
    assert mixture.reach is None
    assert Mixture([ToyWindow(), ToyWindow()]).reach == 2
    assert tree.rows(mixture.start(4).carry) == 4


def test_a_mixture_of_models_of_numbers_mixes_their_densities() -> None:
    a, b = ToyRecurrent("student").double().eval(), ToyRecurrent("mixture").double().eval()
    mixture = st.Mixture([a, b], [0.25, 0.75])
    x = Values.of(torch.randn(2, 5, 2, dtype=torch.float64))
    batch = Batch(NumberInput(x), x)
    parts = torch.stack([a.log_prob(batch).exp(), b.log_prob(batch).exp()])
    # Weights are of each prediction, as for symbols.
    expected = 0.25 * parts[0] + 0.75 * parts[1]
    assert torch.allclose(mixture.log_prob(batch).exp(), expected)
    check_model(mixture, laws={1, 2, 5, 7, 9, 16}).raise_if_broken()
    weights = mixture.fit_weights([batch])
    assert sum(weights) == pytest.approx(1)


def test_a_product_of_densities_is_refused() -> None:
    with pytest.raises(ConfigError, match="mix them, with Mixture"):
        st.Product([ToyRecurrent(), ToyRecurrent()])
    with pytest.raises(ConfigError, match="must share their symbols or numbers"):
        st.Mixture([ToyRecurrent(), ToyRecurrent("counts")])
