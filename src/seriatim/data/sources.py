"""Sources of sequences: files, folders, or texts in memory.

A source says where the text is and what one sequence of it is:

- `line`: every line is a sequence; empty lines are empty sequences, as is usual in the literature.
- `document`: every text file is a sequence, and so is every record of a table.
- `stream`: everything together is one sequence, in which the line end is a symbol like any other;
  every line and every record ends with one.

Reading is streamed and can be repeated. `seriatim.data.files` defines how bytes become text.
Knows formats and sequences. Does not know symbols.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeAlias, get_args

from seriatim.core.validation import checked_arguments, did_you_mean
from seriatim.data import frames, tables
from seriatim.data.files import (
    check_encoding,
    is_gzip,
    open_bytes,
    path_suffix,
    read_blocks,
    split_lines,
    split_pieces,
)
from seriatim.data.tables import Columns, Text
from seriatim.errors import ConfigError, DataError

Sequences: TypeAlias = Literal["line", "document", "stream"]
_NOTED_FILES = 100
_MAX_NOTES = 3
FORMATS = ("text", *dict.fromkeys(tables.SUFFIXES.values()))


class DataFrame(Protocol):
    """A table with named columns, of pandas, polars or pyarrow; see `frames.is_frame`."""

    def __getitem__(self, name: Any, /) -> Any:
        """A column."""


@dataclass(frozen=True)
class NamedSequence:
    """A sequence as it stands in the data.

    Attributes:
        name: the id in its table, or the number from 1.
        text: the text, or the list of events.
        times: when each event happened, as the order column says it; None: that is not known.
    """

    name: str
    text: Text
    times: list[str] | None = None


class Source(ABC):
    """Sequences that can be read as often as needed."""

    sequences: Sequences
    columns: Columns = Columns()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, by {self.sequences})"

    @property
    @abstractmethod
    def is_in_memory(self) -> bool:
        """Whether the texts are already in memory."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the source in messages."""

    @abstractmethod
    def texts(self) -> Iterator[Text]:
        """Every line or document; of a stream, pieces whose concatenation it is.

        A list of strings is a sequence that is already cut into symbols; in a stream its last
        item is the line end. A line comes without its line end.

        Raises:
            DataError: if the source cannot be read, or is empty.
        """

    def named(self) -> Iterator[NamedSequence]:
        """The texts with their names: every line or document, or the pieces of a stream."""
        for number, text in enumerate(self.texts(), 1):
            yield NamedSequence(str(number), text)

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the content and of how it is read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken where it cannot be known how to read the data: sentences for people."""
        return ()


@dataclass(frozen=True, repr=False)
class FileSource(Source):
    """Sequences in files; use `open_source`, which checks the options.

    Attributes:
        paths: the files, in order.
        formats: the format of each file, one of `FORMATS`.
        sequences: what one sequence is.
        columns: the values to read from records.
        encoding: the encoding of everything but parquet.
        skip_empty: whether to leave out empty lines or documents.
    """

    paths: tuple[Path, ...]
    formats: tuple[str, ...]
    sequences: Sequences
    columns: Columns = field(default_factory=Columns)
    encoding: str = "utf-8"
    skip_empty: bool = False

    @property
    def is_in_memory(self) -> bool:
        """False: files are streamed."""
        return False

    @property
    def name(self) -> str:
        """The path, or the first one and the number of others."""
        first, *rest = self.paths
        return f"{first} and {len(rest)} more" if rest else str(first)

    def texts(self) -> Iterator[Text]:
        """The sequences, or the pieces of the stream, file by file."""
        is_empty = True
        for path, format in zip(self.paths, self.formats, strict=True):
            for text in self._texts_of(path, format):
                is_empty = False
                if text or not self.skip_empty:
                    yield text
        if is_empty:
            has_header = self.formats[0] in ("csv", "tsv") and bool(self.paths[0].stat().st_size)
            what = "has a header and no rows" if has_header else "is empty"
            raise DataError(f"{self.name} {what}: give a file with text in it")

    def named(self) -> Iterator[NamedSequence]:
        """The texts; those of a table of events with their ids and times."""
        if self.columns.sequence_column is None:
            yield from super().named()
            return
        for path, format in zip(self.paths, self.formats, strict=True):
            found = tables.event_sequences(path, format, self.columns, self.encoding)
            for sequence in found:
                yield NamedSequence(sequence.name, sequence.events, sequence.times)

    def _texts_of(self, path: Path, format: str) -> Iterator[Text]:
        if format != "text":
            records = tables.values(path, format, self.columns, self.encoding)
            return _from_records(records, self.sequences)
        parts = read_blocks(path, self.encoding)
        if self.sequences == "line":
            return split_lines(parts)
        return split_pieces(parts) if self.sequences == "stream" else _document(parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """The separators and headers that were guessed, of the first files."""
        wanted = self.columns.wanted
        notes = [
            note
            for path, format in list(zip(self.paths, self.formats, strict=True))[:_NOTED_FILES]
            for note in tables.reading_notes(path, format, wanted, self.encoding)
        ]
        more = len(notes) - _MAX_NOTES
        return (*notes[:_MAX_NOTES], *([f"and {more} more such notes"] if more > 0 else []))

    def fingerprint(self) -> str:
        """A digest of the bytes of the files, in order, and of the options; not of their names."""
        digests = [_digest(path) for path in self.paths]
        columns = self.columns
        return _fingerprint(
            "files",
            self.sequences,
            [
                digests,
                self.formats,
                columns.wanted,
                columns.order_column is not None,
                self.encoding,
            ],
            self.skip_empty,
        )


@dataclass(frozen=True, repr=False)
class TextSource(Source):
    """Sequences in memory, each a text or a list of symbols, read like the records of a table.

    Attributes:
        items: the texts, in order.
        sequences: what one sequence is.
        skip_empty: whether to leave out empty lines or documents.
    """

    items: tuple[Text, ...]
    sequences: Sequences = "document"
    skip_empty: bool = False

    @property
    def is_in_memory(self) -> bool:
        """True."""
        return True

    @property
    def name(self) -> str:
        """The number of texts."""
        return f"the list of {len(self.items)} texts"

    def texts(self) -> Iterator[Text]:
        """The sequences, or the pieces of the stream."""
        texts = (t.replace("\r\n", "\n") if isinstance(t, str) else t for t in self.items)
        sequences = _from_records(texts, self.sequences)
        return (text for text in sequences if text or not self.skip_empty)

    def fingerprint(self) -> str:
        """A digest of the texts, in order, and of the options."""
        digest = hashlib.blake2b(digest_size=16)
        for item in self.items:
            digest.update(json.dumps(item).encode() + b"\n")
        return _fingerprint("texts", self.sequences, digest.hexdigest(), self.skip_empty)


@dataclass(frozen=True)
class FrameSource(TextSource):
    """Sequences of a data frame, read like the records of a table.

    Attributes:
        columns: the columns that were read.
        events: of a frame with one row per event, the ids and times.
    """

    columns: Columns = field(default_factory=Columns)
    events: tuple[NamedSequence, ...] = ()

    @classmethod
    def of(cls, frame: object, columns: Columns, sequences: Sequences, skip_empty: bool) -> Self:
        """The texts of a frame; raises as `frames.frame_texts` does."""
        if columns.sequence_column is None:
            texts = tuple(frames.frame_texts(frame, columns))
            return cls(texts, sequences, skip_empty, columns)
        found = frames.frame_sequences(frame, columns)
        named = tuple(NamedSequence(s.name, s.events, s.times) for s in found)
        return cls(tuple(s.text for s in named), sequences, skip_empty, columns, named)

    @property
    def name(self) -> str:
        """What it is."""
        return "the data frame"

    def named(self) -> Iterator[NamedSequence]:
        """The texts; those of a frame of events with their ids and times."""
        return iter(self.events) if self.events else super().named()


@checked_arguments
def open_source(
    data: "str | os.PathLike[str] | Source | Sequence[Text] | Sequence[Path] | DataFrame",
    *,
    sequences: Sequences | None = None,
    format: str | None = None,
    field: str | None = None,
    column: str | None = None,
    sequence_column: str | None = None,
    order_column: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
) -> Source:
    """A source from a path, from a list in memory, or from a data frame.

    Args:
        data: the path of a file, or of a folder whose files are read in the order of their
            names; a list of `Path`; a list of texts (or of lists of symbols); or a data frame of
            pandas, polars or pyarrow, read like a table. A str is always a path, a list of str
            always the texts themselves.
        sequences: what one sequence is; None: `stream` for text files, `document` for records.
        format: the format of all files, overriding their suffixes (.gz is ignored): text, jsonl,
            csv, tsv, parquet or fasta.
        field: the field of .jsonl records that holds the text; None: `text`, or the only one.
        column: the column of .csv, .tsv and .parquet files that holds the text, by name, or, in
            a .csv or .tsv without a header, by number from 1; None: `text`, or the only one.
        sequence_column: the column that says which sequence a row belongs to; each row is then one
            event, and its `column` or `field` one symbol. Such a table is grouped in memory.
        order_column: the column by which the events of a sequence are sorted: numbers, or ISO 8601
            dates and times.
        encoding: the encoding of the files.
        skip_empty: whether to leave out empty lines or documents.

    Raises:
        ConfigError: if an option does not exist or does not apply to this data.
        DataError: if there is no such file, or all files are empty.
    """
    if isinstance(data, Source):
        return data
    if sequences is not None and sequences not in get_args(Sequences):
        raise ConfigError(
            f"unknown sequences {sequences!r}: choose one of {', '.join(get_args(Sequences))}"
        )
    if frames.is_frame(data):
        _refuse({"format": format}, "files, not to a data frame")
        _check_columns(
            ["csv"], [Path("the data frame")], None, column or field, sequence_column, order_column
        )
        columns = Columns(column or field, sequence_column, order_column)
        return _check_skipping(FrameSource.of(data, columns, sequences or "document", skip_empty))
    if isinstance(data, (str, os.PathLike)):
        paths = _files_at(Path(data))
    elif isinstance(data, Sequence) and data and all(isinstance(item, Path) for item in data):
        paths = [file for item in data for file in _files_at(Path(str(item)))]
    else:
        options = {"format": format, "field": field, "column": column}
        _refuse(
            {**options, "sequence_column": sequence_column, "order_column": order_column},
            "files, not to a list",
        )
        return _check_skipping(_texts(data, sequences or "document", skip_empty))
    formats = tuple(_format(path, format) for path in paths)
    _check_columns(formats, paths, field, column, sequence_column, order_column)
    check_encoding(encoding)
    if not any(path.stat().st_size for path in paths):
        raise DataError(f"{data} is empty: give a file with text in it")
    is_text = all(f == "text" for f in formats)
    return _check_skipping(
        FileSource(
            tuple(paths),
            formats,
            sequences or ("stream" if is_text else "document"),
            Columns(column if field is None else field, sequence_column, order_column),
            encoding,
            skip_empty,
        )
    )


# ---- sequences ----------------------------------------------------------------------------------


def _document(parts: Iterable[str]) -> Iterator[str]:
    """The whole text, ended by a line end; nothing for an empty file."""
    text = "".join(parts)
    if text:
        yield text if text.endswith("\n") else text + "\n"


def _from_records(records: Iterable[Text], sequences: Sequences) -> Iterator[Text]:
    for record in records:
        if isinstance(record, list):
            yield [*record, "\n"] if sequences == "stream" else record
        elif sequences == "document":
            yield record
        else:
            text = record if record.endswith("\n") else record + "\n"
            if sequences == "stream":
                yield text
            else:
                yield from text[:-1].split("\n")


def _texts(data: object, sequences: Sequences, skip_empty: bool) -> TextSource:
    if not isinstance(data, Sequence):
        raise DataError(
            f"data is a {type(data).__name__}: give the path of a file, a list of texts or a data "
            "frame"
        )
    if not data:
        raise DataError("the list of texts is empty: give at least one text")
    for i, item in enumerate(data):
        is_symbols = isinstance(item, (list, tuple)) and all(isinstance(s, str) for s in item)
        if not isinstance(item, str) and not is_symbols:
            raise DataError(
                f"item {i} of the list is {item!r:.60}: give texts (str) or lists of symbols (str)"
            )
    items = tuple(item if isinstance(item, str) else list(item) for item in data)
    return TextSource(items, sequences, skip_empty)


# ---- options ------------------------------------------------------------------------------------


def _files_at(path: Path) -> list[Path]:
    """The file, or the files of a folder and its subfolders by name, without hidden ones."""
    check_path(path)
    if path.is_dir():
        files = []
        for folder, subfolders, names in os.walk(path):
            _refuse_model(Path(folder), names, path)
            subfolders[:] = [s for s in subfolders if s[0] != "." and s != "__pycache__"]
            files += [Path(folder, name) for name in names if name[0] != "."]
        if not files:
            raise DataError(f"the folder {path} has no files in it: give one with text files")
        return sorted(files, key=lambda file: file.relative_to(path).as_posix())
    return [path]


def _refuse_model(folder: Path, names: Sequence[str], data: Path) -> None:
    """Refuse the files of a model as data: its weights, its record and its log are no text.

    Raises:
        DataError: if a model is in the folder.
    """
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        return
    if folder == data:
        raise DataError(f"{data} is a model folder: give a file or a folder with data")
    raise DataError(
        f"the folder {data} has a model in it ({folder}), which is no data: move that elsewhere, "
        "or name a file or another folder"
    )


def check_path(path: Path) -> None:
    """Refuse a path at which there is nothing.

    Raises:
        DataError: if there is no file; the message says so if it looks like a text.
    """
    try:
        if path.exists():
            return
        has_folder = path.parent.is_dir()
        beside = [p.name for p in path.parent.iterdir()] if has_folder else []
    except (OSError, ValueError):  # a name that is too long, or has a NUL in it
        has_folder, beside = False, []
    name = str(path)
    advice = did_you_mean(path.name, beside)
    if not advice and (len(name) > 100 or len(name.split()) > 1):
        advice = "; to score a text itself, pass a list: [text]"
    if len(name) > 80 and not (has_folder and os.sep in name):
        name = f"{name[:60]}..."  # a text; of a path the end tells most
    raise DataError(f"there is no file {name!r}{advice}")


def _format(path: Path, format: str | None) -> str:
    format = format and format.lower()
    if format is not None and format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    format = format or tables.SUFFIXES.get(path_suffix(path), "text")
    if is_gzip(path) and format == "parquet":
        raise ConfigError(f"{path} is a compressed parquet file: decompress it with gunzip")
    return format


def _check_columns(
    formats: Sequence[str],
    paths: Sequence[Path],
    field: str | None,
    column: str | None,
    sequence_column: str | None,
    order_column: str | None,
) -> None:
    """Refuse options that no file uses, and combinations that make no sense."""
    if "jsonl" not in formats:
        _refuse({"field": field}, f".jsonl files, and {paths[0]} is read as {formats[0]}")
    if not {"csv", "tsv", "parquet", "fasta"} & set(formats):
        tables_only = ".csv, .tsv and .parquet files"
        _refuse({"column": column}, f"{tables_only}, and {paths[0]} is read as {formats[0]}")
    if field is not None and column is not None:
        raise ConfigError(
            "field and column cannot both be given: read .jsonl files and tables separately"
        )
    if "text" in formats:
        _refuse(
            {"sequence_column": sequence_column, "order_column": order_column},
            "tables, and text has no columns",
        )
    if order_column is not None and sequence_column is None:
        raise ConfigError(
            "order_column sorts the events of sequences: give sequence_column as well"
        )
    if sequence_column is not None and field is None and column is None:
        raise ConfigError(
            "sequence_column needs the column of the events: give column = NAME (or field = NAME)"
        )


def _refuse(options: dict[str, str | None], whose: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name}={value!r} applies to {whose}: leave it out")


def _check_skipping(source: FileSource | TextSource) -> Source:
    if source.skip_empty and source.sequences == "stream":
        raise ConfigError(
            "skip_empty applies to lines and documents; a stream keeps every line: leave it out"
        )
    return source


# ---- fingerprints -------------------------------------------------------------------------------


def _fingerprint(*parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> str:
    state = path.stat()
    return _digest_of(path.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    """The digest of a file's bytes; read again only if its size or time of change differs."""
    digest = hashlib.blake2b(digest_size=16)
    with open_bytes(path, unpack=False) as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
