"""Products with few rows: equal to F.linear, never out of date; and rounded weights."""

import copy
import gc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import product_kernels, products
from seriatim.core.products import Linear, Rounding, is_rounded, linear, rounded
from seriatim.errors import ConfigError

OUT, IN = 300, 256


@pytest.fixture
def weight() -> nn.Parameter:
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(OUT, IN) * 0.05)


def _prepared_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product once the weight is prepared."""
    with torch.no_grad():
        for _ in range(3):
            y = linear(x, weight, bias)
    return y


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("has_bias", [False, True])
def test_every_number_of_rows_agrees_with_the_product_in_float64(
    weight: nn.Parameter, rows: int, has_bias: bool
) -> None:
    x, bias = torch.randn(rows, 1, IN), torch.randn(OUT) if has_bias else None
    exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    found = _prepared_linear(x, weight, bias)
    assert found.shape == (rows, 1, OUT)
    torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [698, 1_130])
def test_the_number_of_threads_changes_no_bit_of_a_row_in_strips(size: int) -> None:
    weight, x, found = torch.randn(size, 401), torch.randn(1, 401), []
    threads = torch.get_num_threads()
    product = None
    for count in (2, 1, 3):
        torch.set_num_threads(count)
        try:
            product = product or product_kernels.one_row(weight)
            found.append(product(x.numpy()))
        finally:
            torch.set_num_threads(threads)
    assert all(np.array_equal(found[0], other) for other in found)
    exact = F.linear(x.double(), weight.double()).float().numpy()
    np.testing.assert_allclose(found[0], exact, rtol=1e-4, atol=1e-4)


def test_rows_of_a_weight_are_products_of_their_own(weight: nn.Parameter) -> None:
    x, bias = torch.randn(1, IN), torch.randn(OUT)
    with torch.no_grad():
        for _ in range(3):
            found = linear(x, weight, bias, begin=5, end=200)
            rest = linear(x, weight, begin=200)
    torch.testing.assert_close(found, F.linear(x, weight, bias)[:, 5:200])
    torch.testing.assert_close(rest, F.linear(x, weight)[:, 200:])


@pytest.mark.parametrize("rows", [1, 3])
def test_a_weight_that_changes_is_prepared_again(weight: nn.Parameter, rows: int) -> None:
    x = torch.randn(rows, IN)
    before = _prepared_linear(x, weight)
    with torch.no_grad():
        weight.mul_(2)
    torch.testing.assert_close(_prepared_linear(x, weight), 2 * before)
    weight.data = torch.zeros_like(weight)
    assert not _prepared_linear(x, weight).any()


def test_a_weight_that_dies_is_forgotten() -> None:
    weight = nn.Parameter(torch.randn(OUT, IN))
    _prepared_linear(torch.randn(1, IN), weight)
    key = id(weight)
    assert key in products._PREPARED
    del weight
    gc.collect()
    assert key not in products._PREPARED


def test_gradients_flow_as_through_f_linear(weight: nn.Parameter) -> None:
    x = torch.randn(1, IN, requires_grad=True)
    _prepared_linear(x.detach(), weight)
    y = linear(x, weight)
    assert torch.equal(y, F.linear(x, weight))
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None and x.grad is not None


def test_float64_and_small_weights_are_left_to_torch() -> None:
    for weight in (torch.randn(OUT, IN).double(), torch.randn(3, 4)):
        x = torch.randn(1, weight.shape[1], dtype=weight.dtype)
        assert torch.equal(_prepared_linear(x, weight), F.linear(x, weight))


# ---- rounded weights ----------------------------------------------------------------------------


def _network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(Linear(IN, OUT), nn.Tanh(), Linear(OUT, 40)).eval()


@pytest.mark.parametrize(("rounding", "error"), [("int8", 0.03), ("fp16", 0.001)])
def test_rounded_weights_stay_close(rounding: Rounding, error: float) -> None:
    network, x = _network(), torch.randn(20, IN)
    made = rounded(network, rounding)
    with torch.no_grad():
        found, exact = made(x), network(x)
    assert 0 < float((found - exact).norm() / exact.norm()) < error


@pytest.mark.parametrize("rounding", ["int8", "fp16"])
def test_with_rounded_weights_only_the_weights_are_rounded(rounding: Rounding) -> None:
    made, x = rounded(_network(), rounding), torch.randn(5, IN)
    first = made[0]
    assert isinstance(first, Linear)
    exact = F.linear(x.double(), first.weight.double(), first.bias.double()).float()
    with torch.no_grad():
        torch.testing.assert_close(first(x), exact, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(first(x[:1]), exact[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rounding", ["int8", "fp16"])
def test_with_rounded_weights_a_row_is_the_same_in_every_batch(rounding: Rounding) -> None:
    made, x = (
        rounded(_network(), rounding),
        torch.randn(90, IN) * torch.logspace(-3, 3, 90)[:, None],
    )
    with torch.no_grad():
        together = made(x)
        pairs = torch.cat([made(x[i : i + 2]) for i in range(0, len(x), 2)])
        alone = torch.cat([made(row[None]) for row in x])
    assert torch.equal(together, pairs)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_int8_weights_are_127_steps_of_each_row(weight: nn.Parameter) -> None:
    layer = Linear(IN, OUT)
    layer.weight = weight
    made = rounded(layer, "int8").weight.detach()
    steps = made / (made.abs().amax(1, keepdim=True) / 127)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert (made - weight).abs().max() <= weight.abs().max() / 127


def test_rows_of_zeros_stay_zeros() -> None:
    layer = Linear(IN, OUT, bias=False)
    with torch.no_grad():
        layer.weight[3].zero_()
        made = rounded(layer, "int8")
        found = made(torch.cat([torch.zeros(1, IN), torch.randn(1, IN)]))
    assert not found[0].any() and not found[:, 3].any() and found[1].any()


def test_the_original_and_copies_are_not_rounded() -> None:
    network = _network()
    made = rounded(network, "int8")
    assert [is_rounded(p) for p in made.parameters()] == [True, False, True, False]
    assert not any(map(is_rounded, network.parameters()))
    assert not any(map(is_rounded, copy.deepcopy(made).parameters()))


def test_rounded_weights_are_refused_where_they_would_be_trained_or_are_not_float32() -> None:
    made = rounded(_network(), "int8")
    with pytest.raises(ConfigError, match="neither trained nor saved"):
        products.refuse_rounded(made)
    with pytest.raises(ConfigError, match="float32 on a CPU"):
        rounded(_network().double(), "int8")
