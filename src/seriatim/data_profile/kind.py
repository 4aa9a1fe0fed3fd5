"""The kind of data in files, by their first records: text, events, pairs, labels, numbers.

A heuristic: each kind states its evidence, and the user's options take precedence.

Knows formats and columns; no symbols or models.
"""

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from seriatim.data import fasta, tables, tagged
from seriatim.data.files import path_suffix, read_blocks, split_lines
from seriatim.data.series.column_roles import TIME_NAMES, VALUE_NAMES, hold_dates
from seriatim.data.series.opening import begins_listed
from seriatim.data.series.turned import moment_columns
from seriatim.errors import ConfigError, DataError

# The tasks of kinds that are not modelled as text; None: there is none yet.
_TASKS: Mapping[str, str | None] = {
    "pairs": "translation",
    "labelled": "label",
    "tagged": "label",
    "numbers": "forecast",
    "json": None,
}

_HEAD = 2000  # lines or records that decide
_JSON_BYTES = 1 << 26
_NUMBER = re.compile(r"[+-]?(\d[\d_,.]*|\.\d+)([eE][+-]?\d+)?$")
_KEYED = re.compile(r"^([A-Za-z]{2,12}): .+? ([A-Za-z]{2,12}): ")
_PAIR_NAMES = (("source", "target"), ("src", "tgt"), ("input", "output"), ("question", "answer"))
_ID_NAMES = re.compile(r"(^|_)(id|session|user|case|trace|visit|device|customer|block|seq)", re.I)
_TIME_NAMES = re.compile(
    r"(^|_)(time|timestamp|date|order|step|index|ts|at)($|_)|time$|date$", re.I
)
_EVENT_NAMES = re.compile(r"(event|action|activity|page|url|symbol|type|state|item|code|key)", re.I)
_LABEL_NAMES = re.compile(r"^(label|class|category|target|tag|language|sentiment)$", re.I)
_MAX_LABELS = 50


@dataclass(frozen=True)
class Column:
    """One column, or field, of the first records.

    Attributes:
        name: its name in the header, or its number.
        values: the number of cells that were examined.
        empty: the number of cells without a value.
        distinct: the number of distinct values.
        numbers: the fraction of values that are numbers.
        lists: the fraction of values that are lists of symbols.
        length: the mean characters of a value.
        is_grouped: whether values recur, as the id of a sequence does.
        has_dates: whether the values are dates.
    """

    name: str
    values: int
    empty: int
    distinct: int
    numbers: float
    lists: float
    length: float
    is_grouped: bool
    has_dates: bool = False


@dataclass(frozen=True)
class DataKind:
    """The kind that data seems to be.

    Attributes:
        name: text, events, labelled, pairs, documents, event table, numbers, tagged or json.
        description: a phrase for people, with the evidence.
        options: the options of `seriatim fit` that it needs, by name.
        columns: the columns of a table.
        keys: the two names in lines such as `IN: .. OUT: ..`.
        note: what was taken as the header of a table; "": it is clear.
        is_listed: whether each record, or each row, holds a series.
    """

    name: str
    description: str
    options: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    keys: tuple[str, str] | None = None
    note: str = ""
    is_listed: bool = False

    @property
    def task(self) -> str | None:
        """The name of the task that fits it; None: none does yet."""
        return _TASKS.get(self.name, "language")

    @property
    def has_labels(self) -> bool:
        """Whether sequences or their elements have labels."""
        return self.name in ("labelled", "tagged")


_TAGGED = DataKind(
    "tagged",
    "one element and its label per line, in a file whose name does not say so",
    {"format": "conll"},
)


def detect_kind(
    paths: Sequence[Path],
    formats: Sequence[str],
    encoding: str,
    user_columns: Mapping[str, str | None],
) -> DataKind:
    """The kind of files.

    Args:
        paths: text or parquet files.
        formats: the format of each, as in `open_source`.
        encoding: the encoding to read them with.
        user_columns: the user's column options, which decide if there are any.

    Raises:
        DataError: a record is broken.
    """
    if formats[0] == "tsv" and len(paths) == 1 and tagged.looks_tagged(_head(paths[0], encoding)):
        return _TAGGED
    if formats[0] == "fasta":
        return DataKind("documents", "sequences of a FASTA file: each record is a sequence")
    if formats[0] != "text":
        return _of_table(paths[0], formats[0], encoding, user_columns)
    if len(paths) == 1 and path_suffix(paths[0]) in tagged.SUFFIXES:
        return DataKind("tagged", "one element and its label per line")
    head = _head(paths[0], encoding)
    if len(paths) == 1 and fasta.looks_like_fasta(head[:-1] or head):
        return DataKind(
            "documents",
            "sequences in FASTA, in a file whose name does not say so",
            options={"format": "fasta"},
        )
    if len(paths) == 1 and tagged.looks_tagged(head):
        return _TAGGED
    full = [line for line in head if line.strip()]
    if len(paths) > 1:
        kind = _of_folder(paths, encoding)
    else:
        kind = _json_in(paths[0], full, encoding) or _delimited(full)
    return kind or _keyed(full) or kind_of_lines(full)


def _head(path: Path, encoding: str, count: int = _HEAD) -> list[str]:
    return list(islice(split_lines(read_blocks(path, encoding)), count))


# ---- lines --------------------------------------------------------------------------------------


def kind_of_lines(full: list[str]) -> DataKind:
    """Numbers, events or text."""
    words = [line.split() for line in full]
    counts = Counter(word for line in words for word in line)
    total, mean = sum(counts.values()), statistics.fmean(map(len, words)) if words else 0.0
    if len(full) >= 5 and mean == 1 and all(_NUMBER.match(word) for word in counts):
        return DataKind("numbers", "one number per line: a series, not symbols")
    sentences = sum(n for word, n in counts.items() if word[-1] in ".,;:!?" and len(word) > 1)
    is_prose = sentences * 50 > total
    few = len(counts) <= 50 or len(counts) * 200 < total
    if total >= 100 and mean >= 1.5 and few and not is_prose:
        return DataKind(
            "events",
            f"lines of events: {len(counts):,} distinct ones among the first {total:,}, "
            f"{mean:.1f} per line",
            options={"sequences": "line", "symbols": "word"},
        )
    return DataKind("text", "plain text")


def _keyed(full: list[str]) -> DataKind | None:
    """Lines such as `IN: walk OUT: WALK`."""
    matches = [_KEYED.match(line) for line in full]
    keys = {match.groups() for match in matches if match}
    if len(full) >= 3 and all(matches) and len(keys) == 1:
        first, second = keys.pop()
        return DataKind(
            "pairs",
            f"pairs in lines of the form '{first}: .. {second}: ..'",
            keys=(first, second),
        )
    return None


def _json_in(path: Path, full: list[str], encoding: str) -> DataKind | None:
    """JSON in a file of another name, or one JSON value."""
    if not full or full[0].lstrip()[:1] not in ("{", "["):
        return None
    try:
        if all(isinstance(json.loads(line), (dict, list)) for line in full[:20]) and len(full) > 1:
            return DataKind(
                "documents",
                "one JSON record per line, in a file whose name does not say so",
                options={"format": "jsonl"},
            )
    except ValueError:
        pass
    if path.stat().st_size > _JSON_BYTES:
        return None
    try:
        value = json.loads("".join(read_blocks(path, encoding)))
    except ValueError:
        return None
    content = (
        f"a list of {len(value):,}" if isinstance(value, list) else f"a {type(value).__name__}"
    )
    return DataKind("json", f"one JSON value ({content}), which is read as plain text")


def _delimited(full: list[str]) -> DataKind | None:
    """A table in a file of another name: every line has as many tabs or commas."""
    if len(full) < 5:
        return None
    for mark, name, format in (("\t", "tabs", "tsv"), (",", "commas", "csv")):
        counts = {line.count(mark) for line in full}
        is_prose = mark == "," and statistics.fmean(map(len, full)) > 200
        if len(counts) == 1 and 0 not in counts and not is_prose:
            width = counts.pop() + 1
            cells = [[cell.strip() for cell in line.split(mark)] for line in full]
            longest = max(range(width), key=lambda i: sum(len(row[i]) for row in cells))
            return DataKind(
                "documents",
                f"{width} columns separated by {name}, in a file whose name does not say so; the "
                f"longest is column {longest + 1}",
                options={"format": format, "column": str(longest + 1)},
                columns=tuple(_column(str(i + 1), [r[i] for r in cells]) for i in range(width)),
            )
    return None


def _of_folder(paths: Sequence[Path], encoding: str) -> DataKind | None:
    """A folder with one file of short lines per label, if it is one."""
    texts = [path for path in paths if path_suffix(path) == ".txt"]
    if len(texts) < max(2, 0.8 * len(paths)):
        return None
    folders = Counter(path.parent for path in texts)
    is_one_level = len({folder.parent for folder in folders}) == 1
    if is_one_level and 2 <= len(folders) <= _MAX_LABELS and min(folders.values()) >= 2:
        return DataKind(
            "labelled",
            f"a folder of {len(folders):,} subfolders of .txt files: each subfolder is a label, "
            "and its files are the sequences",
        )
    heads = [_head(path, encoding, 50) for path in texts[:40]]
    full = [line for head in heads for line in head if line.strip()]
    if full and statistics.median(len(line) for line in full) < 40:
        words = statistics.fmean(len(line.split()) for line in full)
        if words < 3 and len(texts) <= 500:
            return DataKind(
                "labelled",
                f"a folder of {len(texts):,} .txt files of short lines: each file is a label, "
                "and its lines are the sequences",
                {"sequences": "line"},
            )
    return None


# ---- tables -------------------------------------------------------------------------------------


def _of_table(
    path: Path, format: str, encoding: str, user_columns: Mapping[str, str | None]
) -> DataKind:
    names = tables.known_columns(path, format, encoding)
    if format == "jsonl" and begins_listed(path, encoding):
        return DataKind("numbers", "a series in each record: series, not symbols", is_listed=True)
    if not names:
        return DataKind("documents", f"{format} without named fields: each record is a sequence")
    has_header = format in ("jsonl", "parquet") or not _looks_like_data(path, format, encoding)
    wanted: tables.ColumnChoice = names if has_header else list(range(1, len(names) + 1))
    columns = _columns(path, format, encoding, wanted)
    if any(value is not None for value in user_columns.values()):
        return DataKind(
            "documents", f"a {format} table, read by the columns you chose", columns=columns
        )
    kind = _of_columns(columns, format, has_header)
    is_guess = format in ("csv", "tsv") and len(names) > 1 and not tables.has_header_words(names)
    if not is_guess or not has_header:
        return kind
    note = (
        f"{path}: the first line ({', '.join(names)!s:.60}) is taken as the header; if it is data, "
        "give columns by number, such as --column 1"
    )
    return replace(kind, note=note)


def _of_columns(columns: tuple[Column, ...], format: str, has_header: bool) -> DataKind:
    by_name = {column.name.lower(): column for column in columns}
    for source, target in _PAIR_NAMES:
        if source in by_name and target in by_name:
            options = {"source-column": by_name[source].name, "target-column": by_name[target].name}
            return DataKind("pairs", f"pairs of {source} and {target}", options, columns)
    for source in ("text", "sentence"):
        if source in by_name and "label" in by_name:
            return _labelled(by_name[source], by_name["label"], columns, has_header)
    text = [c for c in columns if c.numbers < 0.5 and c.distinct]
    numeric = [c for c in columns if c.numbers >= 0.5]
    before = moment_columns([c.name for c in columns])
    names_rows = columns[0] in text and columns[0].distinct == columns[0].values
    if before is not None and names_rows and not {*columns[before:]}.intersection(text):
        return DataKind("numbers", "a table with a series in each row", {}, columns, is_listed=True)
    if _is_long_series(by_name):
        return DataKind("numbers", "a table with a value of a series in each row", {}, columns)
    is_dated = all(_TIME_NAMES.search(c.name) or c.has_dates for c in text)
    if is_dated and any(not c.has_dates for c in numeric):
        names = ", ".join(c.name for c in numeric[:4])
        return DataKind(
            "numbers", f"a table of numbers ({names}): series, not symbols", {}, columns
        )
    events = _events(columns)
    if events is not None:
        return events
    labels = [c for c in text if is_label_column(c)]
    texts = [c for c in text if c not in labels] or text
    if len(columns) == 2 and len(text) == 2 and labels:
        label = min(labels, key=lambda c: (not _LABEL_NAMES.match(c.name), c.distinct, c.length))
        return _labelled(next(c for c in text if c is not label), label, columns, has_header)
    if len(columns) == 2 and has_header and _are_two_sides(texts):
        first, second = (column.name for column in columns)
        options = {"task": "translation", "source-column": first, "target-column": second}
        return DataKind("pairs", f"pairs of {first} and {second}", options, columns)
    if len(columns) == 2 and len(texts) == 2 and not has_header:
        return DataKind(
            "pairs",
            f"pairs in two columns of a .{format} file without a header",
            {"task": "translation"},
            columns,
        )
    best = max(texts or columns, key=lambda c: (c.name.lower() == "text", c.lists, c.length))
    name = "field" if format == "jsonl" else "column"
    options = {} if len(columns) == 1 or best.name == "text" else {name: best.name}
    if best.lists > 0.5:
        options["symbols"] = "word"
    return DataKind("documents", f"a table with its text in {best.name!r}, one sequence per record",
                options=options, columns=columns)  # fmt: skip


def _is_long_series(by_name: Mapping[str, Column]) -> bool:
    """Whether a table has times and values under the names that they have in tables of series."""
    values = [by_name[name] for name in VALUE_NAMES if name in by_name]
    times = [by_name[name] for name in TIME_NAMES if name in by_name]
    is_text = any(name in by_name for name in ("text", "sentence"))
    return bool(times) and any(c.numbers >= 0.5 for c in values) and not is_text


def _are_two_sides(texts: list[Column]) -> bool:
    """Whether two columns of text may be the sides of pairs: as varied, and about as long."""
    if len(texts) != 2 or any(_ID_NAMES.search(c.name) or c.name.lower() == "text" for c in texts):
        return False
    shorter, longer = sorted(c.length for c in texts)
    return longer < 8 * shorter + 8 and min(c.distinct for c in texts) * 4 > texts[0].values


def _labelled(
    text: Column, label: Column, columns: tuple[Column, ...], has_header: bool
) -> DataKind:
    usual = has_header and {text.name, label.name} == {"text", "label"}
    ordered = not has_header and columns[0] is text
    options = {} if usual or ordered else {"source-column": text.name, "target-column": label.name}
    description = f"sequences with one of {label.distinct} labels each"
    return DataKind("labelled", description, options, columns)


def is_label_column(column: Column) -> bool:
    """Whether its values look like labels: few, short and repeated."""
    few = column.distinct <= _MAX_LABELS and column.distinct * 10 <= column.values
    return few and (column.length < 30 or _LABEL_NAMES.match(column.name) is not None)


def _events(columns: tuple[Column, ...]) -> DataKind | None:
    """A table with one event per row and a column with the id of its sequence."""
    ids = [c for c in columns if c.is_grouped and _ID_NAMES.search(c.name)]
    if not ids:
        return None
    rest = [c for c in columns if c is not ids[0] and not c.lists]
    times = [c for c in rest if _TIME_NAMES.search(c.name)]
    named = [c for c in rest if c not in times and _EVENT_NAMES.search(c.name)]
    few = [c for c in rest if c not in times and c.distinct * 5 <= c.values]
    events = named or few
    if not events:
        return None
    options = {"column": events[0].name, "sequence-column": ids[0].name, "symbols": "word"}
    if times:
        options["order-column"] = times[0].name
    description = f"one event per row: {events[0].name!r}, of the sequence in {ids[0].name!r}"
    description += f", ordered by {times[0].name!r}" if times else ", in the order of the rows"
    return DataKind("event table", description, options=options, columns=columns)


def _columns(
    path: Path, format: str, encoding: str, wanted: tables.ColumnChoice
) -> tuple[Column, ...]:
    rows: list[list[Any]] = []
    try:
        for _, row in islice(tables.records(path, format, wanted, encoding), _HEAD):
            rows.append(row)
    except (DataError, ConfigError):
        if not rows:
            raise
    return tuple(_column(str(name), [row[i] for row in rows]) for i, name in enumerate(wanted))


def _column(name: str, values: list[Any]) -> Column:
    present = [v for v in values if v is not None and v != "" and v == v]
    texts = [str(v).strip() for v in present]
    count = max(len(present), 1)
    distinct = len(set(texts))
    return Column(
        name=name,
        values=len(values),
        empty=len(values) - len(present),
        distinct=distinct,
        numbers=sum(_NUMBER.match(text) is not None for text in texts) / count,
        lists=sum(isinstance(v, list) for v in present) / count,
        length=sum(map(len, texts)) / count,
        is_grouped=1 < distinct <= 0.7 * count,
        has_dates=hold_dates(present),
    )


def _looks_like_data(path: Path, format: str, encoding: str) -> bool:
    """Whether the first row of a table holds values and no names: a number, nothing, or a value
    that recurs below."""
    reader = tables.records(path, format, [1], encoding)
    first = [str(cell) for cell in tables.known_columns(path, format, encoding)]
    if any(not cell.strip() or _NUMBER.match(cell.strip()) for cell in first):
        return True
    if len(set(first)) < len(first):
        return True
    usual = {name for names in _PAIR_NAMES for name in names} | {"text", "label"}
    if usual & {cell.lower() for cell in first}:
        return False
    column = [str(row[0]).strip() for _, row in islice(reader, 1, _HEAD)]
    if first[0].strip() in column:
        return True
    # Two columns of text in a .tsv are pairs without a header, as in `open_pairs`.
    return format == "tsv" and len(first) == 2
