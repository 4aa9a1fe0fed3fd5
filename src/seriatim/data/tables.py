"""Records: the values of one field or column of a .jsonl, .csv, .tsv or .parquet file.

A value is a text, or a list of symbols that somebody has already cut. Tables with one row per
event give the events of each sequence as such a list. Records are streamed; only a table of
events is grouped in memory, since its rows may come in any order.

Knows formats, columns and rows. Does not know line ends inside of values, or symbols.
"""

import csv
import importlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from seriatim.data.files import read_blocks, split_lines, suggestion
from seriatim.errors import ConfigError, DataError, MissingExtraError

Text: TypeAlias = str | list[str]
# Columns by name, or from 1 in a table without a header; None: `text`, or the only one.
Wanted: TypeAlias = Sequence[str | int | None]

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class Columns:
    """Which values to take.

    Attributes:
        value: field or column of the text, or of the event; None: `text`, or the only one.
        sequence_id: given: one row per event, and this says which sequence the row belongs to.
        order: what the events of a sequence are sorted by; None: the order of the rows.
    """

    value: str | None = None
    sequence_id: str | None = None
    order: str | None = None

    @property
    def wanted(self) -> list[str | None]:
        """The columns to read, the value first."""
        return [self.value, *(c for c in (self.sequence_id, self.order) if c is not None)]


def values(path: Path, format: str, columns: Columns, encoding: str) -> Iterator[Text]:
    """The texts of a file of records, in order, or the sequences of a table of events.

    Raises:
        ConfigError: no such column.
        DataError: a broken record or a value that is no text; the message names the line.
    """
    rows = records(path, format, columns.wanted, encoding)
    if columns.sequence_id is not None:
        yield from _events(path, rows, is_ordered=columns.order is not None)
        return
    for place, (value,) in rows:
        yield text_of(value, path, place)


def records(
    path: Path, format: str, wanted: Wanted, encoding: str
) -> Iterator[tuple[str, list[Any]]]:
    """(a place for messages, the wanted values) of every record.

    Args:
        wanted: names of columns or fields; None: `text`, or the only one; numbers, from 1, of a
            table without a header (as text, they are names where the first row has them).
    """
    if format == "jsonl":
        return _json_rows(path, wanted, encoding)
    if format == "parquet":
        return _parquet_rows(path, wanted)
    return _csv_rows(path, format, wanted, encoding)


def text_of(value: Any, path: Path, place: str) -> Text:
    """A value as text or as symbols already cut.

    Raises:
        DataError: it is neither; the message names the place.
    """
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    if isinstance(value, list):
        return [_symbol(item, path, place) for item in value]
    return _symbol(value, path, place)


def _symbol(value: Any, path: Path, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    given = "no value" if value is None else f"a value of type {type(value).__name__}"
    raise DataError(f"{path}, {place}: {given}, where text, a number or a list of these is needed")


def _positions(path: Path, wanted: Wanted, known: list[str]) -> list[int]:
    """Where the wanted columns stand among the known ones."""
    positions = []
    for given in wanted:
        name = given if given is None else str(given)
        if name is None:
            name = known[0] if len(known) == 1 else "text"
            if name not in known:
                raise ConfigError(
                    f"{path} has {', '.join(known)}: say which of them holds the text "
                    "(--column for tables, --field for .jsonl)"
                )
        if name not in known:
            raise ConfigError(
                f"{path} has no {name!r}, but {', '.join(known)}{suggestion(name, known)}"
            )
        positions.append(known.index(name))
    return positions


def known_columns(path: Path, format: str, encoding: str) -> list[str]:
    """The names in the first row of a table, or of the fields of the first record."""
    if format == "parquet":
        return list(_parquet(path)[1].read_schema(path).names)
    for line in split_lines(read_blocks(path, encoding)):
        if not line.strip():
            continue
        if format != "jsonl":
            return list(next(_csv_reader([line], format), []))
        with suppress(json.JSONDecodeError, RecursionError):
            record = json.loads(line)
            return list(record) if isinstance(record, dict) else []
        return []
    return []


# ---- formats ------------------------------------------------------------------------------------


def _json_rows(path: Path, wanted: Wanted, encoding: str) -> Iterator[tuple[str, list[Any]]]:
    for number, line in enumerate(split_lines(read_blocks(path, encoding)), 1):
        if not line.strip():
            continue
        place = f"line {number:,}"
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(
                f"{path}, {place}, is not JSON ({error}): each line must hold one JSON record"
            ) from None
        if isinstance(record, dict):
            known = list(record)
            yield place, [record[known[i]] for i in _positions(path, wanted, known)]
        elif list(wanted) == [None]:
            yield place, [record]
        else:
            raise DataError(f"{path}, {place}, is no JSON object and has no field to take")


def _csv_rows(
    path: Path, format: str, wanted: Wanted, encoding: str
) -> Iterator[tuple[str, list[Any]]]:
    """CSV with quotes (RFC 4180); TSV without any (the IANA definition)."""
    # The limit is the process's and 128 kB at first, less than a document: only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))
    reader = _csv_reader((line + "\n" for line in split_lines(read_blocks(path, encoding))), format)
    positions: list[int] | None = None
    width = 0
    try:
        for row in reader:
            if not row:
                continue
            if positions is None:
                positions, width = _csv_positions(path, wanted, row), len(row)
                if not _is_numbered(wanted, row):
                    continue
            place = f"line {reader.line_num:,}"
            if len(row) <= max(positions):
                raise DataError(f"{path}, {place}, has {len(row)} of {width} columns")
            yield place, [row[i] for i in positions]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num:,}, is not {format} ({error}): is a quote missing, or "
            "is the file of another format?"
        ) from None


def _csv_reader(text: Iterable[str], format: str) -> Any:
    is_csv = format == "csv"
    return csv.reader(
        text,
        delimiter="," if is_csv else "\t",
        quoting=csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE,
        strict=True,
    )


def _is_numbered(wanted: Wanted, first: list[str]) -> bool:
    """Whether the columns are given as numbers, from 1: a table without a header."""
    given = [name for name in wanted if name is not None]
    return bool(given) and all(
        isinstance(name, int) or (name.isdecimal() and name not in first) for name in given
    )


def _csv_positions(path: Path, wanted: Wanted, first: list[str]) -> list[int]:
    if not _is_numbered(wanted, first):
        return _positions(path, wanted, first)
    positions = [int(name) - 1 for name in wanted if name is not None]
    if min(positions) < 0 or max(positions) >= len(first):
        raise ConfigError(
            f"{path} has columns 1 to {len(first)}, not {max(positions) + 1}; its first line is "
            f"{', '.join(first)}"
        )
    return positions


def _parquet_rows(path: Path, wanted: Wanted) -> Iterator[tuple[str, list[Any]]]:
    arrow, parquet = _parquet(path)
    try:
        with parquet.ParquetFile(path) as file:
            known = list(file.schema_arrow.names)
            names = [known[i] for i in _positions(path, wanted, known)]
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=names):
                taken = [batch.column(name).to_pylist() for name in names]
                for row in zip(*taken, strict=True):
                    number += 1
                    yield f"row {number:,}", list(row)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}") from None


def _parquet(path: Path) -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError(
            f"{path} is a parquet file, and reading it needs pyarrow: pip install 'seriatim[data]'"
        ) from None


# ---- one row per event --------------------------------------------------------------------------


def _events(
    path: Path, rows: Iterable[tuple[str, list[Any]]], *, is_ordered: bool
) -> Iterator[list[str]]:
    """The events of each sequence, sorted; sequences in the order of their first rows."""
    sequences: dict[Any, list[tuple[Any, str]]] = {}
    shared: dict[str, str] = {}  # one string for each kind of event
    is_numeric = True
    for place, (value, sequence, *order) in rows:
        event = _symbol(value, path, place)
        if event == "" or sequence is None or any(o is None or o != o for o in order):
            raise DataError(
                f"{path}, {place}, lacks the event, the sequence id or the order: fill or remove it"
            )
        key: Any = _sortable(order[0]) if is_ordered else 0
        is_numeric = is_numeric and not isinstance(key, str)
        sequences.setdefault(sequence, []).append((key, shared.setdefault(event, event)))
    by_key = itemgetter(0) if is_numeric else _as_text
    for events in sequences.values():
        yield [event for _, event in (sorted(events, key=by_key) if is_ordered else events)]


def _sortable(value: Any) -> Any:
    """Numbers written as text as numbers, so that 10 comes after 9; the rest as it is."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def _as_text(event: tuple[Any, str]) -> str:
    return str(event[0])
