"""Regularization of recurrent models: what each option drops, and the expectation it preserves."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.errors import ConfigError
from seriatim.laws.check import check_model
from seriatim.layers.cells import DroppedCell
from seriatim.models import GRU, LSTM, RNN, RecurrentConfig, configure
from seriatim.models.build import build_model
from seriatim.models.recurrent import Recurrent

V, D, B, L = 7, 6, 4, 9
EXACT = {"rtol": 0.0, "atol": 1e-12}
RAGGED = torch.tensor([L, 0, 1, 6])
FAMILIES: list[Callable[..., RecurrentConfig]] = [RNN, LSTM, GRU]
SWITCHES: dict[str, dict[str, object]] = {
    "variational": {"dropout": 0.5, "variational_dropout": True},
    "recurrent": {"recurrent_dropout": 0.5},
    "weights": {"weight_dropout": 0.5},
    "words": {"embedding_dropout": 0.5},
    "norm": {"layer_norm": True},
    "all": {
        "dropout": 0.2,
        "variational_dropout": True,
        "recurrent_dropout": 0.2,
        "weight_dropout": 0.2,
        "embedding_dropout": 0.2,
        "layer_norm": True,
        "tie_embeddings": True,
    },
}


def built(config: RecurrentConfig) -> Recurrent:
    torch.manual_seed(0)
    model = build_model(config, V, 1).double()
    assert isinstance(model, Recurrent)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def symbols(*shape: int, seed: int = 2) -> Tensor:
    return torch.randint(0, V, shape, generator=torch.Generator().manual_seed(seed))


def batch(lengths: Tensor | None = None) -> Batch:
    return Batch(symbols(B, L), symbols(B, L, seed=4), lengths)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
def test_an_option_acts_in_training_alone_and_every_weight_learns(
    family: Callable[..., RecurrentConfig], switch: str, lengths: Tensor | None
) -> None:
    model = built(family(hidden_size=D, num_layers=2, **SWITCHES[switch]))
    model.eval()
    still = model.log_prob(batch(lengths))
    torch.testing.assert_close(model.log_prob(batch(lengths)), still, rtol=0, atol=0)
    model.train()
    scores, carry = model(batch(lengths), keep=True)
    if switch != "norm":  # which is no noise
        assert not torch.equal(scores, still)
    loss = scores.sum() + sum(leaf.sum() for leaf in tree.leaves(carry))
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert bool((gradient != 0).any())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_models_with_every_option_obey_the_laws(family: Callable[..., RecurrentConfig]) -> None:
    model = built(family(hidden_size=5, num_layers=2, **SWITCHES["all"])).eval()
    check_model(model, seconds=1).raise_if_broken()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switch", ["variational", "recurrent", "weights", "words", "all"])
def test_padding_reaches_no_score_and_no_gradient_in_training(
    family: Callable[..., RecurrentConfig], switch: str
) -> None:
    model = built(family(hidden_size=D, num_layers=2, **SWITCHES[switch])).train()
    padding = torch.arange(L) >= RAGGED[:, None]
    results = []
    for seed in (5, 6):
        x = torch.where(padding, symbols(B, L, seed=seed), symbols(B, L))
        torch.manual_seed(1)
        scores, carry = model(Batch(x, symbols(B, L, seed=4), RAGGED), keep=True)
        loss = scores.sum() + sum(leaf.sum() for leaf in tree.leaves(carry))
        results.append((scores, torch.autograd.grad(loss, list(model.parameters()))))
    torch.testing.assert_close(*results, **EXACT)


# ---- variational dropout ------------------------------------------------------------------------


def test_a_variational_mask_is_the_same_at_every_step_and_another_in_every_row() -> None:
    model = built(RNN(hidden_size=50, dropout=0.5, variational_dropout=True)).train()
    kept = model.dropped(torch.ones(B, L, 50, dtype=torch.float64)) != 0
    assert bool((kept == kept[:, :1]).all())
    assert len({tuple(row[0].tolist()) for row in kept}) == B
    per_step = built(RNN(hidden_size=50, dropout=0.5)).train()
    kept = per_step.dropped(torch.ones(B, L, 50, dtype=torch.float64)) != 0
    assert bool((kept != kept[:, :1]).any())


@pytest.mark.parametrize("family", FAMILIES)
def test_variational_masks_act_before_between_and_after_the_layers(
    family: Callable[..., RecurrentConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With known masks the model equals the equations with these masks at their places."""
    model = built(
        family(hidden_size=D, num_layers=2, dropout=0.5, variational_dropout=True)
    ).train()
    masks = [torch.bernoulli(torch.full((B, 1, D), 0.5, dtype=torch.float64)) * 2 for _ in range(3)]
    given = iter(masks)
    monkeypatch.setattr(model, "dropped", lambda x: x * next(given))
    x = symbols(B, L)
    features, _ = model.advance(model.empty(B), x, None)
    found = model.emit(features).dense()

    states, outputs = list(model.empty(B)), []
    before, between, after = (mask[:, 0] for mask in masks)
    for t in range(L):
        y = model.embedding(x[:, t]) * before
        for i, cell in enumerate(model.layers):
            states[i] = cell(states[i], y if i == 0 else y * between)
            y = cell.output(states[i])
        outputs.append(model.head(y * after).log_softmax(-1))
    torch.testing.assert_close(found, torch.stack(outputs, 1), **EXACT)


@pytest.mark.parametrize("is_variational", [False, True])
def test_dropout_keeps_its_expectation(is_variational: bool) -> None:
    model = built(RNN(hidden_size=D, dropout=0.3, variational_dropout=is_variational)).train()
    x = torch.randn(1, 3, D, dtype=torch.float64)
    many = torch.stack([model.dropped(x) for _ in range(4000)])
    # A unit is 0 or x / 0.7: sd of its mean x sqrt(0.3 / 0.7 / 4000); five of them.
    assert bool(((many.mean(0) - x).abs() < 5 * x.abs() * (0.3 / 0.7 / 4000) ** 0.5).all())


# ---- recurrent dropout, DropConnect -------------------------------------------------------------


def test_dropped_layers_keep_their_expectation() -> None:
    torch.manual_seed(0)
    model = build_model(
        LSTM(hidden_size=D, recurrent_dropout=0.4, weight_dropout=0.3), V, 1
    ).double()
    assert isinstance(model, Recurrent)
    model.train()
    whole = model.layers[0].weight_hh
    weights, masks = [], []
    for _ in range(3000):
        (layer,) = model._dropped_layers(B)
        assert isinstance(layer, DroppedCell) and layer.mask is not None
        weights.append(layer.weight_hh.detach())
        masks.append(layer.mask)
    spread = whole.detach().abs() * (0.3 / 0.7 / 3000) ** 0.5
    assert bool(((torch.stack(weights).mean(0) - whole).abs() < 5 * spread).all())
    assert bool(((torch.stack(masks).mean(0) - 1).abs() < 5 * (0.4 / 0.6 / 3000) ** 0.5).all())
    assert torch.stack(masks).unique().tolist() == pytest.approx([0.0, 1 / 0.6])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
def test_dropconnect_is_a_model_without_some_recurrent_weights(
    family: Callable[..., RecurrentConfig],
    lengths: Tensor | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = built(family(hidden_size=D, weight_dropout=0.5)).train()
    layers = model._dropped_layers(B)
    monkeypatch.setattr(model, "_dropped_layers", lambda _: layers)
    scores = model(batch(lengths))[0]
    lacking = built(family(hidden_size=D)).eval()
    with torch.no_grad():
        lacking.layers[0].weight_hh.copy_(layers[0].weights[1])
    assert 0 < int((lacking.layers[0].weight_hh == 0).sum()) < lacking.layers[0].weight_hh.numel()
    torch.testing.assert_close(scores, lacking.log_prob(batch(lengths)), **EXACT)


def test_recurrent_dropout_does_not_touch_what_the_update_gate_passes_on() -> None:
    """With every unit left out where gates read h, the update gate still hands h on."""
    model = built(GRU(hidden_size=D, recurrent_dropout=0.5)).train()
    cell = model.layers[0]
    h = torch.randn(B, D, dtype=torch.float64)
    x = torch.randn(B, 1, D, dtype=torch.float64)
    thinned = DroppedCell(cell, cell.weight_hh, torch.zeros(B, D, dtype=torch.float64))
    states = model.kernel.states(thinned, h, x)
    alone = cell.gates(torch.zeros_like(h), x[:, 0])
    expected = alone.update * h + (1 - alone.update) * alone.candidate
    torch.testing.assert_close(states[:, 0], expected, **EXACT)


def test_each_chunk_and_each_row_drops_other_units() -> None:
    model = built(LSTM(hidden_size=50, recurrent_dropout=0.5)).train()
    first, second = model._dropped_layers(B)[0].mask, model._dropped_layers(B)[0].mask
    assert first is not None and second is not None
    assert len({tuple(row.tolist()) for row in [*first, *second]}) == 2 * B


# ---- whole words --------------------------------------------------------------------------------


def test_embedding_dropout_drops_all_occurrences_of_a_symbol() -> None:
    model = built(RNN(hidden_size=D, embedding_dropout=0.5)).train()
    x = symbols(B, 40)
    e, whole = model._embedded(x), model.embedding(x)
    is_kept = {v: (e[x == v] != 0) for v in range(V)}
    assert all(bool(kept.all()) or not bool(kept.any()) for kept in is_kept.values())
    assert 0 < sum(bool(kept.all()) for kept in is_kept.values()) < V
    torch.testing.assert_close(e[e != 0], 2 * whole[e != 0], **EXACT)


def test_embedding_dropout_keeps_its_expectation() -> None:
    model = built(RNN(hidden_size=D, embedding_dropout=0.25)).train()
    x = symbols(1, 5)
    mean = torch.stack([model._embedded(x).detach() for _ in range(4000)]).mean(0)
    whole = model.embedding(x).detach()
    assert bool(((mean - whole).abs() <= 5 * whole.abs() * (1 / 3 / 4000) ** 0.5).all())


# ---- first weights, words for mistakes ----------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_uniform_first_weights_are_uniform_biases_included(
    family: Callable[..., RecurrentConfig],
) -> None:
    torch.manual_seed(0)
    model = build_model(family(hidden_size=40, num_layers=2, init_uniform=0.1), 50, 1)
    for parameter in model.parameters():
        assert float(parameter.detach().abs().max()) <= 0.1
    everything = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float(everything.std()) == pytest.approx(0.1 / 3**0.5, rel=0.02)  # of U(-a, a)
    assert float(everything.mean().abs()) < 0.002


def test_uniform_first_weights_leave_the_gains_of_norms_at_1() -> None:
    model = build_model(LSTM(hidden_size=D, layer_norm=True, init_uniform=0.1), V, 1)
    gains = [p for name, p in model.named_parameters() if ".gain" in name]
    assert len(gains) == 3
    assert all(bool((gain == 1).all()) for gain in gains)


def test_variational_dropout_without_dropout_is_refused() -> None:
    with pytest.raises(ConfigError, match="dropout is 0"):
        configure("lstm", {"variational_dropout": True})
