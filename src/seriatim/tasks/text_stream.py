"""What a language model says of single symbols, of words, and of a text that grows.

Knows streams, states and vocabularies; no files and no training.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from seriatim.core.model import SequenceModel, State
from seriatim.data.corpus import Corpus
from seriatim.data.vocab.vocabulary import Ids, Text, Vocabulary
from seriatim.decode.stream import Stream
from seriatim.errors import SymbolError
from seriatim.metrics.likelihood import surprisals
from seriatim.report.terminal import count_noun

Unit: TypeAlias = Literal["symbol", "word"]

_UNIT = re.compile(r"(?<=\S)(?=\s)|(?<=\n)")  # where no symbol goes on

_MAX_UNIT = 2048  # characters without white space within which pieces are checked


@dataclass(frozen=True)
class Surprisal:
    """The surprisal of one symbol, or of the symbols of one word: -log2 p(it | what is before)."""

    symbol: str
    bits: float


@dataclass(frozen=True)
class Prediction:
    """One of the most probable next symbols."""

    symbol: str
    probability: float


def read_prompt(vocabulary: Vocabulary, prompt: Text, *, may_be_unknown: bool) -> Ids:
    """The symbols of a prompt.

    Args:
        vocabulary: the vocabulary of the model.
        prompt: a text, or a list of events.
        may_be_unknown: whether the model has learnt what follows an unknown symbol.

    Raises:
        SymbolError: if the prompt has symbols that the model has never seen.
    """
    ids = vocabulary.encode_prompt(prompt)
    if vocabulary.unknown is None or may_be_unknown or vocabulary.unknown not in ids:
        return ids
    unknown = vocabulary.unknown_symbols(prompt)
    if not unknown:
        return ids  # `<unk>` itself was given
    named = ", ".join(repr(u if len(u) < 40 else f"{u[:40]}...") for u in unknown[:5])
    raise SymbolError(
        f"the prompt has {count_noun(len(unknown), 'symbol')} that the model has never seen "
        f"({named}): leave out what is unknown, or fit on text that has it"
    )


def describe_reach(model: SequenceModel, ids: Ids) -> str | None:
    """A sentence about a prompt (T,) that is longer than what the model sees; None: it is not."""
    if model.reach is None or len(ids) <= model.reach:
        return None
    return (
        f"the prompt has {len(ids):,} symbols, and the model sees the last {model.reach:,} of "
        "them: what is before them changes nothing"
    )


def state_after(model: SequenceModel, ids: Ids) -> State:
    """The state of one row that has read symbols (T,)."""
    with torch.inference_mode():
        x = torch.from_numpy(np.asarray(ids, np.int64)[None]).to(model.device)
        return model.update(model.start(1), x)


def text_surprisals(
    model: SequenceModel,
    vocabulary: Vocabulary,
    texts: Sequence[Text],
    *,
    is_stream: bool,
    per: Unit,
) -> list[Surprisal]:
    """The surprisal of every symbol or word of texts, in bits, their ends included.

    The bits of a word are the sum of those of its symbols; white space counts with the word after
    it (see `Vocabulary.word_numbers`). The sum over a text is the same for symbols and words.

    Args:
        model: the model.
        vocabulary: the vocabulary of the model.
        texts: the sequences; of a stream, one.
        is_stream: whether sequences have no end.
        per: "symbol" or "word".
    """
    pieces = [vocabulary.encode_prompt(text) for text in texts]
    nats, _ = surprisals(model, Corpus.from_tokens(pieces, is_stream=is_stream))
    bits, ends = nats.astype(np.float64) / np.log(2), [] if is_stream else [vocabulary.boundary]
    found: list[Surprisal] = []
    start = 0
    for text, ids in zip(texts, pieces, strict=True):
        stop = start + len(ids)
        own, names = bits[start:stop], list(map(vocabulary.name, ids.tolist()))
        if per == "word":
            names, numbers = vocabulary.word_numbers(text)
            own = np.bincount(numbers, own, len(names))
        found += map(Surprisal, names, own.tolist())
        start = stop + len(ends)
        found += [Surprisal(vocabulary.name(i), float(bits[stop])) for i in ends]
    return found


class TextStream:
    """One text that grows: push an element, get its surprisal in bits.

    The sum over a text equals what `surprisal` and `score` say of it.
    """

    def __init__(self, stream: Stream, vocabulary: Vocabulary) -> None:
        self._stream, self._symbols = stream, vocabulary
        self._before = ""  # the text pushed since the last place where a symbol surely ends

    def push(self, element: Text) -> float:
        """Fold an element in and return its bits.

        What an element is depends on the symbols. Of events that come as lists, a text is always
        one event, whatever it contains; a list is several. Of words, a text is one or more whole
        words; characters are not pieces of words. Of characters and bytes, it is any text. Of
        byte-pair encoding, it is any text that ends where a symbol ends: push whole words, each
        with the space before it.

        Args:
            element: a text, or a list of events or words.

        Raises:
            SymbolError: if the text holds no symbol, or continues the symbol before it, so that
                its bits would not be those of the text.
        """
        ids = self._symbols.encode_element(element)
        if isinstance(element, str):
            self._check(element, ids)
        else:
            self._before = ""
        nats = sum(self._stream.push(i) for i in ids.tolist())
        return nats / float(np.log(2))

    def _check(self, element: str, ids: Ids) -> None:
        if element and not len(ids):
            raise SymbolError(f"{element!r} holds no symbol of this model: push whole words")
        if self._symbols.joins_freely:
            return
        if self._before and not self._symbols.is_joined_freely(self._before, element):
            raise SymbolError(
                f"{element!r:.60} continues {self._before!r:.60}, and the symbols of both together "
                "are not those of each: push whole words, each with the space before it"
            )
        unit = _UNIT.split(self._before + element)[-1]
        self._before = unit if len(unit) <= _MAX_UNIT else ""  # the cost of a push is bounded

    def end(self) -> float:
        """The bits of the text ending here; folds the end in."""
        self._before = ""
        return self._stream.push(self._symbols.boundary) / float(np.log(2))

    def top(self, k: int = 10) -> list[Prediction]:
        """The k most probable next symbols."""
        return [Prediction(self._symbols.name(i), float(np.exp(p))) for i, p in self._stream.top(k)]

    def save(self) -> bytes:
        """The state as bytes; `LanguageModel.stream(state)` goes on from it exactly."""
        return self._stream.save()
