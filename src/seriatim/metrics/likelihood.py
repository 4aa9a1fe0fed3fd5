"""Likelihood of whole corpora: the measure by which families are compared.

Every scored symbol has a surprisal, -ln p(x_t | everything before it in its sequence), in nats;
all other figures follow from these. Exact: a stream is one sequence, folded from its beginning in
chunks with the carried state, and never cut into independent pieces.

Knows a model and arrays of symbols; no family and no text.

Shapes: B rows, L elements of a chunk, N scored symbols, M sequences.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.batch import Batch, TokenSequences, valid_mask
from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError
from seriatim.metrics.bootstrap import percentile_interval

CHUNK = 2048  # elements folded at once; a longer sequence continues in the next chunk

Nats = NDArray[np.float32]


@runtime_checkable
class ScoresCorpora(Protocol):
    """A model with its own, faster way to score a corpus, with the same result."""

    def corpus_surprisals(self, corpus: TokenSequences) -> Nats:
        """The surprisal of every scored symbol, in the order of the text."""


def surprisals(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    restart_every: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Nats, NDArray[np.int64]]:
    """The surprisal of every scored symbol, in the order of the text.

    A sequence of T symbols has T + 1 scored ones, its end included; a stream of T has T.

    Args:
        model: any model of symbols.
        corpus: the corpus to score, in symbols of this model.
        restart_every: for streams, the number of symbols after which to restart from an empty
            state, seeing only the one symbol before: disjoint blocks. None: never.
        progress: callback that receives the number of symbols scored so far.

    Returns:
        The surprisals (N,) in nats, and the bounds (M + 1,) of the sequences or blocks in them.

    Raises:
        ConfigError: if restart_every is given without a stream, or is not positive.
    """
    if restart_every is not None and (restart_every < 1 or not corpus.is_stream):
        raise ConfigError(f"restart_every {restart_every} needs a stream, and 1 symbol or more")
    extra = 0 if corpus.is_stream else 1
    bounds = scored_bounds(corpus.offsets, extra)
    if restart_every is not None:
        bounds = np.append(np.arange(0, bounds[-1], restart_every), bounds[-1]).astype(np.int64)
    if restart_every is None and isinstance(model, ScoresCorpora):
        nats = model.corpus_surprisals(corpus)
        if progress is not None:
            progress(len(nats))
        return nats, bounds
    nats = np.empty(bounds[-1], np.float32)
    done = 0
    with torch.inference_mode():
        for group in _groups(np.diff(bounds), model.positions_at_once):
            for i, part in _fold(model, corpus, bounds, group, extra):
                nats[i] = part
                done += len(part)
            if progress is not None:
                progress(done)
    return nats, bounds


def scored_bounds(offsets: NDArray[np.int64], extra: int) -> NDArray[np.int64]:
    """(M + 1,) bounds of sequences among their scored symbols, `extra` more than stored each."""
    return np.concatenate([[0], np.cumsum(np.diff(offsets) + extra)]).astype(np.int64)


def _groups(sizes: NDArray[np.int64], positions: int) -> Iterator[NDArray[np.int64]]:
    """Rows to score together: of similar length, bounded in memory."""
    order = np.argsort(sizes, kind="stable")[::-1]
    i = 0
    while i < len(order):
        longest = min(int(sizes[order[i]]), CHUNK)
        count = max(1, positions // max(longest, 1))
        yield order[i : i + count]
        i += count


def _fold(
    model: SequenceModel,
    corpus: TokenSequences,
    bounds: NDArray[np.int64],
    rows: NDArray[np.int64],
    extra: int,
) -> Iterator[tuple[NDArray[np.int64], Nats]]:
    """Score rows side by side, chunk by chunk; yields positions in the result and their nats."""
    starts, sizes = bounds[rows], np.diff(bounds)[rows]
    origin = starts - rows * extra  # first token: the ends of preceding sequences are not stored
    carry, longest = None, int(sizes.max())
    step = min(CHUNK, max(1, model.positions_at_once // len(rows)))
    for at in range(0, longest, step):
        k = np.arange(at, min(at + step, longest))
        lengths = np.clip(sizes - at, 0, len(k))
        batch = Batch(
            *_teacher_forced(corpus, model.boundary, origin, sizes - extra, k),
            None if bool((lengths == len(k)).all()) else torch.from_numpy(lengths),
        )
        is_last = at + step >= longest
        scores, carry = model.forward(batch.to(model.device), carry, keep=not is_last)
        valid = valid_mask(torch.from_numpy(lengths), len(k)).numpy()
        yield (starts[:, None] + k)[valid], -scores.float().cpu().numpy()[valid]


def _teacher_forced(
    corpus: TokenSequences,
    boundary: int,
    origin: NDArray[np.int64],
    num_tokens: NDArray[np.int64],
    k: NDArray[np.int64],
) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, L) at the positions k of sequences that begin at `origin`.

    Target k is token k, and the boundary after the last; input k is the token before it. In a
    stream, the first input of a block is the token before the block; the very first input is the
    boundary.
    """
    tokens, last = corpus.tokens, max(len(corpus.tokens) - 1, 0)
    index = origin[:, None] + k
    if len(tokens) == 0:
        ends = torch.full(index.shape, boundary)
        return ends, ends
    targets = np.where(k < num_tokens[:, None], tokens[np.minimum(index, last)], boundary)
    is_first = index == 0 if corpus.is_stream else np.broadcast_to(k == 0, index.shape)
    inputs = np.where(is_first, boundary, tokens[np.clip(index - 1, 0, last)])
    return torch.from_numpy(inputs.astype(np.int64)), torch.from_numpy(targets.astype(np.int64))


@dataclass(frozen=True)
class Likelihood:
    """Summary of one scored corpus. Bits are nats / ln 2.

    Attributes:
        symbols: the number N of scored symbols, ends included.
        nats: the total surprisal, -sum ln p.
        bits_per_symbol: the mean surprisal, nats / N / ln 2.
        interval: the 95 % block bootstrap interval of bits_per_symbol; None: too few blocks.
        perplexity: exp(nats / N).
        unknown: the number of scored symbols that are the unknown symbol.
        perplexity_known: exp of the mean over all other symbols; None: there are none.
    """

    symbols: int
    nats: float
    bits_per_symbol: float
    interval: tuple[float, float] | None
    perplexity: float
    unknown: int
    perplexity_known: float | None


def summarize_surprisals(
    nats: Nats, bounds: NDArray[np.int64], unknown: NDArray[np.bool_]
) -> Likelihood:
    """The likelihood figures of the surprisals of a corpus.

    Args:
        nats: (N,) the surprisals.
        bounds: (M + 1,) the bounds of the sequences in them.
        unknown: (N,) whether each target is the unknown symbol.
    """
    total, count = float(nats.sum(dtype=np.float64)), len(nats)
    known = count - int(unknown.sum())
    nats_known = float(nats[~unknown].sum(dtype=np.float64)) if known < count else total
    interval = mean_interval(nats, bounds)
    return Likelihood(
        symbols=count,
        nats=total,
        bits_per_symbol=total / count / np.log(2),
        interval=None if interval is None else (interval[0] / np.log(2), interval[1] / np.log(2)),
        perplexity=float(np.exp(total / count)),
        unknown=count - known,
        perplexity_known=float(np.exp(nats_known / known)) if known else None,
    )


def unknown_targets(corpus: TokenSequences, unknown: int | None) -> NDArray[np.bool_]:
    """(N,) whether each scored symbol is the unknown one, in the order of `surprisals`."""
    extra = 0 if corpus.is_stream else 1
    is_unknown = np.zeros(len(corpus.tokens) + extra * (len(corpus.offsets) - 1), bool)
    if unknown is None:
        return is_unknown
    tokens: NDArray[np.bool_] = np.asarray(corpus.tokens) == unknown
    if not extra:
        return tokens
    sequence = np.repeat(np.arange(len(corpus.offsets) - 1), np.diff(corpus.offsets))
    is_unknown[np.arange(len(tokens)) + sequence] = tokens
    return is_unknown


def mean_interval(
    nats: Nats, bounds: NDArray[np.int64], *, block: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean surprisal, by a block bootstrap.

    Neighbouring symbols are not independent, so the units of resampling are whole sequences, or
    runs of `block` symbols of a stream (Künsch 1989, with non-overlapping blocks); the mean is
    the ratio of sums over a resample.

    Args:
        nats: (N,) the surprisals.
        bounds: (M + 1,) the bounds of the sequences in them.
        block: the number of symbols in a block of a stream.
        seed: the seed of the resamples.

    Returns:
        (low, high) in nats per symbol; None with fewer than ten blocks.
    """
    if len(bounds) == 2:
        bounds = np.append(np.arange(0, len(nats), block), len(nats))
    if len(bounds) > 2001:  # a thousand groups of sequences are as informative as all of them
        bounds = np.append(bounds[:-1][:: -(-len(bounds) // 1000)], bounds[-1])
    sizes = np.diff(bounds)
    if len(sizes) < 10:
        return None
    sums = np.add.reduceat(nats, bounds[:-1], dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(sizes), (1000, len(sizes)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    return percentile_interval(means, 0.95)


def as_batches(corpus: TokenSequences, boundary: int, *, length: int = 1024) -> Iterator[Batch]:
    """The corpus as batches of one row and at most `length` targets, each from an empty state.

    For `Mixture.fit_weights`, which needs the same batches for every member. A longer sequence
    is cut into pieces, each of which sees only the one symbol before it.
    """
    for i in range(len(corpus.offsets) - 1):
        tokens = np.asarray(corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]])
        tokens = tokens.astype(np.int64)
        targets = tokens if corpus.is_stream else np.append(tokens, boundary)
        inputs = np.concatenate([[boundary], targets[:-1]])
        for at in range(0, len(targets), length):
            x, y = (torch.from_numpy(t[at : at + length])[None] for t in (inputs, targets))
            yield Batch(x, y)
