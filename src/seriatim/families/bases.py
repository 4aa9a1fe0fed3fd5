"""What every configuration of a family has, and the ranges of their options.

Knows option values; no family, and no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from seriatim.families import presets

if TYPE_CHECKING:
    from seriatim.model import SequenceModel

Size = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]

strict = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ModelConfig(ABC):
    """What to build. Subclasses are frozen dataclasses, validated when they are made."""

    family: ClassVar[str]
    recipe: ClassVar[Mapping[str, Any]] = {}  # training options that suit the family, by name

    def recipe_for(self, preset: str | None) -> dict[str, Any]:
        """Training options that suit this model, and those of the preset it was made from."""
        return {**self.recipe, **presets.TRAINING.get(preset or "", {})}

    @abstractmethod
    def build(self, num_symbols: int, boundary: int) -> "SequenceModel":
        """The model, with fresh weights from torch's global generator."""
