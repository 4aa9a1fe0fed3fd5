"""Forward, backward and Viterbi against all paths, and against hmmlearn."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from seriatim.core.values import Values
from seriatim.models.hidden_markov.baum_welch import Line, Models, baum_welch
from seriatim.models.hidden_markov.emissions import CategoricalEmission, PoissonEmission
from seriatim.models.hidden_markov.recursions import Chain, backward, forward, viterbi
from tests.models.earthquakes import EARTHQUAKES

K, T = 3, 6


def rows(generator: torch.Generator, *shape: int) -> Tensor:
    p = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return p / p.sum(-1, keepdim=True)


@pytest.fixture
def chain() -> Chain:
    g = torch.Generator().manual_seed(0)
    return Chain(rows(g, 1, K), rows(g, 1, K, K))


def all_paths(chain: Chain, likelihood: Tensor) -> dict[tuple[int, ...], float]:
    """The joint probability of every path of states, likelihood (T, K)."""
    pi, A = chain.initial[0].tolist(), chain.transition[0].tolist()
    joint = {}
    for z in itertools.product(range(K), repeat=len(likelihood)):
        p = pi[z[0]] * math.prod(A[i][j] for i, j in itertools.pairwise(z))
        joint[z] = p * math.prod(float(likelihood[t, i]) for t, i in enumerate(z))
    return joint


def passes(chain: Chain, likelihood: Tensor, begins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    first = torch.full((1, likelihood.shape[2], K), 1 / K, dtype=torch.float64)
    passed = forward(chain, likelihood, begins, first)
    found = backward(chain, likelihood.clone(), begins, passed, torch.ones_like(first))
    return passed.scale, found.smoothed, passed.filtered[:-1].mT @ found.arriving[1:]


def test_the_recursions_sum_over_all_paths(chain: Chain) -> None:
    likelihood = torch.rand(T, 1, 1, K, generator=torch.Generator().manual_seed(1)).double()
    begins = torch.zeros(T, 1, dtype=torch.bool)
    begins[0] = True
    scale, smoothed, pairs = passes(chain, likelihood, begins)
    joint = all_paths(chain, likelihood[:, 0, 0])
    total = sum(joint.values())
    assert scale.log().sum().item() == pytest.approx(math.log(total), rel=1e-12)
    for t, i in itertools.product(range(T), range(K)):
        share = sum(p for z, p in joint.items() if z[t] == i) / total
        assert smoothed[t, 0, 0, i].item() == pytest.approx(share, rel=1e-10)
    for i, j in itertools.product(range(K), range(K)):
        expected = sum(
            p * sum(pair == (i, j) for pair in itertools.pairwise(z)) for z, p in joint.items()
        )
        found = pairs.sum(0)[0, i, j] * chain.transition[0, i, j]
        assert found.item() == pytest.approx(expected / total, rel=1e-10)
    best = max(joint, key=joint.__getitem__)
    states, log_prob = viterbi(
        chain.initial[0], chain.transition[0], likelihood[:, 0, 0].log()[None]
    )
    assert tuple(states[0].tolist()) == best
    assert log_prob.item() == pytest.approx(math.log(joint[best]), rel=1e-12)


def test_sequences_in_one_row_are_as_if_alone(chain: Chain) -> None:
    likelihood = torch.rand(T, 1, 1, K, generator=torch.Generator().manual_seed(2)).double()
    begins = torch.zeros(T, 1, dtype=torch.bool)
    begins[0] = begins[4] = True
    _, smoothed, pairs = passes(chain, likelihood, begins)
    parts = [passes(chain, likelihood[a:b], begins[a:b]) for a, b in ((0, 4), (4, 6))]
    torch.testing.assert_close(smoothed, torch.cat([part[1] for part in parts]))
    torch.testing.assert_close(pairs.sum(0), sum(part[2].sum(0) for part in parts))


def test_rows_cut_from_a_line_find_what_one_row_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages between rows settle with the parameters."""
    g = torch.Generator().manual_seed(3)
    background = torch.full((4,), 0.25, dtype=torch.float64)
    emission = CategoricalEmission(background, 0.1)
    rates = rows(g, 1, 2, 4)
    models = Models(
        Chain(rows(g, 1, 2), torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).double()), {"symbols": rates}
    )
    x = torch.multinomial(
        torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]])
        .double()
        .repeat_interleave(50, 0)
        .repeat(10, 1),
        1,
        generator=g,
    )[:, 0]
    begins = torch.zeros(1000, dtype=torch.bool)
    begins[[0, 333]] = True
    line = Line(x, begins)
    one = baum_welch(models, emission, line, max_iterations=300, tolerance=1e-12)
    monkeypatch.setattr("seriatim.models.hidden_markov.baum_welch._ONE_ROW", 10)
    monkeypatch.setattr("seriatim.models.hidden_markov.baum_welch._ROW", 128)
    monkeypatch.setattr("seriatim.models.hidden_markov.baum_welch._CELLS", 600)
    many = baum_welch(models, emission, line, max_iterations=300, tolerance=1e-9)
    torch.testing.assert_close(
        many.models.chain.transition, one.models.chain.transition, atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        many.models.emitted["symbols"], one.models.emitted["symbols"], atol=1e-3, rtol=0
    )
    assert many.log_likelihood.item() == pytest.approx(one.log_likelihood.item(), abs=0.01)


@pytest.mark.slow
def test_earthquakes_have_the_published_likelihoods() -> None:
    """Zucchini and MacDonald 2009: 391.9189, 341.8787, 328.5275, 326.4106.

    With 4 states there is a better maximum than the published one, at 326.2850.
    """
    x = torch.from_numpy(EARTHQUAKES)[:, None]
    begins = torch.zeros(len(x), dtype=torch.bool)
    begins[0] = True
    for num_states, published in zip(
        (1, 2, 3, 4), (391.9189, 341.8787, 328.5275, 326.4106), strict=True
    ):
        g = torch.Generator().manual_seed(0)
        A = torch.rand(60, num_states, num_states, generator=g).double()
        A = A + 2 * torch.eye(num_states)
        chain = Chain(
            torch.full((60, num_states), 1 / num_states).double(), A / A.sum(-1, keepdim=True)
        )
        rate = x[torch.randint(len(x), (60, num_states), generator=g)]
        rate = rate + torch.rand(60, num_states, 1, generator=g)
        fitted = baum_welch(
            Models(chain, {"rate": rate}),
            PoissonEmission(),
            Line(Values.of(x), begins),
            max_iterations=800,
            tolerance=1e-8,
        )
        found = -fitted.log_likelihood
        assert found.min() < published + 1e-3
        if num_states < 4:
            assert found.min() > published - 1e-3


@pytest.mark.slow
def test_filtering_smoothing_and_paths_are_hmmlearns(chain: Chain) -> None:
    hmmlearn = pytest.importorskip("hmmlearn.hmm", reason="needs hmmlearn: seriatim[refs]")
    peer = hmmlearn.CategoricalHMM(n_components=K, n_features=4)
    peer.startprob_, peer.transmat_ = chain.initial[0].numpy(), chain.transition[0].numpy()
    symbols = rows(torch.Generator().manual_seed(4), K, 4)
    peer.emissionprob_ = symbols.numpy()
    x = np.random.default_rng(0).integers(0, 4, 50)
    total, posterior = peer.score_samples(x[:, None])
    likelihood = symbols.T[torch.from_numpy(x)][:, None, None]
    begins = torch.zeros(50, 1, dtype=torch.bool)
    begins[0] = True
    scale, smoothed, _ = passes(chain, likelihood, begins)
    assert scale.log().sum().item() == pytest.approx(total, abs=1e-9)
    np.testing.assert_allclose(smoothed[:, 0, 0].numpy(), posterior, atol=1e-9)
    log_prob, _ = peer.decode(x[:, None])  # paths may be equally probable
    found = viterbi(chain.initial[0], chain.transition[0], likelihood[:, 0, 0].log()[None])
    assert found[1].item() == pytest.approx(log_prob, abs=1e-9)
