"""Gates over time: how open they are, how often they are saturated, how long a cell remembers.

A gate is a number in (0, 1) for every unit and symbol. It is *shut* below 0.1 and *open* above
0.9 (left- and right-saturated in Karpathy, Johnson, Fei-Fei 2015, section 4.2); a unit whose
forget gate is nearly always open is a counter, one whose forget gate is nearly always shut
forgets at once.

A gate k_t that decides how much is kept gives each unit's memory in symbols: the stored value
decays as the product of k_t, so half of it is left after

    half-life = ln(1/2) / mean_t ln k_t.

Knows gates as tensors; no model. Shapes: T positions, D units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SHUT, OPEN = 0.1, 0.9
OFTEN = 0.9  # the fraction of the time from which a unit counts as always open or always shut
_EPSILON = 1e-6


@dataclass(frozen=True)
class Gate:
    """A gate of one layer over a text.

    Attributes:
        mean: the mean over all units and symbols.
        shut: (D,) the fraction of the time that each unit's gate is shut.
        open: (D,) the fraction of the time that it is open.
        half_lives: (D,) in symbols; None if this gate does not decide what is kept.
    """

    mean: float
    shut: Tensor
    open: Tensor
    half_lives: Tensor | None

    @property
    def always_open(self) -> float:
        """The fraction of units that are open at least `OFTEN`."""
        return float((self.open >= OFTEN).double().mean())

    @property
    def always_shut(self) -> float:
        """The fraction of units that are shut at least `OFTEN`."""
        return float((self.shut >= OFTEN).double().mean())


def describe_gate(values: Tensor, *, keeps: bool) -> Gate:
    """The gate with values (T, D); `keeps` says whether it multiplies what the unit holds."""
    x = values.double()
    decay = x.clamp(_EPSILON, 1 - _EPSILON).log().mean(0)
    return Gate(
        mean=float(x.mean()),
        shut=(x < SHUT).double().mean(0),
        open=(x > OPEN).double().mean(0),
        half_lives=-torch.log(torch.tensor(2.0, dtype=torch.float64)) / decay if keeps else None,
    )


def ordered_units(values: Tensor, most: int) -> Tensor:
    """At most `most` units of values (T, D), from the most shut to the most open.

    If there are more, they are picked at even steps along that order, both ends included.
    """
    order = values.double().mean(0).argsort(stable=True)
    if len(order) <= most:
        return order
    return order[torch.linspace(0, len(order) - 1, most).round().long()]
