"""Recurrences with masks, by hand and by torch: all equal the cells' equations, step by step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.layers.cells import (
    DroppedCell,
    GRUCell,
    LayerNormGRUCell,
    LayerNormLSTMCell,
    LayerNormRNNCell,
    LSTMCell,
    StackedCell,
)
from seriatim.layers.kernels import recurrence
from seriatim.layers.kernels.dispatch import HiddenKernel, Kernel
from seriatim.models import GRU, LSTM, RNN, RecurrentConfig
from seriatim.models.recurrent_stack import cell_kind

B, L, E, D = 4, 9, 3, 5
EXACT = {"rtol": 1e-13, "atol": 1e-12}
CONFIGS: dict[str, RecurrentConfig] = {
    "rnn": RNN(),
    "rnn relu": RNN(nonlinearity="relu"),
    "lstm": LSTM(),
    "gru": GRU(),
    "gru before": GRU(reset="before"),
    "rnn norm": RNN(layer_norm=True),
    "lstm norm": LSTM(layer_norm=True),
    "gru norm": GRU(layer_norm=True),
    "gru before norm": GRU(layer_norm=True, reset="before"),
}


def made(
    name: str, size: int = D, dtype: torch.dtype = torch.float64
) -> tuple[StackedCell, Kernel]:
    torch.manual_seed(0)
    kind = cell_kind(CONFIGS[name])
    cell = kind.cell(E, size).to(dtype)
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.5)
    return cell, kind.kernel


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()


def masks(size: int = D, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.bernoulli(torch.full((B, size), 0.5, dtype=dtype), generator=generator) * 2


def by_equations(cell: StackedCell, h: tree.Tree, x: Tensor, mask: Tensor) -> tree.Tree:
    """One element after another by `fold`: what Gal and Ghahramani write."""
    states = []
    for t in range(x.shape[1]):
        h = cell.fold(h, cell.project_input(x[:, t]), cell.split(cell.weight_hh), mask)
        states.append(h)
    return tree.map_leaves(lambda *steps: torch.stack(steps, 1), *states)


def some_sum(t: tree.Tree) -> Tensor:
    """A sum in which every entry counts differently."""
    return torch.stack(
        [(leaf * random(*leaf.shape, seed=9, dtype=leaf.dtype)).sum() for leaf in tree.leaves(t)]
    ).sum()


def values_and_gradients(states: tree.Tree, of: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    values = tree.leaves(states)
    return values, list(torch.autograd.grad(some_sum(states), of))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_masked_chunk_equals_the_equations_in_values_and_gradients(name: str) -> None:
    cell, kernel = made(name)
    x, mask = random(B, L, E, seed=1), masks()
    h = tree.map_leaves(lambda t: random(*t.shape, seed=2), cell.initial(B))
    of = [x, *tree.leaves(h), *cell.parameters()]
    expected = values_and_gradients(by_equations(cell, h, x, mask), of)
    states = kernel.states(DroppedCell(cell, cell.weight_hh, mask), h, x)
    torch.testing.assert_close(values_and_gradients(states, of), expected, **EXACT)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_mask_of_ones_has_no_effect(name: str) -> None:
    cell, kernel = made(name)
    x, h = random(B, L, E, seed=1), cell.initial(B)
    ones = torch.ones(B, D, dtype=torch.float64)
    whole, last = kernel.chunk([cell], (h,), x, 0.0)
    thinned = DroppedCell(cell, cell.weight_hh, ones)
    masked, masked_last = kernel.chunk([thinned], (h,), x, 0.0)
    torch.testing.assert_close(masked, whole, **EXACT)
    torch.testing.assert_close(tree.leaves(masked_last), tree.leaves(last), **EXACT)


@pytest.mark.parametrize("name", CONFIGS)
def test_masked_ragged_rows_end_where_their_last_valid_element_is(name: str) -> None:
    cell, kernel = made(name)
    x, mask, lengths = random(B, L, E, seed=1), masks(), torch.tensor([L, 0, 1, 6])
    h = tree.map_leaves(lambda t: random(*t.shape, seed=2), cell.initial(B))
    _, last = kernel.ragged(DroppedCell(cell, cell.weight_hh, mask), h, x, lengths)
    states = by_equations(cell, h, x, mask)
    for b, n in enumerate(lengths.tolist()):
        expected = tree.map_leaves(lambda s, o, b=b, n=n: s[b, n - 1] if n else o[b], states, h)
        row = tree.map_leaves(lambda t, b=b: t[b], last)
        torch.testing.assert_close(tree.leaves(row), tree.leaves(expected), **EXACT)


@pytest.mark.parametrize("name", ["rnn", "rnn relu", "gru"])
def test_training_by_hand_equals_reading_by_torch(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calls: list[int] = []
    function = name.split()[0]
    by_hand = getattr(recurrence, function)
    monkeypatch.setattr(recurrence, function, lambda *args: calls.append(1) or by_hand(*args))
    cell, kernel = made(name)
    x, h = random(B, L, E, seed=1), random(B, D, seed=2)
    inner = [x, h, *cell.parameters()]

    def found(run: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        y = run()
        return (y, *torch.autograd.grad(y.square().sum(), inner))

    assert isinstance(kernel, HiddenKernel)
    ours = found(lambda: kernel.chunk([cell], (h,), x, 0.0)[0])
    assert calls == [1]
    torchs = found(lambda: kernel.torch_layers([cell], h[None], x, 0.0)[0])
    with torch.no_grad():
        read, _ = kernel.chunk([cell], (h,), x, 0.0)
    assert calls == [1]
    torch.testing.assert_close(ours, torchs, **EXACT)
    assert torch.equal(read, torchs[0])


def test_only_the_states_of_an_lstm_in_the_loss_have_a_gradient() -> None:
    """Either of the two outputs alone; the gradient of the other is never computed."""
    cell, _ = made("lstm")
    x, (h, c) = random(B, L, E, seed=1), cell.initial(B)
    for part in (0, 1):
        expected = torch.autograd.grad(
            some_sum(by_equations(cell, (h, c), x, masks())[part]), [x, *cell.parameters()]
        )
        states = recurrence.lstm(x, h, c, cell.weights, masks())
        found = torch.autograd.grad(some_sum(states[part]), [x, *cell.parameters()])
        torch.testing.assert_close(found, expected, **EXACT)


# ---- low precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("low_from", [0, recurrence.LOW_FROM], ids=["large", "small"])
@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_low_precision_is_as_close_to_float64_as_bfloat16_products_allow(
    monkeypatch: pytest.MonkeyPatch, name: str, columns: bool, low_from: int
) -> None:
    """2^-9 is the rounding of bfloat16; torch's own layers under autocast stray as far."""
    monkeypatch.setattr(recurrence, "LOW_FROM", low_from)
    size = 48
    cell, kernel = made(name, size, torch.float32)
    nn.init.orthogonal_(cell.weight_hh)
    if columns:
        for weight in (cell.weight_ih, cell.weight_hh):
            weight.data = weight.data.t().contiguous().t()
    x, h = random(B, L, E, seed=1, dtype=torch.float32), cell.initial(B)
    mask = masks(size, torch.float32)
    of = [x, *cell.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        states = kernel.states(DroppedCell(cell, cell.weight_hh, mask), h, x)
    assert all(leaf.dtype == torch.float32 for leaf in tree.leaves(states))
    found = values_and_gradients(states, of)
    expected = values_and_gradients(by_equations(cell, h, x, mask), of)
    for a, b in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        assert float((a - b).detach().norm() / b.detach().norm()) < 0.02
    assert any(bool((a != b).any()) for a, b in zip(found[0], expected[0], strict=True))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_state_from_autocast_is_read_in_the_precision_of_the_weights(name: str) -> None:
    cell, kernel = made(name, D, torch.float32)
    x = random(B, L, E, seed=1, dtype=torch.float32)
    rough = tree.map_leaves(lambda t: random(*t.shape, seed=2).bfloat16(), cell.initial(B))
    with torch.autocast("cpu", torch.bfloat16):
        states = kernel.states(cell, rough, x)
        precise = kernel.states(cell, tree.to(rough, torch.float32), x)
    for a, b in zip(tree.leaves(states), tree.leaves(precise), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_state_stays_in_the_precision_of_the_weights_under_autocast(name: str) -> None:
    cell, kernel = made(name, D, torch.float32)
    x, lengths = random(B, L, E, seed=1, dtype=torch.float32), torch.tensor([L, 0, 1, 6])
    with torch.autocast("cpu", torch.bfloat16):
        after = [
            kernel.chunk([cell], (cell.initial(B),), x, 0.0)[1],
            kernel.ragged(cell, cell.initial(B), x, lengths)[1],
        ]
    assert all(leaf.dtype == torch.float32 for leaf in tree.leaves(after))


# ---- layer normalization ------------------------------------------------------------------------


def normalized(a: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Ba et al. 2016, equations 3 and 4, with torch's epsilon under the root."""
    mean = a.mean(-1, keepdim=True)
    variance = ((a - mean) ** 2).mean(-1, keepdim=True)
    return gain * (a - mean) / (variance + 1e-5).sqrt() + bias


def test_a_normalized_rnn_is_the_papers_equation() -> None:
    cell, _ = made("rnn norm")
    assert isinstance(cell, LayerNormRNNCell)
    h, x = random(B, D, seed=1), random(B, E, seed=2)
    a = h @ cell.weight_hh.T + x @ cell.weight_ih.T
    expected = normalized(a, cell.gain, cell.bias_ih + cell.bias_hh).tanh()
    torch.testing.assert_close(cell(h, x), expected, **EXACT)


def test_a_normalized_lstm_is_the_papers_equation() -> None:
    cell, _ = made("lstm norm")
    assert isinstance(cell, LayerNormLSTMCell)
    h, c, x = random(B, D, seed=1), random(B, D, seed=3), random(B, E, seed=2)
    of_h = normalized(h @ cell.weight_hh.T, cell.gain_hh, cell.bias_hh)
    of_x = normalized(x @ cell.weight_ih.T, cell.gain_ih, cell.bias_ih)
    i, f, g, o = (of_h + of_x).chunk(4, -1)
    new = f.sigmoid() * c + i.sigmoid() * g.tanh()
    shown = o.sigmoid() * normalized(new, cell.gain_cell, cell.bias_cell).tanh()
    torch.testing.assert_close(cell((h, c), x), (shown, new), **EXACT)


def test_a_normalized_gru_is_the_papers_equation() -> None:
    cell, _ = made("gru norm")
    assert isinstance(cell, LayerNormGRUCell)
    h, x = random(B, D, seed=1), random(B, E, seed=2)
    W, W_n = cell.weight_ih.split([2 * D, D])
    U, U_n = cell.weight_hh.split([2 * D, D])
    (a, a_n), (b, b_n) = cell.gain_ih.split([2 * D, D]), cell.bias_ih.split([2 * D, D])
    (d, d_n), (e, e_n) = cell.gain_hh.split([2 * D, D]), cell.bias_hh.split([2 * D, D])
    r, z = (normalized(h @ U.T, d, e) + normalized(x @ W.T, a, b)).sigmoid().chunk(2, -1)
    candidate = (normalized(x @ W_n.T, a_n, b_n) + r * normalized(h @ U_n.T, d_n, e_n)).tanh()
    # Equation 28 with z for 1 - z, as this project writes the update gate.
    torch.testing.assert_close(cell(h, x), z * h + (1 - z) * candidate, **EXACT)


@pytest.mark.parametrize("name", ["rnn norm", "lstm norm", "gru norm", "gru before norm"])
def test_scaling_the_input_of_a_normalized_cell_has_no_effect(name: str) -> None:
    """LN(a W) = LN(W): the scale of the weights does not matter, but for the epsilon."""
    cell, _ = made(name)
    x = random(B, E, seed=2)
    h = tree.map_leaves(lambda t: random(*t.shape, seed=1), cell.initial(B))
    before = cell(h, x)
    with torch.no_grad():
        cell.weight_ih.mul_(1e3)
        cell.weight_hh.mul_(1e3)
    torch.testing.assert_close(tree.leaves(cell(h, x)), tree.leaves(before), rtol=0, atol=1e-4)


def test_gates_of_a_normalized_gru_make_its_step() -> None:
    cell, _ = made("gru norm")
    assert isinstance(cell, GRUCell)
    x, h = random(B, E, seed=2), random(B, D, seed=1)
    gates = cell.gates(h, x)
    made_of_gates = gates.update * h + (1 - gates.update) * gates.candidate
    torch.testing.assert_close(cell(h, x), made_of_gates, **EXACT)


def test_gates_of_a_normalized_lstm_make_its_step() -> None:
    cell, _ = made("lstm norm")
    assert isinstance(cell, LSTMCell)
    x, h, c = random(B, E, seed=2), random(B, D, seed=1), random(B, D, seed=3)
    gates = cell.gates(h, x)
    new = gates.forget * c + gates.input * gates.candidate
    torch.testing.assert_close(
        cell((h, c), x), (gates.output * cell.normalize_cell(new).tanh(), new), **EXACT
    )
