"""Objectives: known values, and the penalties of activations."""

import pytest
import torch
from torch import Tensor

from seriatim.core.batch import Batch
from seriatim.core.distributions import Categorical, LinearCategorical
from seriatim.core.model import log_likelihood
from seriatim.models import LSTM
from seriatim.models.build import build_model
from seriatim.train.objectives import PenalizedActivations, SmoothedLikelihood, make_objective
from seriatim.train.options import TrainingOptions

B, L, D, V = 3, 6, 5, 7
EXACT = {"rtol": 0.0, "atol": 1e-12}
RAGGED = torch.tensor([L, 2, 4])


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def targets() -> Tensor:
    return torch.randint(0, V, (B, L), generator=torch.Generator().manual_seed(9))


def test_the_options_choose_the_objective() -> None:
    assert make_objective(TrainingOptions()) is log_likelihood
    assert make_objective(TrainingOptions(label_smoothing=0.1)) == SmoothedLikelihood(0.1)
    both = make_objective(TrainingOptions(label_smoothing=0.1, activation_penalty=2.0))
    assert both == PenalizedActivations(SmoothedLikelihood(0.1), 2.0, 0.0)


def test_penalties_are_mean_squares_of_read_features_and_of_changes() -> None:
    """By hand: alpha of the dropped-out features, beta of the whole ones."""
    features, read = random(B, L, D, seed=1), random(B, L, D, seed=2)
    distribution = LinearCategorical(read, random(V, D, seed=3))
    result = PenalizedActivations(log_likelihood, 2.0, 3.0)(distribution, targets(), features)
    for b in range(B):
        for t in range(L):
            expected = distribution.log_prob(targets())[b, t] - 2.0 * (read[b, t] ** 2).mean()
            if t:
                expected = expected - 3.0 * ((features[b, t] - features[b, t - 1]) ** 2).mean()
            torch.testing.assert_close(result[b, t], expected, **EXACT)


def test_penalties_of_other_distributions_use_the_features() -> None:
    features = random(B, L, D, seed=1)
    distribution = Categorical(random(B, L, V, seed=3))
    result = PenalizedActivations(log_likelihood, 2.0, 0.0)(distribution, targets(), features)
    expected = distribution.log_prob(targets()) - 2.0 * features.pow(2).mean(-1)
    torch.testing.assert_close(result, expected, **EXACT)


def test_padding_has_no_penalty_and_no_gradient() -> None:
    torch.manual_seed(0)
    model = build_model(LSTM(hidden_size=D, dropout=0.5), V, 1).double().train()
    objective = PenalizedActivations(log_likelihood, 2.0, 1.0)
    padding = torch.arange(L) >= RAGGED[:, None]
    results = []
    for seed in (5, 6):
        other = torch.randint(0, V, (B, L), generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(1)
        batch = Batch(torch.where(padding, other, targets()), targets(), RAGGED)
        values, _ = model(batch, objective=objective)
        results.append((values, torch.autograd.grad(values.sum(), list(model.parameters()))))
    torch.testing.assert_close(*results, **EXACT)
    assert bool((results[0][0][padding] == 0).all())


def test_a_penalty_makes_activations_smaller() -> None:
    norms = []
    for penalty in (0.0, 5.0):
        torch.manual_seed(0)
        model = build_model(LSTM(hidden_size=8), V, 1).train()
        objective = make_objective(TrainingOptions(activation_penalty=penalty))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        batch = Batch(targets(), targets().roll(1, 1))
        for _ in range(30):
            loss = -model(batch, objective=objective)[0].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        features, _ = model.advance(model.empty(B), batch.inputs, None)
        norms.append(float(features.detach().pow(2).mean()))
    assert norms[1] < 0.5 * norms[0]


def test_features_other_than_a_tensor_are_refused_in_one_sentence() -> None:
    distribution = Categorical(random(B, L, V, seed=3))
    with pytest.raises(TypeError, match="leave them out"):
        PenalizedActivations(log_likelihood, 1.0, 0.0)(distribution, targets(), (None,))
