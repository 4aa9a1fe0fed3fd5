"""Mixtures and products of models."""

import pytest
import torch

from seriatim.core import tree
from seriatim.core.ensembles import Mixture, Product, em_weights
from seriatim.errors import ConfigError
from tests.laws.toys import ToyAttention, ToyWindow


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
