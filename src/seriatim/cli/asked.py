"""What `seriatim fit` was asked for, whatever the task: handed over in one piece.

Knows options; no model and no data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from seriatim.cli.keeping import Place


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How texts are read; see the options of `fit`."""

    sequences: Literal["line", "document", "stream"] | None
    field: str | None
    column: str | None
    sequence_column: str | None
    order_column: str | None
    skip_empty: bool


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of `fit`.

    Attributes:
        place: the folder of the run.
        parts: files of validation and test.
        cut: the least count and the greatest number of symbols.
        reading: what only texts have.
        output: whether to be quiet, and whether to print JSON.
        model_options, training_options: that were given.
    """

    data: Path | None
    place: "Place"
    model: str | None
    preset: str | None
    init: Path | None
    parts: tuple[Path | None, Path | None]
    split: tuple[float, float, float]
    symbols: str | None
    cut: tuple[int | None, int | None]
    reading: Reading
    format: str | None
    encoding: str
    processes: int | None
    output: tuple[bool, bool]
    model_options: dict[str, Any]
    training_options: dict[str, Any]
