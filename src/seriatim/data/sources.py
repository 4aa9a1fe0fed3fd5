"""What sequences are read from: files, folders, or texts in memory.

A source says where the text is and what one sequence of it is:

- `line`: every line is a sequence; empty lines are empty sequences, as the literature counts.
- `document`: a text file is a sequence, and so is a record of a table.
- `stream`: everything, one after another, is one sequence, in which the line end is a symbol
  like any other; every line and every record ends with one.

Reading is streamed and may be repeated. The rule of the text is that of `seriatim.data.files`.
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
from typing import Literal, TypeAlias, get_args

from seriatim.data import tables
from seriatim.data.files import (
    check_encoding,
    open_bytes,
    read_blocks,
    split_lines,
    split_pieces,
    suggestion,
)
from seriatim.data.tables import Columns, Text
from seriatim.errors import ConfigError, DataError

Sequences: TypeAlias = Literal["line", "document", "stream"]
FORMATS = ("text", *dict.fromkeys(tables.SUFFIXES.values()))


class Source(ABC):
    """Sequences that can be read as often as needed."""

    sequences: Sequences

    @property
    @abstractmethod
    def is_in_memory(self) -> bool:
        """Whether the texts are in memory already."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it."""

    @abstractmethod
    def texts(self) -> Iterator[Text]:
        """Every line or document; of a stream, pieces that make it up when put together.

        A list of strings is a sequence of symbols that somebody has already cut; in a stream
        the line end follows it as its last item. A line comes without its line end.

        Raises:
            DataError: the source cannot be read, or has nothing in it.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the content and of how it is read."""


@dataclass(frozen=True)
class FileSource(Source):
    """Sequences in files; use `open_source`, which checks the options.

    Attributes:
        paths: the files, in order.
        formats: of each file, one of `FORMATS`.
        sequences: what one sequence is.
        columns: which values of records to take.
        encoding: of everything but parquet.
        skip_empty: leave out empty lines or documents.
    """

    paths: tuple[Path, ...]
    formats: tuple[str, ...]
    sequences: Sequences
    columns: Columns = field(default_factory=Columns)
    encoding: str = "utf-8"
    skip_empty: bool = False

    @property
    def is_in_memory(self) -> bool:
        """No: they are streamed."""
        return False

    @property
    def name(self) -> str:
        """The path, or how many files there are and the first."""
        first, *rest = self.paths
        return f"{first} and {len(rest)} more" if rest else str(first)

    def texts(self) -> Iterator[Text]:
        """The sequences, or the pieces of the stream, file after file."""
        is_empty = True
        for path, format in zip(self.paths, self.formats, strict=True):
            for text in self._texts_of(path, format):
                is_empty = False
                if text or not self.skip_empty:
                    yield text
        if is_empty:
            raise DataError(f"{self.name} is empty: there is nothing to read in it")

    def _texts_of(self, path: Path, format: str) -> Iterator[Text]:
        if format != "text":
            records = tables.values(path, format, self.columns, self.encoding)
            return _from_records(records, self.sequences)
        parts = read_blocks(path, self.encoding)
        if self.sequences == "line":
            return split_lines(parts)
        return split_pieces(parts) if self.sequences == "stream" else _document(parts)

    def fingerprint(self) -> str:
        """A digest of the files' bytes, in order, and of the options; not of their names."""
        digests = [_digest(path) for path in self.paths]
        columns = self.columns
        return _fingerprint(
            "files",
            self.sequences,
            [digests, self.formats, columns.wanted, columns.order is not None, self.encoding],
            self.skip_empty,
        )


@dataclass(frozen=True)
class TextSource(Source):
    """Sequences in memory, each a text or a list of symbols; read as records of a table are.

    Attributes:
        items: the texts, in order.
        sequences: what one sequence is.
        skip_empty: leave out empty lines or documents.
    """

    items: tuple[Text, ...]
    sequences: Sequences = "document"
    skip_empty: bool = False

    @property
    def is_in_memory(self) -> bool:
        """Yes."""
        return True

    @property
    def name(self) -> str:
        """How many texts there are."""
        return f"the list of {len(self.items)} texts"

    def texts(self) -> Iterator[Text]:
        """The sequences, or the pieces of the stream."""
        texts = (t.replace("\r\n", "\n") if isinstance(t, str) else t for t in self.items)
        found = _from_records(texts, self.sequences)
        return (text for text in found if text or not self.skip_empty)

    def fingerprint(self) -> str:
        """A digest of the texts, in order, and of the options."""
        digest = hashlib.blake2b(digest_size=16)
        for item in self.items:
            digest.update(json.dumps(item).encode() + b"\n")
        return _fingerprint("texts", self.sequences, digest.hexdigest(), self.skip_empty)


def open_source(
    data: "str | os.PathLike[str] | Source | Sequence[Text] | Sequence[Path]",
    *,
    sequences: Sequences | None = None,
    format: str | None = None,
    field: str | None = None,
    column: str | None = None,
    sequence_id: str | None = None,
    order: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
) -> Source:
    """A source from a path, or from a list in memory.

    Args:
        data: the path of a file, or of a folder whose files are read in the order of their
            names; a list of `Path`; or a list of texts (or of lists of symbols). A str is
            always a path, a list of str always the texts themselves.
        sequences: what one sequence is; None: `stream` for text files, `document` for records.
        format: of all the files, instead of what their suffixes say (.gz is looked through):
            text, jsonl, csv, tsv or parquet.
        field: of .jsonl records, which holds the text; None: `text`, or the only one.
        column: of .csv, .tsv and .parquet, likewise; a number counts the columns, from 1, of a
            .csv or .tsv without a header.
        sequence_id: the column that says which sequence a row belongs to; then each row is one
            event, and its `column` or `field` one symbol. Such a table is grouped in memory.
        order: the column by which the events of a sequence are sorted.
        encoding: of the files.
        skip_empty: leave out empty lines or documents.

    Raises:
        ConfigError: an option that does not exist or does not belong to this data.
        DataError: no such file, a folder without files, nothing in any of them.
    """
    if isinstance(data, Source):
        return data
    if sequences is not None and sequences not in get_args(Sequences):
        raise ConfigError(
            f"sequences cannot be {sequences!r}: choose one of {', '.join(get_args(Sequences))}"
        )
    if isinstance(data, (str, os.PathLike)):
        paths = _files_at(Path(data))
    elif data and all(isinstance(item, Path) for item in data):
        paths = [file for item in data for file in _files_at(Path(str(item)))]
    else:
        options = {"format": format, "field": field, "column": column}
        _refuse({**options, "sequence_id": sequence_id, "order": order}, "files, not to a list")
        return _skipping(_texts(data, sequences or "document", skip_empty))
    formats = tuple(_format(path, format) for path in paths)
    _check_columns(formats, paths, field, column, sequence_id, order)
    check_encoding(encoding)
    if not any(path.stat().st_size for path in paths):
        raise DataError(f"{data} is empty: there is nothing to read in it")
    is_text = all(f == "text" for f in formats)
    return _skipping(
        FileSource(
            tuple(paths),
            formats,
            sequences or ("stream" if is_text else "document"),
            Columns(column if field is None else field, sequence_id, order),
            encoding,
            skip_empty,
        )
    )


# ---- sequences ----------------------------------------------------------------------------------


def _document(parts: Iterable[str]) -> Iterator[str]:
    """The whole text, with a line end at its end; nothing of an empty file."""
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
            f"data is a {type(data).__name__}: expected the path of a file or a list of texts"
        )
    if not data:
        raise DataError("the list of texts is empty: there is nothing to read in it")
    for i, item in enumerate(data):
        is_symbols = isinstance(item, (list, tuple)) and all(isinstance(s, str) for s in item)
        if not isinstance(item, str) and not is_symbols:
            raise DataError(
                f"item {i} of the list is {item!r:.60}: expected a text or a list of symbols (str)"
            )
    items = tuple(item if isinstance(item, str) else list(item) for item in data)
    return TextSource(items, sequences, skip_empty)


# ---- options ------------------------------------------------------------------------------------


def _files_at(path: Path) -> list[Path]:
    """The file, or the files of a folder and its folders by name, without hidden ones."""
    if path.is_dir():
        found = []
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = [s for s in subfolders if s[0] != "." and s != "__pycache__"]
            found += [Path(folder, name) for name in names if name[0] != "."]
        if not found:
            raise DataError(f"the folder {path} holds no files: there is nothing to read in it")
        return sorted(found, key=lambda file: file.relative_to(path).as_posix())
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file {str(path)!r}{suggestion(path.name, beside)}")
    return [path]


def _format(path: Path, format: str | None) -> str:
    if format is not None and format not in FORMATS:
        raise ConfigError(f"there is no format {format!r}: choose one of {', '.join(FORMATS)}")
    is_packed = path.suffix == ".gz"
    found = format or tables.SUFFIXES.get((path.with_suffix("") if is_packed else path).suffix)
    if is_packed and found == "parquet":
        raise ConfigError(f"{path}: parquet files are read as they are; unpack it with gunzip")
    return found or "text"


def _check_columns(
    formats: Sequence[str],
    paths: Sequence[Path],
    field: str | None,
    column: str | None,
    sequence_id: str | None,
    order: str | None,
) -> None:
    """No option is left without a file to belong to."""
    if "jsonl" not in formats:
        _refuse({"field": field}, f".jsonl files, and {paths[0]} is read as {formats[0]}")
    if not {"csv", "tsv", "parquet"} & set(formats):
        tables_only = ".csv, .tsv and .parquet files"
        _refuse({"column": column}, f"{tables_only}, and {paths[0]} is read as {formats[0]}")
    if field is not None and column is not None:
        raise ConfigError("field and column cannot both be given: fit .jsonl and tables apart")
    if "text" in formats:
        _refuse({"sequence_id": sequence_id, "order": order}, "tables, and text has no columns")
    if order is not None and sequence_id is None:
        raise ConfigError("order sorts the events of a sequence: give sequence_id as well")
    if sequence_id is not None and field is None and column is None:
        raise ConfigError("sequence_id needs the column of the events: give column (or field)")


def _refuse(options: dict[str, str | None], whose: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name} = {value!r} belongs to {whose}: leave it out")


def _skipping(source: FileSource | TextSource) -> Source:
    if source.skip_empty and source.sequences == "stream":
        raise ConfigError("skip_empty belongs to lines and documents: a stream keeps every line")
    return source


# ---- fingerprints -------------------------------------------------------------------------------


def _fingerprint(*parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> str:
    state = path.stat()
    return _digest_of(path.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    """The digest of a file's bytes; read once for each size and time of change."""
    digest = hashlib.blake2b(digest_size=16)
    with open_bytes(path, unpack=False) as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
