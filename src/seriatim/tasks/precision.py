"""Scoring and decoding with rounded weights: asked for, with the loss stated, never in training.

Knows tasks; `core.products` rounds the weights and has the kernels.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from seriatim.core.products import Rounding, rounded
from seriatim.core.records import Json
from seriatim.errors import ConfigError
from seriatim.tasks.base import AnyTask

DecodingPrecision: TypeAlias = Literal["float32", "int8", "fp16"]
TaskT = TypeVar("TaskT", bound=AnyTask)


def at_precision(task: TaskT, precision: DecodingPrecision) -> TaskT:
    """A fitted task whose matrices are rounded: for scoring and decoding, not for training.

    Args:
        task: a fitted task; it stays as it is.
        precision: "int8", 8 bits for each weight; "fp16", 16 bits for each weight;
            "float32", the task itself.

    Raises:
        ConfigError: if the task is not fitted, its model has no matrices, or it is not on a CPU.
    """
    if precision == "float32":
        return task
    roundings: tuple[Rounding, ...] = get_args(Rounding)
    if precision not in roundings:
        raise ConfigError(f"precision {precision!r}: choose float32, {' or '.join(roundings)}")
    if task.model is None:
        raise ConfigError(f"{task.noun} that is not fitted has no weights to round: call fit")
    if not any(p.ndim == 2 for p in task.model.parameters()):
        raise ConfigError(
            f"precision {precision} rounds matrices, and a {type(task.model).__name__} has none: "
            "leave it out"
        )
    made = copy.copy(task)
    made.model = rounded(task.model, precision)
    return made


@dataclass(frozen=True)
class RoundingLoss:
    """What rounded weights cost on given data.

    Attributes:
        precision: the precision of the rounded weights.
        float32: bits per symbol with the weights as they were fitted.
        rounded: bits per symbol with the rounded weights.
    """

    precision: DecodingPrecision
    float32: float
    rounded: float

    @property
    def bits(self) -> float:
        """Bits per symbol that rounding adds; negative if it helps by chance."""
        return self.rounded - self.float32

    def to_json(self) -> Json:
        """A JSON object."""
        return {
            "precision": self.precision,
            "bits_per_symbol_float32": self.float32,
            "bits_per_symbol": self.rounded,
            "loss_bits_per_symbol": self.bits,
        }

    def text(self, what: str) -> str:
        """A sentence, where `what` names the data."""
        return (
            f"precision {self.precision} costs {self.bits:+.4f} bits per symbol on {what}: "
            f"{self.rounded:.4f}, with float32 {self.float32:.4f}"
        )


def rounding_loss(
    task: AnyTask,
    made: AnyTask,
    precision: DecodingPrecision,
    data: Any,
    *,
    limit: int | None = None,
) -> RoundingLoss:
    """The loss on data.

    Args:
        task: a fitted language model or translator.
        made: the same `at_precision`.
        precision: the precision of `made`.
        data: what `score` of the task takes.
        limit: as of `score`.
    """
    scores = [t.score(data, allow_unknown=True, limit=limit).bits_per_symbol for t in (task, made)]
    return RoundingLoss(precision, *scores)


def as_sequence(prompt: str | Sequence[str], pieces: Sequence[str]) -> list[Any]:
    """A prompt and what was sampled after it, as data to score."""
    if isinstance(prompt, str):
        return [prompt + "".join(pieces)]
    return [[*prompt, *pieces]]
