"""What a language model samples and predicts after a prompt, and says of a text that grows.

Knows streams, states and vocabularies; no files and no training.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch

from seriatim.core import tree
from seriatim.core.model import SequenceModel, State
from seriatim.data.vocab.vocabulary import Ids, Text, Vocabulary
from seriatim.decode.stream import Stream
from seriatim.errors import SymbolError
from seriatim.report.terminal import count_noun
from seriatim.tasks.text_surprisal import TextReader

_UNIT = re.compile(r"(?<=\S)(?=\s)|(?<=\n)")  # where no symbol goes on

_MAX_UNIT = 2048  # characters without white space within which pieces are checked


@dataclass(frozen=True)
class Prediction:
    """One of the most probable next symbols."""

    symbol: str
    probability: float


def unknown_note(vocabulary: Vocabulary, prompt: Text) -> str | None:
    """A sentence about the symbols of a prompt that the model does not know; None: it has none."""
    unknown = vocabulary.unknown_symbols(prompt)
    if not unknown:
        return None
    named = ", ".join(repr(u if len(u) < 40 else f"{u[:40]}...") for u in unknown[:5])
    return (
        f"the prompt has {count_noun(len(unknown), 'symbol')} that the model has never seen "
        f"({named}), read as <unk>"
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


class TextStream:
    """One text that grows: push an element, get its surprisal in bits.

    The sum over a text equals that of `surprisal`: an unknown symbol is read as `<unk>` and pays
    for its spelling too.
    """

    def __init__(self, stream: Stream, reader: TextReader) -> None:
        self._stream, self._symbols, self._reader = stream, reader.vocabulary, reader
        self._before = ""  # the text pushed since the last place where a symbol surely ends

    def __repr__(self) -> str:
        return f"TextStream({type(self._stream.model).__name__}, {self._symbols!r})"

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
        return nats / float(np.log(2)) + self._spelling(element, ids)

    def knows(self, element: Text) -> bool:
        """Whether an element, as `push` takes it, has no symbol that is unknown to the model."""
        unknown = self._symbols.unknown
        return unknown is None or unknown not in self._symbols.encode_element(element)

    def _spelling(self, element: Text, ids: Ids) -> float:
        """The bits that spell what is unknown."""
        if self._symbols.unknown is None or self._symbols.unknown not in ids:
            return 0.0
        is_event = self._symbols.is_events and isinstance(element, str)
        items = [element] if is_event and isinstance(element, str) else element
        return float(self._reader.spelling(items, ids).sum())

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

    def fork(self) -> "TextStream":
        """A second stream that goes on from here; neither affects the other."""
        stream = TextStream(self._stream.fork(), self._reader)
        stream._before = self._before
        return stream

    @property
    def num_bytes(self) -> int:
        """The bytes of the state, spare room included."""
        storages = (leaf.untyped_storage() for leaf in tree.leaves(self._stream.state))
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    def save(self) -> bytes:
        """The state as bytes; `LanguageModel.stream(state)` goes on from it exactly."""
        return self._stream.save()
