"""Generating: one continuation piece by piece, or several of many prompts side by side.

Knows models, vocabularies and the samples drawn; no files and no training.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch

from seriatim.core import tree
from seriatim.core.model import SequenceModel
from seriatim.core.validation import checked_arguments
from seriatim.data.batches.examples import pad
from seriatim.data.vocab.vocabulary import Ids, Text, Vocabulary
from seriatim.decode.beam import beam_search
from seriatim.decode.sampling import Sampling, sample
from seriatim.errors import ConfigError

ROWS = 64  # texts that are sampled side by side
Stop = str | Sequence[str] | None


@dataclass(frozen=True)
class ContinuedText:
    """One of the most probable continuations of a prompt.

    Attributes:
        text: the prompt and what follows it; after a list of events, a list of events.
        log_prob: ln p(what follows, its end included if it was reached | the prompt), nats.
        score: what the search ranked by: log_prob over the length penalty.
        is_ended: whether the model ended it; if not, the length cut it.
    """

    text: Text
    log_prob: float
    score: float
    is_ended: bool


class TextGenerator(ABC):
    """What a language model generates; the model and its vocabulary are those of the task."""

    sequences: Any

    @property
    @abstractmethod
    def reads_events(self) -> bool:
        """Whether a list of texts is one sequence of events."""

    @abstractmethod
    def _fitted(self) -> tuple[SequenceModel, Vocabulary]:
        """The model and its vocabulary."""

    @abstractmethod
    def _prompt(self, prompt: Text) -> Ids:
        """The symbols of a prompt."""

    @overload
    def generate(  # type: ignore[overload-overlap]
        self,
        prompt: str = "",
        length: int = 500,
        *,
        samples: None = None,
        stop: Stop = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
    ) -> str: ...

    @overload
    def generate(
        self,
        prompt: Sequence[Text],
        length: int = 500,
        *,
        samples: int | None = None,
        stop: Stop = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
    ) -> list[Any]: ...

    @overload
    def generate(
        self,
        prompt: Text | Sequence[Text] = "",
        length: int = 500,
        *,
        samples: int,
        stop: Stop = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
    ) -> list[Any]: ...

    @checked_arguments
    def generate(
        self,
        prompt: Text | Sequence[Text] = "",
        length: int = 500,
        *,
        samples: int | None = None,
        stop: Stop = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
    ) -> Any:
        """The prompt and up to `length` symbols after it; of several prompts, a list of these.

        Sample j of a prompt is the same beside any other prompts and in any number of samples
        (in float32 up to ties closer than the rounding of a kernel).

        Args:
            prompt: the text that is continued, or a list of texts; for a model of events a list
                of events, one event, or a list of lists. "" or []: nothing.
            length: the number of symbols at most; a model of lines or documents ends by itself.
            samples: the number of samples of each prompt, as a list; None: one, by itself.
            stop: the text, or several, before which the continuation ends; for a model of events
                the names of events.
            temperature, top_k, top_p, min_p: the shape of the distribution; see `Sampling`.
            seed: the seed; the same seed gives the same text.

        Returns:
            A text; after a list of events, a list of events. With `samples`, a list of them; of a
            list of prompts, a list with an entry for each.

        Raises:
            ConfigError: if a value is out of range.
            SymbolError: if a text is several events with spaces in their names.
        """
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        count, stops = _checked_samples(samples), stop_texts(stop)
        _check_length(length)
        is_many = self._are_prompts(prompt)
        prompts: Sequence[Text] = prompt if is_many else [prompt]  # type: ignore[list-item]
        whole: list[Any] = []
        at_once = max(1, ROWS // count)
        for begin in range(0, len(prompts), at_once):
            group = prompts[begin : begin + at_once]
            whole += self._continued(group, length, count, stops, sampling, seed)
        results = [rows if samples is not None else rows[0] for rows in whole]
        return results if is_many else results[0]

    @checked_arguments
    def generating(
        self,
        prompt: Text = "",
        length: int = 500,
        *,
        stop: Stop = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """What follows one prompt, piece by piece as it is sampled; after a list, event by event.

        It ends after `length` symbols, before a stop text, or at the end that a model of lines or
        documents predicts. What may be the beginning of a stop text is held back until that is
        known.

        Args:
            prompt: the text, or the list of events or words, that is continued; to a model of
                events, a text that is one of them is that event. "" or []: nothing.
            length: the number of symbols at most.
            stop: the text, or several, before which it ends.
            temperature, top_k, top_p, min_p: the shape of the distribution; see `Sampling`.
            seed: the seed; the same seed gives the same text.

        Raises:
            ConfigError: if a value is out of range.
            SymbolError: if a text is several events with spaces in their names.
        """
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        stops = stop_texts(stop)
        _check_length(length)
        return self._generating(prompt, length, stops, sampling, seed)

    @checked_arguments
    def beam(
        self,
        prompt: Text = "",
        length: int = 50,
        *,
        beam: int = 5,
        num_best: int = 1,
        alpha: float = 0.0,
    ) -> list[ContinuedText]:
        """The most probable continuations of a prompt that a beam finds, best first.

        Continuations of lines and documents end where the model ends them; those of a stream
        have `length` symbols.

        Args:
            prompt: the text, or the list of events or words, that is continued. "" or []: nothing.
            length: the number of symbols at most.
            beam: the width of the beam; 1 is greedy search.
            num_best: the number of results, at most `beam`.
            alpha: the exponent of the length penalty ((5 + N) / 6)^alpha, by which log_prob is
                divided to rank sequences of N symbols; 0: none.

        Raises:
            ConfigError: if a value is out of range.
            SymbolError: if a text is several events with spaces in their names.
        """
        _check_length(length)
        model, vocabulary = self._fitted()
        ids = self._prompt(prompt)
        with torch.inference_mode():
            x = torch.from_numpy(np.asarray(ids, np.int64))[None].to(model.device)
            found = beam_search(
                model,
                model.update(model.start(1), x),
                beam=beam,
                num_best=num_best,
                max_length=length,
                end=self._end,
                alpha=alpha,
            )
        return [
            ContinuedText(
                _written(continuation_writer(vocabulary, prompt, ids, ()), h.symbols),
                h.log_prob,
                h.score,
                h.is_ended,
            )
            for h in found
        ]

    def _generating(
        self, prompt: Text, length: int, stops: Sequence[str], sampling: Sampling, seed: int
    ) -> Iterator[str]:
        model, vocabulary = self._fitted()
        ids = self._prompt(prompt)
        writer = continuation_writer(vocabulary, prompt, ids, stops)
        for (symbol,) in _symbols(model, [ids], length, 1, sampling, seed):
            if symbol == self._end:
                break
            yield from writer.push(symbol)
            if writer.is_stopped:
                return
        yield from writer.finish()

    def _continued(
        self,
        prompts: Sequence[Text],
        length: int,
        samples: int,
        stops: Sequence[str],
        sampling: Sampling,
        seed: int,
    ) -> list[list[Text]]:
        """The samples of each of a few prompts, with the prompt before them."""
        model, vocabulary = self._fitted()
        ids = [self._prompt(prompt) for prompt in prompts]
        writers = [
            continuation_writer(vocabulary, prompt, own, stops)
            for prompt, own in zip(prompts, ids, strict=True)
            for _ in range(samples)
        ]
        is_open = [True] * len(writers)
        for symbols in _symbols(model, ids, length, samples, sampling, seed):
            for row, symbol in enumerate(symbols):
                if is_open[row]:
                    is_open[row] = symbol != self._end and writers[row].take(symbol)
            if not any(is_open):
                break
        texts = [writer.whole() for writer in writers]
        return [texts[i : i + samples] for i in range(0, len(texts), samples)]

    @property
    def _end(self) -> int | None:
        return None if self.sequences == "stream" else self._fitted()[1].boundary

    def _are_prompts(self, prompt: object) -> bool:
        """Whether several prompts were given: a list of texts, or of lists."""
        if isinstance(prompt, str) or not isinstance(prompt, Sequence):
            return False
        return any(not isinstance(one, str) for one in prompt) or not (
            self.reads_events or len(prompt) == 0
        )


def stop_texts(stop: Stop) -> list[str]:
    """The stop texts as a list.

    Raises:
        ConfigError: if one is empty.
    """
    texts = [stop] if isinstance(stop, str) else list(stop or ())
    if "" in texts:
        raise ConfigError("stop: an empty text stops before anything is generated; leave it out")
    return texts


def _checked_samples(samples: int | None) -> int:
    if samples is not None and samples < 1:
        raise ConfigError(f"samples = {samples}: give 1 or more")
    return samples or 1


def _check_length(length: int) -> None:
    if length < 0:
        raise ConfigError(f"length {length} is negative: give the number of symbols to generate")


def _symbols(
    model: SequenceModel,
    prompts: Sequence[Ids],
    length: int,
    samples: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[list[int]]:
    """At each step the symbols of all rows: the samples of the first prompt, of the second, ..

    Sample j of every prompt has the counters of row j, whatever prompts are beside it.
    """
    with torch.inference_mode():
        x, lengths = pad([torch.from_numpy(np.asarray(ids, np.int64)) for ids in prompts])
        start = model.update(model.start(len(prompts)), x.to(model.device), lengths)
        state = tree.repeat(start, samples)
    rows = torch.arange(samples).repeat(len(prompts))
    drawn = sample(model, state, sampling=sampling, seed=seed, row_ids=rows)
    for _, (symbols, _) in zip(range(length), drawn, strict=False):
        yield symbols.tolist()


# ---- writing ------------------------------------------------------------------------------------


class ContinuationWriter(ABC):
    """What is written after one prompt, symbol by symbol."""

    is_stopped = False

    @abstractmethod
    def push(self, symbol: int) -> list[str]:
        """The pieces that are certain after one more symbol."""

    def finish(self) -> list[str]:
        """What was held back, once no more symbols come."""
        return []

    @abstractmethod
    def whole(self) -> Text:
        """The prompt and everything after it."""

    def take(self, symbol: int) -> bool:
        """Keep one more symbol for `whole`; returns whether more may come."""
        self.kept += self.push(symbol)
        return not self.is_stopped

    def __init__(self) -> None:
        self.kept: list[str] = []


class _TextWriter(ContinuationWriter):
    """A text; the end of it is held back while it may be the beginning of a stop text."""

    def __init__(self, vocabulary: Vocabulary, prompt: str, ids: Ids, stops: Sequence[str]) -> None:
        super().__init__()
        self._prompt, self._stops, self._held = prompt, stops, ""
        self._decoder = vocabulary.decoder()
        for i in ids.tolist():
            self._decoder.push(i)

    def push(self, symbol: int) -> list[str]:
        """The text that is certain."""
        return self._shown(self._decoder.push(symbol))

    def finish(self) -> list[str]:
        """The rest of the text, unless it is stopped."""
        if self.is_stopped:
            return []
        shown = self._shown(self._decoder.flush())
        return shown if self.is_stopped else [*shown, self._held]

    def whole(self) -> str:
        """The prompt and the text."""
        return self._prompt + "".join([*self.kept, *self.finish()])

    def _shown(self, piece: str) -> list[str]:
        if not self._stops:
            return [piece]
        text = self._held + piece
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            return [text[: min(found)]]
        longest = max(map(len, self._stops)) - 1
        held = next(
            n
            for n in range(min(longest, len(text)), -1, -1)
            if n == 0 or any(stop.startswith(text[-n:]) for stop in self._stops)
        )
        self._held = text[len(text) - held :]
        return [text[: len(text) - held]]


class _EventWriter(ContinuationWriter):
    """A list of events or words."""

    def __init__(self, vocabulary: Vocabulary, prompt: Sequence[str], stops: Sequence[str]) -> None:
        super().__init__()
        self._vocabulary, self._prompt, self._stops = vocabulary, prompt, stops

    def push(self, symbol: int) -> list[str]:
        """The event, unless it is a stop."""
        event = self._vocabulary.decode([symbol])
        self.is_stopped = event in self._stops
        return [] if self.is_stopped else [event]

    def whole(self) -> list[str]:
        """The prompt and the events."""
        return [*self._prompt, *self.kept]


def _written(writer: ContinuationWriter, symbols: Sequence[int]) -> Text:
    for symbol in symbols:
        writer.take(symbol)
    return writer.whole()


def continuation_writer(
    vocabulary: Vocabulary, prompt: Text, ids: Ids, stops: Sequence[str]
) -> ContinuationWriter:
    """What writes the continuation of a prompt, as a text or as a list.

    Args:
        vocabulary: the vocabulary of the symbols that are pushed.
        prompt: the text, or the list of events or words, that is continued.
        ids: the symbols of the prompt.
        stops: the texts before which the continuation ends.
    """
    if isinstance(prompt, str):
        return _TextWriter(vocabulary, prompt, ids, stops)
    return _EventWriter(vocabulary, prompt, stops)
