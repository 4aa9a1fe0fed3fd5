"""The Transformer: its equations against independent ones, and one rule for every chunking."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.errors import ConfigError
from seriatim.layers.positions import angles, rotate, rotation, sinusoids
from seriatim.models import Transformer
from seriatim.models.transformer import TransformerModel

V, CONTEXT = 7, 5
SMALL: dict[str, Any] = {"model_size": 8, "num_layers": 2, "num_heads": 2, "context": CONTEXT}
CONFIGS = {
    "llama": Transformer(**SMALL),
    "classic": Transformer.classic(**SMALL),
    "odd": Transformer(
        **SMALL,
        key_size=6,
        value_size=3,
        feedforward_size=5,
        norm="layer",
        feedforward="gelu",
        bias=True,
        attention_bias=True,
        tie_embeddings=False,
    ),
}


def build(config: Transformer, seed: int = 0, std: float = 0.4) -> TransformerModel:
    """Weights far larger than at the start of training, so that attention is sharp."""
    torch.manual_seed(seed)
    model = TransformerModel(config, V, 1).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> TransformerModel:
    return build(CONFIGS[request.param])


def symbols(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def whole(model: TransformerModel, x: Tensor) -> Tensor:
    features, carry = model.advance(model.empty(len(x)), x, None, keep=False)
    assert carry is None
    return features


def close(one: Tensor, other: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# ---- against equations written elsewhere --------------------------------------------------------


def plain_attention(q: Tensor, k: Tensor, v: Tensor, context: int) -> Tensor:
    """One head of one row, query by query, as a person would by hand; (L, d) each."""
    out = []
    for p in range(len(q)):
        first = max(0, p - context + 1)
        scores = (k[first : p + 1] @ q[p]) / math.sqrt(q.shape[1])
        weights = scores.exp() / scores.exp().sum()
        out.append(weights @ v[first : p + 1])
    return torch.stack(out)


def llama_reference(model: TransformerModel, x: Tensor) -> Tensor:
    """One row of the default shape, from the equations of the papers."""
    config, state = model.config, model.state_dict()
    heads, size = config.num_heads, config.head_size

    def norm(h: Tensor, weight: Tensor) -> Tensor:
        return h / (h.pow(2).mean(1, keepdim=True) + 1e-6).sqrt() * weight

    def turn(h: Tensor) -> Tensor:  # complex numbers: an independent way to rotate
        p = torch.arange(len(h), dtype=h.dtype)[:, None]
        theta = p * 10000.0 ** (-torch.arange(size // 2, dtype=h.dtype) * 2 / size)
        z = torch.complex(h[:, : size // 2], h[:, size // 2 :]) * torch.exp(1j * theta)
        return torch.cat([z.real, z.imag], 1)

    h = state["embedding.weight"][x]
    for layer in range(config.num_layers):
        w = {k.split(".", 2)[2]: v for k, v in state.items() if k.startswith(f"blocks.{layer}.")}
        y = norm(h, w["attention_norm.weight"])
        q, k, v = ((y @ part.T).split(size, 1) for part in w["attention.weight"].chunk(3))
        found = [
            plain_attention(turn(q[i]), turn(k[i]), v[i], config.context) for i in range(heads)
        ]
        h = h + torch.cat(found, 1) @ w["attention.output.weight"].T
        y = norm(h, w["feedforward_norm.weight"])
        w_1, w_3 = w["feedforward.inner.weight"].chunk(2)
        gate = y @ w_1.T
        h = h + (gate / (1 + (-gate).exp()) * (y @ w_3.T)) @ w["feedforward.output.weight"].T
    return norm(h, state["norm.weight"])


@pytest.mark.parametrize("length", [CONTEXT, 17])
def test_the_default_shape_equals_the_equations_of_its_papers(length: int):
    model = build(CONFIGS["llama"])
    x = symbols(2, length)
    expected = torch.stack([llama_reference(model, row) for row in x])
    close(whole(model, x), expected, 1e-12)


@pytest.mark.parametrize("length", [CONTEXT, 17])
def test_classic_equals_the_encoder_layer_of_torch_with_the_same_weights(length: int):
    # Torch has biases in the projections, the paper (3.2.2) has none.
    model = build(Transformer.classic(**SMALL, attention_bias=True)).eval()
    x = symbols(2, length)
    size = model.config.model_size
    positions = torch.arange(length, dtype=torch.float64)[:, None]
    h = model.embedding.weight[x] * math.sqrt(size)
    for i in range(size // 2):
        angle = positions / 10000.0 ** (2 * i / size)
        h[:, :, 2 * i] += angle.sin()[:, 0]
        h[:, :, 2 * i + 1] += angle.cos()[:, 0]
    p = torch.arange(length)
    hidden = (p > p[:, None]) | (p <= p[:, None] - CONTEXT)
    for block in model.blocks:
        theirs = nn.TransformerEncoderLayer(
            size, 2, 4 * size, 0.0, "relu", batch_first=True, norm_first=False, dtype=h.dtype
        )
        ours = block.state_dict()
        theirs.load_state_dict(
            {
                "self_attn.in_proj_weight": ours["attention.weight"],
                "self_attn.in_proj_bias": ours["attention.bias"],
                "self_attn.out_proj.weight": ours["attention.output.weight"],
                "self_attn.out_proj.bias": ours["attention.output.bias"],
                "linear1.weight": ours["feedforward.inner.weight"],
                "linear1.bias": ours["feedforward.inner.bias"],
                "linear2.weight": ours["feedforward.output.weight"],
                "linear2.bias": ours["feedforward.output.bias"],
                "norm1.weight": ours["attention_norm.weight"],
                "norm1.bias": ours["attention_norm.bias"],
                "norm2.weight": ours["feedforward_norm.weight"],
                "norm2.bias": ours["feedforward_norm.bias"],
            }
        )
        h = theirs(h, src_mask=hidden)
    close(whole(model, x), h, 1e-12)
    assert isinstance(model.norm, nn.Identity), "no norm after the last, which is already one"


def test_sinusoids_are_those_of_the_paper():
    table = sinusoids(torch.tensor([[0, 1, 50]]), 4, torch.float64)
    expected = [
        [math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in (0, 1, 50)
    ]
    close(table, torch.tensor([expected], dtype=torch.float64), 1e-15)


def test_positions_stay_exact_in_float32_ten_million_elements_into_a_stream():
    far = torch.tensor([10**7 + 1])
    exact = torch.tensor([math.sin(10**7 + 1), math.cos(10**7 + 1)], dtype=torch.float64)
    close(sinusoids(far, 4, torch.float32)[0, :2].double(), exact, 1e-7)
    cos, sin = rotation(far, 4, torch.float32)
    close(torch.stack([sin[0, 0, 2], cos[0, 0, 0]]).double(), exact, 1e-7)
    assert angles(far, 4).dtype == torch.float64


def test_rotation_keeps_norms_and_rotates_pairs_half_a_head_apart():
    x = torch.randn(1, 3, 1, 4, dtype=torch.float64)
    turned = rotate(x, rotation(torch.tensor([0, 1, 2]), 4, x.dtype))
    close(turned[:, 0], x[:, 0], 1e-15)
    close(turned.norm(dim=-1), x.norm(dim=-1), 1e-12)
    a, b = float(x[0, 1, 0, 0]), float(x[0, 1, 0, 2])
    close(turned[0, 1, 0, 0], x.new_tensor(a * math.cos(1) - b * math.sin(1)), 1e-12)
    close(turned[0, 1, 0, 2], x.new_tensor(b * math.cos(1) + a * math.sin(1)), 1e-12)


# ---- one rule for every chunking ----------------------------------------------------------------


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("capacity", [None, CONTEXT, 3 * CONTEXT])
@pytest.mark.parametrize(
    "sizes", [[1] * 23, [3, 1, 1, 18], [5, 5, 5, 8], [22, 1], [4, 4, 4, 4, 4, 3], [23]]
)
def test_any_split_gives_the_same_features(
    model: TransformerModel, sizes: list[int], capacity: int | None, grad: bool
):
    x = symbols(3, 23)
    with torch.set_grad_enabled(grad):
        expected, carry, found = whole(model, x), model.empty(3, capacity=capacity), []
        for chunk in x.split(sizes, 1):
            unkept, _ = model.advance(carry, chunk, None, keep=False)
            features, carry = model.advance(carry, chunk, None)
            close(unkept, features)
            found.append(features)
        close(torch.cat(found, 1), expected)


@pytest.mark.parametrize("capacity", [None, CONTEXT])
def test_long_chunks_in_blocks_give_the_same_features(
    model: TransformerModel, capacity: int | None
):
    x = symbols(2, 400)
    with torch.no_grad():
        expected, carry, steps = whole(model, x), model.empty(2), []
        for t in range(400):
            features, carry = model.advance(carry, x[:, t : t + 1], None)
            steps.append(features)
        close(torch.cat(steps, 1), expected)
        state = tree.cat([model.start(1, capacity=capacity), model.start(1, capacity=capacity)])
        lengths = torch.tensor([400, 7])
        ragged = model.update(model.update(state, x[:, :3], torch.tensor([3, 1])), x, lengths)
        for row, first in ((0, 3), (1, 1)):
            own = torch.cat([torch.tensor([1]), x[row, :first], x[row, : lengths[row]]])
            close(ragged.features[row], whole(model, own[None])[0, -1])


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("capacity", [None, CONTEXT, 9])
def test_ragged_rows_continue_as_if_alone(
    model: TransformerModel, capacity: int | None, grad: bool
):
    x = symbols(4, 40)
    with torch.set_grad_enabled(grad):
        alone = whole(model, torch.cat([torch.ones(4, 1, dtype=torch.int64), x], 1))
        state, at = model.start(4, capacity=capacity), torch.zeros(4, dtype=torch.int64)
        for counts in (
            [4, 0, 2, 1],
            [0, 0, 3, 3],
            [1, 1, 1, 1],
            [9, 2, 8, 0],
            *[[1, 0, 1, 1]] * 12,
        ):
            lengths = torch.tensor(counts)
            chunk = symbols(4, max(counts), seed=99)
            for row, n in enumerate(counts):
                chunk[row, :n] = x[row, at[row] : at[row] + n]
            state = model.update(state, chunk, lengths)
            at += lengths
            close(state.features, alone[torch.arange(4), at])


def test_padding_is_finite_and_has_no_effect(model: TransformerModel):
    lengths = torch.tensor([3, 0, 9])
    x, other = symbols(3, 9), symbols(3, 9, seed=5)
    for row, n in enumerate(lengths.tolist()):
        other[row, :n] = x[row, :n]
    for before in (0, 6):
        _, carry = model.advance(
            model.empty(3), symbols(3, 7), torch.tensor([before, 1, before + 1])
        )
        one, next_one = model.advance(carry, x, lengths)
        two, next_two = model.advance(carry, other, lengths)
        assert one.isfinite().all()
        for row, n in enumerate(lengths.tolist()):
            assert torch.equal(one[row, :n], two[row, :n])
        step = symbols(3, 1)
        assert torch.equal(
            model.advance(next_one, step, None)[0], model.advance(next_two, step, None)[0]
        )


def test_a_branch_survives_its_sibling(model: TransformerModel):
    with torch.no_grad():
        state = model.update(model.start(2), symbols(2, 9))
        x = symbols(2, 3, seed=1)
        alone = model.update(model.update(model.start(2), symbols(2, 9)), x).features
        sibling = model.step(model.step(state, (x[:, 0] + 1) % V), x[:, 1])
        branch = model.step(model.step(model.step(state, x[:, 0]), x[:, 1]), x[:, 2])
        close(branch.features, alone)
        again = model.step(model.step(state, (x[:, 0] + 1) % V), x[:, 1])
        close(sibling.features, again.features)


@pytest.mark.parametrize("capacity", [None, CONTEXT])
def test_selected_repeated_and_joined_rows_continue_as_if_alone(
    model: TransformerModel, capacity: int | None
):
    with torch.no_grad():
        x = symbols(2, 20)
        one = model.update(model.start(2, capacity=capacity), x[:, :13])
        other = model.update(model.start(2, capacity=capacity), x[:, :4])
        apart = [model.update(s, x[:, 13:16]).features for s in (one, other)]
        together = tree.cat([one, tree.select(other, torch.tensor([1, 0]))])
        features = model.update(together, x[[0, 1, 1, 0], 13:16]).features
        close(features, torch.cat([apart[0], apart[1].flip(0)]))
        doubled = model.update(tree.repeat(one, 2), x[:, 13:16].repeat_interleave(2, 0))
        close(doubled.features, apart[0].repeat_interleave(2, 0))


@pytest.mark.parametrize("capacity", [None, CONTEXT])
def test_gradients_of_steps_equal_those_of_the_whole(model: TransformerModel, capacity: int | None):
    x = symbols(2, 2 * CONTEXT + 3)
    weights = torch.randn(*x.shape, 8, dtype=torch.float64)
    parameters = [p for p in model.parameters() if p is not getattr(model.head, "weight", None)]
    expected = torch.autograd.grad((whole(model, x) * weights).sum(), parameters)
    carry, total = model.empty(2, capacity=capacity), torch.zeros((), dtype=torch.float64)
    for t in range(x.shape[1]):
        features, carry = model.advance(carry, x[:, t : t + 1], None)
        total = total + (features[:, 0] * weights[:, t]).sum()
    for one, other in zip(torch.autograd.grad(total, parameters), expected, strict=True):
        close(one, other)


def test_detached_states_cut_the_gradient_and_nothing_else(model: TransformerModel):
    x = symbols(2, 12)
    _, carry = model.advance(model.empty(2), x[:, :6], None)
    cut, _ = model.advance(tree.detach(carry), x[:, 6:], None)
    close(cut, whole(model, x)[:, 6:])
    assert all(not leaf.requires_grad for leaf in tree.leaves(tree.detach(carry)))


def test_the_reach_is_exact(model: TransformerModel):
    assert model.reach == 2 * (CONTEXT - 1) + 1
    h = model.embedding(symbols(1, 20)).detach().requires_grad_()
    model.embedding.forward = lambda x: h  # type: ignore[method-assign]
    (gradient,) = torch.autograd.grad(whole(model, symbols(1, 20))[0, -1].sum(), h)
    touched = (gradient[0] != 0).any(1)
    assert touched.tolist() == [False] * (20 - model.reach) + [True] * model.reach


# ---- cost ---------------------------------------------------------------------------------------


def test_a_long_chunk_costs_its_context_per_query_and_not_its_length(
    monkeypatch: pytest.MonkeyPatch,
):
    scores: list[int] = []
    kernel = F.scaled_dot_product_attention

    def counting(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        scores.append(q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2])
        return kernel(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counting)
    config = Transformer(model_size=8, num_layers=1, num_heads=1, context=64)
    model = build(config)
    with torch.no_grad():
        _, carry = model.advance(model.empty(1), symbols(1, 100), None)
        scores.clear()
        model.advance(carry, symbols(1, 4096), None)
    assert sum(scores) <= 4096 * 3 * 64


def test_a_stream_is_remembered_in_bounded_memory(model: TransformerModel):
    with torch.no_grad():
        state = model.start(1)
        for t in range(6 * CONTEXT):
            state = model.step(state, torch.tensor([t % V]))
            held = {id(k.untyped_storage()): k.untyped_storage() for k in state.carry.keys}
            assert all(k.shape[2] <= 2 * CONTEXT for k in state.carry.keys)
    assert held
    assert model.load_state(model.save_state(state)).carry.position == 6 * CONTEXT + 1


@pytest.mark.slow
def test_steps_of_constant_shape_compile_to_one_graph():
    model = build(CONFIGS["llama"])
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    step = torch.compile(model.step, backend=backend, fullgraph=True, dynamic=False)
    x = symbols(2, 14)
    with torch.no_grad():
        state, expected = model.start(2, capacity=CONTEXT), model.start(2)
        for t in range(14):
            state, expected = step(state, x[:, t]), model.step(expected, x[:, t])
            close(state.features, expected.features)
    assert len(graphs) == 1


# ---- the model as a whole -----------------------------------------------------------------------


def test_float32_and_float64_agree_and_follow_the_weights():
    model = build(CONFIGS["classic"])
    x = symbols(2, 12)
    exact = whole(model, x)
    single = whole(model.float(), x)
    assert single.dtype == torch.float32
    assert model.start(1).carry.keys[0].dtype == torch.float32
    close(single.double(), exact, 1e-4)


def test_at_the_start_every_symbol_is_about_as_probable():
    for config in (Transformer(model_size=64, num_heads=4), Transformer(tie_embeddings=False)):
        torch.manual_seed(0)
        model = TransformerModel(config, 50, 0)
        x = torch.randint(0, 50, (4, 33))
        loss = -model.log_prob(Batch(x[:, :-1], x[:, 1:])).mean().detach()
        assert abs(float(loss) - math.log(50)) < 0.1


def test_classic_projects_without_biases_and_feeds_forward_with_them():
    block = TransformerModel(CONFIGS["classic"], V, 1).blocks[0]
    assert block.attention.bias is None and block.attention.output.bias is None
    assert block.feedforward.inner.bias is not None


def test_classic_embeds_with_variance_one_and_its_features_are_normalized():
    torch.manual_seed(0)
    model = TransformerModel(Transformer.classic(model_size=256), 500, 0)
    embedded = model.embedding.weight * math.sqrt(256)
    assert abs(float(embedded.detach().std()) - 1) < 0.02
    assert abs(float(whole(model, torch.randint(0, 500, (2, 20))).detach().std()) - 1) < 0.02


def test_dropout_acts_in_training_alone():
    model = build(Transformer.classic(**SMALL, dropout=0.5))
    x = symbols(2, 9)
    assert not torch.equal(whole(model.train(), x), whole(model, x))
    assert torch.equal(whole(model.eval(), x), whole(model, x))


def test_a_source_is_refused():
    with pytest.raises(ConfigError, match="takes no source"):
        build(CONFIGS["llama"]).empty(1, memory=torch.zeros(1))
