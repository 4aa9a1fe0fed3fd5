"""Gates: how often they are shut and open, and how long what they keep lasts."""

import math

import pytest
import torch

from seriatim.analysis.inspect.gates import describe_gate, ordered_units


def test_saturation_is_the_fraction_of_the_time_below_a_tenth_or_above_nine_tenths() -> None:
    values = torch.tensor([[0.05, 0.95], [0.05, 0.5], [0.5, 0.95], [0.05, 0.99]])
    gate = describe_gate(values, keeps=False)
    assert gate.shut.tolist() == [0.75, 0.0]
    assert gate.open.tolist() == [0.0, 0.75]
    assert gate.half_lives is None


def test_always_open_counts_units_that_are_open_nearly_all_the_time() -> None:
    values = torch.full((100, 4), 0.5)
    values[:, 0] = 0.99
    values[:95, 1] = 0.99
    values[:80, 2] = 0.99
    values[:, 3] = 0.01
    gate = describe_gate(values, keeps=False)
    assert gate.always_open == 0.5
    assert gate.always_shut == 0.25


def test_the_half_life_of_a_constant_gate_is_that_of_its_powers() -> None:
    gate = describe_gate(torch.tensor([[0.5, 0.9, 0.99]]).repeat(10, 1), keeps=True)
    assert gate.half_lives is not None
    expected = [math.log(0.5) / math.log(k) for k in (0.5, 0.9, 0.99)]
    assert gate.half_lives.tolist() == pytest.approx(expected, rel=1e-5)


def test_half_is_left_after_the_half_life_in_any_order_of_the_gates() -> None:
    k = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gate = describe_gate(k, keeps=True)
    assert gate.half_lives is not None
    left = k.log().sum() / 1000 * float(gate.half_lives[0])
    assert float(left) == pytest.approx(math.log(0.5))


def test_units_are_ordered_from_the_most_shut_to_the_most_open() -> None:
    values = torch.tensor([[0.5, 0.1, 0.9, 0.3]])
    assert ordered_units(values, 8).tolist() == [1, 3, 0, 2]
    assert ordered_units(values, 2).tolist() == [1, 2]
