"""Inspection of fitted tasks: texts are read, recorded, and handed to the analyses.

Attention maps grow with the square of a text, so they are taken of less of it than states are.
The names of the taps that a short piece of the text records decide what is an attention map,
never the family.

Knows tasks, vocabularies and recordings; `analysis.inspect` makes the findings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from os import PathLike
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.analysis.inspect.findings import InspectedSide, Passage
from seriatim.analysis.inspect.inspection import Inspection
from seriatim.analysis.inspect.labels import Label, user_label
from seriatim.analysis.inspect.measure import inspect_passages, is_map
from seriatim.analysis.inspect.trace import PairTrace, trace_pair, trace_text
from seriatim.analysis.recorder import Trace, record, tap_patterns
from seriatim.core.model import SequenceModel
from seriatim.core.validation import checked_arguments
from seriatim.data.file_names import check_text
from seriatim.data.sources import Source
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import ConfigError, DataError
from seriatim.report.terminal import count_noun
from seriatim.tasks.labeller import Labeller
from seriatim.tasks.language_model import LanguageModel
from seriatim.tasks.translator import Translator

Ids = NDArray[np.int64]
# By name, one label for each symbol, or a function that computes them from the symbols' texts.
Labels: TypeAlias = Mapping[str, Sequence[object] | Callable[[list[str]], Sequence[object]]]
Texts: TypeAlias = str | Source | Sequence[str] | Sequence[tuple[str, str | None]]

MAX_SYMBOLS = 10_000  # symbols whose states are inspected
MAX_MAP_LENGTH = 512  # symbols of one sequence whose attention is inspected
MAX_MAP_SYMBOLS = 2048  # symbols of all sequences whose attention is inspected
_PROBE_LENGTH = 8  # symbols that are read to see which taps there are
_NO_TAP = "-"  # a pattern that no tap matches


@dataclass(frozen=True)
class Window:
    """The part of a text that is inspected.

    Attributes:
        start: the number of symbols before it.
        length: the number of symbols in it; None for as many as can be inspected.
    """

    start: int = 0
    length: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ConfigError(f"start = {self.start}: give 0 or more")
        if self.length is not None and self.length < 1:
            raise ConfigError(f"length = {self.length}: give 1 or more")


@dataclass(frozen=True)
class _Options:
    """The options of `inspect`, under the same names."""

    title: str
    labels: Labels | None
    window: Window
    only: Sequence[str] | None
    beam: int
    top: int

    def refuse_text_options(self, task: str) -> None:
        """Raise an error for options that only language models have."""
        if self.labels is not None or self.window != Window():
            raise ConfigError(
                f"labels, start and length are options of language models, not of {task}"
            )


@checked_arguments
def inspect(
    task: LanguageModel | Translator | Labeller,
    text: Texts,
    *,
    title: str = "the model",
    labels: Labels | None = None,
    start: int = 0,
    length: int | None = None,
    only: Sequence[str | int] | None = None,
    beam: int = 4,
    top: int = 5,
) -> Inspection:
    """What happens inside a fitted task while it reads a text.

    Args:
        task: a language model, a translator or a labeller.
        text: for a language model, a text, a list of events or a source (lines are each read from
            their own beginning); for a translator, a source sentence, several, or pairs whose
            target may be None for the model's own translation; for a labeller, one or several
            sequences.
        title: the name of the model in the findings.
        labels: the user's labels of a language model's text by name: one value for each symbol,
            or a function that computes them from the symbols' texts.
        start: the number of symbols of a language model's text that are skipped; what follows is
            read without them.
        length: the number of symbols of a language model's text; None: as many as can be
            inspected.
        only: numbers of layers and patterns of taps, such as 1 or "*.cross"; None: all.
        beam: the width of a translator's search.
        top: the number of alternatives for each symbol, and of neurons for each label.

    Raises:
        ConfigError: if the task is not fitted, or an option belongs to another task.
        DataError: if the text is empty or ends before `start`, or if there is not one label
            for each symbol.
    """
    if isinstance(text, PathLike):
        check_text(text)
    window = Window(start, length)
    return _inspect(task, text, _Options(title, labels, window, tap_patterns(only), beam, top))


@singledispatch
def _inspect(task: object, text: Texts, options: _Options) -> Inspection:
    raise ConfigError(
        f"inspect takes a language model, a translator or a labeller, not {type(task).__name__}"
    )


@_inspect.register
def _inspect_language_model(lm: LanguageModel, text: Texts, options: _Options) -> Inspection:
    if lm.model is None or lm.vocabulary is None:
        raise ConfigError("this language model is not fitted yet: call fit, or load one")
    if not isinstance(text, str | Source) and not lm.vocabulary.is_events:
        raise ConfigError(
            "a language model inspects one text: give a text, or open_source([..]) for several"
        )
    given = text if isinstance(text, str | Source) else [str(event) for event in text]
    notes: list[str] = []
    encoded = [ids for ids in _encode(_texts(lm, given), lm.vocabulary, notes) if len(ids)]
    pieces, window = _cut(encoded, options.window, notes)
    reader = _Reader(lm.model, lm.vocabulary, lm.sequences != "stream", options.top)
    names = list(reader.passage(pieces[0][:_PROBE_LENGTH], options.only).taps)
    if options.only and not names:
        patterns = ", ".join(options.only)
        raise ConfigError(
            f"nothing is recorded under {patterns}: leave `only` out to see all names"
        )
    maps = [name for name in names if is_map(name)]
    map_pieces = _map_pieces(pieces) if maps else []
    if maps and sum(map(len, map_pieces)) < sum(map(len, pieces)):
        notes.append(
            f"attention is inspected for {sum(map(len, map_pieces)):,} symbols, in pieces of at "
            f"most {MAX_MAP_LENGTH:,} that are each read from their own beginning, because "
            "attention maps grow with the square of a text"
        )
    passages = [reader.passage(ids, [n for n in names if n not in maps]) for ids in pieces]
    return inspect_passages(
        passages,
        map_passages=[reader.passage(ids, maps) for ids in map_pieces],
        title=options.title,
        labels=_user_labels(options.labels, encoded, window, passages, lm.vocabulary),
        notes=notes,
        top=options.top,
    )


@_inspect.register
def _inspect_translator(translator: Translator, text: Texts, options: _Options) -> Inspection:
    options.refuse_text_options("translators")
    pairs = [(one, None) if isinstance(one, str) else one for one in _items(text)]
    model, source_vocabulary = translator.model, translator.source_vocabulary
    vocabulary = translator.vocabulary
    if model is None or vocabulary is None or source_vocabulary is None:
        raise ConfigError("this translator is not fitted yet: call fit, or load one")
    vocabularies = source_vocabulary, vocabulary
    notes: list[str] = []
    encoded = _encode([source for source, _ in pairs], source_vocabulary, notes)
    passages = []
    for (source, target), ids in zip(pairs, encoded, strict=True):
        if not len(ids):
            continue
        if target is None:
            best = translator.translate(source, beam=options.beam)
            target_ids, is_ended = np.array(best.symbols, np.int64), best.is_ended
        else:
            target_ids, is_ended = vocabulary.encode(target), True
        trace = trace_pair(
            model,
            vocabularies,
            ids,
            target_ids,
            is_ended=is_ended,
            top=options.top,
            only=options.only,
        )
        passages.append(_pair_passage(trace, ids, target_ids, vocabularies, is_ended=is_ended))
    return inspect_passages(passages, title=options.title, notes=notes, top=options.top)


@_inspect.register
def _inspect_labeller(labeller: Labeller, text: Texts, options: _Options) -> Inspection:
    options.refuse_text_options("labellers")
    items = _items(text)
    texts = [one for one in items if isinstance(one, str)]
    if len(texts) < len(items):
        raise ConfigError("a labeller reads texts, not pairs: leave the labels out")
    vocabulary = labeller.vocabulary
    if labeller.model is None or vocabulary is None:
        raise ConfigError("this labeller is not fitted yet: call fit, or load one")
    notes: list[str] = []
    passages = []
    for one, ids in zip(texts, _encode(texts, vocabulary, notes), strict=True):
        if not len(ids):
            continue
        with record(labeller.model, only=options.only) as trace:
            labeller.label([one])
        side = _side([*ids.tolist(), vocabulary.boundary], vocabulary)
        passages.append(Passage(side, _first_row(trace)))
    return inspect_passages(passages, title=options.title, notes=notes, top=options.top)


# ---- texts --------------------------------------------------------------------------------------


def _items(text: Texts) -> list[str | tuple[str, str | None]]:
    """The sequences or pairs that a translator or a labeller reads."""
    if isinstance(text, Source):
        raise ConfigError("only language models inspect a source: give the sequences themselves")
    return [text] if isinstance(text, str) else [*text]


def _texts(lm: LanguageModel, text: str | Source | list[str]) -> list[Text]:
    """The sequences of a language model's text."""
    if isinstance(text, list):
        return [text]
    if isinstance(text, str):
        return [*text.removesuffix("\n").split("\n")] if lm.sequences == "line" else [text]
    texts: list[Text] = list(text.texts())
    if lm.sequences == "stream" and all(isinstance(t, str) for t in texts):
        return ["".join(t for t in texts if isinstance(t, str))]
    return texts


def _encode(texts: Sequence[Text], vocabulary: Vocabulary, notes: list[str]) -> list[Ids]:
    """The ids of each text; unknown symbols are added to the notes.

    Raises:
        DataError: if there is no symbol at all.
    """
    unknown = list(dict.fromkeys(u for t in texts for u in vocabulary.unknown_symbols(t)))
    if unknown:
        shown = ", ".join(repr(u) for u in unknown[:5]) + (", .." if len(unknown) > 5 else "")
        what = "symbol of the text is" if len(unknown) == 1 else "symbols of the text are"
        name = vocabulary.name(vocabulary.unknown or 0)
        notes.append(f"{len(unknown):,} {what} unknown to the model and read as {name}: {shown}")
    encoded = [vocabulary.encode_prompt(text) for text in texts]
    if not any(len(ids) for ids in encoded):
        raise DataError("the text is empty, so there is nothing to inspect: give some text")
    return encoded


def _pieces_of(encoded: Sequence[Ids], window: Window) -> list[Ids]:
    """The part of each sequence that lies in the window; those outside are left out."""
    end = window.start + min(window.length or MAX_SYMBOLS, MAX_SYMBOLS)
    pieces, begin = [], 0
    for ids in encoded:
        piece = ids[max(0, window.start - begin) : max(0, end - begin)]
        if len(piece):
            pieces.append(piece)
        begin += len(ids)
    return pieces


def _cut(encoded: Sequence[Ids], window: Window, notes: list[str]) -> tuple[list[Ids], Window]:
    """The part that is inspected, sequence by sequence, and its window."""
    count = sum(map(len, encoded))
    if window.start >= count:
        raise DataError(
            f"the text has {count_noun(count, 'symbol')}, none of them from {window.start:,} on: "
            "start earlier"
        )
    pieces = _pieces_of(encoded, window)
    size = sum(map(len, pieces))
    if size < count:
        part = f"{size:,} of {count:,} symbols are inspected"
        if window.start:
            part += f", from symbol {window.start:,} on, read without the text before them"
        else:
            part = f"the first {part}"
        notes.append(f"{part}; choose another part with start and length")
    return pieces, Window(window.start, size)


def _map_pieces(pieces: Sequence[Ids]) -> list[Ids]:
    """Pieces whose attention maps fit in memory: long sequences are cut, many are not all taken."""
    short = [
        ids[at : at + MAX_MAP_LENGTH] for ids in pieces for at in range(0, len(ids), MAX_MAP_LENGTH)
    ]
    taken: list[Ids] = []
    for ids in short:
        if taken and sum(map(len, taken)) + len(ids) > MAX_MAP_SYMBOLS:
            break
        taken.append(ids)
    return taken


def _user_labels(
    labels: Labels | None,
    encoded: Sequence[Ids],
    window: Window,
    passages: Sequence[Passage],
    vocabulary: Vocabulary,
) -> list[Label]:
    """The user's labels of the symbols that were read in these passages.

    A label belongs to a symbol and is looked for in the state after that symbol was read; a
    symbol that was predicted but never read has no such state.
    """
    user_labels = []
    predicted_sizes = [len(ids) for ids in _pieces_of(encoded, window)]
    read_sizes = [len(p.read.symbols) - p.read.start for p in passages]
    for name, source in (labels or {}).items():
        ids = [i for part in encoded for i in part.tolist()]
        values = source(_symbol_texts(ids, vocabulary)) if callable(source) else source
        if len(values) != len(ids):
            raise DataError(
                f"{len(values):,} labels {name!r} were given for {len(ids):,} symbols: give one "
                "for each symbol of the text, in order"
            )
        read: list[object] = []
        begin = window.start
        for size, predicted in zip(read_sizes, predicted_sizes, strict=True):
            read += values[begin : begin + size]
            begin += predicted
        user_labels.append(user_label(name, read))
    return user_labels


# ---- passages -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    """A language model that reads one sequence after another and records it."""

    model: SequenceModel
    vocabulary: Vocabulary
    has_ends: bool
    top: int

    def passage(self, ids: Ids, only: Sequence[str] | None) -> Passage:
        """One sequence read from its beginning; `only` are the patterns of recorded names."""
        trace = trace_text(
            self.model,
            self.vocabulary,
            [ids],
            has_ends=self.has_ends,
            top=self.top,
            only=only if only is None else only or [_NO_TAP],
        )
        boundary = self.vocabulary.boundary
        targets = [*ids.tolist(), *([boundary] if self.has_ends else [])]
        return Passage(
            read=_side([boundary, *targets[:-1]], self.vocabulary, start=1),
            taps=_first_row(trace.taps),
            targets=trace.symbols,
            target_pieces=_symbol_texts([boundary, *targets], self.vocabulary)[1:],
            bits=torch.from_numpy(trace.bits),
            alternatives=trace.alternatives,
        )


def _pair_passage(
    trace: PairTrace,
    source: Ids,
    target: Ids,
    vocabularies: tuple[Vocabulary, Vocabulary],
    *,
    is_ended: bool,
) -> Passage:
    of_source, of_target = vocabularies
    targets = [*target.tolist(), *([of_target.boundary] if is_ended else [])]
    return Passage(
        read=_side([of_target.boundary, *targets[:-1]], of_target, start=1),
        taps=_first_row(trace.taps),
        source=_side([*source.tolist(), of_source.boundary], of_source),
        targets=trace.symbols,
        target_pieces=_symbol_texts([of_target.boundary, *targets], of_target)[1:],
        bits=torch.from_numpy(trace.bits),
        alternatives=trace.alternatives,
    )


def _side(ids: list[int], vocabulary: Vocabulary, *, start: int = 0) -> InspectedSide:
    names = [vocabulary.name(i) for i in ids]
    return InspectedSide(_symbol_texts(ids, vocabulary), torch.tensor(ids), names, start)


def _symbol_texts(ids: Sequence[int], vocabulary: Vocabulary) -> list[str]:
    """The text that each symbol adds to those before it."""
    decoder = vocabulary.decoder()
    return [decoder.push(i) for i in ids]


def _first_row(trace: Trace) -> dict[str, Tensor]:
    """Every tap of the only row."""
    return {name: trace[name][0] for name in trace.names}
