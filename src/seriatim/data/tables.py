"""Records: the values of a field or column of a .jsonl, .csv, .tsv, .parquet or FASTA file.

A value is a text, or a list of symbols that is already cut. Tables with one row per event give
the events of each sequence as such a list. Records are streamed; only a table of events is
grouped in memory, since its rows may come in any order.

Knows formats, columns and rows. Does not know line ends inside values, or symbols.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from seriatim.core.extras import import_extra
from seriatim.core.validation import did_you_mean
from seriatim.data import fasta
from seriatim.data.files import read_blocks, split_lines
from seriatim.data.order_keys import Instant, OrderKeys
from seriatim.errors import ConfigError, DataError

Text: TypeAlias = str | list[str]
# Columns by name, or by number from 1 in a table without a header; None: `text`, or the only one.
ColumnChoice: TypeAlias = Sequence[str | int | None]

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    **dict.fromkeys(fasta.SUFFIXES, "fasta"),
}
_OTHER_DELIMITERS = (";", "\t", "|")
# First lines that are the header of the only column.
_HEADERS = {"text", "sentence", "sequence", "document", "line", "content", "body"}
_LONE_RETURN = "a carriage return without a line feed"
_NOTED_HEADERS = _HEADERS - {"text"}
# Cells that are the names of columns rather than values.
_HEADER_WORDS = _HEADERS | {
    *("id", "label", "class", "category", "source", "target", "src", "tgt", "input", "output"),
    *("title", "event", "time", "timestamp", "session", "session_id", "name", "url", "date"),
}
_HEAD_LINES = 1000  # that are searched for quotes
_QUOTED = re.compile(r'"[^"]*"')
_WHOLE_NUMBER = re.compile(r"^(-?\d{1,15})\.0+$")  # 17.0, of a column of numbers with gaps


@dataclass(frozen=True)
class Columns:
    """The values to read.

    Attributes:
        value: the field or column of the text, or of the event; None: `text`, or the only one.
        sequence_column: the column that says which sequence a row belongs to, of a table with one
            row per event; None: every row is a text.
        order_column: the column by which the events of a sequence are sorted; None: the order of
            rows.
    """

    value: str | None = None
    sequence_column: str | None = None
    order_column: str | None = None

    @property
    def wanted(self) -> list[str | None]:
        """The columns to read, the value first."""
        return [
            self.value,
            *(c for c in (self.sequence_column, self.order_column) if c is not None),
        ]


def values(path: Path, format: str, columns: Columns, encoding: str) -> Iterator[Text]:
    """The texts of a file of records, in order, or the sequences of a table of events.

    Raises:
        ConfigError: if there is no such column.
        DataError: if a record is broken or a value is not text; the message names the line.
    """
    rows = records(path, format, columns.wanted, encoding)
    if columns.sequence_column is not None:
        for sequence in group_events(path, rows, columns):
            yield sequence.events
        return
    for place, (value,) in rows:
        yield to_text(value, path, place)


def records(
    path: Path,
    format: str,
    wanted: ColumnChoice,
    encoding: str,
    lines: Iterable[str] | None = None,
) -> Iterator[tuple[str, list[Any]]]:
    """(the place for messages, the wanted values) of every record.

    Args:
        path: the file.
        format: jsonl, csv, tsv, parquet or fasta.
        wanted: the names of columns or fields; None: `text`, or the only one; numbers, from 1,
            of a table without a header (as text, they are names where the first row has them).
        encoding: the encoding of everything but parquet.
        lines: the lines of a .jsonl, .csv or .tsv that is still growing, as they come; None: those
            of the file.
    """
    if format == "parquet":
        return _read_parquet(path, wanted)
    if format == "fasta":
        return _read_fasta(path, wanted, encoding)
    if lines is None:
        lines = split_lines(read_blocks(path, encoding))
    if format == "jsonl":
        return _read_jsonl(path, wanted, lines)
    return _read_csv(path, format, wanted, lines)


def to_text(value: Any, path: Path, place: str) -> Text:
    """A value as text, or as symbols that are already cut.

    Raises:
        DataError: if it is neither; the message names the place.
    """
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    if isinstance(value, list):
        return [_to_symbol(item, path, place) for item in value]
    return _to_symbol(value, path, place)


def _to_symbol(value: Any, path: Path, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():  # of an integer column with gaps
        return str(int(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        return str(value)
    problem = f"a value of type {type(value).__name__}"
    if value is None or value != value:
        problem = "no value"
    raise DataError(f"{path}, {place}: {problem}; give text, a number or a list of these")


def _find_columns(path: Path, wanted: ColumnChoice, known: list[str]) -> list[int]:
    """The positions of the wanted columns among the known ones."""
    positions = []
    for choice in wanted:
        name = choice if choice is None else str(choice)
        if name is None:
            in_lower_case = [column.strip().lower() for column in known]
            name = known[0] if len(known) == 1 else "text"
            if name not in known and in_lower_case.count("text") == 1:
                name = known[in_lower_case.index("text")]
            if name not in known:
                raise ConfigError(
                    f"{path} has the columns {', '.join(known)}: say which one holds the text "
                    "(--column for tables, --field for .jsonl)"
                )
        if name not in known:
            raise ConfigError(
                f"{path} has no column {name!r}, only {', '.join(known)}{did_you_mean(name, known)}"
            )
        if known.count(name) > 1:
            raise DataError(f"{path} has {known.count(name)} columns named {name!r}: rename them")
        positions.append(known.index(name))
    return positions


def known_columns(path: Path, format: str, encoding: str) -> list[str]:
    """The names in the first row of a table, or of the fields of the first record."""
    if format == "parquet":
        arrow, parquet = _import_parquet(path)
        try:
            return list(parquet.read_schema(path).names)
        except (arrow.ArrowException, OSError, UnicodeError) as error:
            raise _not_parquet(path, error) from None
    if format == "fasta":
        return [*fasta.COLUMNS]
    if format != "jsonl":
        with suppress(csv.Error):
            return _first_row(path, format, encoding)[0]
        return []
    lines = split_lines(read_blocks(path, encoding))
    first = next((line for line in lines if line.strip()), "")
    with suppress(json.JSONDecodeError, RecursionError):
        record = json.loads(first)
        return list(record) if isinstance(record, dict) else []
    return []


def reading_notes(
    path: Path, format: str, wanted: ColumnChoice, encoding: str, guess: str = ""
) -> tuple[str, ...]:
    """What is taken where the file does not say how to read it: sentences for people.

    Args:
        path, format, wanted, encoding: as for `records`.
        guess: a note on the header, where columns are given by number, but not by the user.
    """
    if format not in ("csv", "tsv"):
        return ()
    try:
        first, delimiter, line = _first_row(path, format, encoding)
    except (csv.Error, DataError):  # reading says it
        return ()
    notes, shown = [], f"({', '.join(first)!s:.60})"
    if format == "tsv" and _has_quoted_cells(path, encoding):
        notes.append(
            f"{path}: quotes around values are read as part of them, as in every .tsv; if they are "
            "not, give --format csv"
        )
    if format == "csv" and delimiter != ",":
        notes.append(f"{path}: columns are separated by {_name(delimiter)}, as in its first line")
    if guess:
        notes.append(guess)
    elif _is_numbered(wanted, first) and has_header_words(first):
        notes.append(
            f"{path}: the first line {shown} is read as data and not as a header, since columns "
            "are given by number; if it is a header, give their names"
        )
    others = [d for d in _OTHER_DELIMITERS if d in line]
    if format == "csv" and delimiter == "," and others:
        notes.append(
            f"{path}: columns are separated by ',', though its first line also has "
            f"{_name(others[0])}; if that is the separator, put values with commas in quotes"
        )
    if list(wanted) == [None] and len(first) == 1 and first[0].strip().lower() in _NOTED_HEADERS:
        notes.append(
            f"{path}: the first line {shown} is taken as the header; if it is a text, give "
            "--column 1"
        )
    return tuple(notes)


def has_header_words(cells: Iterable[str]) -> bool:
    """Whether one of the cells is a word that usually is the name of a column."""
    return any(cell.strip().lower() in _HEADER_WORDS for cell in cells)


def _has_quoted_cells(path: Path, encoding: str) -> bool:
    """Whether the first rows of a .tsv have cells in quotes, with quotes doubled inside."""
    lines = islice(split_lines(read_blocks(path, encoding)), _HEAD_LINES)
    cells = (cell for line in lines for cell in line.split("\t"))
    return any(
        len(cell) > 4 and cell[0] == cell[-1] == '"' and '""' in cell[1:-1] for cell in cells
    )


def _first_row(path: Path, format: str, encoding: str) -> tuple[list[str], str, str]:
    """The first row that is not blank, the separator, and its line without quoted values."""
    lines = (line + "\n" for line in split_lines(read_blocks(path, encoding)))
    head = list(_until_text(lines))
    delimiter = _delimiter("".join(head), format)
    rows = _Rows(chain(head, lines), delimiter, format)
    return next(iter(rows), []), delimiter, _QUOTED.sub("", "".join(head))


def spell_number(text: str) -> str:
    """A whole number of a column of numbers with gaps as it is spelled in one without: 17.0 as 17.

    Every other text stays as it is.
    """
    text = _WHOLE_NUMBER.sub(r"\1", text)
    return "0" if text == "-0" else text


# ---- formats ------------------------------------------------------------------------------------


def _read_jsonl(
    path: Path, wanted: ColumnChoice, lines: Iterable[str]
) -> Iterator[tuple[str, list[Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"line {number:,}"
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            advice = "each line must hold one JSON record"
            if "\r" in line:
                advice += "; it has a carriage return without a line feed, which ends no line"
            raise DataError(f"{path}, {place}, is not JSON ({error}): {advice}") from None
        if isinstance(record, dict):
            known = list(record)
            yield place, [record[known[i]] for i in _find_columns(path, wanted, known)]
        elif list(wanted) == [None]:
            yield place, [record]
        else:
            raise DataError(
                f"{path}, {place}, is not a JSON object: fields can only be read from objects"
            )


def _read_fasta(path: Path, wanted: ColumnChoice, encoding: str) -> Iterator[tuple[str, list[Any]]]:
    chosen = ["sequence" if name is None else name for name in wanted]
    positions = _find_columns(path, chosen, [*fasta.COLUMNS])
    for place, record in fasta.read_fasta(path, encoding):
        yield place, [record[i] for i in positions]


def _read_csv(
    path: Path, format: str, wanted: ColumnChoice, lines: Iterable[str]
) -> Iterator[tuple[str, list[Any]]]:
    """CSV with quotes (RFC 4180); TSV without any (the IANA definition).

    Every row has as many columns as the first one; a CSV whose first row has no comma may be
    separated by semicolons, tabs or bars.
    """
    # The limit belongs to the process and is 128 kB at first, less than a document: only raised.
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))
    ended = (line + "\n" for line in lines)
    head = list(_until_text(ended))
    delimiter = _delimiter("".join(head), format)
    rows = _Rows(chain(head, ended), delimiter, format)
    positions: list[int] | None = None
    header: list[str] = []
    try:
        for row in rows:
            if positions is None:
                if format == "csv" and delimiter == "," and _is_numbered(wanted, row):
                    _refuse_mixed(path, head[-1], row, len(wanted))
                positions, header = _csv_positions(path, wanted, row), row
                if not _is_numbered(wanted, row):
                    continue
            place = f"line {rows.line_number:,}"
            _check_row(path, place, row, header, delimiter)
            yield place, [row[i] for i in positions]
    except csv.Error as error:
        advice = "is a quote missing, or is the file in another format?"
        if "new-line character" in str(error) or str(error) == _LONE_RETURN:
            error = csv.Error(_LONE_RETURN)
            advice = "convert its line ends to LF or CRLF"
        raise DataError(
            f"{path}, line {rows.line_number:,}, is not {format} ({error}): {advice}"
        ) from None


def _until_text(lines: Iterator[str]) -> Iterator[str]:
    """The lines up to the first one that is not blank."""
    for line in lines:
        yield line
        if line.strip():
            return


def _check_row(path: Path, place: str, row: list[str], header: list[str], delimiter: str) -> None:
    """Refuse a row in which a delimiter inside a value has shifted the columns.

    Raises:
        DataError: if it has another number of columns than the first row, or a quote after a space.
    """
    if len(row) != len(header):
        columns = f"{len(row)} column{'s' * (len(row) != 1)}"
        name = _name(delimiter)
        raise DataError(
            f"{path}, {place}, has {columns} and the first row has {len(header)} "
            f"({', '.join(header)[:60]}), separated by {name}: quote values that contain {name}, "
            "or give the format that the file is in (--format csv, tsv, text, or conll if each "
            "line is an element with its label)"
        )
    for cell in row if delimiter != "\t" else []:
        if cell[:1] == " " and cell.lstrip(" ")[:1] == '"':
            raise DataError(
                f"{path}, {place}, has a space before a quote ({cell[:30]}): remove it, so that "
                "the quotes count"
            )


def _delimiter(first: str, format: str) -> str:
    """The separator of columns: a comma or a tab, or another one that the first row shows.

    Another one is taken only in CSV, and only if the first row has no comma outside of quotes.
    """
    if format == "tsv":
        return "\t"
    first = _QUOTED.sub("", first)
    if "," not in first:
        return next((d for d in _OTHER_DELIMITERS if d in first), ",")
    return ","


def _name(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else repr(delimiter)


@dataclass
class _Rows:
    """The rows of a table that are not empty, each as its cells.

    Attributes:
        lines: the lines, ended by LF.
        delimiter: the separator of columns.
        format: csv, with quotes, or tsv, without.
        line_number: the number of the last line that was read.
    """

    lines: Iterable[str]
    delimiter: str
    format: str
    line_number: int = 0
    _line: str = ""

    def __iter__(self) -> Iterator[list[str]]:
        if self.format == "tsv":
            for line in self._numbered():
                if "\r" in line:
                    raise csv.Error(_LONE_RETURN)
                if line != "\n":
                    yield line[:-1].split("\t")
            return
        for row in csv.reader(self._numbered(), delimiter=self.delimiter, strict=True):
            if self._line.endswith("\r\n"):  # which csv would drop
                raise csv.Error(_LONE_RETURN)
            if row:
                yield row

    def _numbered(self) -> Iterator[str]:
        for line in self.lines:
            self.line_number += 1
            self._line = line
            yield line


def _is_numbered(wanted: ColumnChoice, first: list[str]) -> bool:
    """Whether the columns are given as numbers, from 1: a table without a header."""
    names = [name for name in wanted if name is not None]
    return bool(names) and all(
        isinstance(name, int) or (name.isdecimal() and name not in first) for name in names
    )


def _csv_positions(path: Path, wanted: ColumnChoice, first: list[str]) -> list[int]:
    if list(wanted) == [None] and len(first) == 1 and first[0].strip().lower() not in _HEADERS:
        name = repr(first[0][:40])
        other = next((d for d in (",", *_OTHER_DELIMITERS) if d in first[0]), "")
        hint = f" (or --format csv if columns are separated by {other!r})" if other else ""
        raise ConfigError(
            f"{path} has one column, and it is not clear whether its first line, {name}, is a "
            f"header: give --column {name} if it is, otherwise --column 1{hint}"
        )
    if not _is_numbered(wanted, first):
        return _find_columns(path, wanted, first)
    positions = [int(name) - 1 for name in wanted if name is not None]
    if min(positions) < 0 or max(positions) >= len(first):
        raise ConfigError(
            f"{path} has columns 1 to {len(first)}, and column {max(positions) + 1} is needed; its "
            f"first line is {', '.join(first)[:60]}: give other columns, or the format it is in"
        )
    return positions


def _refuse_mixed(path: Path, line: str, first: list[str], num_wanted: int) -> None:
    """Refuse a first row without a header that may be separated by commas or by something else."""
    bare = _QUOTED.sub("", line)
    is_sentence = any(cell.startswith(" ") for cell in first)  # a comma in a text
    for other in _OTHER_DELIMITERS:
        is_complete = 0 < bare.count(other) == num_wanted - 1
        if "," in bare and is_complete and (num_wanted < len(first) or is_sentence):
            raise DataError(
                f"{path} seems to be separated by {other!r}, but has commas too: quote values that "
                "contain commas, or save it as .tsv"
            )


def _read_parquet(path: Path, wanted: ColumnChoice) -> Iterator[tuple[str, list[Any]]]:
    arrow, parquet = _import_parquet(path)
    try:
        with parquet.ParquetFile(path) as file:
            known = list(file.schema_arrow.names)
            names = [known[i] for i in _find_columns(path, wanted, known)]
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=names):
                columns = [_to_python(batch.column(name), arrow) for name in names]
                for row in zip(*columns, strict=True):
                    number += 1
                    yield f"row {number:,}", list(row)
    except (arrow.ArrowException, OSError, UnicodeError) as error:
        raise _not_parquet(path, error) from None


def _not_parquet(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0]
    return DataError(f"{path} cannot be read as parquet ({reason}): fetch or write it again")


def _to_python(column: Any, arrow: Any) -> list[Any]:
    """The values of a column; instants as `Instant`, since datetime cannot hold nanoseconds."""
    if arrow.types.is_timestamp(column.type):
        return [v if v is None else Instant(v) for v in column.cast("int64").to_pylist()]
    return list(column.to_pylist())


def _import_parquet(path: Path) -> tuple[Any, Any]:
    message = (
        f"{path} is a parquet file, and reading it needs pyarrow: pip install 'seriatim[data]'"
    )
    return import_extra("pyarrow", message), import_extra("pyarrow.parquet", message)


# ---- one row per event --------------------------------------------------------------------------


@dataclass(frozen=True)
class EventSequence:
    """The events of one sequence, sorted.

    Attributes:
        name: the id of the sequence.
        events: the events.
        times: the cell of the order column of each event; None: the table has no such column.
    """

    name: str
    events: list[str]
    times: list[str] | None


def event_sequences(
    path: Path, format: str, columns: Columns, encoding: str
) -> Iterator[EventSequence]:
    """The sequences of a table with one row per event; raises as `values` does."""
    return group_events(path, records(path, format, columns.wanted, encoding), columns)


def group_events(
    path: Path, rows: Iterable[tuple[str, list[Any]]], columns: Columns
) -> Iterator[EventSequence]:
    """The events of each sequence, sorted; sequences in the order of their first rows.

    Args:
        path: the file, for messages.
        rows: the place of each row, and its event, sequence id and, if there is one, order.
        columns: the columns.
    """
    sequences: dict[str, list[tuple[Any, str, str]]] = {}
    shared: dict[str, str] = {}  # one string for all events of a kind
    keys = OrderKeys(path, columns.order_column)
    for place, (value, sequence, *order) in rows:
        event = to_event(value, path, place, "event")
        key = keys.parse(order[0], place) if order else 0
        name = to_event(sequence, path, place, "sequence id")
        if event == "" or name == "":
            empty = "event" if event == "" else "sequence id"
            raise DataError(f"{path}, {place}, has an empty {empty}: fill it or remove the row")
        event, time = shared.setdefault(event, event), str(order[0]) if order else ""
        sequences.setdefault(name, []).append((key, event, time))
    for name, found in sequences.items():
        if columns.order_column is not None:
            found.sort(key=itemgetter(0))
        times = None if columns.order_column is None else [time for _, _, time in found]
        yield EventSequence(name, [event for _, event, _ in found], times)


def to_event(value: Any, path: Path, place: str, what: str) -> str:
    """An event or an id as text; a whole number is spelled alike however it is written."""
    if isinstance(value, (date, Decimal)):
        value = str(value)
    if isinstance(value, (list, dict)):
        raise DataError(
            f"{path}, {place}: the {what} is a {'list' if isinstance(value, list) else 'record'} "
            f"({value!r:.40}): give text or a number"
        )
    text = value if isinstance(value, str) else _to_symbol(value, path, place)
    return spell_number(text)
