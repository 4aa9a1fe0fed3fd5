"""What a language model says of the surprisal of data: tables, thresholds, verdicts.

The half of `LanguageModel` that judges given sequences; it calls the functions of
`text_surprisal`, `sequence_surprisal` and `anomalies`, and holds no logic of its own.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, TypeAlias

from seriatim.core.model import SequenceModel
from seriatim.data.corpus import Corpus
from seriatim.data.file_names import check_text
from seriatim.data.frames import is_frame
from seriatim.data.sources import DataFrame, Source, open_source
from seriatim.data.tables import Columns
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import DataError
from seriatim.tasks.alarm_judge import AlarmJudge
from seriatim.tasks.remembered import SavedReading
from seriatim.tasks.sequence_surprisal import SequenceBits, bits_by_sequence, check_sequences
from seriatim.tasks.text_surprisal import SurprisalTable, TextReader, Unit

Data: TypeAlias = str | PathLike[str] | Source | Sequence[str] | Sequence[list[str]] | DataFrame


class SurprisalJudge(AlarmJudge):
    """A fitted model that gives every symbol of given data its surprisal.

    Attributes:
        sequences: what one sequence is.
        reading: the columns of the table it was fitted to, by which other tables are read; None:
            the data had no columns.
    """

    sequences: Any
    reading: SavedReading | None = None
    _speller: SequenceModel | None

    @abstractmethod
    def _fitted(self) -> tuple[SequenceModel, Vocabulary]: ...

    @abstractmethod
    def _open(self, data: Data) -> Source: ...

    @abstractmethod
    def _corpus(self, source: Source, allow_unknown: bool, *, is_kept: bool = True) -> Corpus: ...

    def _reader(self) -> TextReader:
        model, symbols = self._fitted()
        return TextReader(model, symbols, self.sequences or "stream", self._speller)

    def surprisal(
        self,
        text: Text | PathLike[str] | Source | DataFrame | Sequence[list[str]],
        *,
        by: Unit = "symbol",
        column: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SurprisalTable:
        """The bits of every symbol or word of a text, the end of each sequence included.

        Each text of a list is read by itself. An unknown symbol costs what `<unk>` and its
        spelling cost together, as in `stream` and `score_each`.

        Args:
            text: a text, a list of texts, a `Path` of a file, or a data frame. To a model of
                events a text is one event or several with spaces between them, a list of str one
                sequence, and a list of lists several.
            by: "symbol", or "word" for the sums over the symbols of each word; white space counts
                with the word after it, and an event is a word.
            column: the column of a data frame or table that holds the texts; None: that of the
                training data, `text`, or the only one.
            progress: callback that receives the number of symbols scored so far.

        Raises:
            SymbolError: if the events of the model contain spaces and the text is several of them.
            DataError: if the text is the name of a file; give a `Path`.
        """
        reader = self._reader()
        texts, is_one = self._given(text, column)
        return reader.surprisal(texts, by, is_one=is_one, progress=progress)

    def sequence_bits(
        self,
        data: Data,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[SequenceBits]:
        """Every line or document with the surprisal of each of its symbols; see `score_each`."""
        reader, source = self._reader(), self._open(data)
        check_sequences(self.sequences)
        corpus = self._corpus(source, allow_unknown, is_kept=False)
        return bits_by_sequence(reader, corpus, source, progress=progress)

    def _given(self, text: Any, column: str | None) -> tuple[list[Text], bool]:
        """The texts of what `surprisal` takes, and whether they are one text."""
        if isinstance(text, str):
            symbols = self._fitted()[1]
            if not (symbols.is_events and symbols.is_known(text)):
                check_text(text)
            return [text], True
        if isinstance(text, PathLike | Source) or is_frame(text):
            source = (
                self._open(text)
                if column is None
                else open_source(text, sequences=self.sequences, column=column)
            )
            texts: list[Text] = list(source.texts())
            is_text = source.columns == Columns() and not source.is_in_memory
            if is_text and all(isinstance(t, str) for t in texts):
                end = "\n" if self.sequences == "line" else ""
                return ["".join(str(t) + end for t in texts)], True
            return texts, False
        items = list(text) if isinstance(text, Iterable) else [text]
        for item in items:
            if not isinstance(item, str | list | tuple):
                raise DataError(
                    f"{item!r:.60} is of type {type(item).__name__}: give a text, a list of texts, "
                    "a Path or a data frame"
                )
        is_one = self._fitted()[1].is_events and all(isinstance(item, str) for item in items)
        return ([items] if is_one else items), False
