"""The part of config.json that only a language model has, as a record.

Knows plain values; no model.
"""

from dataclasses import dataclass

from seriatim.core.records import Json
from seriatim.data.sources import Sequences
from seriatim.tasks.anomalies import Threshold
from seriatim.tasks.remembered import SavedReading


@dataclass(frozen=True)
class SavedLanguageModel:
    """The part of config.json that only a language model has."""

    model: Json
    sequences: Sequences
    reading: SavedReading | None = None
    threshold: Threshold | None = None


def rename_options(model: Json) -> Json:
    """The description of a model, with the present names of options that had others in 0.1.0."""
    options = {name.replace("quantise", "quantize"): v for name, v in model["options"].items()}
    return {**model, "options": options}
