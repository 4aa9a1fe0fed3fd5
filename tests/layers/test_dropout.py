"""Dropout: the fraction of zeros, the scale of the rest, and the source of its randomness."""

import pytest
import torch

from seriatim.layers.kernels.dropout import dropout


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_fraction_is_dropped_and_the_rest_scaled_to_the_same_mean(
    share: float, dtype: torch.dtype
):
    torch.manual_seed(0)
    x = torch.ones(1_000_003, dtype=dtype)  # no multiple of four
    y = dropout(x, share, is_training=True)
    assert y.dtype == dtype
    left_out = float((y == 0).double().mean())
    # Five standard deviations of a mean of a million draws.
    assert abs(left_out - share) < 5 * (share * (1 - share) / 1e6) ** 0.5
    kept = y[y != 0].double()
    assert kept.unique().numel() == 1
    assert float(kept[0]) == pytest.approx(
        1 / (1 - share), rel=2**-8 if dtype.itemsize == 2 else 3e-4
    )


def test_neighbours_are_dropped_independently():
    torch.manual_seed(1)
    kept = (dropout(torch.ones(2**20), 0.5, is_training=True) != 0).double() - 0.5
    for distance in (1, 2, 3, 4, 5, 8):
        correlation = 4 * float((kept[distance:] * kept[:-distance]).mean())
        assert abs(correlation) < 5 / 2**10


def test_gradients_are_dropped_and_scaled_like_values():
    torch.manual_seed(2)
    x = torch.randn(50, 7, requires_grad=True)
    y = dropout(x, 0.4, is_training=True)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x.detach(), y.detach())


def test_the_same_seed_drops_the_same_numbers():
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(dropout(torch.ones(99), 0.5, is_training=True))
    assert torch.equal(*found)


def test_no_numbers_are_drawn_without_dropout():
    x = torch.randn(5)
    before = torch.get_rng_state()
    assert dropout(x, 0.0, is_training=True) is x
    assert dropout(x, 0.5, is_training=False) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_an_empty_tensor_can_be_dropped():
    assert dropout(torch.empty(0, 3), 0.5, is_training=True).shape == (0, 3)
