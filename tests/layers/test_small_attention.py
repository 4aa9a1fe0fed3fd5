"""Attention over few slots against the equation, in every shape of bias."""

import math

import pytest
import torch
from torch import Tensor

from seriatim.layers.attention import attention
from seriatim.layers.kernels import small_attention

VISIBLE = {
    "all": None,
    "a square": torch.ones(4, 5, dtype=torch.bool).tril(1),
    "padding": (torch.arange(5) < torch.tensor([[5], [2]]))[:, None, None],
}


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7))
    q, k, v = (torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


@pytest.mark.parametrize("name", VISIBLE)
def test_it_equals_the_equation_in_values_and_gradients(name: str) -> None:
    visible = VISIBLE[name]
    bias = None
    if visible is not None:
        bias = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~visible, -math.inf)
    of = inputs()
    one, other = small_attention.attend(*of, bias), attention(*of, visible)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad((one**2).sum(), of),
        torch.autograd.grad((other**2).sum(), of),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_under_autocast_it_rounds_to_bfloat16_and_no_further() -> None:
    q, k, v = (t.float() for t in inputs())
    with torch.autocast("cpu", torch.bfloat16):
        low = small_attention.attend(q, k, v, None)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), attention(q, k, v), rtol=0.05, atol=0.02)


def test_weights_are_kept_only_if_they_are_few() -> None:
    def shaped(rows: int, length: int) -> Tensor:
        return torch.empty(rows, 8, length, 32, device="meta")

    assert small_attention.is_short(shaped(64, 60), shaped(64, 60))
    assert not small_attention.is_short(shaped(8, 2048), shaped(8, 2048))
