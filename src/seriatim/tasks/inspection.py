"""Inspection of what tasks hold: texts are read, recorded, and handed to the analyses.

Maps of attention grow with the square of a text, so they are taken of less of it than states
are. How much is decided by the names of the taps that a short piece shows, never by the family.

Knows tasks, symbols and recordings; what the findings are is in `trace.inspection`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from seriatim.analysis.recorder import Trace, record
from seriatim.core.model import SequenceModel
from seriatim.data.sources import Source
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import ConfigError, DataError
from seriatim.tasks.labeller import Labeller
from seriatim.tasks.language_model import LanguageModel
from seriatim.tasks.translator import Translator

Ids = NDArray[np.int64]
# One label for each symbol, or what makes them of the texts of the symbols.
Labels: TypeAlias = Mapping[str, Sequence[object] | Callable[[list[str]], Sequence[object]]]

MOST_SYMBOLS = 10_000  # whose states are looked at
MOST_LOOKED = 512  # of one sequence whose maps are made
MOST_MAPPED = 2048  # of all together
_TASTE = 8  # symbols that show which taps there are
_NOTHING = "-"  # the name of no tap


@dataclass(frozen=True)
class Window:
    """Which symbols of a text are inspected.

    Attributes:
        start: symbols left out before it.
        length: of it; None: as many as can be looked at.
    """

    start: int = 0
    length: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.length is not None and self.length < 1):
            raise ConfigError(
                f"a window of {self.length} symbols from {self.start} was asked for: give a start "
                "of 0 or more and a length of 1 or more"
            )


def inspect(
    task: LanguageModel | Translator | Labeller,
    text: str | Source | Sequence[str] | Sequence[tuple[str, str | None]],
    *,
    title: str = "the model",
    labels: Labels | None = None,
    window: Window | None = None,
    only: Sequence[str] | None = None,
    beam: int = 4,
    top: int = 5,
) -> Inspection:
    """What happens inside of a fitted task while it reads a text.

    Args:
        task: a language model, a translator or a labeller.
        text: of a language model: a text, or a source of it; of a translator: a source, several,
            or pairs, whose targets may be None for what it says by itself; of a labeller: a
            sequence, or several.
        title: what the model is called.
        labels: of the user's own, by name, for a language model: see `inspect_text`.
        window: which symbols, of a language model.
        only: patterns of taps, such as "layers.1"; None: all.
        beam: of a translator: the width of its search.
        top: alternatives of each symbol, and neurons for each label.

    Raises:
        ConfigError: what belongs to another task.
        DataError: an empty text, a window behind its end, labels of another number.
    """
    if isinstance(task, LanguageModel):
        if not isinstance(text, str | Source):
            raise ConfigError(
                "a language model inspects one text: give a text, or open_source([..]) for several"
            )
        return inspect_text(
            task, text, title=title, labels=labels, window=window, only=only, top=top
        )
    if labels is not None or window not in (None, Window()):
        raise ConfigError("labels and windows are of language models, and this is none: leave out")
    if isinstance(text, Source):
        raise ConfigError("a source of texts is for language models: give the sequences themselves")
    given: list[str | tuple[str, str | None]] = [text] if isinstance(text, str) else [*text]
    if isinstance(task, Translator):
        pairs = [(one, None) if isinstance(one, str) else one for one in given]
        return inspect_pair(task, pairs, title=title, beam=beam, only=only, top=top)
    texts = [one for one in given if isinstance(one, str)]
    if len(texts) < len(given):
        raise ConfigError("a labeller reads texts, and pairs were given: leave the labels out")
    return inspect_labelled(task, texts, title=title, only=only, top=top)


def inspect_text(
    lm: LanguageModel,
    text: str | Source,
    *,
    title: str = "the model",
    labels: Labels | None = None,
    window: Window | None = None,
    only: Sequence[str] | None = None,
    top: int = 5,
) -> Inspection:
    """What happens inside of a language model while it reads a text.

    Args:
        lm: fitted.
        text: as it is, or a source of it; lines are read each from its own beginning.
        title: what the model is called.
        labels: of the user's own, by name: one value for each symbol of the text, or a function
            that makes them of the symbols' texts.
        window: which part; it is read as if nothing stood before it. None: the beginning.
        only: patterns of taps, such as "layers.1"; None: all.
        top: alternatives of each symbol, and neurons for each label.

    Raises:
        DataError: an empty text, a window behind its end, labels of another number.
    """
    if lm.model is None or lm.vocabulary is None:
        raise ConfigError("this language model is not fitted yet: call fit, or load one")
    reader = _Reader(lm.model, lm.vocabulary, lm.sequences != "stream", top)
    notes: list[str] = []
    whole = _encoded(_texts(lm, text), lm.vocabulary, notes)
    kept, window = _cut(whole, window or Window(), notes)
    names = list(reader.passage(kept[0][:_TASTE], only).taps)
    if only and not names:
        raise ConfigError(f"nothing is recorded under {', '.join(only)}: leave it out to see all")
    maps = [name for name in names if is_map(name)]
    states = [name for name in names if name not in maps]
    few = _few(kept) if maps else []
    if maps and sum(map(len, few)) < sum(map(len, kept)):
        notes.append(
            f"attention is shown of {sum(map(len, few)):,} symbols, in pieces of at most "
            f"{MOST_LOOKED:,} read each from its own beginning: maps grow with the square of a text"
        )
    passages = [reader.passage(ids, states) for ids in kept]
    return inspect_passages(
        passages,
        map_passages=[reader.passage(ids, maps) for ids in few],
        title=title,
        labels=_own_labels(labels, whole, window, passages, lm.vocabulary),
        notes=notes,
        top=top,
    )


def inspect_pair(
    translator: Translator,
    pairs: Sequence[tuple[str, str | None]],
    *,
    title: str = "the model",
    beam: int = 4,
    only: Sequence[str] | None = None,
    top: int = 5,
) -> Inspection:
    """What happens inside of a translator while it reads sources and says targets.

    Args:
        translator: fitted.
        pairs: sources and targets; without a target the best translation that is found.
        title: what the model is called.
        beam: the width of the search for it.
        only: patterns of taps; None: all.
        top: alternatives of each symbol, and neurons for each label.

    Raises:
        DataError: nothing to read.
    """
    if (
        translator.model is None
        or translator.vocabulary is None
        or translator.source_vocabulary is None
    ):
        raise ConfigError("this translator is not fitted yet: call fit, or load one")
    alphabets = translator.source_vocabulary, translator.vocabulary
    notes: list[str] = []
    read = _encoded([source for source, _ in pairs], alphabets[0], notes, is_cut=False)
    passages = []
    for (source, target), ids in zip(pairs, read, strict=True):
        if not len(ids):
            continue
        if target is None:
            found = translator.translate(source, beam=beam)[0]
            said, is_ended = np.array(found.symbols, np.int64), found.is_ended
        else:
            said, is_ended = alphabets[1].encode(target), True
        trace = trace_pair(
            translator.model,
            alphabets,
            ids,
            said,
            is_ended=is_ended,
            top=top,
            only=only,
        )
        passages.append(_pair_passage(trace, ids, said, alphabets, is_ended=is_ended))
    return inspect_passages(passages, title=title, notes=notes, top=top)


def inspect_labelled(
    labeller: Labeller,
    texts: Sequence[str],
    *,
    title: str = "the model",
    only: Sequence[str] | None = None,
    top: int = 5,
) -> Inspection:
    """What happens inside of a labeller while it reads texts.

    Args:
        labeller: fitted.
        texts: one sequence each.
        title: what the model is called.
        only: patterns of taps; None: all.
        top: neurons for each label.

    Raises:
        DataError: nothing to read.
    """
    vocabulary = labeller.vocabulary
    if labeller.model is None or vocabulary is None:
        raise ConfigError("this labeller is not fitted yet: call fit, or load one")
    notes: list[str] = []
    passages = []
    for text, ids in zip(texts, _encoded(texts, vocabulary, notes, is_cut=False), strict=True):
        if not len(ids):
            continue
        with record(labeller.model, only=only) as trace:
            labeller.label([text])
        passages.append(
            Passage(_side([*ids.tolist(), vocabulary.boundary], vocabulary), _rows(trace))
        )
    return inspect_passages(passages, title=title, notes=notes, top=top)


# ---- what is read -------------------------------------------------------------------------------


def _texts(lm: LanguageModel, text: str | Source) -> list[Text]:
    """The sequences of a text."""
    if isinstance(text, str):
        return [*text.removesuffix("\n").split("\n")] if lm.sequences == "line" else [text]
    texts: list[Text] = list(text.texts())
    if lm.sequences == "stream" and all(isinstance(t, str) for t in texts):
        return ["".join(t for t in texts if isinstance(t, str))]
    return texts


def _encoded(
    texts: Sequence[Text], vocabulary: Vocabulary, notes: list[str], *, is_cut: bool = True
) -> list[Ids]:
    """Texts in symbols; what is unknown is noted, and empty ones are left out where asked.

    Raises:
        DataError: there is no symbol at all.
    """
    unknown = list(dict.fromkeys(u for t in texts for u in vocabulary.unknown_symbols(t)))
    if unknown:
        shown = ", ".join(repr(u) for u in unknown[:5]) + (", .." if len(unknown) > 5 else "")
        what = "symbol of the text is" if len(unknown) == 1 else "symbols of the text are"
        name = vocabulary.name(vocabulary.unknown or 0)
        notes.append(f"{len(unknown):,} {what} unknown to the model and read as {name}: {shown}")
    read = [vocabulary.encode(text) for text in texts]
    if not any(len(ids) for ids in read):
        raise DataError("the text is empty, so there is nothing to inspect: give some text")
    return [ids for ids in read if len(ids)] if is_cut else read


def _cut(whole: Sequence[Ids], asked: Window, notes: list[str]) -> tuple[list[Ids], Window]:
    """The part that is inspected, sequence after sequence, and where it lies."""
    count = sum(map(len, whole))
    if asked.start >= count:
        raise DataError(
            f"the text has {count:,} symbols and none from {asked.start:,} on: start earlier"
        )
    most = min(asked.length or MOST_SYMBOLS, MOST_SYMBOLS)
    kept, begin = [], 0
    for ids in whole:
        low, high = max(0, asked.start - begin), asked.start + most - begin
        if high > 0 and len(ids[low:high]):
            kept.append(ids[low:high])
        begin += len(ids)
    size = sum(map(len, kept))
    if size < count:
        notes.append(
            f"of {count:,} symbols {size:,} are inspected, from symbol {asked.start:,} on, read as "
            "if nothing stood before them; another window may be asked for"
        )
    return kept, Window(asked.start, size)


def _few(kept: Sequence[Ids]) -> list[Ids]:
    """Pieces whose maps can be held: a long sequence is cut, and many are not all taken."""
    pieces = [ids[at : at + MOST_LOOKED] for ids in kept for at in range(0, len(ids), MOST_LOOKED)]
    few: list[Ids] = []
    for ids in pieces:
        if few and sum(map(len, few)) + len(ids) > MOST_MAPPED:
            break
        few.append(ids)
    return few


def _own_labels(
    labels: Labels | None,
    whole: Sequence[Ids],
    window: Window,
    passages: Sequence[Passage],
    vocabulary: Vocabulary,
) -> list[Label]:
    """The user's labels of the symbols that were read in these passages.

    A label belongs to a symbol, and is looked for in the state after that symbol was read; so
    what was predicted and never read has none.
    """
    found = []
    sizes = [len(p.read.symbols) - p.read.start for p in passages]
    for name, given in (labels or {}).items():
        ids = [i for part in whole for i in part.tolist()]
        values = given(_pieces(ids, vocabulary)) if callable(given) else given
        if len(values) != len(ids):
            raise DataError(
                f"{len(values):,} labels {name!r} were given for {len(ids):,} symbols: give one "
                "for each symbol of the text, in order"
            )
        read: list[object] = []
        begin = window.start
        for size, predicted in zip(sizes, _sizes(whole, window), strict=True):
            read += values[begin : begin + size]
            begin += predicted
        found.append(user_label(name, read))
    return found


def _sizes(whole: Sequence[Ids], window: Window) -> list[int]:
    """How many symbols of the text each passage is made of."""
    kept, _ = _cut(whole, window, [])
    return [len(ids) for ids in kept]


# ---- passages -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    model: SequenceModel
    vocabulary: Vocabulary
    has_ends: bool
    top: int

    def passage(self, ids: Ids, only: Sequence[str] | None) -> Passage:
        """One sequence, read from its beginning; what is recorded goes by names."""
        if only is not None and not only:
            only = [_NOTHING]
        trace = trace_text(
            self.model,
            self.vocabulary,
            [ids],
            has_ends=self.has_ends,
            top=self.top,
            only=only,
        )
        boundary = self.vocabulary.boundary
        targets = [*ids.tolist(), *([boundary] if self.has_ends else [])]
        return Passage(
            read=_side([boundary, *targets[:-1]], self.vocabulary, start=1),
            taps=_rows(trace.taps),
            targets=trace.symbols,
            target_pieces=_pieces([boundary, *targets], self.vocabulary)[1:],
            bits=torch.from_numpy(trace.bits),
            alternatives=trace.alternatives,
        )


def _pair_passage(
    trace: PairTrace,
    source: Ids,
    said: Ids,
    alphabets: tuple[Vocabulary, Vocabulary],
    *,
    is_ended: bool,
) -> Passage:
    of_source, of_target = alphabets
    targets = [*said.tolist(), *([of_target.boundary] if is_ended else [])]
    return Passage(
        read=_side([of_target.boundary, *targets[:-1]], of_target, start=1),
        taps=_rows(trace.taps),
        source=_side([*source.tolist(), of_source.boundary], of_source),
        targets=trace.symbols,
        target_pieces=_pieces([of_target.boundary, *targets], of_target)[1:],
        bits=torch.from_numpy(trace.bits),
        alternatives=trace.alternatives,
    )


def _side(ids: list[int], vocabulary: Vocabulary, *, start: int = 0) -> InspectedSide:
    names = [vocabulary.name(i) for i in ids]
    return InspectedSide(_pieces(ids, vocabulary), torch.tensor(ids), names, start)


def _pieces(ids: Sequence[int], vocabulary: Vocabulary) -> list[str]:
    """The text that each symbol adds to those before it."""
    decoder = vocabulary.decoder()
    return [decoder.push(i) for i in ids]


def _rows(trace: Trace) -> dict[str, Tensor]:
    """Every tap of the only row."""
    return {name: trace[name][0] for name in trace.names}
