"""The part of config.json that only one task has, as records.

Knows plain values; no model.
"""

from dataclasses import dataclass

from seriatim.core.records import Json
from seriatim.data.labels import Per
from seriatim.data.sources import Sequences
from seriatim.tasks.anomalies import Threshold
from seriatim.tasks.remembered import SavedReading
from seriatim.tasks.translation import LengthRule


@dataclass(frozen=True)
class SavedLanguageModel:
    """The part of config.json that only a language model has."""

    model: Json
    sequences: Sequences
    reading: SavedReading | None = None
    threshold: Threshold | None = None


@dataclass(frozen=True)
class SavedTranslator:
    """The part of config.json that only a translator has."""

    model: Json
    joint: bool
    length_rule: LengthRule


@dataclass(frozen=True)
class SavedLabeller:
    """The part of config.json that only a labeller has."""

    encoder: Json
    per: Per
    labels: tuple[str, ...]
    temperature: float


def rename_options(model: Json) -> Json:
    """The description of a model, with the present names of options that had others in 0.1.0."""
    options = {name.replace("quantise", "quantize"): v for name, v in model["options"].items()}
    return {**model, "options": options}
