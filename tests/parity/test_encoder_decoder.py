"""Encoder-decoders: torch.nn.Transformer with the same weights, and the papers' equations."""

import math

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.layers import alignment_scores
from seriatim.layers.positions import sinusoids
from seriatim.models import Seq2Seq
from seriatim.models.build import build_model
from seriatim.models.encoder_decoder import Seq2SeqModel

V, BOUNDARY, SIZE = 9, 1, 8
SOURCE = torch.tensor([[2, 3, 4, 5, 1], [6, 7, 1, 0, 0], [1, 0, 0, 0, 0]])
SOURCE_LENGTHS = torch.tensor([5, 3, 1])
TARGET = torch.tensor([[3, 4, 8, 1], [5, 1, 0, 0], [2, 2, 1, 0]])
LENGTHS = torch.tensor([4, 2, 3])


def batch() -> Batch:
    first = torch.full((3, 1), BOUNDARY)
    inputs = torch.cat([first, TARGET[:, :-1]], 1)
    return Batch(inputs, TARGET, LENGTHS, None, Batch(SOURCE, SOURCE, SOURCE_LENGTHS))


def build(config: Seq2Seq) -> Seq2SeqModel:
    torch.manual_seed(0)
    model = build_model(config, V, BOUNDARY)
    assert isinstance(model, Seq2SeqModel)
    model = model.double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# ---- the Transformer of the paper ---------------------------------------------------------------


def theirs_of(model: Seq2SeqModel) -> nn.Transformer:
    """torch's Transformer on the very parameters of ours, so that gradients meet in them."""
    theirs = nn.Transformer(SIZE, 2, 2, 2, 12, 0.0, batch_first=True, dtype=torch.float64)
    theirs.encoder.norm = theirs.decoder.norm = None  # the paper has no norm after the last sum

    def attention(them, ours) -> None:
        them.in_proj_weight, them.in_proj_bias = ours.weight, ours.bias
        them.out_proj.weight, them.out_proj.bias = ours.output.weight, ours.output.bias

    for them, ours in zip(theirs.encoder.layers, model.encoder.blocks, strict=True):
        attention(them.self_attn, ours.attention)
        them.norm1, them.norm2 = ours.attention_norm, ours.feedforward_norm
        them.linear1, them.linear2 = ours.feedforward.inner, ours.feedforward.output
    for them, ours in zip(theirs.decoder.layers, model.decoder.blocks, strict=True):
        attention(them.self_attn, ours.attention)
        attention(them.multihead_attn, ours.cross)
        them.norm1, them.norm2 = ours.attention_norm, ours.cross_norm
        them.norm3 = ours.feedforward_norm
        them.linear1, them.linear2 = ours.feedforward.inner, ours.feedforward.output
    return theirs.train()  # the fast path of its eval mode has kernels of its own


def their_scores(model: Seq2SeqModel, b: Batch) -> Tensor:
    """(B, L) ln p of the targets, 0 at padding, by torch's modules."""
    assert b.source is not None

    def embedded(x: Tensor) -> Tensor:
        places = sinusoids(torch.arange(x.shape[1]), SIZE, torch.float64)
        return model.embedding(x) * math.sqrt(SIZE) + places

    padding = torch.arange(5) >= SOURCE_LENGTHS[:, None]
    features = theirs_of(model)(
        embedded(b.source.inputs),
        embedded(b.inputs),
        tgt_mask=torch.ones(4, 4, dtype=torch.bool).triu(1),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
        tgt_key_padding_mask=torch.arange(4) >= LENGTHS[:, None],
    )
    logits = features @ model.embedding.weight.T
    scores = logits.log_softmax(-1).gather(-1, TARGET[..., None])[..., 0]
    return torch.where(torch.arange(4) < LENGTHS[:, None], scores, 0.0)


def classic() -> Seq2SeqModel:
    return build(
        Seq2Seq.classic(
            model_size=SIZE,
            num_heads=2,
            feedforward_size=12,
            encoder_layers=2,
            decoder_layers=2,
            attention_bias=True,
        )
    )


def test_classic_equals_the_transformer_of_torch_in_values() -> None:
    model = classic()
    close(model.log_prob(batch()), their_scores(model, batch()))


def test_classic_equals_the_transformer_of_torch_in_the_gradient_of_every_weight() -> None:
    model = classic()
    parameters = list(model.parameters())
    ours = torch.autograd.grad(model.log_prob(batch()).sum(), parameters)
    theirs = torch.autograd.grad(their_scores(model, batch()).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        assert float(b.abs().max()) > 0
        close(a, b)


def test_the_weights_of_classic_are_those_of_the_paper() -> None:
    config = Seq2Seq.classic()
    assert (config.encoder_layers, config.decoder_layers, config.model_size) == (6, 6, 512)
    assert (config.num_heads, config.feedforward_size, config.head_size) == (8, 2048, 64)
    # Table 3: 65 million weights with a shared vocabulary of 37,000 (Vaswani et al. 2017, 5.1).
    per_layer = 4 * 512**2 + 2 * 512 * 2048 + 512 + 2048 + 2 * 2 * 512
    expected = 37_000 * 512 + 12 * per_layer + 6 * (4 * 512**2 + 2 * 512)
    model = build_model(config, 37_000, BOUNDARY)
    assert sum(p.numel() for p in model.parameters()) == expected
    assert round(expected / 1e6) in (63, 64, 65)


def test_the_recipe_of_classic_is_that_of_the_paper() -> None:
    recipe = Seq2Seq.classic().recipe
    assert recipe["label_smoothing"] == 0.1 and recipe["betas"] == (0.9, 0.98)
    warmup, peak = recipe["warmup"], recipe["learning_rate"]
    # Equation 3: d_model^-0.5 min(step^-0.5, step warmup^-1.5), at its highest.
    assert (warmup, recipe["schedule"]) == (4000, "inverse-sqrt")
    assert peak == pytest.approx(512**-0.5 * min(4000**-0.5, 4000 * 4000**-1.5))


# ---- attention of recurrent decoders ------------------------------------------------------------


def recurrent(attention: str, kind: str = "gru", layers: int = 1) -> Seq2SeqModel:
    return build(
        Seq2Seq(
            encoder=kind,
            decoder=kind,
            attention=attention,
            model_size=SIZE,
            encoder_layers=1,
            decoder_layers=layers,
            dropout=0.0,
        )
    )


def test_additive_scores_are_those_of_the_equation_element_by_element() -> None:
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 3, 4, generator=g), torch.randn(2, 5, 4, generator=g)
    v = torch.randn(4, generator=g)
    found = alignment_scores.additive(q, k, v)
    for b, i, j in ((0, 0, 0), (1, 2, 4), (0, 1, 3)):
        expected = sum(float(v[a]) * math.tanh(float(q[b, i, a] + k[b, j, a])) for a in range(4))
        assert float(found[b, i, j]) == pytest.approx(expected, rel=1e-5)


def test_weights_sum_to_one_and_padding_has_no_weight() -> None:
    bias = torch.tensor([[0.0, 0.0, -math.inf]])
    alpha = alignment_scores.weights(torch.tensor([[1.0, 2.0, 99.0]]), bias)
    total = math.exp(1) + math.exp(2)
    assert alpha.tolist()[0] == pytest.approx([math.exp(1) / total, math.exp(2) / total, 0.0])


@pytest.mark.parametrize("row", [0, 1, 2])
def test_an_additive_decoder_equals_the_equations_of_bahdanau(row: int) -> None:
    model = recurrent("additive")
    decoder, b = model.decoder, batch()
    n, length = int(SOURCE_LENGTHS[row]), int(LENGTHS[row])
    states = model.encoder.encode(SOURCE[row : row + 1, :n], None)
    s = torch.tanh(decoder.start(model.encoder.summary(states, None)))[0]
    h, cell = states[0], decoder.first.cells[0]
    W_a, U_a, v = decoder.query.weight, decoder.key.weight, decoder.score
    for t in range(length):
        e_y = model.embedding(b.inputs[row, t])
        e = torch.stack([v @ torch.tanh(W_a @ s + U_a @ h_j) for h_j in h])
        alpha = e.exp() / e.exp().sum()
        c = (alpha[:, None] * h).sum(0)
        s = cell(s[None], torch.cat([e_y, c])[None])[0]
        features = torch.tanh(decoder.combine(torch.cat([s, c, e_y])))
        logits = model.embedding.weight @ features + model.bias
        expected = logits.log_softmax(-1)[TARGET[row, t]]
        close(model.log_prob(b)[row, t], expected)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_multiplicative_decoder_equals_the_equations_of_luong(row: int) -> None:
    model = recurrent("multiplicative")
    decoder, b = model.decoder, batch()
    n, length = int(SOURCE_LENGTHS[row]), int(LENGTHS[row])
    states = model.encoder.encode(SOURCE[row : row + 1, :n], None)
    h_t = torch.tanh(decoder.start(model.encoder.summary(states, None)))[0]
    cell = decoder.stack.cells[0]
    for t in range(length):
        h_t = cell(h_t[None], model.embedding(b.inputs[row, t])[None])[0]
        scores = torch.stack([h_t @ decoder.score.weight @ h_s for h_s in states[0]])
        alpha = scores.exp() / scores.exp().sum()
        c = (alpha[:, None] * states[0]).sum(0)
        features = torch.tanh(decoder.combine.weight @ torch.cat([c, h_t]))
        logits = model.embedding.weight @ features + model.bias
        close(model.log_prob(b)[row, t], logits.log_softmax(-1)[TARGET[row, t]])


# ---- training and steps -------------------------------------------------------------------------

PAIR_FAMILIES = [
    Seq2Seq(model_size=SIZE, num_heads=2, encoder_layers=2, decoder_layers=2),
    Seq2Seq.classic(
        model_size=SIZE, num_heads=2, feedforward_size=12, encoder_layers=1, decoder_layers=2
    ),
    *(
        Seq2Seq(encoder="lstm", decoder=kind, attention=how, model_size=SIZE, decoder_layers=2)
        for kind in ("rnn", "lstm", "gru")
        for how in ("additive", "multiplicative", "none")
    ),
]


@pytest.mark.parametrize("config", PAIR_FAMILIES, ids=lambda c: f"{c.decoder}-{c.attention}")
def test_training_and_steps_agree_in_the_gradient_of_every_weight(config: Seq2Seq) -> None:
    """The encoder's too: a law with a bound source cannot see them."""
    model = build(config)
    b = batch()
    assert b.source is not None
    parameters = list(model.parameters())
    at_once = model.log_prob(b)
    state = model.start(3, memory=model.encode(b.source))
    steps = []
    for t in range(4):
        steps.append(model.predict(state).log_prob(TARGET[:, t]))
        state = model.step(state, TARGET[:, t])
    valid = torch.arange(4) < LENGTHS[:, None]
    one_by_one = torch.where(valid, torch.stack(steps, 1), 0.0)
    close(at_once, one_by_one)
    for a, b_ in zip(
        torch.autograd.grad(at_once.sum(), parameters),
        torch.autograd.grad(one_by_one.sum(), parameters),
        strict=True,
    ):
        close(a, b_)


def test_a_state_can_be_branched_before_either_child_is_used() -> None:
    model = build(PAIR_FAMILIES[0])
    source = batch().source
    assert source is not None
    with torch.no_grad():
        root = model.start(3, memory=model.encode(source))
        left = model.step(root, torch.tensor([2, 3, 4]))
        right = model.step(root, torch.tensor([5, 6, 7]))
        again = model.step(tree.select(root, torch.arange(3)), torch.tensor([2, 3, 4]))
    close(model.predict(left).dense(), model.predict(again).dense())
    assert not torch.allclose(model.predict(left).dense(), model.predict(right).dense())
