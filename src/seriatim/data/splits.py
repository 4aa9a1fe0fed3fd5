"""Three parts of one source: train, validation and test.

- Lines and documents: whole sequences, in the order of a hash of their content, so that the
  parts do not depend on the order of the file and equal sequences are on one side. The sizes
  are those of the distinct sequences.
- Streams: contiguous, by bytes, each part cut at the next line end. A stream of one line is cut
  between two characters that are no spaces.

The parts are views that read the source again. Memory: 16 bytes per sequence while splitting,
none afterwards. Knows sources. Does not know symbols.
"""

import hashlib
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.data.sources import Sequences, Source
from seriatim.data.tables import Text
from seriatim.errors import ConfigError, DataError

Parts: TypeAlias = tuple[Source, Source | None, Source | None]

NAMES = ("train", "valid", "test")


def split_source(
    source: Source, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[Parts, dict[str, Any]]:
    """The three parts, and a record of how they were made, of JSON values.

    Args:
        source: what to split.
        fractions: of train, validation and test, with the sum 1; a part of 0 is None.

    Raises:
        ConfigError: fractions that are no such numbers.
        DataError: too few sequences, or too short a stream, for every part to have something.
    """
    _check(fractions)
    split = _split_stream if source.sequences == "stream" else _split_sequences
    parts, record = split(source, [f for f in fractions if f > 0])
    names = [name for name, f in zip(NAMES, fractions, strict=True) if f > 0]
    record["parts"] = {
        name: facts | {"fingerprint": part.fingerprint()}
        for name, part, facts in zip(names, parts, record["parts"], strict=True)
    }
    by_name: dict[str, Source] = dict(zip(names, parts, strict=True))
    found = (by_name["train"], by_name.get("valid"), by_name.get("test"))
    return found, {"fractions": list(fractions), "source": source.fingerprint(), **record}


def _check(fractions: Sequence[float]) -> None:
    is_valid = (
        len(fractions) == 3
        and all(0 <= f <= 1 for f in fractions)
        and math.isclose(sum(fractions), 1)
        and fractions[0] > 0
    )
    if not is_valid:
        raise ConfigError(
            f"the fractions {tuple(fractions)} cannot be used: expected three numbers for train, "
            "validation and test, such as 0.8, 0.1, 0.1, with the sum 1 and some for train"
        )


# ---- lines and documents ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part(Source):
    """Something of a source."""

    source: Source
    sequences: Sequences

    @property
    def is_in_memory(self) -> bool:
        """As the source."""
        return self.source.is_in_memory

    @property
    def name(self) -> str:
        """That of the source."""
        return f"a part of {self.source.name}"


@dataclass(frozen=True)
class SequencePart(_Part):
    """The sequences of a source whose hash is in [low, high)."""

    low: int
    high: int

    def texts(self) -> Iterator[Text]:
        """Its sequences, in the order of the source."""
        return filter(self.holds, self.source.texts())

    def holds(self, text: Text) -> bool:
        """Whether a sequence of this text is in this part."""
        return self.low <= _hash(text) < self.high

    def fingerprint(self) -> str:
        """Of the source and the part."""
        return _fingerprint(self.source, self.low, self.high)


def _split_sequences(
    source: Source, fractions: Sequence[float]
) -> tuple[Sequence[Source], dict[str, Any]]:
    hashes, sizes = array("Q"), array("Q")
    end = 1 if source.sequences == "line" else 0
    for text in source.texts():
        hashes.append(_hash(text))
        sizes.append(len(_joined(text).encode("utf-8", "surrogatepass")) + end)
    hash_of, size_of = np.asarray(hashes), np.asarray(sizes)
    distinct = np.unique(hash_of)
    if len(distinct) < len(fractions):
        raise DataError(
            f"{source.name} is too short to split: {len(fractions)} parts need as many distinct "
            f"{source.sequences}s, and it has {len(distinct)}; give --valid and --test, or more "
            "data"
        )
    starts = [0, *accumulate(_apportioned(len(distinct), fractions))]
    cuts = [0, *(int(distinct[i]) for i in starts[1:-1]), 1 << 64]
    part_of = np.searchsorted(np.array(cuts[1:-1], np.uint64), hash_of, side="right")
    facts = [
        {
            "sequences": int((part_of == i).sum()),
            "distinct": starts[i + 1] - starts[i],
            "bytes": int(size_of[part_of == i].sum()),
        }
        for i in range(len(fractions))
    ]
    parts = [SequencePart(source, source.sequences, *cut) for cut in pairwise(cuts)]
    return parts, {"rule": f"whole {source.sequences}s by the hash of their text", "parts": facts}


def _apportioned(total: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers with the sum `total`, none 0, nearest to total · fractions.

    The largest remainders are rounded up; what an empty part needs, the largest part gives.
    """
    shares = [total * f for f in fractions]
    sizes = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (sizes[i] - shares[i], i))
    for i in by_remainder[: total - sum(sizes)]:
        sizes[i] += 1
    for i in range(len(sizes)):
        if sizes[i] == 0:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[i] = 1
    return sizes


def _hash(text: Text) -> int:
    """64 bits of the content. A text and a list of symbols are never equal."""
    data = text if isinstance(text, str) else "".join(f"{len(s)}:{s}" for s in text)
    kind = b"text" if isinstance(text, str) else b"list"
    digest = hashlib.blake2b(data.encode("utf-8", "surrogatepass"), digest_size=8, person=kind)
    return int.from_bytes(digest.digest())


def _joined(text: Text) -> str:
    """A list of symbols as the text that stands for it: spaces between, none at the line end."""
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
        """Its pieces; lists of symbols are on one side as a whole."""
        position = 0
        for piece in self.source.texts():
            if position >= self.stop:
                return
            begin = position
            position += len(_joined(piece))
            if isinstance(piece, str):
                found = piece[max(self.start - begin, 0) : self.stop - begin]
                if found:
                    yield found
            elif begin >= self.start:
                yield piece

    def fingerprint(self) -> str:
        """Of the source and the part."""
        return _fingerprint(self.source, self.start, self.stop)


@dataclass(frozen=True)
class _Places:
    """Where one piece of a stream may be cut.

    Attributes:
        num_characters, num_bytes: of the piece.
        characters: (cuts,) characters before each place.
        bytes: (cuts,) bytes of UTF-8 before it.
    """

    num_characters: int
    num_bytes: int
    characters: NDArray[np.int64]
    bytes: NDArray[np.int64]


def _places(piece: Text, at_lines: bool) -> _Places:
    codes = np.frombuffer(_joined(piece).encode("utf-32-le", "surrogatepass"), "<u4")
    ends = np.cumsum(1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF))
    if not isinstance(piece, str):
        found = np.array([len(codes)])
    elif at_lines:
        found = np.flatnonzero(codes == ord("\n")) + 1
    else:
        is_inner = (codes != ord(" ")) & (codes != ord("\n"))
        found = np.flatnonzero(is_inner[:-1] & is_inner[1:]) + 1
    return _Places(len(codes), int(ends[-1]), found, ends[found - 1])


def _split_stream(
    source: Source, fractions: Sequence[float]
) -> tuple[Sequence[Source], dict[str, Any]]:
    num_lines, total, num_places = _count_places(source, at_lines=True)
    num_places = num_lines - 1  # the end of the last line parts nothing
    at_lines = num_lines > 1
    if not at_lines:
        _, total, num_places = _count_places(source, at_lines=False)
    num_cuts = len(fractions) - 1
    if num_places < num_cuts:
        raise DataError(
            f"{source.name} is too short to split into {num_cuts + 1} parts: it has {num_lines} "
            f"line{'s' if num_lines > 1 else ''} and {total:,} bytes; give --valid and --test, "
            "or more data"
        )
    targets = [total * share for share in accumulate(fractions[:-1])]
    cuts, end = _find_cuts(source, targets, num_places, at_lines=at_lines)
    parts, facts = [], []
    for before, after in pairwise([(0, 0, 0), *cuts, end]):
        parts.append(StreamPart(source, "stream", before[0], after[0]))
        counted = {"lines": after[2] - before[2]} if at_lines else {}
        facts.append(counted | {"characters": after[0] - before[0], "bytes": after[1] - before[1]})
    where = "line ends" if at_lines else "characters"
    return parts, {"rule": f"contiguous by bytes, cut at {where}", "parts": facts}


def _count_places(source: Source, *, at_lines: bool) -> tuple[int, int, int]:
    """(lines, bytes, places to cut) of the stream; a last line without an end is one."""
    total = count = num_lines = 0
    last = "\n"
    for piece in source.texts():
        places = _places(piece, at_lines)
        total += places.num_bytes
        count += len(places.characters)
        text = _joined(piece)
        num_lines += text.count("\n") if isinstance(piece, str) else 1
        last = text[-1]
    return num_lines + (last != "\n"), total, count


def _find_cuts(
    source: Source, targets: Sequence[float], num_places: int, *, at_lines: bool
) -> tuple[list[tuple[int, int, int]], tuple[int, int, int]]:
    """(characters, bytes, places) before each cut, and before the end.

    A cut is the first place at or after its target that leaves a place for each later cut.
    """
    cuts: list[tuple[int, int, int]] = []
    characters = in_bytes = seen = 0
    for piece in source.texts():
        places = _places(piece, at_lines)
        ordinals = seen + 1 + np.arange(len(places.characters))
        while len(cuts) < len(targets):
            last = num_places - (len(targets) - len(cuts) - 1)
            is_after = ordinals > (cuts[-1][2] if cuts else 0)
            is_far = in_bytes + places.bytes >= targets[len(cuts)]
            good = np.flatnonzero(is_after & (is_far | (ordinals >= last)))
            if not len(good):
                break
            i = good[0]
            place = characters + places.characters[i], in_bytes + places.bytes[i], ordinals[i]
            cuts.append((int(place[0]), int(place[1]), int(place[2])))
        characters += places.num_characters
        in_bytes += places.num_bytes
        seen += len(places.characters)
    return cuts, (characters, in_bytes, seen)


def _fingerprint(source: Source, *bounds: int) -> str:
    text = f"part {source.fingerprint()} {bounds}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
