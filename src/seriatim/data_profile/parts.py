"""The parts of the data, opened: a file, a folder or texts in memory as a `DataPart`.

Finds the encoding and the kind of files, samples large ones, and reads their sequences. Knows
files and formats; no models.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from seriatim.data.files import path_suffix, read_blocks, split_lines
from seriatim.data.labels import label_of, open_labelled
from seriatim.data.pairs import Pairs, open_pairs
from seriatim.data.sources import FileSource, Source, open_source
from seriatim.data.tables import Text
from seriatim.data_profile.byte_stats import require_text, scan_files
from seriatim.data_profile.kind import DataKind, detect_kind
from seriatim.data_profile.result import DataPart, ProfileReading, ReadTexts
from seriatim.data_profile.sampling import Sample, sample_files, without_invalid_bytes
from seriatim.data_profile.text_facts import collect_facts
from seriatim.errors import DataError

Data: TypeAlias = str | PathLike[str] | Source | Sequence[str] | Sequence[list[str]]

_SIDES = ("source", "target")


def open_part(
    data: Data,
    reading: ProfileReading,
    limit: int,
    samples: ExitStack,
    say: Callable[[str], None],
) -> DataPart:
    """Open one part of the data and count its sequences.

    Args:
        data: a path, a `Source`, or texts.
        reading: how the user wants it to be read.
        limit: the bytes of a sample of larger files.
        samples: the stack that deletes temporary samples in the end.
        say: callback that receives log messages.

    Raises:
        ConfigError: options that do not fit the data.
        DataError: there is no such file, or it is empty or no text.
    """
    if not isinstance(data, (str, PathLike)):
        part = _in_memory(data)
    else:
        part = _on_disk(Path(data), reading, limit, samples, say)
    for side, read in part.reads.items():
        say(f"reading {part.name}")
        try:
            part.sides[side] = collect_facts(read())
        except DataError as error:
            part.problem = str(error)
            part.sides[side] = collect_facts(until_error(read))
    return part


def until_error(read: ReadTexts) -> Iterator[Text]:
    """The texts before the first that cannot be read."""
    try:
        yield from read()
    except DataError:
        return


def lines_of(source: Source) -> ReadTexts:
    """The lines of a stream, or the sequences of another source."""
    if source.sequences != "stream":
        return source.texts
    return lambda: (
        line
        for piece in source.texts()
        for line in ([piece] if isinstance(piece, list) else piece.removesuffix("\n").split("\n"))
    )


def lines_of_files(paths: Sequence[Path], encoding: str) -> ReadTexts:
    """The lines of text files."""

    def read() -> Iterator[Text]:
        for path in paths:
            yield from split_lines(read_blocks(path, encoding))

    return read


def _in_memory(data: Source | Sequence[str] | Sequence[list[str]]) -> DataPart:
    source = data if isinstance(data, Source) else open_source(data)
    part = DataPart(source.name, reads={"text": lines_of(source)})
    first = next(iter(source.texts()), "")
    if isinstance(first, list):
        description = "lists of symbols, already tokenized"
        part.kind = DataKind("events", description, options={"symbols": "word"})
    return part


def _on_disk(
    path: Path,
    reading: ProfileReading,
    limit: int,
    samples: ExitStack,
    say: Callable[[str], None],
) -> DataPart:
    is_tagged = (reading.format or "").lower() == "conll"
    whole = open_source(
        path,
        format="text" if is_tagged else reading.format,
        field=reading.field,
        column=reading.column,
        sequence_column=reading.sequence_column,
        order_column=reading.order_column,
        encoding=reading.encoding or "utf-8",
    )
    if not isinstance(whole, FileSource):
        raise DataError(f"{path} holds no files")
    part = DataPart(str(path), whole.paths, sample=Sample(whole.paths))
    text = [p for p, f in zip(whole.paths, whole.formats, strict=True) if f != "parquet"]
    if text:
        part.bytes = scan_files(
            text, progress=lambda n, all_: say(f"{path}: {n / 1e6:,.0f} of {all_ / 1e6:,.0f} MB")
        )
        require_text(part.bytes)
        part.encoding = reading.encoding or part.bytes.encoding
    elif reading.encoding is not None:
        part.encoding = reading.encoding
    part.sample = samples.enter_context(sample_files(whole.paths, whole.formats, limit))
    if part.bytes is not None and part.bytes.is_mostly_utf8 and reading.encoding is None:
        part.encoding = "utf-8"
        copies = samples.enter_context(without_invalid_bytes(part.sample.paths))
        part.sample = replace(part.sample, paths=copies)
    if reading.target is not None:
        part.kind = DataKind("pairs", "pairs, line by line in two files")
    elif is_tagged:
        part.kind = DataKind("tagged", "one element and its label per line")
    else:
        part.kind = detect_kind(part.sample.paths, whole.formats, part.encoding, reading.columns)
    part.reads = _reads(part, reading)
    return part


def _reads(part: DataPart, reading: ProfileReading) -> dict[str, ReadTexts]:
    """The functions that read the sequences of each side of a file."""
    kind, paths = part.kind, part.sample.paths
    lines = lines_of_files(paths, part.encoding)
    if kind.keys is not None:
        keys = kind.keys
        return {side: lambda i=i: _keyed(lines, keys, i) for i, side in enumerate(_SIDES)}  # type: ignore[misc]
    if kind.name == "pairs" and reading.target is not None:
        targets = open_source(reading.target, sequences="line", encoding=part.encoding)
        return {"source": lines, "target": targets.texts}
    if kind.name == "labelled" and len(part.files) > 1:
        texts = [file for file in paths if path_suffix(file) == ".txt"]
        for file in texts:
            part.labels[label_of(file)] = sum(map(bool, lines_of_files([file], part.encoding)()))
        return {"text": lines_of_files(texts, part.encoding)}
    if kind.name in ("pairs", "labelled", "tagged"):
        pairs = _open_pairs(paths[0], kind, reading, part.encoding)
        part.notes = _notes(pairs, part)
        if kind.name == "pairs":
            return {side: _side(pairs, i) for i, side in enumerate(_SIDES)}
        for _, label in pairs.pairs():
            part.labels.update([label] if isinstance(label, str) else label)
        return {"text": _side(pairs, 0)}
    has_columns = any(f != "text" for f in _formats(part, reading)) or "format" in kind.options
    if has_columns and kind.name != "json":
        source = _records(part, reading)
        part.notes = _notes(source, part)
        if kind.name == "numbers":
            return {"text": lambda: (text for text in until_error(source.texts) if text)}
        return {"text": source.texts}
    return {"text": lines}


def _notes(opened: Source | Pairs, part: DataPart) -> tuple[str, ...]:
    """How a part was read, of the file itself where a sample of it was read."""
    sampled, file = str(part.sample.paths[0]), str(part.files[0])
    notes = [part.kind.note, *opened.notes] if part.kind.note else opened.notes
    return tuple(note.replace(sampled, file) for note in notes)


def _formats(part: DataPart, reading: ProfileReading) -> tuple[str, ...]:
    source = open_source(list(part.sample.paths), format=reading.format)
    return source.formats if isinstance(source, FileSource) else ()


def _side(pairs: Pairs, index: int) -> ReadTexts:
    return lambda: (pair[index] for pair in pairs.pairs())


def _keyed(lines: ReadTexts, keys: tuple[str, str], index: int) -> Iterator[Text]:
    for line in lines():
        left, _, right = str(line).partition(f" {keys[1]}: ")
        yield (left.removeprefix(f"{keys[0]}: "), right)[index].strip()


def _open_pairs(path: Path, kind: DataKind, reading: ProfileReading, encoding: str) -> Pairs:
    source, target = (kind.options.get(f"{side}-column") for side in _SIDES)
    if kind.name == "pairs":
        return open_pairs(
            path,
            format=reading.format,
            source_column=source,
            target_column=target,
            encoding=encoding,
        )
    format = reading.format or ("conll" if kind.name == "tagged" else None)
    return open_labelled(
        path, format=format, source_column=source, target_column=target, encoding=encoding
    )


def _records(part: DataPart, reading: ProfileReading) -> Source:
    """The text of a table: by the user's columns, or by those that seem to hold it."""
    detected = part.kind.options
    columns = dict(reading.columns)
    is_chosen = any(value is not None for value in columns.values())
    if not is_chosen:
        columns = {
            "field": detected.get("field"),
            "column": detected.get("column"),
            "sequence_column": detected.get("sequence-column"),
            "order_column": detected.get("order-column"),
        }
        if part.kind.name == "numbers":
            columns["column"] = part.kind.columns[-1].name
    return open_source(
        list(part.sample.paths),
        sequences="document",
        format=reading.format or detected.get("format"),
        encoding=part.encoding,
        field=columns["field"],
        column=columns["column"],
        sequence_column=columns["sequence_column"],
        order_column=columns["order_column"],
    )
