"""What a task asks of its data and of the scores of single sequences, and what tasks are called.

Knows nothing else.
"""

from typing import Protocol

from seriatim.core.records import Json

NOUNS = {
    "language": "a language model",
    "translation": "a translator",
    "labelling": "a labeller",
    "forecasting": "a forecaster",
}


class Opened(Protocol):
    """Data that can be recognized, and that says how it was read where that cannot be known."""

    def fingerprint(self) -> str:
        """A hash of the data."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people."""


class EachScore(Protocol):
    """The score of one sequence or pair."""

    def to_json(self) -> Json:
        """A JSON object."""

    def text(self) -> str:
        """A line of text."""
