"""Gates recovered from the outputs of fused kernels are those of the equations."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seriatim.analysis.recorder import Trace, record
from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.layers.cells import LSTMCell
from seriatim.layers.kernels.dispatch import LSTMKernel
from seriatim.layers.kernels.recurrence import scan
from seriatim.models import GRU, LSTM, RNN, RecurrentConfig
from seriatim.models.build import build_model
from seriatim.models.recurrent import Recurrent

V, D, B, L = 7, 5, 3, 9
RAGGED = torch.tensor([L, 0, 4])
CLOSE = {"rtol": 1e-10, "atol": 1e-10}

CONFIGS = {
    "rnn": RNN(hidden_size=D, num_layers=2),
    "relu": RNN(hidden_size=D, nonlinearity="relu", learn_initial_state=True),
    "rnn, normed": RNN(hidden_size=D, layer_norm=True),
    "lstm": LSTM(hidden_size=D, num_layers=3, embedding_size=4),
    "lstm, tied": LSTM(hidden_size=D, tie_embeddings=True, learn_initial_state=True),
    "lstm, normed": LSTM(hidden_size=D, num_layers=2, layer_norm=True),
    "gru": GRU(hidden_size=D, num_layers=2, learn_initial_state=True),
    "gru, before": GRU(hidden_size=D, num_layers=2, reset="before"),
    "gru, normed": GRU(hidden_size=D, layer_norm=True),
    "gru, before, normed": GRU(hidden_size=D, layer_norm=True, reset="before"),
}


def built(config: RecurrentConfig) -> Recurrent:
    torch.manual_seed(0)
    model = build_model(config, V, 1).double().eval()
    assert isinstance(model, Recurrent)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def symbols(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, V, shape, generator=torch.Generator().manual_seed(seed))


def by_hand(model: Recurrent, x: Tensor) -> dict[str, Tensor]:
    """All inner values, from the equations of the cells, one element after another."""
    found: dict[str, list[Tensor]] = {}
    y = list(model.embedding(x).unbind(1))
    for i, (cell, h) in enumerate(zip(model.layers, model.empty(len(x)), strict=True)):
        for t, x_t in enumerate(y):
            after = cell(h, x_t)
            shown = {"hidden": cell.output(after), **cell.inner_values(h, x_t, after)}
            for name, value in shown.items():
                found.setdefault(f"layers.{i}.{name}", []).append(value)
            h, y[t] = after, cell.output(after)
    return {name: torch.stack(values, 1) for name, values in found.items()}


def in_one_chunk(model: Recurrent, x: Tensor) -> None:
    model.log_prob(Batch(x, x))


def in_chunks_and_steps(model: Recurrent, x: Tensor) -> None:
    carry = model.empty(len(x))
    for begin, end in ((0, 4), (4, 5), (5, 8), (8, 9)):
        _, carry = model.advance(carry, x[:, begin:end], None)


def in_prepared_steps(model: Recurrent, x: Tensor) -> None:
    with torch.inference_mode():
        in_chunks_and_steps(model, x)


def trained_on(model: Recurrent, x: Tensor) -> None:
    model.train()
    in_one_chunk(model, x)


@pytest.mark.parametrize("read", [in_one_chunk, in_chunks_and_steps, in_prepared_steps, trained_on])
@pytest.mark.parametrize("name", CONFIGS)
def test_gates_and_states_are_those_of_the_equations(
    name: str, read: Callable[[Recurrent, Tensor], None]
) -> None:
    model, x = built(CONFIGS[name]), symbols(B, L)
    expected = by_hand(model, x)
    with record(model) as trace:
        read(model, x)
    assert set(trace.names) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(trace[key], value.detach(), **CLOSE)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru, before", "lstm, normed"])
def test_padding_of_ragged_rows_is_not_recorded(name: str, keep: bool) -> None:
    model, x = built(CONFIGS[name]), symbols(B, L)
    expected = by_hand(model, x)
    with record(model) as trace:
        model(Batch(x, x, RAGGED), keep=keep)
    valid = (torch.arange(L) < RAGGED[:, None])[..., None]
    for key, value in expected.items():
        torch.testing.assert_close(trace[key], torch.where(valid, value, 0.0).detach(), **CLOSE)
        lengths = trace.lengths(key)
        assert lengths is not None and torch.equal(lengths, RAGGED)


@pytest.mark.parametrize(
    "config",
    [
        LSTM(hidden_size=D, num_layers=2, weight_dropout=0.5, recurrent_dropout=0.5, dropout=0.3),
        LSTM(hidden_size=D, layer_norm=True, weight_dropout=0.5, recurrent_dropout=0.5),
    ],
    ids=["lstm", "normed"],
)
def test_gates_of_an_lstm_with_dropout_are_those_that_made_its_states(config: LSTM) -> None:
    model, x = built(config).train(), symbols(B, L)
    with record(model) as trace:
        in_one_chunk(model, x)
    for i, cell in enumerate(model.layers):
        assert isinstance(cell, LSTMCell)
        names = ("forget", "input", "candidate", "output", "cell", "hidden")
        f, g_i, g, o, c, h = (trace[f"layers.{i}.{name}"] for name in names)
        before = torch.cat([torch.zeros_like(c[:, :1]), c[:, :-1]], 1)
        torch.testing.assert_close(c, f * before + g_i * g, **CLOSE)
        # With a wrong mask of U, or of h, the gates would differ from those that made h.
        torch.testing.assert_close(h, o * cell.normalize_cell(c).tanh().detach(), **CLOSE)


def test_gates_of_a_gru_with_dropout_are_those_that_made_its_states() -> None:
    config = GRU(hidden_size=D, weight_dropout=0.5, recurrent_dropout=0.5)
    model, x = built(config).train(), symbols(B, L)
    with record(model) as trace:
        in_one_chunk(model, x)
    h, z, n = (trace[f"layers.0.{name}"] for name in ("hidden", "update", "candidate"))
    before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
    torch.testing.assert_close(h, z * before + (1 - z) * n, **CLOSE)


@pytest.mark.parametrize("size", [16, LSTMKernel.by_hand_from])
def test_the_cell_of_a_low_precision_lstm_stays_near_that_of_full_precision(size: int) -> None:
    torch.manual_seed(0)
    model = build_model(LSTM(hidden_size=size), V, 1).eval()
    x = symbols(2, 40)

    def recorded(is_low: bool) -> Trace:
        low = torch.autocast("cpu", torch.bfloat16, enabled=is_low)
        with torch.no_grad(), low, record(model) as trace:
            model.log_prob(Batch(x, x))
        return trace

    low, full = recorded(True), recorded(False)
    for name in full.names:
        assert low[name].shape == full[name].shape
        torch.testing.assert_close(low[name].float(), full[name], rtol=0.0, atol=0.04)
    assert low["layers.0.cell"].dtype == torch.float32


def test_a_scan_equals_its_recurrence_with_and_without_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    kept, added = (torch.rand(2, 6, 3, generator=generator).double() for _ in range(2))
    first = torch.rand(2, 3, generator=generator).double()
    expected, c = [], first
    for t in range(6):
        c = kept[:, t] * c + added[:, t]
        expected.append(c)
    torch.testing.assert_close(scan(kept, added, first), torch.stack(expected, 1), **CLOSE)
    kept.requires_grad_()
    found = scan(kept, added, first)
    torch.testing.assert_close(found.detach(), torch.stack(expected, 1), **CLOSE)
    assert torch.autograd.gradcheck(lambda k: scan(k, added, first), kept)


def test_recorded_states_of_steps_carry_gradients_through_time() -> None:
    model, x = built(CONFIGS["lstm, tied"]), symbols(1, 6)
    with record(model, only=["*.hidden", "*.cell"], gradients=True) as trace:
        state = model.start(1)
        for t in range(6):
            state = model.step(state, x[:, t])
        loss = model.predict(state).log_prob(x[:, 0]).sum()
    found = torch.autograd.grad(loss, trace.parts("layers.0.hidden"))

    def loss_of(change: Tensor, at: int) -> Tensor:
        """The same with a change of h after step `at`."""
        state = model.start(1)
        for t in range(6):
            if t == at:
                ((h, c),) = state.carry
                state = type(state)(state.features, ((h + change, c),))
            state = model.step(state, x[:, t])
        return model.predict(state).log_prob(x[:, 0]).sum()

    for at in range(6):  # part `at` is the state before element `at`, after the boundary
        change = torch.zeros(1, D, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(loss_of(change, at), change)
        torch.testing.assert_close(found[at], expected, **CLOSE)
    assert float(found[0].abs().sum()) > 0


def test_without_gradients_no_graph_is_kept() -> None:
    model, x = built(CONFIGS["lstm"]), symbols(B, L)
    with record(model) as trace:
        in_one_chunk(model, x)
    assert not any(part.requires_grad for name in trace.names for part in trace.parts(name))


def test_the_carry_and_gradients_are_those_of_a_pass_without_recording() -> None:
    model, x = built(CONFIGS["lstm"]), symbols(B, L)
    results = []
    for is_recorded in (False, True):
        if is_recorded:
            with record(model):
                scores, carry = model(Batch(x, x, RAGGED), keep=True)
        else:
            scores, carry = model(Batch(x, x, RAGGED), keep=True)
        gradients = torch.autograd.grad(scores.sum(), list(model.parameters()))
        results.append([scores, *tree.leaves(carry), *gradients])
    torch.testing.assert_close(*results, **CLOSE)
