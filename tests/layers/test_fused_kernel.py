"""Fused kernels equal their equations, in values and gradients."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.layers.attention import AttentionMask, attend, attention
from seriatim.layers.kernels import fused
from seriatim.layers.positions import rotate, rotation

B, L, H, D_K, D_V = 2, 11, 3, 6, 5


@pytest.fixture(autouse=True, params=[1, 40, 2**17], ids="pieces of {}".format)
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_PIECE", request.param)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).to(dtype).requires_grad_()


def assert_same(
    ours: Callable[..., Sequence[Tensor]],
    theirs: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    *,
    tolerance: float = 1e-12,
) -> None:
    """Values and gradients agree, for an upstream gradient of random numbers."""
    found, expected = ours(*inputs), theirs(*inputs)
    upstream = [torch.randn_like(y) for y in expected]
    narrow = [u.to(y.dtype) for u, y in zip(upstream, found, strict=True)]
    gradients = torch.autograd.grad(found, inputs, narrow)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    for a, b in [*zip(found, expected, strict=True), *zip(gradients, wanted, strict=True)]:
        torch.testing.assert_close(a.to(b.dtype), b, rtol=tolerance, atol=tolerance)


def test_the_norm_is_its_equation() -> None:
    torch.manual_seed(0)

    def equation(x: Tensor, g: Tensor) -> list[Tensor]:
        return [g * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()]

    assert_same(lambda x, g: [fused.rms_norm(x, g, 1e-6)], equation, [random(B, L, 7), random(7)])


def test_the_gate_is_its_equation() -> None:
    torch.manual_seed(0)

    def equation(joined: Tensor) -> list[Tensor]:
        a, b = joined.chunk(2, -1)
        return [a * a.sigmoid() * b]

    assert_same(lambda joined: [fused.silu_gate(joined)], equation, [random(B, L, 2 * 7)])


@pytest.mark.parametrize("is_turned", [True, False])
@pytest.mark.parametrize("of_each_row", [True, False])
def test_heads_are_split_and_rotated_as_the_equations_say(
    is_turned: bool, of_each_row: bool
) -> None:
    torch.manual_seed(0)
    positions = torch.randint(100, (B, L)) if of_each_row else torch.arange(L)
    turn = rotation(positions, D_K, torch.float64) if is_turned else None

    def plain(joined: Tensor) -> list[Tensor]:
        q, k, v = joined.split([H * D_K, H * D_K, H * D_V], -1)
        q, k = q.view(B, L, H, D_K), k.view(B, L, H, D_K)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        return [t.transpose(1, 2) for t in (q, k, v.view(B, L, H, D_V))]

    assert_same(
        lambda joined: fused.heads(joined, H, D_K, turn),
        plain,
        [random(B, L, H * (2 * D_K + D_V))],
    )


@pytest.mark.parametrize("queries", [1, 4, 128], ids="blocks of {}".format)
def test_causal_attention_is_the_equation_of_the_paper(
    queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(fused, "_QUERIES", queries)
    seen = torch.ones(L, L, dtype=torch.bool).tril()
    inputs = [random(B, H, L, D_K), random(B, H, L, D_K), random(B, H, L, D_V)]
    assert_same(
        lambda q, k, v: [fused.causal_attention(q, k, v)],
        lambda q, k, v: [attention(q, k, v, seen)],
        inputs,
    )


def test_attention_takes_the_fused_path_only_if_its_weights_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    q = random(1, 1, 4, 2)
    called = []
    monkeypatch.setattr(fused, "causal_attention", lambda q, k, v: called.append(1) or q)
    attend(q, q, q, AttentionMask(is_causal=True))
    assert called == [1]
    attend(q.detach(), q.detach(), q.detach(), AttentionMask(is_causal=True))
    monkeypatch.setattr(fused, "_MOST_WEIGHTS", 15)
    attend(q, q, q, AttentionMask(is_causal=True))
    attend(q, q, q)
    assert called == [1]


def test_under_autocast_sums_are_wide_and_results_narrow() -> None:
    torch.manual_seed(0)
    x, g = random(B, L, 64, dtype=torch.float32), random(64, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = fused.rms_norm(x, g, 1e-6)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), F.rms_norm(x, (64,), g, 1e-6), rtol=2**-8, atol=1e-6)
    q, k, v = (random(B, H, L, 8, dtype=torch.bfloat16) for _ in range(3))
    assert_same(
        lambda q, k, v: [fused.causal_attention(q, k, v)],
        lambda q, k, v: [F.scaled_dot_product_attention(q, k, v, is_causal=True)],
        [q, k, v],
        tolerance=0.05,
    )


def test_a_zero_vector_has_a_finite_gradient() -> None:
    x, g = torch.zeros(1, 4, requires_grad=True), torch.ones(4, requires_grad=True)
    fused.rms_norm(x, g, 1e-6).sum().backward()
    assert x.grad is not None and math.isclose(x.grad[0, 0].item(), 1000.0, rel_tol=1e-5)
