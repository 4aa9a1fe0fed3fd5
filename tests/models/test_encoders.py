"""Encoders: both directions, padding, the adapter of causal models."""

import pytest
import torch
from torch import Tensor, nn

from seriatim.errors import DataError
from seriatim.models import GRU, LSTM, EncoderConfig, Transformer
from seriatim.models.build import build_model
from seriatim.models.encoders import (
    CausalEncoder,
    Encoder,
    RecurrentEncoder,
    make_encoder,
    mean_of_valid,
)
from tests.models.reference import read_both_ways

V, SIZE = 7, 6
KINDS = ["transformer", "rnn", "lstm", "gru"]
X = torch.tensor([[2, 3, 4, 5, 1], [6, 0, 1, 3, 3], [1, 5, 5, 5, 5]])
LENGTHS = torch.tensor([5, 3, 1])


def build(kind: str, **options: object) -> Encoder:
    torch.manual_seed(0)
    heads = {"num_heads": 1} if kind == "transformer" else {}
    config = EncoderConfig(encoder=kind, model_size=SIZE, encoder_layers=2, **{**heads, **options})
    encoder = make_encoder(config, V).double().eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return encoder


def causal(kind: str) -> Encoder:
    torch.manual_seed(0)
    config = {
        "lstm": LSTM(hidden_size=5),
        "gru": GRU(hidden_size=5, num_layers=2),
        "transformer": Transformer(model_size=4, num_layers=2, num_heads=1, context=3),
    }[kind]
    return CausalEncoder(build_model(config, V, 1).double().eval())


ALL = [pytest.param(build, kind, id=kind) for kind in KINDS] + [
    pytest.param(causal, kind, id=f"causal {kind}") for kind in ("lstm", "gru", "transformer")
]


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("make", "kind"), ALL)
def test_each_row_is_read_as_if_it_were_alone(make, kind: str) -> None:
    encoder = make(kind)
    states = encoder.encode(X, LENGTHS)
    summary, pooled = encoder.summary(states, LENGTHS), encoder.pooled(states, LENGTHS)
    assert states.shape == (3, 5, encoder.size)
    for i, n in enumerate(LENGTHS.tolist()):
        alone = encoder.encode(X[i : i + 1, :n], None)
        close(states[i, :n], alone[0])
        close(summary[i], encoder.summary(alone, None)[0])
        close(pooled[i], encoder.pooled(alone, None)[0])


@pytest.mark.parametrize(("make", "kind"), ALL)
def test_padding_changes_no_state_summary_or_gradient(make, kind: str) -> None:
    encoder = make(kind)
    valid = torch.arange(5) < LENGTHS[:, None]

    def everything(x: Tensor) -> list[Tensor]:
        states = encoder.encode(x, LENGTHS)
        summary = encoder.summary(states, LENGTHS)
        loss = (states[valid] ** 2).sum() + (summary**3).sum()
        parameters = list(encoder.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [states[valid], summary, *(g for g in gradients if g is not None)]

    junk = torch.where(valid, X, (X + 1) % V)
    for a, b in zip(everything(X), everything(junk), strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_every_position_sees_all_others(kind: str) -> None:
    encoder = build(kind)
    states = encoder.encode(X[:1], None)
    for s in range(5):
        other = X[:1].clone()
        other[0, s] = (other[0, s] + 1) % V
        change = (encoder.encode(other, None) - states).abs().amax(-1)
        assert bool((change > 1e-9).all()), f"position {s} is not seen everywhere"


@pytest.mark.parametrize("kind", ["lstm", "gru", "transformer"])
def test_a_causal_encoder_sees_only_what_came_before(kind: str) -> None:
    encoder = causal(kind)
    other = X[:1].clone()
    other[0, 3] = 0
    change = (encoder.encode(other, None) - encoder.encode(X[:1], None)).abs().amax(-1)[0]
    assert (change[:3] == 0).all() and bool(change[3] > 0)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_fast_path_in_two_directions_equals_the_equations(kind: str, lengths) -> None:
    encoder = build(kind)
    assert isinstance(encoder, RecurrentEncoder)
    parameters = list(encoder.parameters())
    states = encoder.encode(X, lengths)
    rows = []
    for x, n in zip(X, [5, 5, 5] if lengths is None else lengths.tolist(), strict=True):
        h = encoder.embedding(x[:n])
        for ahead, back in zip(encoder.forward_layers, encoder.backward_layers, strict=True):
            h = read_both_ways(ahead.cells[0], back.cells[0], h)
        rows.append(h)
    fast = torch.cat([states[i, : len(row)] for i, row in enumerate(rows)])
    close(fast, torch.cat(rows))
    for a, b in zip(
        torch.autograd.grad((fast**2).sum(), parameters),
        torch.autograd.grad((torch.cat(rows) ** 2).sum(), parameters),
        strict=True,
    ):
        close(a, b)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_layer_in_two_directions_equals_that_of_torch_with_the_same_weights(kind: str) -> None:
    encoder = build(kind)
    assert isinstance(encoder, RecurrentEncoder)
    make = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
    theirs = make(SIZE, SIZE // 2, 2, batch_first=True, bidirectional=True).double()
    ours = [
        weight
        for pair in zip(encoder.forward_layers, encoder.backward_layers, strict=True)
        for stack in pair
        for weight in stack.cells[0].weights
    ]
    for a, b in zip(theirs.parameters(), ours, strict=True):
        a.data.copy_(b)
    packed = nn.utils.rnn.pack_padded_sequence(encoder.embedding(X), LENGTHS, batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    valid = torch.arange(5) < LENGTHS[:, None]
    close(encoder.encode(X, LENGTHS)[valid], expected[valid])


def test_a_summary_of_both_directions_is_where_each_of_them_ended() -> None:
    encoder = build("lstm")
    states = encoder.encode(X, LENGTHS)
    half = SIZE // 2
    expected = torch.cat([states[[0, 1, 2], [4, 2, 0], :half], states[:, 0, half:]], -1)
    assert torch.equal(encoder.summary(states, LENGTHS), expected)


def test_the_mean_over_valid_positions_ignores_nan_at_padding() -> None:
    states = torch.tensor([[[1.0], [3.0], [float("nan")]], [[2.0], [4.0], [6.0]]])
    assert mean_of_valid(states, torch.tensor([2, 3])).tolist() == [[2.0], [4.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_row_is_refused_with_the_way_out(kind: str) -> None:
    with pytest.raises(DataError, match="end every source with the boundary"):
        build(kind).encode(X, torch.tensor([5, 0, 1]))
    with pytest.raises(DataError, match="no element"):
        build(kind).encode(X[:, :0], None)


def test_two_directions_need_an_even_size() -> None:
    with pytest.raises(ValueError, match="even model_size, got 7"):
        EncoderConfig(encoder="lstm", model_size=7)


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"scale_embeddings": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_options_of_an_encoder_change_what_it_computes(kind: str, options) -> None:
    plain, other = build(kind, dropout=0.0), build(kind, **options).train()
    torch.manual_seed(0)
    assert not torch.allclose(plain.encode(X, LENGTHS), other.encode(X, LENGTHS))
