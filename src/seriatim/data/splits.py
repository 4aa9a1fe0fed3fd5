"""Splitting a source into three parts: training, validation and test.

- Lines and documents: whole sequences in the order of a hash of their content, so that the parts
  do not depend on the order in the file and equal sequences fall into the same part. The
  fractions count distinct sequences.
- Streams: contiguous parts by bytes, each cut at the next line end. A stream of a single line is
  cut between two characters that are not spaces.

The parts are views that read the source again. Memory: 16 bytes per sequence while splitting,
none afterwards. Knows sources. Does not know symbols.
"""

import hashlib
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core.records import Json
from seriatim.data.sources import Sequences, Source
from seriatim.data.tables import Text
from seriatim.errors import ConfigError, DataError

Parts: TypeAlias = tuple[Source, Source | None, Source | None]

NAMES = ("train", "valid", "test")


def split_source(
    source: Source, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[Parts, "SplitRecord"]:
    """The three parts, and a record of how they were made.

    Args:
        source: the source to split.
        fractions: the fractions of training, validation and test, with the sum 1; a part with
            fraction 0 is None.

    Raises:
        ConfigError: if the fractions are not such numbers.
        DataError: if there are too few sequences, or too short a stream, for every part.
    """
    _check_fractions(fractions)
    wanted = [f for f in fractions if f > 0]
    if len(wanted) == 1:
        fingerprint = source.fingerprint()
        parts_of_one = {"train": PartRecord(fingerprint=fingerprint)}
        record = SplitRecord(tuple(fractions), fingerprint, "nothing was split off", parts_of_one)
        return (source, None, None), record
    split = _split_stream if source.sequences == "stream" else _split_sequences
    parts, sizes, rule = split(source, wanted)
    names = [name for name, f in zip(NAMES, fractions, strict=True) if f > 0]
    by_name: dict[str, Source] = dict(zip(names, parts, strict=True))
    record = SplitRecord(
        tuple(fractions),
        source.fingerprint(),
        rule,
        {
            name: replace(size, fingerprint=part.fingerprint())
            for name, part, size in zip(names, parts, sizes, strict=True)
        },
    )
    return (by_name["train"], by_name.get("valid"), by_name.get("test")), record


@dataclass(frozen=True)
class PartRecord:
    """The size of one part.

    Attributes:
        bytes: the number of bytes of text in UTF-8; None: not counted, as it is all of the text.
        sequences, distinct: the number of sequences, and of distinct ones, unless a stream.
        lines: the number of lines of a stream, if it was cut at line ends.
        characters: the number of characters of a stream.
        fingerprint: the fingerprint of the part.
    """

    bytes: int | None = None
    sequences: int | None = None
    distinct: int | None = None
    lines: int | None = None
    characters: int | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class SplitRecord:
    """How a source was split.

    Attributes:
        fractions: the fractions of training, validation and test.
        source: the fingerprint of the source.
        rule: how the parts were chosen, for people.
        parts: the size of each part that is not empty, by its name.
    """

    fractions: tuple[float, ...]
    source: str
    rule: str
    parts: Mapping[str, PartRecord]

    def to_json(self) -> Json:
        """The record as a JSON object, without the sizes that do not apply."""
        parts = {
            name: {k: v for k, v in asdict(part).items() if v is not None}
            for name, part in self.parts.items()
        }
        return {
            "fractions": list(self.fractions),
            "source": self.source,
            "rule": self.rule,
            "parts": parts,
        }


def _check_fractions(fractions: Sequence[float]) -> None:
    is_valid = (
        len(fractions) == 3
        and all(0 <= f <= 1 for f in fractions)
        and math.isclose(sum(fractions), 1)
        and fractions[0] > 0
    )
    if not is_valid:
        raise ConfigError(
            f"cannot split by the fractions {tuple(fractions)}: give three numbers for training, "
            "validation and test with the sum 1, such as 0.8, 0.1, 0.1, the first one above 0"
        )


# ---- lines and documents ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part(Source):
    """A part of a source."""

    source: Source
    sequences: Sequences

    @property
    def is_in_memory(self) -> bool:
        """Whether the source is in memory."""
        return self.source.is_in_memory

    @property
    def name(self) -> str:
        """The name of the source."""
        return f"a part of {self.source.name}"

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the source."""
        return self.source.notes


@dataclass(frozen=True)
class SequencePart(_Part):
    """The sequences of a source whose hash is in [low, high)."""

    low: int
    high: int

    def texts(self) -> Iterator[Text]:
        """The sequences of the part, in the order of the source."""
        return filter(self.holds, self.source.texts())

    def holds(self, text: Text) -> bool:
        """Whether a sequence with this text is in the part."""
        return self.low <= _hash(text) < self.high

    def fingerprint(self) -> str:
        """A digest of the source's fingerprint and the bounds of the part."""
        return _fingerprint(self.source, self.low, self.high)


def _split_sequences(
    source: Source, fractions: Sequence[float]
) -> tuple[Sequence[Source], Sequence[PartRecord], str]:
    hashes, text_sizes = array("Q"), array("Q")
    end = 1 if source.sequences == "line" else 0
    for text in source.texts():
        hashes.append(_hash(text))
        text_sizes.append(len(_joined(text).encode("utf-8", "surrogatepass")) + end)
    hash_of, size_of = np.asarray(hashes), np.asarray(text_sizes)
    distinct = np.unique(hash_of)
    if len(distinct) < len(fractions):
        raise DataError(
            f"{source.name} has {len(distinct)} distinct {source.sequences}s, too few to split "
            f"into {len(fractions)} parts: give --valid and --test, or more data"
        )
    starts = [0, *accumulate(_apportion(len(distinct), fractions))]
    cuts = [0, *(int(distinct[i]) for i in starts[1:-1]), 1 << 64]
    part_of = np.searchsorted(np.array(cuts[1:-1], np.uint64), hash_of, side="right")
    sizes = [
        PartRecord(
            bytes=int(size_of[part_of == i].sum()),
            sequences=int((part_of == i).sum()),
            distinct=starts[i + 1] - starts[i],
        )
        for i in range(len(fractions))
    ]
    parts = [SequencePart(source, source.sequences, *cut) for cut in pairwise(cuts)]
    return parts, sizes, f"whole {source.sequences}s by the hash of their text"


def _apportion(total: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers with the sum `total`, none 0, closest to total · fractions.

    The largest remainders are rounded up; an empty part gets one from the largest part.
    """
    exact = [total * f for f in fractions]
    sizes = [math.floor(size) for size in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (sizes[i] - exact[i], i))
    for i in by_remainder[: total - sum(sizes)]:
        sizes[i] += 1
    for i in range(len(sizes)):
        if sizes[i] == 0:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[i] = 1
    return sizes


def _hash(text: Text) -> int:
    """64 bits of a digest of the content. A text never equals a list of symbols."""
    data = text if isinstance(text, str) else "".join(f"{len(s)}:{s}" for s in text)
    kind = b"text" if isinstance(text, str) else b"list"
    digest = hashlib.blake2b(data.encode("utf-8", "surrogatepass"), digest_size=8, person=kind)
    return int.from_bytes(digest.digest())


def _joined(text: Text) -> str:
    """The text of a list of symbols: spaces between them, none before a line end."""
    if isinstance(text, str):
        return text
    return " ".join(text[:-1]) + "\n" if text[-1:] == ["\n"] else " ".join(text)


# ---- streams ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamPart(_Part):
    """The characters [start, stop) of a stream."""

    start: int
    stop: int

    def texts(self) -> Iterator[Text]:
        """The pieces of the part; a list of symbols is in one part as a whole."""
        position = 0
        for piece in self.source.texts():
            if position >= self.stop:
                return
            begin = position
            position += len(_joined(piece))
            if isinstance(piece, str):
                inside = piece[max(self.start - begin, 0) : self.stop - begin]
                if inside:
                    yield inside
            elif begin >= self.start:
                yield piece

    def fingerprint(self) -> str:
        """A digest of the source's fingerprint and the bounds of the part."""
        return _fingerprint(self.source, self.start, self.stop)


@dataclass(frozen=True)
class _CutPoints:
    """Where one piece of a stream may be cut.

    Attributes:
        num_characters, num_bytes: the size of the piece.
        characters: (cuts,) the number of characters before each cut point.
        bytes: (cuts,) the number of bytes of UTF-8 before it.
    """

    num_characters: int
    num_bytes: int
    characters: NDArray[np.int64]
    bytes: NDArray[np.int64]


def _cut_points(piece: Text, at_lines: bool) -> _CutPoints:
    codes = np.frombuffer(_joined(piece).encode("utf-32-le", "surrogatepass"), "<u4")
    ends = np.cumsum(1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF))
    if not isinstance(piece, str):
        cuts = np.array([len(codes)])
    elif at_lines:
        cuts = np.flatnonzero(codes == ord("\n")) + 1
    else:
        is_inner = (codes != ord(" ")) & (codes != ord("\n"))
        cuts = np.flatnonzero(is_inner[:-1] & is_inner[1:]) + 1
    return _CutPoints(len(codes), int(ends[-1]), cuts, ends[cuts - 1])


def _split_stream(
    source: Source, fractions: Sequence[float]
) -> tuple[Sequence[Source], Sequence[PartRecord], str]:
    num_lines, total, num_points = _count_cut_points(source, at_lines=True)
    num_points = num_lines - 1  # a cut at the end of the last line separates nothing
    at_lines = num_lines > 1
    if not at_lines:
        _, total, num_points = _count_cut_points(source, at_lines=False)
    num_cuts = len(fractions) - 1
    if num_points < num_cuts:
        size = f"{num_lines} line{'s' if num_lines > 1 else ''}"
        raise DataError(
            f"{source.name} has {size} and {total:,} bytes, too few "
            f"to split into {num_cuts + 1} parts: give --valid and --test, or more data"
        )
    targets = [total * fraction for fraction in accumulate(fractions[:-1])]
    cuts, end = _find_cuts(source, targets, num_points, at_lines=at_lines)
    parts, sizes = [], []
    for before, after in pairwise([(0, 0, 0), *cuts, end]):
        parts.append(StreamPart(source, "stream", before[0], after[0]))
        characters, num_bytes, points = np.subtract(after, before).tolist()
        lines = points if at_lines else None
        sizes.append(PartRecord(bytes=num_bytes, lines=lines, characters=characters))
    where = "line ends" if at_lines else "characters"
    return parts, sizes, f"contiguous by bytes, cut at {where}"


def _count_cut_points(source: Source, *, at_lines: bool) -> tuple[int, int, int]:
    """(lines, bytes, cut points) of the stream; a last line without an end counts."""
    total = count = num_lines = 0
    last = "\n"
    for piece in source.texts():
        points = _cut_points(piece, at_lines)
        total += points.num_bytes
        count += len(points.characters)
        text = _joined(piece)
        num_lines += text.count("\n") if isinstance(piece, str) else 1
        last = text[-1]
    return num_lines + (last != "\n"), total, count


def _find_cuts(
    source: Source, targets: Sequence[float], num_points: int, *, at_lines: bool
) -> tuple[list[tuple[int, int, int]], tuple[int, int, int]]:
    """(characters, bytes, cut points) before each cut, and before the end.

    A cut is the first cut point at or after its target that leaves a point for each later cut.
    """
    cuts: list[tuple[int, int, int]] = []
    characters = in_bytes = seen = 0
    for piece in source.texts():
        points = _cut_points(piece, at_lines)
        ordinals = seen + 1 + np.arange(len(points.characters))
        while len(cuts) < len(targets):
            last = num_points - (len(targets) - len(cuts) - 1)
            is_after = ordinals > (cuts[-1][2] if cuts else 0)
            is_far = in_bytes + points.bytes >= targets[len(cuts)]
            good = np.flatnonzero(is_after & (is_far | (ordinals >= last)))
            if not len(good):
                break
            i = good[0]
            cut = characters + points.characters[i], in_bytes + points.bytes[i], ordinals[i]
            cuts.append((int(cut[0]), int(cut[1]), int(cut[2])))
        characters += points.num_characters
        in_bytes += points.num_bytes
        seen += len(points.characters)
    return cuts, (characters, in_bytes, seen)


def _fingerprint(source: Source, *bounds: int) -> str:
    text = f"part {source.fingerprint()} {bounds}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
