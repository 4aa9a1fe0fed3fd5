"""Recurrent models: chunks, steps and ragged rows agree; options have the effect they describe."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.laws.check import check_model
from seriatim.layers.kernels import dispatch
from seriatim.models import GRU, LSTM, RNN, RecurrentConfig
from seriatim.models.build import build_model
from seriatim.models.recurrent import Recurrent
from seriatim.models.recurrent_stack import RecurrentStack

V, D, B, L = 7, 5, 4, 9
EXACT = {"rtol": 0.0, "atol": 1e-12}
RAGGED = torch.tensor([L, 0, 1, 6])

CONFIGS = [
    RNN(hidden_size=D),
    LSTM(hidden_size=D, num_layers=2, learn_initial_state=True),
    GRU(hidden_size=D, num_layers=2, tie_embeddings=True),
    GRU(hidden_size=D, reset="before", embedding_size=3),
]


@pytest.fixture(params=CONFIGS, ids=["rnn", "lstm", "gru", "gru before"])
def model(request: pytest.FixtureRequest) -> Recurrent:
    return built(request.param)


def built(config: RecurrentConfig) -> Recurrent:
    torch.manual_seed(0)
    model = build_model(config, V, 1).double()
    assert isinstance(model, Recurrent)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model.eval()


def symbols(*shape: int, seed: int = 2) -> Tensor:
    return torch.randint(0, V, shape, generator=torch.Generator().manual_seed(seed))


def test_the_carry_is_one_batch_first_state_per_layer() -> None:
    lstm = built(LSTM(hidden_size=D, num_layers=3))
    _, carry = lstm.advance(lstm.empty(B), symbols(B, L), RAGGED)
    assert [[tuple(t.shape) for t in layer] for layer in carry] == [[(B, D), (B, D)]] * 3
    gru = built(GRU(hidden_size=D, num_layers=2))
    _, carry = gru.advance(gru.empty(B), symbols(B, L), None)
    assert [tuple(t.shape) for t in carry] == [(B, D)] * 2


# ---- the options --------------------------------------------------------------------------------

FAMILIES = [RNN, LSTM, GRU]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_learned_initial_state_is_where_rows_begin_and_gets_a_gradient(
    family: Callable[..., RecurrentConfig],
) -> None:
    model = built(family(hidden_size=D, num_layers=2, learn_initial_state=True))
    assert model.initial is not None
    for leaf, part in zip(tree.leaves(model.empty(B)), model.initial, strict=True):
        torch.testing.assert_close(leaf, part.expand(B, -1), rtol=0, atol=0)
    model.log_prob(Batch(symbols(B, L), symbols(B, L, seed=4), RAGGED)).sum().backward()
    assert all(bool((part.grad != 0).all()) for part in model.initial)
    fixed = built(family(hidden_size=D))
    assert fixed.initial is None
    assert all(bool((leaf == 0).all()) for leaf in tree.leaves(fixed.empty(B)))


def test_the_two_parts_of_a_learned_lstm_state_are_learned_separately() -> None:
    model = build_model(LSTM(hidden_size=D, learn_initial_state=True), V, 1)
    with torch.no_grad():
        h, c = tree.leaves(model.empty(1))
        next(iter(model.get_submodule("initial").parameters())).add_(1)
        h_after, c_after = tree.leaves(model.empty(1))
    assert torch.equal(h_after, h + 1)
    assert torch.equal(c_after, c)


def test_an_empty_carry_does_not_follow_later_changes_of_the_weights() -> None:
    model = built(LSTM(hidden_size=D, learn_initial_state=True))
    carry = model.empty(B)
    before = [leaf.clone() for leaf in tree.leaves(carry)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    torch.testing.assert_close(tree.leaves(carry), before, rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_weights_are_one_tensor(family: Callable[..., RecurrentConfig]) -> None:
    tied = build_model(family(hidden_size=D, tie_embeddings=True), V, 1)
    free = build_model(family(hidden_size=D), V, 1)
    assert isinstance(tied, Recurrent)
    tied.double()
    assert tied.head.weight is tied.embedding.weight
    sizes = [sum(p.numel() for p in model.parameters()) for model in (tied, free)]
    assert sizes[1] - sizes[0] == V * D


def test_the_forget_gate_begins_with_its_bias_and_the_others_with_none() -> None:
    model = build_model(LSTM(hidden_size=D, num_layers=2, forget_bias=1.5), V, 1)
    assert isinstance(model, Recurrent)
    for cell in model.layers:
        i, f, c, o = (cell.bias_ih + cell.bias_hh).chunk(4)
        assert f.tolist() == [1.5] * D
        assert torch.cat([i, c, o]).tolist() == [0.0] * 3 * D


@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("length", [1, L])
def test_dropout_acts_in_training_alone(length: int, lengths: Tensor | None) -> None:
    dropped = built(LSTM(hidden_size=D, num_layers=2, dropout=0.5))
    plain = built(LSTM(hidden_size=D, num_layers=2))
    plain.load_state_dict(dropped.state_dict())
    n = None if lengths is None else lengths.clamp(max=length)
    arguments = symbols(B, length), n
    expected = plain.advance(plain.empty(B), *arguments)
    torch.testing.assert_close(dropped.advance(dropped.empty(B), *arguments), expected, **EXACT)
    dropped.train()
    torch.manual_seed(0)
    features, carry = dropped.advance(dropped.empty(B), *arguments)
    read = dropped.emit(features).features
    assert 0 < int((read == 0).sum()) < read.numel()  # before the head
    for before, after in zip(expected[1], carry, strict=True):
        assert not torch.equal(before[0][0], after[0][0])  # on the embeddings: layer 1 differs


@pytest.mark.parametrize("options", [(LSTM, {}), (GRU, {}), (GRU, {"reset": "before"})])
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("length", [1, L])
def test_dropout_acts_between_layers(
    options: tuple[Callable[..., RecurrentConfig], dict[str, str]],
    length: int,
    lengths: Tensor | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With no dropout on the embeddings, layer 1 is as without any, and layer 2 is not."""
    family, others = options
    model = built(family(hidden_size=D, num_layers=2, dropout=0.5, **others))
    n = None if lengths is None else lengths.clamp(max=length)
    expected = model.advance(model.empty(B), symbols(B, length), n)[1]
    model.train()
    dropped, places = model.dropped, iter(["embeddings", "elsewhere", "elsewhere"])
    monkeypatch.setattr(
        model, "dropped", lambda y: y if next(places) == "embeddings" else dropped(y)
    )
    first, second = model.advance(model.empty(B), symbols(B, length), n)[1]
    torch.testing.assert_close(first, expected[0], **EXACT)
    assert not torch.equal(tree.leaves(second)[0][0], tree.leaves(expected[1])[0][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_training_learns_a_pattern_that_needs_memory(
    family: Callable[..., RecurrentConfig],
) -> None:
    torch.manual_seed(0)
    model = build_model(family(hidden_size=16), 3, 0)
    melody = torch.tensor([[0, 1, 2, 1] * 5])  # after 1, only memory tells 2 from 0
    batch = Batch(melody[:, :-1], melody[:, 1:])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        loss = -model.log_prob(batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1  # without memory: half of the symbols cost ln 2


@pytest.mark.slow
def test_every_way_of_running_it_obeys_the_laws(model: Recurrent) -> None:
    check_model(model.double(), seconds=2).raise_if_broken()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_single_row_predicts_as_its_head_says_even_after_that_has_changed(
    model: Recurrent, dtype: torch.dtype
) -> None:
    model = model.to(dtype)
    with torch.no_grad():
        state = model.step(model.start(1), torch.tensor([3]))
        for _ in range(2):
            found = model.predict(state).dense()
            expected = model.head(state.features).log_softmax(-1)
            torch.testing.assert_close(found, expected)
            model.head.weight.mul_(-2)


@pytest.mark.parametrize("lengths", [None, torch.tensor([10, 4, 7])])
def test_pieces_of_a_long_lstm_are_the_whole(
    lengths: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    stack = RecurrentStack("lstm", 5, 6, 2, 0.0)
    x = torch.randn(3, 10, 5)
    found = []
    for piece in (3, 10):
        monkeypatch.setattr(dispatch, "_PIECE", piece)
        outputs, carry = stack(stack.zeros(3), x, lengths, keep=True)
        leaves = [outputs[0], *tree.leaves(carry)]  # the first row is full
        gradients = torch.autograd.grad(sum(leaf.sum() for leaf in leaves), stack.parameters())
        found.append([*leaves, *gradients])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
