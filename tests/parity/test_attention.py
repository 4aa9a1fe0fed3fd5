"""Attention: the equation written out, the fused kernels and torch's own module agree."""

import math

import pytest
import torch
from torch import Tensor, nn

from seriatim.layers.attention import (
    EVERYTHING,
    AttentionMask,
    MultiHeadAttention,
    as_bias,
    attend,
    attention,
    band,
    block_size,
)
from seriatim.layers.positions import rotation

ROWS, HEADS, KEY, VALUE = 2, 3, 4, 5
CPU = torch.device("cpu")


def inputs(queries: int, slots: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)

    def draw(length: int, size: int) -> Tensor:
        shape = (ROWS, HEADS, length, size)
        return torch.randn(shape, generator=g, dtype=torch.float64).requires_grad_()

    return draw(queries, KEY), draw(slots, KEY), draw(slots, VALUE)


def assert_same_values_and_gradients(one: Tensor, other: Tensor, of: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(9), dtype=one.dtype)
    for a, b in zip(
        torch.autograd.grad((one * weights).sum(), of),
        torch.autograd.grad((other * weights).sum(), of),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_equation_written_out_is_the_mean_of_values_weighted_by_the_softmax_of_products():
    q, k, v = (t.detach() for t in inputs(2, 3))
    out = attention(q, k, v)
    products = [float(q[1, 2, 1] @ k[1, 2, s]) / math.sqrt(KEY) for s in range(3)]
    weights = [math.exp(p) / sum(map(math.exp, products)) for p in products]
    expected = sum(w * v[1, 2, s] for s, w in enumerate(weights))
    torch.testing.assert_close(out[1, 2, 1], expected, rtol=1e-12, atol=1e-12)


def test_a_masked_slot_has_no_effect():
    q, k, v = inputs(1, 3)
    mask = torch.tensor([[True, False, True]])
    seen = torch.tensor([0, 2])
    torch.testing.assert_close(
        attention(q, k, v, mask), attention(q, k[:, :, seen], v[:, :, seen]), rtol=0, atol=1e-15
    )


def ragged_mask() -> Tensor:
    visible = torch.rand(ROWS, 1, 7, 7, generator=torch.Generator().manual_seed(1)) < 0.5
    return visible | torch.eye(7, dtype=torch.bool)


MASKS = {
    "none": (EVERYTHING, None),
    "causal": (AttentionMask(is_causal=True), band(7, 7, 7, CPU)),
    "band": (AttentionMask(as_bias(band(7, 7, 3, CPU), torch.float64)), band(7, 7, 3, CPU)),
    "ragged": (AttentionMask(as_bias(ragged_mask(), torch.float64)), ragged_mask()),
}


@pytest.mark.parametrize("name", MASKS)
def test_the_fast_path_equals_the_equation_in_values_and_gradients(name: str):
    mask, visible = MASKS[name]
    q, k, v = inputs(7, 7)
    assert_same_values_and_gradients(attend(q, k, v, mask), attention(q, k, v, visible), (q, k, v))


def test_the_band_shows_each_query_its_own_slot_and_those_just_before():
    expected = [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]
    assert band(3, 5, 2, CPU).int().tolist() == expected


@pytest.mark.parametrize("old", [0, 4])
@pytest.mark.parametrize("length", [129, 192, 200])
def test_a_long_chunk_in_blocks_equals_one_band_over_all_of_it(length: int, old: int):
    context = 5
    block = block_size(length, context)
    assert block < length
    first = as_bias(band(block, old + block, context, CPU), torch.float64)
    later = as_bias(band(block, context - 1 + block, context, CPU), torch.float64)
    q, k, v = inputs(length, old + length)
    mask = band(length, old + length, context, CPU)
    fast = attend(q, k, v, AttentionMask(first, band=later))
    assert_same_values_and_gradients(fast, attention(q, k, v, mask), (q, k, v))


def module(*, value_size: int = VALUE, bias: bool = True) -> MultiHeadAttention:
    torch.manual_seed(0)
    built = MultiHeadAttention(HEADS * KEY, HEADS, KEY, value_size, bias=bias).double()
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.5)
    return built


def test_multi_head_attention_joins_attentions_on_their_own_projections():
    m = module(bias=False)
    x = torch.randn(ROWS, 6, HEADS * KEY, dtype=torch.float64)
    w_q, w_k, w_v = m.weight.split([HEADS * KEY, HEADS * KEY, HEADS * VALUE])
    heads = [
        attention(
            x @ w_q[i * KEY : (i + 1) * KEY].T,
            x @ w_k[i * KEY : (i + 1) * KEY].T,
            x @ w_v[i * VALUE : (i + 1) * VALUE].T,
        )
        for i in range(HEADS)
    ]
    expected = torch.cat(heads, -1) @ m.output.weight.T
    torch.testing.assert_close(m(*m.project(x)), expected, rtol=1e-12, atol=1e-12)


def test_multi_head_attention_equals_that_of_torch_with_the_same_weights():
    m = module(value_size=KEY)
    theirs = nn.MultiheadAttention(HEADS * KEY, HEADS, batch_first=True, dtype=torch.float64)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = m.weight.data, m.bias.data
    theirs.out_proj.load_state_dict(m.output.state_dict())
    x = torch.randn(ROWS, 6, HEADS * KEY, dtype=torch.float64)
    expected, _ = theirs(x, x, x, need_weights=False, attn_mask=~band(6, 6, 6, CPU))
    fast = m(*m.project(x), AttentionMask(is_causal=True))
    torch.testing.assert_close(fast, expected, rtol=1e-12, atol=1e-12)


def test_queries_and_memory_can_be_projected_separately():
    m = module()
    x = torch.randn(ROWS, 6, HEADS * KEY, dtype=torch.float64)
    for together, apart in zip(
        m.project(x), (m.project_queries(x), *m.project_memory(x)), strict=True
    ):
        torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)


def test_cross_attention_over_a_memory_equals_that_of_torch():
    m = module(value_size=KEY)
    theirs = nn.MultiheadAttention(HEADS * KEY, HEADS, batch_first=True, dtype=torch.float64)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = m.weight.data, m.bias.data
    theirs.out_proj.load_state_dict(m.output.state_dict())
    x = torch.randn(ROWS, 2, HEADS * KEY, dtype=torch.float64)
    memory = torch.randn(ROWS, 5, HEADS * KEY, dtype=torch.float64)
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected, _ = theirs(x, memory, memory, need_weights=False, key_padding_mask=~valid)
    mask = AttentionMask(as_bias(valid[:, None, None], torch.float64))
    fast = m(m.project_queries(x), *m.project_memory(memory), mask)
    torch.testing.assert_close(fast, expected, rtol=1e-12, atol=1e-12)


def test_rotated_products_depend_on_the_distance_of_positions_alone():
    m = module()
    x = torch.randn(1, 1, HEADS * KEY, dtype=torch.float64)

    def product(query_at: int, key_at: int) -> Tensor:
        q, _, _ = m.project(x, rotation(torch.tensor([query_at]), KEY, x.dtype))
        _, k, _ = m.project(x, rotation(torch.tensor([key_at]), KEY, x.dtype))
        return (q * k).sum(-1)

    near, far = product(5, 2), product(10**7 + 3, 10**7)
    torch.testing.assert_close(near, far, rtol=1e-8, atol=1e-8)
    assert not torch.allclose(near, product(5, 1))
