"""What gates do over time: how open they are, how often they are stuck, how long a cell keeps.

A gate is a number in (0, 1) for every unit and symbol. It is *shut* below 0.1 and *open* above
0.9 (left- and right-saturated in Karpathy, Johnson, Fei-Fei 2015, section 4.2); a unit whose
forget gate is nearly always open is a counter, one whose gate is nearly always shut forgets at
once.

A gate that decides how much is kept, k_t, gives each unit's memory in symbols: what is stored
decays as the product of k_t, so half of it is left after

    half-life = ln(1/2) / mean_t ln k_t.

Knows gates as tensors; no model. Shapes: T positions, D units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SHUT, OPEN = 0.1, 0.9
OFTEN = 0.9  # of the time, from which on a unit is said to be always open or always shut
_LEAST = 1e-6


@dataclass(frozen=True)
class Gate:
    """A gate of one layer over a text.

    Attributes:
        mean: over all units and symbols.
        shut: (D,) the share of the time that each unit's gate is shut.
        open: (D,) open.
        half_lives: (D,) symbols; None: this gate does not say what is kept.
    """

    mean: float
    shut: Tensor
    open: Tensor
    half_lives: Tensor | None

    @property
    def always_open(self) -> float:
        """The share of units that are open at least `OFTEN`."""
        return float((self.open >= OFTEN).double().mean())

    @property
    def always_shut(self) -> float:
        """The share of units that are shut at least `OFTEN`."""
        return float((self.shut >= OFTEN).double().mean())


def describe_gate(values: Tensor, *, keeps: bool) -> Gate:
    """A gate of values (T, D); `keeps`: it multiplies what the unit holds."""
    x = values.double()
    decay = x.clamp(_LEAST, 1 - _LEAST).log().mean(0)
    return Gate(
        mean=float(x.mean()),
        shut=(x < SHUT).double().mean(0),
        open=(x > OPEN).double().mean(0),
        half_lives=-torch.log(torch.tensor(2.0, dtype=torch.float64)) / decay if keeps else None,
    )


def in_order(values: Tensor, most: int) -> Tensor:
    """Indices of at most `most` units of values (T, D), from the most shut to the most open.

    Of more units, ones at even steps along that order, both ends among them.
    """
    order = values.double().mean(0).argsort(stable=True)
    if len(order) <= most:
        return order
    return order[torch.linspace(0, len(order) - 1, most).round().long()]
