"""The lazy linear softmax equals plain cross-entropy, in groups of any size."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.core import distributions, linear_softmax
from seriatim.core.distributions import Categorical, LinearCategorical
from seriatim.core.linear_softmax import linear_log_prob

N, V, D = 29, 11, 5


@pytest.fixture(params=[1, 7, 64, 10**6], ids="rows per block: {}".format)
def in_groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computation in groups whatever the size; no block size divides the number of entries."""
    monkeypatch.setattr(distributions, "_FEW_LOGITS", 0)
    monkeypatch.setattr(linear_softmax, "_BLOCK", request.param * V)


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (N, D), weight, bias and targets."""
    torch.manual_seed(0)
    h, w, b = torch.randn(N, D), torch.randn(V, D), torch.randn(V)
    return *(t.to(dtype).requires_grad_() for t in (h, w, b)), torch.randint(V, (N,))


def plain(h: Tensor, w: Tensor, b: Tensor | None, y: Tensor, smoothing: float = 0.0) -> Tensor:
    return -F.cross_entropy(F.linear(h, w, b), y, reduction="none", label_smoothing=smoothing)


UPSTREAM = {
    "the same for all": torch.full((N,), -0.25, dtype=torch.float64),
    "one for each": torch.linspace(-1, 2, N, dtype=torch.float64),
    "none at some": torch.where(torch.arange(N) % 3 == 0, 0.0, -0.5).double(),
}


@pytest.mark.usefixtures("in_groups")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("upstream", UPSTREAM.values(), ids=UPSTREAM.keys())
@pytest.mark.parametrize("group", [1, 8, 64, 10**6])
@pytest.mark.parametrize("multiple", [3, 64])  # rows of zeros are added, and none are
def test_values_and_gradients_are_those_of_plain_cross_entropy(
    smoothing: float,
    with_bias: bool,
    upstream: Tensor,
    group: int,
    multiple: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear_softmax, "_SMALLEST_GROUP", 1)
    monkeypatch.setattr(linear_softmax, "_ROWS", multiple)
    monkeypatch.setattr(linear_softmax, "_GROUP_BYTES", group * V * 8)
    h, w, b, y = example()
    inputs = (h, w, b) if with_bias else (h, w)
    ours = linear_log_prob(h, w, b if with_bias else None, y, smoothing)
    theirs = plain(h, w, b if with_bias else None, y, smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(ours, inputs, upstream)
    expected = torch.autograd.grad(theirs, inputs, upstream)
    torch.testing.assert_close(gradients, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("upstream", UPSTREAM.values(), ids=UPSTREAM.keys())
@pytest.mark.parametrize("needs", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1)])
def test_only_what_requires_a_gradient_gets_one(
    upstream: Tensor, needs: tuple[int, int, int]
) -> None:
    *inputs, y = example()
    inputs = [t.detach().requires_grad_(bool(n)) for t, n in zip(inputs, needs, strict=True)]
    wanted = [t for t in inputs if t.requires_grad]
    gradients = torch.autograd.grad(linear_log_prob(*inputs, y), wanted, upstream)
    expected = torch.autograd.grad(plain(*inputs, y), wanted, upstream)
    torch.testing.assert_close(gradients, expected, rtol=1e-11, atol=1e-12)
    assert not linear_log_prob(*(t.detach() for t in inputs), y).requires_grad


@pytest.mark.parametrize("upstream", UPSTREAM.values(), ids=UPSTREAM.keys())
def test_a_graph_that_is_kept_gives_the_same_gradient_twice(upstream: Tensor) -> None:
    h, w, b, y = example()
    values = linear_log_prob(h, w, b, y)
    first = torch.autograd.grad(values, (h, w, b), upstream, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(values, (h, w, b), upstream), first)


def test_gradients_of_parts_add_up_to_that_of_the_batch() -> None:
    h, w, b, y = example()
    whole = torch.autograd.grad(linear_log_prob(h, w, b, y).mean(), w)[0]
    parts = [
        torch.autograd.grad(linear_log_prob(h[i : i + 10], w, b, y[i : i + 10]).sum() / N, w)[0]
        for i in range(0, N, 10)
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.usefixtures("in_groups")
def test_entries_that_are_not_needed_reach_neither_values_nor_gradients() -> None:
    h, w, b, y = example()
    needed = torch.arange(N) % 4 != 1
    broken = torch.where(needed[:, None], h.detach(), torch.nan).requires_grad_()
    distribution = LinearCategorical(broken.view(1, N, D), w, b).masked(needed.view(1, N))
    values = distribution.log_prob(y.view(1, N))
    assert values.shape == (1, N)
    gradients = torch.autograd.grad(values.sum(), (broken, w, b))
    expected = torch.autograd.grad(plain(h, w, b, y)[needed].sum(), (h, w, b))
    torch.testing.assert_close(gradients, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(values[0, needed], plain(h, w, b, y)[needed])


def test_no_entries_give_no_values_and_gradients_of_zero() -> None:
    h, w, b, y = example()
    values = linear_log_prob(h[:0], w, b, y[:0])
    gradients = torch.autograd.grad(values.sum(), (w, b))
    assert values.shape == (0,)
    assert all(not bool(g.any()) for g in gradients)


def test_the_lazy_distribution_equals_the_one_with_all_logits() -> None:
    h, w, b, y = example()
    lazy, full = LinearCategorical(h, w, b), Categorical(F.linear(h, w, b))
    u = torch.rand(N, dtype=torch.float64)
    torch.testing.assert_close(lazy.dense(), full.dense())
    torch.testing.assert_close(lazy.top(3), full.top(3))
    torch.testing.assert_close(lazy.sample(u), full.sample(u))
    torch.testing.assert_close(lazy.log_prob(y), full.log_prob(y))
    torch.testing.assert_close(lazy.smoothed_log_prob(y, 0.1), full.smoothed_log_prob(y, 0.1))
    torch.testing.assert_close(
        full.smoothed_log_prob(y, 0.1), plain(h, w, b, y, 0.1), rtol=1e-12, atol=1e-12
    )


def test_huge_logits_do_not_overflow() -> None:
    h = torch.tensor([[1e4, 0.0]], requires_grad=True)
    w = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    values = linear_log_prob(h, w, None, torch.tensor([2]))
    assert values.item() == -1e4
    (gradient,) = torch.autograd.grad(values, h)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 1.0]]))


@pytest.mark.parametrize("upstream", UPSTREAM.values(), ids=UPSTREAM.keys())
def test_under_autocast_only_the_products_have_low_precision(upstream: Tensor) -> None:
    h, w, b, y = example(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_log_prob(h, w, b, y)
    assert ours.dtype == torch.float32
    exact = plain(h, w, b, y)
    torch.testing.assert_close(ours, exact, rtol=0.02, atol=0.03)
    gradients = torch.autograd.grad(ours, (h, w, b), upstream.float())
    assert all(g.dtype == torch.float32 for g in gradients)
    expected = torch.autograd.grad(exact, (h, w, b), upstream.float())
    torch.testing.assert_close(gradients, expected, rtol=0.05, atol=0.05)
