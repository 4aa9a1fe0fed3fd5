"""A text or a pair, with everything recorded inside the model while it was read.

A trace has the recorder's taps and what they belong to: the symbol read at each position, the
symbol predicted there, its bits, and the most probable alternatives. Knows symbols, and models
through their contract; no family.

Shapes: T predicted symbols of the text.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.analysis.recorder import Trace, record
from seriatim.analysis.settings import MAX_GIGABYTES
from seriatim.core.distributions import as_discrete
from seriatim.core.model import SequenceModel
from seriatim.core.tree import Tree
from seriatim.data.batches.pairs import source_batch
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, DataError

Ids = NDArray[np.int64]

_CHUNK = 4096  # positions whose distributions are computed together


class Alternative(NamedTuple):
    """One of the most probable symbols at a position."""

    symbol: str
    probability: float


@dataclass(frozen=True)
class TextTrace:
    """A text as the model saw it. Position t of every tap belongs to position t here.

    Attributes:
        inputs: the T symbols that were read; the first is the boundary.
        symbols: the symbols that were predicted at each position.
        bits: (T,) -log2 p(symbol | everything before it).
        alternatives: the most probable symbols at each position, in decreasing order.
        starts: the first position of each sequence: [0], or one for every line.
        taps: the recording, of one row.
    """

    inputs: list[str]
    symbols: list[str]
    bits: NDArray[np.float64]
    alternatives: list[list[Alternative]]
    starts: list[int]
    taps: Trace


@dataclass(frozen=True)
class PairTrace:
    """A source and a target as a translator saw them.

    Attributes:
        source: the symbols of the source with its end: the columns of maps over the source.
        text: the text of the target.
        inputs: the symbols that the decoder read; the first is the boundary.
        symbols: the symbols that it predicted at each position, with the end if it was reached.
        bits: (T,) the surprisal of each symbol.
        alternatives: the most probable symbols at each position, in decreasing order.
        taps: the recording of encoder and decoder, of one row.
    """

    source: list[str]
    text: str
    inputs: list[str]
    symbols: list[str]
    bits: NDArray[np.float64]
    alternatives: list[list[Alternative]]
    taps: Trace


def trace_text(
    model: SequenceModel,
    vocabulary: Vocabulary,
    sequences: Sequence[Ids],
    *,
    has_ends: bool,
    top: int,
    only: Collection[str] | None,
    max_gigabytes: float = MAX_GIGABYTES,
) -> TextTrace:
    """The trace of sequences read one after another, each from its own beginning.

    Args:
        model: a model over this vocabulary.
        vocabulary: the vocabulary of the sequences.
        sequences: the ids of each sequence.
        has_ends: whether the end of each sequence is predicted, too.
        top: the number of alternatives at each position.
        only: the patterns of names to record; see `record`.
        max_gigabytes: the limit of the recording; see `record`.

    Raises:
        ConfigError: if the number of alternatives is negative.
        DataError: if there is nothing to read.
    """
    ends = [vocabulary.boundary] if has_ends else []
    targets = [np.concatenate([ids, np.array(ends, np.int64)]) for ids in sequences]
    if not sum(len(ids) for ids in sequences):
        raise DataError("the text is empty, so there is nothing to inspect: give some text")
    with record(model, only=only, max_gigabytes=max_gigabytes) as taps:
        folds = [_Fold.of(model, t, top) for t in targets]
    starts = np.cumsum([0, *(len(t) for t in targets)])
    return TextTrace(
        [vocabulary.name(i) for t in targets for i in (vocabulary.boundary, *t[:-1].tolist())],
        [vocabulary.name(i) for t in targets for i in t.tolist()],
        np.concatenate([fold.bits for fold in folds]),
        [_named(row, vocabulary) for fold in folds for row in fold.alternatives],
        starts[:-1].tolist(),
        taps,
    )


def trace_pair(
    model: SequenceModel,
    vocabularies: tuple[Vocabulary, Vocabulary],
    source: Ids,
    target: Ids,
    *,
    is_ended: bool,
    top: int,
    only: Collection[str] | None,
    max_gigabytes: float = MAX_GIGABYTES,
) -> PairTrace:
    """The trace of a target predicted from a source.

    Args:
        model: an encoder-decoder.
        vocabularies: the vocabularies of sources and of targets.
        source: the ids of the source.
        target: the ids of the target.
        is_ended: whether the end of the target is predicted, too.
        top: the number of alternatives at each position.
        only: the patterns of names to record; see `record`.
        max_gigabytes: the limit of the recording; see `record`.

    Raises:
        ConfigError: if the number of alternatives is negative.
        DataError: if the target has no symbol, its end included.
    """
    of_source, of_target = vocabularies
    ends = [of_target.boundary] if is_ended else []
    predicted = np.concatenate([target, np.array(ends, np.int64)])
    if not len(predicted):
        raise DataError(
            "the target has no symbol, so there is nothing to inspect: give a longer one"
        )
    with record(model, only=only, max_gigabytes=max_gigabytes) as taps, torch.inference_mode():
        memory = model.encode(source_batch([source], of_source.boundary).to(model.device))
        fold = _Fold.of(model, predicted, top, memory)
    return PairTrace(
        [of_source.name(i) for i in (*source.tolist(), of_source.boundary)],
        of_target.decode(target),
        [of_target.name(i) for i in (of_target.boundary, *predicted[:-1].tolist())],
        [of_target.name(i) for i in predicted.tolist()],
        fold.bits,
        [_named(row, of_target) for row in fold.alternatives],
        taps,
    )


Row: TypeAlias = list[tuple[int, float]]  # ids and their probabilities


def _named(row: Row, vocabulary: Vocabulary) -> list[Alternative]:
    return [Alternative(vocabulary.name(i), p) for i, p in row]


class _Fold(NamedTuple):
    """One sequence read from its beginning: the bits of its targets, and alternatives."""

    bits: NDArray[np.float64]
    alternatives: list[Row]

    @classmethod
    def of(
        cls, model: SequenceModel, targets: Ids, top: int, memory: Tree | None = None
    ) -> "_Fold":
        """Read the boundary and all targets but the last, in chunks."""
        if top < 0:
            raise ConfigError(f"{top} alternatives cannot be listed: give 0 or more")
        ids = torch.from_numpy(np.append(model.boundary, targets))[None].to(model.device)
        nats, rows = [], []
        size = min(model.positions_at_once, _CHUNK)
        with torch.inference_mode():
            carry = model.empty(1, memory=memory)
            for begin in range(0, len(targets), size):
                end = min(begin + size, len(targets))
                x, y = ids[:, begin:end], ids[:, begin + 1 : end + 1]
                features, carry = model.advance(carry, x, None)
                predicted = as_discrete(model.emit(features))
                nats.append(-predicted.log_prob(y)[0].double().cpu())
                rows += _rows(*predicted.top(top)) if top else [[] for _ in range(y.shape[1])]
        return cls(torch.cat(nats).numpy() / math.log(2), rows)


def _rows(values: Tensor, symbols: Tensor) -> list[Row]:
    pairs = zip(symbols[0].tolist(), values[0].double().exp().tolist(), strict=True)
    return [list(zip(ids, probabilities, strict=True)) for ids, probabilities in pairs]
