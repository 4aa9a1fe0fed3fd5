"""What perturbations do to a model: the figures.

Knows numbers; no model, no text.
"""

from dataclasses import dataclass

from seriatim.core.records import Json, to_json


@dataclass(frozen=True, kw_only=True)
class PerturbationResult:
    """What one perturbation of one strength does. Intervals are 95 % of a bootstrap over blocks.

    Attributes:
        kind: the kind of perturbation.
        strength: a fraction or probability.
        bits: the metric under it; for a model of sequences, bits per intact symbol.
        interval: the interval of `bits`.
        intact: the metric of the same targets without the perturbation.
        chance: where `bits` would fall if the perturbation did nothing: `intact` and around it the
            spread of the difference.
        targets: the number of targets measured, over all seeds.
        touched: bits per symbol at the damage itself, for targets that do not follow the element
            they should; None: there are none, or it is not measured.
    """

    kind: str
    strength: float
    bits: float
    interval: tuple[float, float]
    intact: float
    chance: tuple[float, float]
    targets: int
    touched: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the change is more than chance."""
        return not self.chance[0] <= self.bits <= self.chance[1]


@dataclass(frozen=True)
class Robustness:
    """What perturbations do to a model: what `seriatim robustness --json` prints.

    Attributes:
        intact: the metric without any perturbation.
        perturbations: the results of every kind and strength.
        metric: what is measured.
        is_loss: whether less is better.
    """

    intact: float
    perturbations: tuple[PerturbationResult, ...]
    metric: str = "bits per symbol"
    is_loss: bool = True

    def __repr__(self) -> str:
        kinds = {p.kind: None for p in self.perturbations}
        return f"Robustness({self.metric} {self.intact:.4f} undamaged; {', '.join(kinds)})"

    def to_json(self) -> Json:
        """The figures as JSON values."""
        return to_json(self)
