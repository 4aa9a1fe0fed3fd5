"""Steps with prepared weights: equal to the equations, and never out of date."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.distributions import inverse_cdf
from seriatim.core.model import State
from seriatim.models import GRU, LSTM, RNN, RecurrentConfig, recurrent
from seriatim.models.build import build_model
from seriatim.models.recurrent import Recurrent

V, D, B = 7, 5, 4
EXACT = {"rtol": 0.0, "atol": 1e-12}
CONFIGS: dict[str, RecurrentConfig] = {
    "rnn": RNN(hidden_size=D, num_layers=2),
    "rnn relu": RNN(hidden_size=D, nonlinearity="relu"),
    "lstm": LSTM(hidden_size=D, num_layers=2, embedding_size=3),
    "gru": GRU(hidden_size=D, num_layers=2),
    "gru before": GRU(hidden_size=D, reset="before"),
    "lstm norm": LSTM(hidden_size=D, num_layers=2, layer_norm=True),
}


def built(name: str) -> Recurrent:
    torch.manual_seed(0)
    model = build_model(CONFIGS[name], V, 1).double()
    assert isinstance(model, Recurrent)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def by_equations(model: Recurrent, x: Tensor) -> list[Tensor]:
    """The states after x (B, L), by the cells alone."""
    states = list(model.empty(B))
    for t in range(x.shape[1]):
        y = model.embedding(x[:, t])
        for i, cell in enumerate(model.layers):
            states[i] = cell(states[i], y)
            y = cell.output(states[i])
    return tree.leaves(tuple(states))


def stepped(model: Recurrent, x: Tensor) -> list[Tensor]:
    state = State(None, model.empty(B))
    with torch.no_grad():
        for t in range(x.shape[1]):
            state = model.step(state, x[:, t])
    return tree.leaves(state.carry)


X = torch.randint(0, V, (B, 6), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("table_size", [2**20, 0], ids=["table", "no table"])
def test_steps_equal_the_equations(
    name: str, table_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "MAX_TABLE_SIZE", table_size)
    model = built(name)
    found = stepped(model, X)
    assert model._prepared is not None
    assert (model._prepared.table is None) == (table_size == 0)
    torch.testing.assert_close(found, [t.detach() for t in by_equations(model, X)], **EXACT)


def _written(model: Recurrent) -> None:
    with torch.no_grad():
        model.layers[-1].weight_hh.mul_(0.5)


def _trained(model: Recurrent) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.advance(model.empty(B), X, None)[0].sum().backward()
    optimizer.step()


def _replaced(model: Recurrent) -> None:
    model.embedding.weight = nn.Parameter(torch.randn(V, 3, dtype=torch.float64))


def _loaded(model: Recurrent) -> None:
    model.load_state_dict({k: 0.5 * v for k, v in model.state_dict().items()})


def _converted(model: Recurrent) -> None:
    model.float().double()


CHANGES = [_written, _trained, _replaced, _loaded, _converted]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__[1:])
def test_prepared_weights_are_dropped_when_a_weight_changes(
    change: Callable[[Recurrent], None],
) -> None:
    model = built("lstm")
    before = stepped(model, X)
    change(model)
    after = stepped(model, X)
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
    torch.testing.assert_close(after, [t.detach() for t in by_equations(model, X)], **EXACT)


def test_a_copy_of_a_model_prepares_its_own_weights() -> None:
    model = built("lstm")
    stepped(model, X)
    other = copy.deepcopy(model)
    assert other._prepared is None
    with torch.no_grad():
        model.layers[0].weight_hh.add_(0.1)
        other.layers[0].weight_hh.mul_(0.5)
    torch.testing.assert_close(
        stepped(other, X), [t.detach() for t in by_equations(other, X)], **EXACT
    )


def test_steps_have_gradients_when_they_are_needed() -> None:
    model = built("lstm")
    stepped(model, X)
    state = State(None, model.empty(B))
    for t in range(X.shape[1]):
        state = model.step(state, X[:, t])
    found = torch.autograd.grad(tree.leaves(state.carry)[0].sum(), model.layers[0].weight_hh)
    expected = torch.autograd.grad(by_equations(model, X)[0].sum(), model.layers[0].weight_hh)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_samples_alone_as_it_does_in_a_batch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(300, 50, generator=generator, dtype=dtype)
    logits[::3, :7] = -torch.inf
    u = torch.rand(300, generator=generator, dtype=torch.float64)
    u[:9] = torch.tensor([0.0, 1 - 2**-53, 0.5] * 3)
    together = inverse_cdf(logits, u)
    alone = [inverse_cdf(logits[i : i + 1], u[i : i + 1]) for i in range(len(u))]
    assert torch.equal(torch.cat(alone), together)
    assert int(inverse_cdf(logits[5], u[5])) == int(together[5])
