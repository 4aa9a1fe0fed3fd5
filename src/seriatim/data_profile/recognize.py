"""Which task a file is for: pairs and labels in tables, recognized by their columns.

Narrower than `kind`: where it is not plain what a table is for, it is read as text, as before.
Knows formats and columns; no symbols or models.
"""

from dataclasses import dataclass
from pathlib import Path

from seriatim.data import tables, tagged
from seriatim.data.files import path_suffix
from seriatim.data_profile.kind import DataKind, detect_kind, is_label_column
from seriatim.errors import SeriatimError


@dataclass(frozen=True)
class RecognizedTask:
    """The task that a file is for.

    Attributes:
        task: translation or label.
        description: what the file holds, as a clause: "pairs of source and target".
        source_column, target_column: the columns, where they must be named.
        columns: the names of all columns of a table.
    """

    task: str
    description: str
    source_column: str | None = None
    target_column: str | None = None
    columns: tuple[str, ...] = ()


def recognize_task(
    path: Path,
    *,
    format: str | None,
    encoding: str,
    target_column: str | None = None,
) -> RecognizedTask | None:
    """The task of a file of pairs or of labelled texts; None: it is text, or it is not plain.

    Args:
        path: the file.
        format: the format of the file; None: by its name.
        encoding: the encoding of the file.
        target_column: the column that the user chose for targets or labels, which decides.
    """
    if not path.is_file():
        return None
    name = (format or "").lower()
    if name == "conll" or (not name and path_suffix(path) in tagged.SUFFIXES):
        return RecognizedTask("label", "a label in each line")
    name = name or tables.SUFFIXES.get(path_suffix(path), "text")
    if name in ("text", "fasta"):
        return None
    try:
        kind = detect_kind([path], [name], encoding, {})
    except SeriatimError:  # reading it says what is wrong
        return None
    if target_column is not None:
        return _of_chosen_column(kind, target_column)
    if kind.task not in ("translation", "label"):
        return None
    return RecognizedTask(
        kind.task,
        kind.description,
        kind.options.get("source-column"),
        kind.options.get("target-column"),
        tuple(column.name for column in kind.columns),
    )


def _of_chosen_column(kind: DataKind, name: str) -> RecognizedTask:
    chosen = [c for i, c in enumerate(kind.columns, 1) if name in (c.name, str(i))]
    if chosen and is_label_column(chosen[0]):
        return RecognizedTask("label", f"one of {chosen[0].distinct} labels in {name!r}")
    return RecognizedTask("translation", f"targets in {name!r}")
