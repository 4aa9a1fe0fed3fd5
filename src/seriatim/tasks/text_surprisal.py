"""The surprisal of every symbol or word of texts, as a table.

    bits(word) = sum of -log2 p(symbol | everything before it in its text)  over its symbols

White space counts with the word after it: a model of characters, bytes or byte-pair encoding
predicts the space first, and what it then predicts is the word. A model of words has no spaces.
The end of a line or document is a row of its own, so the rows sum to -log2 p(text).

An unknown symbol is read as `<unk>` and also pays for its spelling (`speller`), so that the rows
sum to the length of a code for the text, whatever is unknown in it.

Knows models, vocabularies and texts in memory; no files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core.model import SequenceModel
from seriatim.data.corpus import Corpus
from seriatim.data.sources import Sequences
from seriatim.data.vocab.vocabulary import END, LINE_END, Ids, Text, Vocabulary, make_readable
from seriatim.errors import ConfigError
from seriatim.metrics.likelihood import surprisals
from seriatim.report.terminal import count_noun
from seriatim.tasks.record_table import RecordTable
from seriatim.tasks.speller import spelling_of_each

Unit: TypeAlias = Literal["symbol", "word"]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Surprisal:
    """The surprisal of one symbol, or of the symbols of one word: -log2 p(it | what is before).

    Attributes:
        sentence: the number, from 1, of the line of a text, or of the item of a list.
        text: the symbol or word as it is written; what cannot be seen is escaped, and the end of
            a document is `<end>`.
        start, end: where it is in its sentence, in characters; in a list of events, in items.
        bits: its surprisal; of unknown symbols, that of `<unk>` and of the spelling together.
        unknown: whether the model does not know it.
        spelling_bits: what its spelling adds to `bits`; 0 of what is known.
    """

    sentence: int
    text: str
    start: int
    end: int
    bits: float
    unknown: bool = False
    spelling_bits: float = 0.0

    @property
    def symbol(self) -> str:
        """The text, of a table of symbols."""
        return self.text

    @property
    def word(self) -> str:
        """The text, of a table of words."""
        return self.text

    @property
    def place(self) -> tuple[int, int, int]:
        """Sentence, start and end, which are the same for every model."""
        return self.sentence, self.start, self.end


class SurprisalTable(RecordTable[Surprisal]):
    """What `LanguageModel.surprisal` returns: a `Surprisal` for each symbol or word.

    Attributes:
        by: "symbol" or "word".
        bits: the sum over all rows.
    """

    def __init__(self, rows: Sequence[Surprisal], by: Unit) -> None:
        super().__init__(rows)
        self.by = by

    @property
    def bits(self) -> float:
        """The sum over all rows, ends included."""
        return sum(row.bits for row in self.rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """sentence, symbol or word, start, end, bits, unknown."""
        return "sentence", self.by, "start", "end", "bits", "unknown"

    def summary(self) -> str:
        """The total, the mean, and the unknown rows with what their spelling costs."""
        total, number = self.bits, len(self.rows)
        line = f"{total:.3f} bits in total, {total / max(number, 1):.3f} per {self.by}"
        unknown = [row for row in self.rows if row.unknown]
        if unknown:
            spelled = sum(row.spelling_bits for row in unknown)
            line += (
                f"; {count_noun(len(unknown), f'unknown {self.by}')}, of whose bits {spelled:.3f} "
                "spell what is unknown"
            )
        return line


@dataclass(frozen=True, slots=True)
class JoinedSurprisal:
    """The surprisals of one symbol or word under several models.

    Attributes:
        sentence, text, start, end: as of `Surprisal`.
        bits: the bits of each model; None: the model has no such symbol or word.
        unknown: for each model, whether it does not know it.
    """

    sentence: int
    text: str
    start: int
    end: int
    bits: tuple[float | None, ...]
    unknown: tuple[bool, ...]


class JoinedTable(RecordTable[JoinedSurprisal]):
    """Surprisals of several models beside one another; see `join_surprisals`.

    Attributes:
        by: "symbol" or "word".
        models: the names of the models.
    """

    def __init__(self, rows: Sequence[JoinedSurprisal], by: Unit, models: Sequence[str]) -> None:
        super().__init__(rows)
        self.by, self.models = by, tuple(models)

    @property
    def columns(self) -> tuple[str, ...]:
        """sentence, symbol or word, start, end, the bits of each model, what it does not know.

        The column of bits has the name of the model; `word_bits` of a model called `word`.
        """
        place = "sentence", self.by, "start", "end"
        bits = [f"{name}_bits" if name in place else name for name in self.models]
        return *place, *bits, *(f"{name}_unknown" for name in self.models)

    def cells(self, row: JoinedSurprisal) -> tuple[Any, ...]:
        """The values of a row."""
        return row.sentence, row.text, row.start, row.end, *row.bits, *row.unknown

    def summary(self) -> str:
        """The total of each model."""
        totals = [
            f"{name} {sum(row.bits[i] or 0 for row in self.rows):.3f}"
            for i, name in enumerate(self.models)
        ]
        return f"bits in total: {', '.join(totals)}"


def join_surprisals(tables: Mapping[str, SurprisalTable]) -> JoinedTable:
    """Surprisals of the same texts under several models, a row for each symbol or word.

    Words are where they are in the text, whatever the symbols of a model: the rows of models of
    characters, words and byte-pair encoding are the same, but for white space at the end of a
    sentence, which is no symbol of a model of words, and for ends.

    Args:
        tables: the table of each model, by its name.

    Raises:
        ConfigError: if there is no table, or one is of words and another one of symbols.
    """
    kinds = {table.by for table in tables.values()}
    if len(kinds) != 1:
        raise ConfigError(
            "some tables are by word and some by symbol: ask every model for the same (`by`)"
        )
    rows = [{row.place: row for row in table} for table in tables.values()]
    first = {row.place: row for table in reversed([*tables.values()]) for row in table}
    joined = []
    for place in sorted(first):
        own = [found.get(place) for found in rows]
        joined.append(
            JoinedSurprisal(
                place[0],
                first[place].text,
                place[1],
                place[2],
                tuple(None if row is None else row.bits for row in own),
                tuple(row is not None and row.unknown for row in own),
            )
        )
    return JoinedTable(joined, kinds.pop(), list(tables))


# ---- making one ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextReader:
    """What reads a text for a fitted language model.

    Attributes:
        model: the model.
        vocabulary: its vocabulary.
        sequences: what one sequence is.
        speller: the byte model that spells unknown symbols; None: nothing is unknown.
    """

    model: SequenceModel
    vocabulary: Vocabulary
    sequences: Sequences
    speller: SequenceModel | None

    def surprisal(
        self,
        texts: Sequence[Text],
        by: Unit,
        *,
        is_one: bool,
        progress: Callable[[int], None] | None = None,
    ) -> SurprisalTable:
        """The surprisal of every symbol or word of texts.

        Each text is read by itself; a model of lines reads each of its lines by itself.

        Args:
            texts: the texts, or lists of events or words.
            by: "symbol" or "word".
            is_one: whether they are one text, whose lines are its sentences.
            progress: callback that receives the number of symbols scored so far.

        Raises:
            ConfigError: if `by` is something else.
        """
        if by not in ("symbol", "word"):
            raise ConfigError(f'by={by!r}: choose "symbol" or "word"')
        pieces = [piece for i, text in enumerate(texts) for piece in self._cut(i + 1, text)]
        ids = [self.vocabulary.encode_prompt(piece.text) for piece in pieces]
        # Sequences with ends; the end of a stream, which has none, is left out below.
        nats, bounds = surprisals(self.model, Corpus.from_tokens(ids), progress=progress)
        bits = nats.astype(np.float64) / np.log(2)
        found: list[Surprisal] = []
        for piece, own, start, stop in zip(pieces, ids, bounds[:-1], bounds[1:], strict=True):
            found += self._rows(piece, own, bits[start:stop], by)
        if is_one and isinstance(texts[0], str):
            found = list(_by_line(found, texts[0]))
        return SurprisalTable(found, by)

    def spelling(self, text: Text, ids: Ids) -> Floats:
        """(T,) the bits that spell each unknown symbol of a text, 0 of the others."""
        bits = np.zeros(len(ids))
        if self.vocabulary.unknown is not None and self.speller is not None:
            at = np.flatnonzero(ids == self.vocabulary.unknown)
            if len(at):
                bits[at] = spelling_of_each(self.speller, self.vocabulary.spellings(text))
        return bits

    def written(self, text: Text) -> list[str]:
        """The symbols of a text of a corpus as they are written."""
        if not isinstance(text, str):
            return list(text)
        ids, spans = self.vocabulary.encode(text), self.vocabulary.symbol_spans(text)
        pairs = zip(ids.tolist(), spans.tolist(), strict=True)
        return [self._symbol(i, text, a, b) for i, (a, b) in pairs]

    def _cut(self, sentence: int, text: Text) -> Iterator["_Piece"]:
        """The sequences of a text: of a model of lines its lines."""
        if self.sequences != "line" or not isinstance(text, str):
            yield _Piece(sentence, 0, text)
            return
        start = 0
        for line in text.removesuffix(LINE_END).split(LINE_END):
            yield _Piece(sentence, start, line)
            start += len(line) + 1

    def _rows(self, piece: "_Piece", ids: Ids, bits: Floats, by: Unit) -> Iterator[Surprisal]:
        text, symbols = piece.text, self.vocabulary
        spelled = self.spelling(text, ids)
        unknown = np.zeros(len(ids)) if symbols.unknown is None else ids == symbols.unknown
        sums = [bits[: len(ids)] + spelled, unknown, spelled]
        if by == "word":
            spans, numbers = symbols.word_spans(text)
            sums = [np.bincount(numbers, values, len(spans)) for values in sums]
            names = [_shown(text, a, b) for a, b in spans.tolist()]
        else:
            spans = symbols.symbol_spans(text)
            names = [
                self._symbol(i, text, a, b)
                for i, (a, b) in zip(ids.tolist(), spans.tolist(), strict=True)
            ]
        places, columns = (spans + piece.start).tolist(), [values.tolist() for values in sums]
        for name, (a, b), own, is_unknown, extra in zip(names, places, *columns, strict=True):
            yield Surprisal(piece.sentence, name, a, b, own, is_unknown > 0, extra)
        if self.sequences != "stream":
            yield self._end(piece, float(bits[len(ids)]))

    def _symbol(self, symbol: int, text: Text, start: int, end: int) -> str:
        """A symbol as it is written, or its name if it is a part of a character."""
        piece = text[start:end]
        size = self.vocabulary.num_bytes[symbol]
        is_part = isinstance(piece, str) and self.vocabulary.unknown is None
        if is_part and len(str(piece).encode()) != size:
            return self.vocabulary.name(symbol)
        return _shown(text, start, end)

    def _end(self, piece: "_Piece", bits: float) -> Surprisal:
        at = piece.start + len(piece.text)
        if self.sequences == "line" and isinstance(piece.text, str):
            return Surprisal(piece.sentence, make_readable(LINE_END), at, at + 1, bits)
        return Surprisal(piece.sentence, END, at, at, bits)


@dataclass(frozen=True)
class _Piece:
    """A sequence, the sentence to which it belongs, and where in it it begins."""

    sentence: int
    start: int
    text: Text


def _shown(text: Text, start: int, end: int) -> str:
    """What is written between two places; what cannot be seen is escaped, but spaces are kept."""
    written = text[start:end] if isinstance(text, str) else text[start]
    return make_readable(written)


def _by_line(rows: Sequence[Surprisal], text: str) -> Iterator[Surprisal]:
    """Rows placed in the lines of their text."""
    begins = [0, *(i + 1 for i, c in enumerate(text) if c == LINE_END)]
    for row in rows:
        at = row.start if row.start < len(text) else max(len(text) - 1, 0)
        line = int(np.searchsorted(begins, at, side="right"))
        begin = begins[line - 1]
        yield Surprisal(
            line,
            row.text,
            row.start - begin,
            row.end - begin,
            row.bits,
            row.unknown,
            row.spelling_bits,
        )
