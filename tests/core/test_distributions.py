"""Distributions, their inverse CDF, and uniforms as a function of (seed, row, step)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from seriatim.core.distributions import Categorical, inverse_cdf, top_k, uniforms


def test_categorical_is_softmax() -> None:
    d = Categorical(torch.tensor([[0.0, math.log(2), math.log(5)]], dtype=torch.float64))
    assert d.dense().exp().tolist() == [pytest.approx([1 / 8, 2 / 8, 5 / 8])]
    assert d.log_prob(torch.tensor([2])).item() == pytest.approx(math.log(5 / 8))
    values, symbols = d.top(2)
    assert symbols.tolist() == [[2, 1]]
    assert values.exp().tolist() == [pytest.approx([5 / 8, 2 / 8])]


def test_sampling_is_the_inverse_cdf() -> None:
    d = Categorical(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log().expand(6, 3))
    u = torch.tensor([0.0, 0.1999, 0.2001, 0.6999, 0.7001, 1 - 2**-53], dtype=torch.float64)
    assert d.sample(u).tolist() == [0, 0, 1, 1, 2, 2]


@given(some.lists(some.floats(-30, 30), min_size=1, max_size=40), some.data())
@settings(max_examples=100, deadline=None)
def test_a_symbol_of_probability_zero_is_never_sampled(logits: list[float], data: some.DataObject):
    a = torch.tensor(logits, dtype=torch.float64)
    dead = data.draw(some.lists(some.booleans(), min_size=len(logits), max_size=len(logits)))
    if all(dead):
        dead[0] = False
    a[torch.tensor(dead)] = -torch.inf
    u = torch.tensor([0.0, 0.3, 0.999999, 1 - 2**-53], dtype=torch.float64)
    for symbol in inverse_cdf(a.expand(4, -1), u).tolist():
        assert not dead[symbol]


@pytest.mark.parametrize("shape", [(1, 6), (3, 6), (2, 3, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_best_symbol_is_the_first_of_the_best(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    logits = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0)).round()
    log_prob, symbol = Categorical(logits).top(1)
    expected, symbols = Categorical(logits).top(2)
    assert torch.equal(symbol, symbols[..., :1])
    torch.testing.assert_close(log_prob, expected[..., :1])


def test_of_nothing_possible_the_best_is_not_a_number() -> None:
    log_prob, _ = Categorical(torch.full((1, 4), -math.inf)).top(1)
    assert log_prob.isnan().all()


def test_top_breaks_ties_in_favour_of_the_smaller_symbol() -> None:
    """Also if the tie crosses the cut, which torch.topk leaves unspecified."""
    a = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 2.0]])
    assert top_k(a, 1)[1].tolist() == [[1]]
    assert top_k(a, 3)[1].tolist() == [[1, 3, 2]]
    assert top_k(a, 4)[1].tolist() == [[1, 3, 2, 4]]
    assert top_k(a, 99)[1].tolist() == [[1, 3, 2, 4, 5, 0]]


def test_uniforms_depend_only_on_their_coordinates() -> None:
    rows, steps = torch.arange(50), np.arange(40)[:, None]
    block = uniforms(7, rows[None], steps)
    assert block.shape == (40, 50)
    assert block[13, 21] == uniforms(7, torch.tensor(21), 13)
    assert torch.equal(block[:, [3, 3]], block[:, 3:4].expand(-1, 2))


def test_uniforms_are_uniform_and_independent_along_every_coordinate() -> None:
    """Chi-square over 64 cells below its 0.9999 quantile (about 117 at 63 degrees of freedom), and
    no correlation of neighbours beyond four standard errors."""
    n = 200
    cube = torch.stack(
        [uniforms(s, torch.arange(n)[None], np.arange(n)[:, None]) for s in range(5)]
    )
    counts = torch.histc(cube.float(), 64, 0, 1)
    expected = cube.numel() / 64
    assert float(((counts - expected) ** 2 / expected).sum()) < 117
    centred = cube - 0.5
    for a, b in (
        (centred[1:], centred[:-1]),
        (centred[:, 1:], centred[:, :-1]),
        (centred[:, :, 1:], centred[:, :, :-1]),
    ):
        assert abs(float((a * b).mean())) < 4 * (1 / 12) / math.sqrt(a.numel())
    assert 0 <= float(cube.min()) < float(cube.max()) < 1
