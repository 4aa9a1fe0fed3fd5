"""Which task a file is for: pairs, labels and series in tables, recognized by their columns.

Narrower than `kind`: where it is not plain what a table is for, it is read as text, as before.
Knows formats and columns; no symbols or models.
"""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from seriatim.data import tagged
from seriatim.data.files import check_encoding, path_suffix
from seriatim.data.frames import frame_columns, is_frame
from seriatim.data.series.column_roles import TIME_NAMES
from seriatim.data.series.opening import SUFFIXES, encoding_of, format_by_name
from seriatim.data_profile.kind import DataKind, detect_kind, is_label_column
from seriatim.errors import SeriatimError

_TIMES = frozenset(TIME_NAMES)
_TEXTS = frozenset(("text", "sentence", "document", "label", "source"))  # columns of other tasks


@dataclass(frozen=True)
class RecognizedTask:
    """The task that a file is for.

    Attributes:
        task: translation, label or forecast.
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
    """The task of a file of pairs, labelled texts or series; None: it is text, or not plain.

    Numbers are series if a column has a name that people give to times; others may be symbols.

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
    name = name or format_by_name(path) or "text"
    if name in SUFFIXES.values():
        return RecognizedTask("forecast", "series of numbers")
    if name in ("text", "fasta"):
        return None
    try:
        kind = detect_kind([path], [name], encoding, {})
    except SeriatimError:  # reading it says what is wrong
        return None
    names = tuple(column.name for column in kind.columns)
    has_dates = any(column.has_dates for column in kind.columns)
    has_times = (
        kind.is_listed or has_dates or not _TIMES.isdisjoint(n.strip().lower() for n in names)
    )
    if kind.name == "numbers" and has_times:
        return RecognizedTask("forecast", "series of numbers", columns=names)
    if target_column is not None:
        return _of_chosen_column(kind, target_column)
    if kind.task not in ("translation", "label"):
        return None
    return RecognizedTask(
        kind.task,
        kind.description,
        kind.options.get("source-column"),
        kind.options.get("target-column"),
        names,
    )


def looks_like_series(path: Path, *, format: str | None, encoding: str) -> bool:
    """Whether a file holds series of numbers, by its columns or its lines.

    Args:
        path: the file.
        format: the format of the file; None: by its name.
        encoding: the encoding of the file.
    """
    name = (format or "").lower() or format_by_name(path) or "text"
    if not path.is_file() or name in ("fasta", "conll"):
        return False
    if name in SUFFIXES.values():
        return True
    try:
        return detect_kind([path], [name], encoding, {}).name == "numbers"
    except SeriatimError:  # reading it says what is wrong
        return False


def are_series(data: object, format: str | None, encoding: str | None) -> bool:
    """Whether data are series of numbers: a file, a data frame, an array or a list of numbers."""
    if isinstance(data, (str, PathLike)):
        path = Path(data)
        if not path.is_file():
            return False
        try:
            found = encoding or encoding_of(path)
            check_encoding(found)
        except SeriatimError:  # reading it says what is wrong
            return False
        return looks_like_series(path, format=format, encoding=found)
    if is_frame(data):
        return bool({name.strip().lower() for name in frame_columns(data)}.isdisjoint(_TEXTS))
    if isinstance(data, (list, tuple)):
        return bool(data) and all(isinstance(x, (int, float)) or x is None for x in data[:100])
    return hasattr(data, "dtype")


def _of_chosen_column(kind: DataKind, name: str) -> RecognizedTask:
    chosen = [c for i, c in enumerate(kind.columns, 1) if name in (c.name, str(i))]
    if chosen and is_label_column(chosen[0]):
        return RecognizedTask("label", f"one of {chosen[0].distinct} labels in {name!r}")
    return RecognizedTask("translation", f"targets in {name!r}")
