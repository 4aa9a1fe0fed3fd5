"""Look at data before anything is trained on it: what it is, what is odd, what to do next.

`look` calls the pure figures of `bytes_of_files` and `text`, counts models of rising order on a
sample, and hands everything to `advising`, which draws the conclusions. Large data is sampled, and
the share is stated; memory and time are bounded by the sample.

Knows files and figures; no model but the counted ones of `measuring`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from seriatim.data.files import read_blocks, split_lines
from seriatim.data.labels import open_labelled
from seriatim.data.pairs import Pairs, open_pairs
from seriatim.data.sources import FileSource, Sequences, Source, TextSource, open_source
from seriatim.data.splits import split_source
from seriatim.data.tables import Text
from seriatim.data_profile import text_facts as figures
from seriatim.data_profile.byte_stats import ByteFacts, refuse_binary, scan_files
from seriatim.data_profile.kind import DataKind, kind_of
from seriatim.data_profile.predictability import (
    CHARACTERS,
    Predictability,
    gain_across_lines,
    predictability,
)
from seriatim.data_profile.sampling import Sample, mended, sampled
from seriatim.data_profile.text_facts import Overlap, TextFacts, facts_of
from seriatim.errors import ConfigError, DataError

Data: TypeAlias = str | os.PathLike[str] | Source | Sequence[str] | Sequence[list[str]]
Read: TypeAlias = Callable[[], Iterator[Text]]
Say: TypeAlias = Callable[[str], None]

MEGABYTES = 32.0
_COMPRESSED = 1 << 21  # bytes
_JOINED = 1 << 20  # characters


@dataclass(frozen=True)
class ProfileReading:
    """How the user wants the data read; None: as it seems best.

    Attributes:
        target: a file of targets, line by line with the data.
        sequences, format, field, column, sequence_id, order, encoding: as `open_source` has them.
    """

    target: str | os.PathLike[str] | None = None
    sequences: Sequences | None = None
    format: str | None = None
    field: str | None = None
    column: str | None = None
    sequence_id: str | None = None
    order: str | None = None
    encoding: str | None = None

    @property
    def columns(self) -> dict[str, str | None]:
        """The options that name columns."""
        return {
            "field": self.field,
            "column": self.column,
            "sequence_id": self.sequence_id,
            "order": self.order,
        }


@dataclass
class Part:
    """One file or folder, looked at.

    Attributes:
        name: what messages call it.
        files: before sampling; empty for texts in memory.
        bytes: facts of its bytes; None for texts in memory and parquet.
        sample: what was taken of it.
        kind: what it is.
        encoding: by which it was read.
        sides: facts of its sequences: "text", or "source" and "target".
        reads: the sequences of each side.
        labels: how often each label stands.
        problem: why reading it stopped; None: it did not.
    """

    name: str
    files: tuple[Path, ...] = ()
    bytes: ByteFacts | None = None
    sample: Sample = field(default_factory=lambda: Sample(()))
    kind: DataKind = field(default_factory=lambda: DataKind("documents", "texts in memory"))
    encoding: str = "utf-8"
    sides: dict[str, TextFacts] = field(default_factory=dict)
    reads: dict[str, Read] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    problem: str | None = None

    @property
    def facts(self) -> TextFacts:
        """Of the text, or of the sources."""
        return next(iter(self.sides.values()))


@dataclass
class DataProfile:
    """All that was seen, for `advising` to judge and `telling` to tell.

    Attributes:
        parts: train, and valid and test where they were given.
        split: shares of the split that fit would make; None: valid was given.
        leaks: of "valid" and "test": what stands in train.
        split_problem: why no split could be made; None: it could.
        compression: bits for each byte.
        predictable: by counting, each as it suits the data; None: too short.
        across_lines: share of the bits that the lines before a line save.
        sequences: how the text should be read.
    """

    parts: dict[str, Part]
    reading: ProfileReading
    split: tuple[float, float, float] | None = None
    leaks: dict[str, dict[str, Any]] = field(default_factory=dict)
    split_problem: str | None = None
    compression: dict[str, Any] | None = None
    predictable: Predictability | None = None
    across_lines: float | None = None
    sequences: Sequences = "stream"

    @property
    def train(self) -> Part:
        """The data itself."""
        return self.parts["train"]


def examine(
    data: Data,
    *,
    valid: Data | None = None,
    test: Data | None = None,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    reading: ProfileReading | None = None,
    megabytes: float = MEGABYTES,
    say: Say | None = None,
) -> DataProfile:
    """Everything that `look` rests on.

    Raises:
        ConfigError: options that do not fit the data.
        DataError: no such file, an empty one, or one that is no text.
    """
    if megabytes <= 0:
        raise ConfigError(f"a sample of {megabytes:g} megabytes is none: give 1 or more")
    say, reading = say or _silent, reading or ProfileReading()
    if reading.target is not None and (valid is not None or test is not None):
        raise ConfigError(
            "a file of targets belongs to the data alone: look at validation and test pairs by "
            "themselves, or write the pairs as tables"
        )
    given = {"train": data, "valid": valid, "test": test}
    with ExitStack() as kept:
        parts = {
            name: _part(part, reading, int(megabytes * 1e6), kept, say)
            for name, part in given.items()
            if part is not None
        }
        seen = DataProfile(parts, reading, split=split if valid is None else None)
        _measure(seen, say)
        _find_leaks(seen, split, say)
    return seen


# ---- reading ------------------------------------------------------------------------------------


def _part(data: Data, reading: ProfileReading, limit: int, kept: ExitStack, say: Say) -> Part:
    """Open one of the parts and count it."""
    if not isinstance(data, (str, os.PathLike)):
        part = _in_memory(data)
    else:
        part = _on_disk(Path(data), reading, limit, kept, say)
    for side, read in part.reads.items():
        say(f"reading {part.name}")
        try:
            part.sides[side] = facts_of(read())
        except DataError as error:
            part.problem = str(error)
            part.sides[side] = facts_of(_until_error(read))
    return part


def _in_memory(data: Source | Sequence[str] | Sequence[list[str]]) -> Part:
    source = data if isinstance(data, Source) else open_source(data)
    part = Part(source.name, reads={"text": _lines_of(source)})
    first = next(iter(source.texts()), "")
    if isinstance(first, list):
        part.kind = DataKind("events", "lists of symbols, cut already", options={"symbols": "word"})
    return part


def _lines_of(source: Source) -> Read:
    """The lines of a stream, or the sequences."""
    if source.sequences != "stream":
        return source.texts
    return lambda: (
        line
        for piece in source.texts()
        for line in ([piece] if isinstance(piece, list) else piece.removesuffix("\n").split("\n"))
    )


def _on_disk(path: Path, reading: ProfileReading, limit: int, kept: ExitStack, say: Say) -> Part:
    whole = open_source(
        path,
        format=reading.format,
        field=reading.field,
        column=reading.column,
        sequence_id=reading.sequence_id,
        order=reading.order,
        encoding=reading.encoding or "utf-8",
    )
    if not isinstance(whole, FileSource):
        raise DataError(f"{path} holds no files")
    part = Part(str(path), whole.paths, sample=Sample(whole.paths))
    text = [p for p, f in zip(whole.paths, whole.formats, strict=True) if f != "parquet"]
    if text:
        part.bytes = scan_files(
            text, report=lambda n, all_: say(f"{path}: {n / 1e6:,.0f} of {all_ / 1e6:,.0f} MB")
        )
        refuse_binary(part.bytes)
        part.encoding = reading.encoding or part.bytes.encoding
    elif reading.encoding is not None:
        part.encoding = reading.encoding
    part.sample = kept.enter_context(sampled(whole.paths, whole.formats, limit))
    if part.bytes is not None and part.bytes.is_mostly_utf8 and reading.encoding is None:
        part.encoding = "utf-8"
        part.sample = replace(part.sample, paths=kept.enter_context(mended(part.sample.paths)))
    if reading.target is not None:
        part.kind = DataKind("pairs", "pairs, line by line in two files", "translation")
    else:
        part.kind = kind_of(part.sample.paths, whole.formats, part.encoding, reading.columns)
    part.reads = _reads(part, reading)
    return part


def _reads(part: Part, reading: ProfileReading) -> dict[str, Read]:
    """The sequences of each side of a file."""
    kind, path = part.kind, part.sample.paths[0]
    if kind.keys is not None:
        keys = kind.keys
        return {side: lambda i=i: _keyed(part, keys, i) for i, side in enumerate(_SIDES)}  # type: ignore[misc]
    if kind.name == "pairs" and reading.target is not None:
        targets = open_source(reading.target, sequences="line", encoding=part.encoding)
        return {"source": _text_lines(part), "target": targets.texts}
    if kind.name == "labelled" and len(part.files) > 1:
        for file in part.sample.paths:
            if file.suffix == ".txt":
                part.labels[file.stem] = sum(
                    bool(x) for x in split_lines(read_blocks(file, part.encoding))
                )
        own = tuple(file for file in part.sample.paths if file.suffix == ".txt")
        return {"text": _text_lines(replace_paths(part, own))}
    if kind.name in ("pairs", "labelled", "tagged"):
        pairs = _opened_pairs(path, kind, reading, part.encoding)
        if kind.name == "pairs":
            return {side: _side(pairs, i) for i, side in enumerate(_SIDES)}
        for _, label in pairs.pairs():
            part.labels.update([label] if isinstance(label, str) else label)
        return {"text": _side(pairs, 0)}
    has_columns = any(f != "text" for f in _formats(part, reading)) or "format" in kind.options
    if has_columns and kind.name not in ("json",):
        return {"text": _records(part, reading)}
    return {"text": _text_lines(part)}


_SIDES = ("source", "target")


def replace_paths(part: Part, paths: tuple[Path, ...]) -> Part:
    """The same part of other files."""
    return replace(part, sample=replace(part.sample, paths=paths))


def _formats(part: Part, reading: ProfileReading) -> tuple[str, ...]:
    opened = open_source(list(part.sample.paths), format=reading.format)
    return opened.formats if isinstance(opened, FileSource) else ()


def _text_lines(part: Part) -> Read:
    def read() -> Iterator[Text]:
        for path in part.sample.paths:
            yield from split_lines(read_blocks(path, part.encoding))

    return read


def _side(pairs: Pairs, index: int) -> Read:
    return lambda: (pair[index] for pair in pairs.pairs())


def _keyed(part: Part, keys: tuple[str, str], index: int) -> Iterator[Text]:
    for line in _text_lines(part)():
        left, _, right = str(line).partition(f" {keys[1]}: ")
        yield (left.removeprefix(f"{keys[0]}: "), right)[index].strip()


def _opened_pairs(path: Path, kind: DataKind, reading: ProfileReading, encoding: str) -> Pairs:
    source, target = (kind.options.get(f"{side}-column") for side in ("source", "target"))
    if kind.name == "pairs":
        return open_pairs(
            path,
            format=reading.format,
            source_column=source,
            target_column=target,
            encoding=encoding,
        )
    return open_labelled(
        path, format=reading.format, text_column=source, label_column=target, encoding=encoding
    )


def _records(part: Part, reading: ProfileReading) -> Read:
    """The text of a table: by the user's columns, or by what seems to be the text."""
    found = part.kind.options
    given = any(value is not None for value in reading.columns.values())
    columns = (
        reading.columns
        if given
        else {
            "field": found.get("field"),
            "column": found.get("column"),
            "sequence_id": found.get("sequence-column"),
            "order": found.get("order-column"),
        }
    )
    if not given and part.kind.name == "numbers":
        columns["column"] = part.kind.columns[-1].name
    source = open_source(
        list(part.sample.paths),
        sequences="document",
        format=reading.format or found.get("format"),
        encoding=part.encoding,
        field=columns["field"],
        column=columns["column"],
        sequence_id=columns["sequence_id"],
        order=columns["order"],
    )
    if part.kind.name == "numbers":
        return lambda: (text for text in _until_error(source.texts) if text)
    return source.texts


def _until_error(read: Read) -> Iterator[Text]:
    """What can be read before something cannot."""
    try:
        yield from read()
    except DataError:
        return


# ---- measuring ----------------------------------------------------------------------------------


def _measure(seen: DataProfile, say: Say) -> None:
    """How the text should be read, and how predictable it is."""
    part, kind = seen.train, seen.train.kind
    side = "target" if "target" in part.reads else "text"
    run = _run_of(part, part.reads[side])
    is_text = kind.name in ("text", "events", "labelled", "json")
    symbols = "word" if kind.options.get("symbols") == "word" or part.facts.is_cut else "char"
    if is_text and all(isinstance(text, str) for text in run):
        say("counting whether lines follow from lines")
        seen.across_lines = gain_across_lines([str(text) for text in run], symbols)
    seen.sequences = seen.reading.sequences or _best_sequences(seen)
    say("counting models of order 1 to 6")
    spread = run
    if seen.sequences != "stream":
        spread = _spread_of(part, part.reads[side])
    else:
        spread = ["".join(f"{text}\n" for text in run)] if is_text else run
    kept = [text for text in spread if text] if seen.sequences != "stream" else spread
    if kind.name != "numbers" and kept:
        seen.predictable = predictability(kept, symbols, seen.sequences)
    say("compressing")
    seen.compression = figures.compressed_bits(_plain(part.reads[side]))


def _best_sequences(seen: DataProfile) -> Sequences:
    kind = seen.train.kind
    if kind.task in ("translation", "label") or kind.options.get("sequences") == "line":
        return "line"
    if kind.name not in ("text", "json"):
        return "document"
    return "line" if seen.across_lines is not None and seen.across_lines < -0.001 else "stream"


def _run_of(part: Part, read: Read) -> list[Text]:
    """Sequences one after another, up to a number of characters; of many files, some of each."""
    files = part.sample.paths
    if len(files) < 2 or part.kind.name != "text":
        return _at_most(_until_error(read), CHARACTERS)
    found: list[Text] = []
    chosen = list(figures.evenly(list(files), 30))
    for file in chosen:
        own = _text_lines(replace_paths(part, (file,)))
        found += _at_most(_until_error(own), CHARACTERS // len(chosen))
    return found


def _at_most(texts: Iterator[Text], characters: int) -> list[Text]:
    found, size = [], 0
    for text in texts:
        found.append(text if isinstance(text, list) else text[: 4 * characters])
        size += len(text) + 1
        if size > characters:
            break
    return found


def _spread_of(part: Part, read: Read) -> list[Text]:
    """Sequences from everywhere, up to a number of characters."""
    total = max(part.facts.num_characters + part.facts.num_sequences, 1)
    step = max(1, round(total / CHARACTERS))
    return list(islice(_until_error(read), 0, None, step))


def _plain(read: Read) -> bytes:
    """The text in UTF-8, up to what is compressed."""
    parts, size = [], 0
    for text in _until_error(read):
        plain = text if isinstance(text, str) else " ".join(text)
        parts.append(plain.encode("utf-8", "replace") + b"\n")
        size += len(parts[-1])
        if size > _COMPRESSED:
            break
    return b"".join(parts)


# ---- leaks --------------------------------------------------------------------------------------


def _find_leaks(seen: DataProfile, split: tuple[float, float, float], say: Say) -> None:
    """What of valid and test stands in train: as given, or as fit would split the data."""
    part = seen.train
    if part.kind.name == "numbers":
        return
    side = next(iter(part.reads))
    others = {n: p.reads[side] for n, p in seen.parts.items() if n != "train" and side in p.reads}
    train: Read = part.reads[side]
    if "valid" not in others or "test" not in others:
        made = _split(seen, train, split, has_test="test" in others)
        if made is not None:
            train = made.pop("train")
            others = made | others
    if not others:
        return
    say("looking for leaks")
    of_words = part.facts.has_words
    is_stream = seen.sequences == "stream"
    overlap = Overlap(_until_error(train), of_words=of_words, is_stream=is_stream)
    for name, read in sorted(others.items()):
        seen.leaks[name] = overlap.of(_until_error(read)) | {"given": name in seen.parts}


def _split(
    seen: DataProfile, read: Read, split: tuple[float, float, float], *, has_test: bool
) -> dict[str, Read] | None:
    """The parts that fit would make of the sample; None if it would make none, or cannot."""
    if "valid" in seen.parts:
        return None
    shares = (split[0], split[1] + split[2], 0.0) if has_test else split
    items = list(_until_error(read))
    if not items:
        return None
    if seen.sequences == "stream":  # larger pieces of it are split much faster
        items = list(_joined(items))
    texts = TextSource(tuple(items), seen.sequences)
    try:
        parts, _ = split_source(texts, shares)
    except DataError as error:
        seen.split_problem = str(error).replace(texts.name, seen.train.name)
        return None
    names = ("train", "valid", "test")
    return {n: _lines_of(p) for n, p in zip(names, parts, strict=True) if p is not None}


def _joined(texts: list[Text]) -> Iterator[Text]:
    """Lines put together, up to a million characters or so; lists of symbols stay apart."""
    held: list[str] = []
    size = 0
    for text in texts:
        if isinstance(text, list):
            if held:
                yield "".join(held)
                held, size = [], 0
            yield text
            continue
        held.append(text + "\n")
        size += len(text) + 1
        if size > _JOINED:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _silent(sentence: str) -> None:
    """Say nothing."""


def facts_json(part: Part) -> Mapping[str, Any]:
    """The figures of a part as JSON values."""
    return {
        side: {
            "sequences": facts.num_sequences,
            "characters": facts.num_characters,
            "words": facts.num_words,
            "characters_in_each": figures.lengths(facts.characters),
            "words_in_each": figures.lengths(facts.words),
            "longest": {"characters": facts.longest[0], "number": facts.longest[1]},
            "empty": facts.marks["empty"],
            "blank": facts.marks["blank"],
            "duplicates": figures.duplicates(facts),
            "symbols": {
                "char": None if facts.is_cut else figures.frequencies(facts.of_characters),
                "word": figures.frequencies(facts.of_words),
            },
            "marks": dict(+facts.marks),
        }
        for side, facts in part.sides.items()
    }
