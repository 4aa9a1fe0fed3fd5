"""The autoregressive window: its equation, its memory of k symbols, and nothing beyond."""

import pytest
import torch
from torch import Tensor

from seriatim.core.batch import Batch
from seriatim.laws.check import check_model
from seriatim.models import Autoregressive
from seriatim.models.autoregressive import AutoregressiveModel
from seriatim.models.build import build_model

V, B, L = 7, 4, 9
EXACT = {"rtol": 0.0, "atol": 1e-12}
RAGGED = torch.tensor([L, 0, 1, 6])

CONFIGS = [
    Autoregressive(window=1, embedding_size=3, hidden_size=5),
    Autoregressive(window=4, embedding_size=3, hidden_size=5, num_layers=2),
    Autoregressive(window=3, embedding_size=2, hidden_size=5, direct=True),
    Autoregressive(window=12, embedding_size=2, hidden_size=4),
]


@pytest.fixture(params=CONFIGS, ids=["one", "deep", "direct", "wider than the chunk"])
def model(request: pytest.FixtureRequest) -> AutoregressiveModel:
    return built(request.param)


def built(config: Autoregressive) -> AutoregressiveModel:
    torch.manual_seed(0)
    model = build_model(config, V, 1).double()
    assert isinstance(model, AutoregressiveModel)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model.eval()


def symbols(*shape: int, seed: int = 2) -> Tensor:
    return torch.randint(0, V, shape, generator=torch.Generator().manual_seed(seed))


def equation(model: AutoregressiveModel, past: list[int]) -> Tensor:
    """Bengio et al. 2003, equation 1, for one past, with V in the slots before it."""
    k = model.config.window
    padded = [V] * k + past
    x = torch.cat([model.embedding.weight[i] for i in padded[-k:]])
    hidden = x
    for layer in model.hidden:
        hidden = torch.tanh(layer.bias + layer.weight @ hidden)
    size = len(hidden)
    y = model.head.bias + model.head.weight[:, :size] @ hidden
    if model.config.direct:
        y = y + model.head.weight[:, size:] @ x
    return y


@pytest.mark.parametrize("num_rows", [1, B], ids=["one product", "table"])
def test_logits_and_gradients_equal_the_equation(model: AutoregressiveModel, num_rows: int) -> None:
    """One row of 9 windows is below twice the 7 symbols, four rows are above: both kernels run."""
    x = symbols(num_rows, L)
    features, _ = model.advance(model.empty(num_rows), x, None)
    logits = model.emit(features).logits
    expected = torch.stack(
        [torch.stack([equation(model, row[: t + 1]) for t in range(L)]) for row in x.tolist()]
    )
    torch.testing.assert_close(logits, expected, **EXACT)
    weights = torch.rand(logits.shape, dtype=torch.float64)
    parameters = list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad((logits * weights).sum(), parameters),
        torch.autograd.grad((expected * weights).sum(), parameters),
        **EXACT,
    )


def test_the_carry_is_the_last_symbols_and_marks_unfilled_slots() -> None:
    model = built(CONFIGS[1])
    _, carry = model.advance(
        model.empty(2), torch.tensor([[2, 3, 4], [5, 6, 0]]), torch.tensor([3, 1])
    )
    assert carry is not None
    assert carry.tolist() == [[V, 2, 3, 4], [V, V, V, 5]]


def test_the_model_reaches_exactly_as_far_as_it_declares(model: AutoregressiveModel) -> None:
    x = symbols(1, L)
    last = model.update(model.start(1), x).features
    for back in range(1, L + 1):
        other = x.clone()
        other[0, -back] = (x[0, -back] + 1) % V
        changed = not torch.equal(model.update(model.start(1), other).features, last)
        assert changed == (back <= model.reach)


def test_an_unfilled_slot_is_no_symbol() -> None:
    """Its embedding is learned: besides the symbols seen it alone gets a gradient."""
    model = built(CONFIGS[1])
    x = torch.full((1, 2), 3)
    model.log_prob(Batch(x, x)).sum().backward()
    grad = model.embedding.weight.grad
    assert grad is not None
    assert grad.abs().sum(-1).nonzero()[:, 0].tolist() == [3, V]


def test_dropout_acts_in_training_alone() -> None:
    config = Autoregressive(window=2, embedding_size=3, hidden_size=50, dropout=0.5)
    model, x = built(config), symbols(B, L)
    features, _ = model.advance(model.empty(B), x, None)
    assert bool((features != 0).all())
    model.train()
    torch.manual_seed(0)
    features, _ = model.advance(model.empty(B), x, None)
    assert 0.4 < float((features == 0).double().mean()) < 0.6


@pytest.mark.slow
def test_every_way_of_running_it_obeys_the_laws(model: AutoregressiveModel) -> None:
    check_model(model.double(), seconds=2).raise_if_broken()
