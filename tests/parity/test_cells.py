"""The textbook cells are the reference: torch's modules and every kernel equal them."""

import math

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.layers.cells import GRUCell, LSTMCell, RNNCell, StackedCell
from seriatim.models import GRU, LSTM, RNN, RecurrentConfig
from seriatim.models.recurrent import Recurrent

V, E, D, B, L = 7, 3, 5, 4, 9
EXACT = {"rtol": 0.0, "atol": 1e-12}
RAGGED = torch.tensor([L, 0, 1, 6])

CELLS = {
    "rnn tanh": (RNNCell, {"nonlinearity": "tanh"}, nn.RNNCell, nn.RNN),
    "rnn relu": (RNNCell, {"nonlinearity": "relu"}, nn.RNNCell, nn.RNN),
    "lstm": (LSTMCell, {}, nn.LSTMCell, nn.LSTM),
    "gru after": (GRUCell, {"reset": "after"}, nn.GRUCell, nn.GRU),
}
CONFIGS = [
    RNN(nonlinearity="tanh", hidden_size=D, embedding_size=E),
    RNN(nonlinearity="relu", hidden_size=D, embedding_size=E, num_layers=2),
    LSTM(hidden_size=D, embedding_size=E),
    LSTM(hidden_size=D, embedding_size=E, num_layers=3),
    GRU(hidden_size=D, embedding_size=E, reset="after", num_layers=2),
    GRU(hidden_size=D, embedding_size=E, reset="before"),
    GRU(hidden_size=D, embedding_size=E, reset="before", num_layers=2),
]


@pytest.fixture(
    params=CONFIGS, ids=lambda c: f"{c.family}-{c.num_layers}-{getattr(c, 'reset', '')}"
)
def model(request: pytest.FixtureRequest) -> Recurrent:
    return built(request.param)


def built(config: RecurrentConfig) -> Recurrent:
    torch.manual_seed(0)
    model = Recurrent(config, V, 1).double()
    with torch.no_grad():
        for parameter in model.parameters():  # biases too: zeros would hide where they act
            parameter.normal_(std=0.5)
    return model.eval()


def random_carry(model: Recurrent) -> tree.Tree:
    torch.manual_seed(1)
    return tree.map_leaves(lambda t: torch.randn_like(t).requires_grad_(), model.empty(B))


def symbols() -> Tensor:
    return torch.randint(0, V, (B, L), generator=torch.Generator().manual_seed(2))


def looped(
    model: Recurrent, carry: tree.Tree, x: Tensor, lengths: Tensor
) -> tuple[Tensor, tree.Tree]:
    """The equations, one row and one element at a time."""
    rows, features = [], []
    for b in range(len(x)):
        states = list(tree.select(carry, torch.tensor([b])))
        outputs = torch.zeros(x.shape[1], D, dtype=torch.float64)
        for t in range(int(lengths[b])):
            y = model.embedding(x[b : b + 1, t])
            for i, cell in enumerate(model.layers):
                states[i] = cell(states[i], y)
                y = cell.output(states[i])
            outputs[t] = y[0]
        rows.append(tuple(states))
        features.append(outputs)
    return torch.stack(features), tree.cat(rows)


def gradients(loss: Tensor, model: Recurrent, carry: tree.Tree) -> list[Tensor]:
    of = [*model.embedding.parameters(), *model.layers.parameters(), *tree.leaves(carry)]
    return list(torch.autograd.grad(loss, of))


def some_sum(*tensors: Tensor) -> Tensor:
    """A sum in which every entry counts differently."""
    generator = torch.Generator().manual_seed(3)
    return sum((t * torch.rand(t.shape, generator=generator, dtype=t.dtype)).sum() for t in tensors)  # type: ignore[return-value]


def zeroed(features: Tensor, lengths: Tensor) -> Tensor:
    valid = torch.arange(features.shape[1]) < lengths[:, None]
    return torch.where(valid[..., None], features, 0.0)


# ---- the cells ----------------------------------------------------------------------------------


def shared(cell: StackedCell, other: nn.Module, suffix: str = "") -> None:
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(other, name + suffix, getattr(cell, name))


@pytest.mark.parametrize("name", CELLS)
def test_cell_equals_torchs_cell_in_values_and_gradients(name: str) -> None:
    cls, options, torch_cls, _ = CELLS[name]
    torch.manual_seed(0)
    cell = cls(E, D, **options).double()
    nn.init.normal_(cell.bias_ih)
    nn.init.normal_(cell.bias_hh)
    theirs = torch_cls(E, D, dtype=torch.float64, **options if cls is RNNCell else {})
    shared(cell, theirs)
    x = torch.randn(B, E, dtype=torch.float64, requires_grad=True)
    h = tree.map_leaves(lambda t: torch.randn_like(t).requires_grad_(), cell.initial(B))
    wanted = [*cell.parameters(), x, *tree.leaves(h)]
    results = []
    for after in (cell(h, x), theirs(x, h)):
        values = tree.leaves(after)
        results.append((values, torch.autograd.grad(some_sum(*values), wanted)))
    torch.testing.assert_close(*results, **EXACT)


@pytest.mark.parametrize("name", CELLS)
def test_cells_over_time_equal_torchs_module_of_two_layers(name: str) -> None:
    cls, options, _, module_cls = CELLS[name]
    torch.manual_seed(0)
    cells = [cls(E, D, **options).double(), cls(D, D, **options).double()]
    theirs = module_cls(
        E, D, 2, batch_first=True, dtype=torch.float64, **options if cls is RNNCell else {}
    )
    for i, cell in enumerate(cells):
        shared(cell, theirs, f"_l{i}")
    x = torch.randn(B, L, E, dtype=torch.float64, requires_grad=True)
    wanted = [p for cell in cells for p in cell.parameters()] + [x]
    y = x
    for cell in cells:
        h, outputs = cell.initial(B), []
        for x_t in y.unbind(1):
            h = cell(h, x_t)
            outputs.append(cell.output(h))
        y = torch.stack(outputs, 1)
    expected = theirs(x)[0]
    torch.testing.assert_close(y, expected, **EXACT)
    torch.testing.assert_close(
        torch.autograd.grad(some_sum(y), wanted),
        torch.autograd.grad(some_sum(expected), wanted),
        **EXACT,
    )


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def scalar_cell(cell: StackedCell) -> list[list[float]]:
    """Distinct weights for a cell of sizes 1: rows W, U, b_W, b_U of each gate."""
    values = []
    with torch.no_grad():
        for k, parameter in enumerate(cell.weights):
            flat = [0.3 + 0.17 * k - 0.23 * g for g in range(parameter.numel())]
            parameter.copy_(torch.tensor(flat, dtype=torch.float64).view(parameter.shape))
            values.append(flat)
    return [list(gate) for gate in zip(*values, strict=True)]


def affine(gate: list[float], x: float, h: float) -> float:
    w, u, b_w, b_u = gate
    return w * x + b_w + u * h + b_u


@pytest.mark.parametrize("reset", ["before", "after"])
def test_gru_cell_equals_the_equations_of_cho_et_al_in_plain_numbers(reset: str) -> None:
    cell = GRUCell(1, 1, reset=reset).double()  # type: ignore[arg-type]
    g_r, g_z, (w, u, b_w, b_u) = scalar_cell(cell)
    x, h = 0.7, -0.4
    r, z = sigmoid(affine(g_r, x, h)), sigmoid(affine(g_z, x, h))
    inner = u * (r * h) + b_u if reset == "before" else r * (u * h + b_u)
    candidate = math.tanh(w * x + b_w + inner)
    tensors = (torch.tensor([[v]], dtype=torch.float64) for v in (h, x))
    after = cell(*tensors)
    assert after.item() == pytest.approx(z * h + (1 - z) * candidate, abs=1e-12)


def test_lstm_gates_have_the_names_of_their_equations() -> None:
    cell = LSTMCell(1, 1).double()
    g_i, g_f, g_c, g_o = scalar_cell(cell)
    x, h, c = 0.7, -0.4, 0.9
    x_, h_, c_ = (torch.tensor([[v]], dtype=torch.float64) for v in (x, h, c))
    gates = cell.gates(h_, x_)
    f, i, o = (sigmoid(affine(g, x, h)) for g in (g_f, g_i, g_o))
    update = math.tanh(affine(g_c, x, h))
    expected = {"forget": f, "input": i, "output": o, "candidate": update}
    assert {k: v.item() for k, v in gates._asdict().items()} == pytest.approx(expected, abs=1e-12)
    hidden, memory = cell((h_, c_), x_)
    assert memory.item() == pytest.approx(f * c + i * update, abs=1e-12)
    assert hidden.item() == pytest.approx(o * math.tanh(f * c + i * update), abs=1e-12)


def test_gates_of_known_hidden_states_come_from_one_call() -> None:
    torch.manual_seed(0)
    for cell in (LSTMCell(E, D), GRUCell(E, D, reset="before"), GRUCell(E, D)):
        h, x = torch.randn(B, L, D), torch.randn(B, L, E)
        together = torch.stack(cell.gates(h, x))
        alone = torch.stack([torch.stack(cell.gates(h[:, t], x[:, t])) for t in range(L)], 2)
        torch.testing.assert_close(together, alone)


# ---- the kernels --------------------------------------------------------------------------------


def test_kernel_of_whole_chunks_equals_the_equations(model: Recurrent) -> None:
    carry, full = random_carry(model), torch.full((B,), L)
    expected, after = looped(model, carry, symbols(), full)
    features, kept = model.advance(carry, symbols(), None)
    torch.testing.assert_close((features, kept), (expected, after), **EXACT)
    torch.testing.assert_close(
        gradients(some_sum(features, *tree.leaves(kept)), model, carry),
        gradients(some_sum(expected, *tree.leaves(after)), model, carry),
        **EXACT,
    )


def test_kernel_of_ragged_chunks_equals_the_equations(model: Recurrent) -> None:
    carry = random_carry(model)
    expected, after = looped(model, carry, symbols(), RAGGED)
    features, kept = model.advance(carry, symbols(), RAGGED, keep=True)
    features = zeroed(features, RAGGED)
    torch.testing.assert_close((features, kept), (expected, after), **EXACT)
    torch.testing.assert_close(
        gradients(some_sum(features, *tree.leaves(kept)), model, carry),
        gradients(some_sum(expected, *tree.leaves(after)), model, carry),
        **EXACT,
    )


def test_kernel_that_keeps_nothing_equals_the_equations(model: Recurrent) -> None:
    carry = random_carry(model)
    expected, _ = looped(model, carry, symbols(), RAGGED)
    features, _ = model.advance(carry, symbols(), RAGGED, keep=False)
    features = zeroed(features, RAGGED)
    torch.testing.assert_close(features, expected, **EXACT)
    torch.testing.assert_close(
        gradients(some_sum(features), model, carry),
        gradients(some_sum(expected), model, carry),
        **EXACT,
    )


@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
def test_kernel_of_single_steps_equals_the_equations(
    model: Recurrent, lengths: Tensor | None
) -> None:
    carry = random_carry(model)
    n = torch.full((B,), L) if lengths is None else lengths
    expected, after = looped(model, carry, symbols(), n)
    steps, kept = [], carry
    for t in range(L):
        here = None if lengths is None else (lengths > t).long()
        features, kept = model.advance(kept, symbols()[:, t : t + 1], here)
        steps.append(features)
    features = zeroed(torch.cat(steps, 1), n)
    torch.testing.assert_close((features, kept), (expected, after), **EXACT)
    torch.testing.assert_close(
        gradients(some_sum(features, *tree.leaves(kept)), model, carry),
        gradients(some_sum(expected, *tree.leaves(after)), model, carry),
        **EXACT,
    )


@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("config", CONFIGS[1:6:2], ids=lambda c: c.family)
def test_single_precision_agrees_with_double_in_every_autograd_mode(
    config: RecurrentConfig, lengths: Tensor | None
) -> None:
    """In float32 the LSTM runs on another library (oneDNN), which must hold a memory as exactly."""
    double, single = built(config), built(config).float()
    _, expected = double.advance(random_carry(double), symbols(), lengths)
    carry = tree.to(random_carry(double), torch.float32)
    with torch.no_grad():
        _, without_grad = single.advance(carry, symbols(), lengths)
    with torch.inference_mode():
        _, inference = single.advance(carry, symbols(), lengths)
    _, with_grad = single.advance(carry, symbols(), lengths)
    torch.testing.assert_close(tree.to(with_grad, torch.float64), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(without_grad, with_grad, rtol=0, atol=1e-6)
    torch.testing.assert_close(inference, with_grad, rtol=0, atol=1e-6)
    if lengths is not None:
        empty_row = torch.tensor([1])
        torch.testing.assert_close(
            tree.select(with_grad, empty_row), tree.select(carry, empty_row), rtol=0, atol=0
        )
