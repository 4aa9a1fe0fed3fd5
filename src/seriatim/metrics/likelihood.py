"""Likelihood of whole corpora: the measure by which families are compared.

Every scored symbol has a surprisal, -ln p(x_t | everything before it in its sequence), in nats;
all other figures follow from these. `surprisals` is exact: a sequence is folded from its beginning
in chunks with the carried state. `score_corpus` reads long sequences in pieces side by side, each
after a warm-up, or a sample of them, and says so.

Knows a model and arrays of symbols; no family and no text.

Shapes: B rows, L elements of a chunk, N scored symbols, M sequences.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.batch import Batch, TokenSequences, valid_mask
from seriatim.core.model import SequenceModel
from seriatim.core.threads import threads_for
from seriatim.errors import ConfigError
from seriatim.metrics.bootstrap import percentile_interval
from seriatim.metrics.pieces import (
    Coverage,
    Pieces,
    SampleLimit,
    plan_pieces,
    sample_rounds,
)

CHUNK = 2048  # elements folded at once; a longer sequence continues in the next chunk
ROWS = 256  # pieces of long sequences read side by side
LEAST_STEP = 8  # elements of each of them that are read at once, at least

Nats = NDArray[np.float32]
Ints = NDArray[np.int64]


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
    """The surprisal of every scored symbol, in the order of the text, each sequence in one state.

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
    sizes = scored_sizes(corpus)
    if restart_every is not None:
        pieces = Pieces.cut(sizes, restart_every)
    else:
        pieces = Pieces.whole(sizes)
        if isinstance(model, ScoresCorpora):
            nats = model.corpus_surprisals(corpus)
            if progress is not None:
                progress(len(nats))
            return nats, _bounds(pieces.size)
    return piece_surprisals(model, corpus, pieces, progress=progress), _bounds(pieces.size)


@dataclass(frozen=True)
class ScoredCorpus:
    """The surprisals of a corpus, or of a sample of it.

    Attributes:
        nats: (N,) the surprisals in nats, in the order of the text.
        bounds: (P + 1,) the bounds in them of the sequences or pieces.
        pieces: the sequences or pieces.
        coverage: what was scored, and how it was read.
        seconds: the time that it took.
    """

    nats: Nats
    bounds: NDArray[np.int64]
    pieces: Pieces
    coverage: Coverage
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether all symbols are scored."""
        return self.coverage.every == 1

    def positions(self, corpus: TokenSequences) -> NDArray[np.int64]:
        """(N,) where the scored symbols are among all scored symbols of the corpus."""
        begins = _bounds(scored_sizes(corpus))[self.pieces.sequence] + self.pieces.first
        within = np.arange(len(self.nats)) - np.repeat(self.bounds[:-1], self.pieces.size)
        positions: NDArray[np.int64] = np.repeat(begins, self.pieces.size) + within
        return positions


def score_corpus(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    exact: bool = False,
    restart_every: int | None = None,
    limit: SampleLimit | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoredCorpus:
    """The surprisals of a corpus in little time: long sequences in pieces, or a sample of them.

    What `metrics.pieces` says decides how it is read, from the reach of the model and the length
    of the sequences alone. A model that scores corpora by itself does so, exactly and wholly.

    Args:
        model: any model of symbols.
        corpus: the corpus to score, in symbols of this model.
        exact: whether each sequence is read by one state from its beginning to its end.
        restart_every: as for `surprisals`.
        limit: what it may cost; None: everything is scored. Not used with `exact` or
            `restart_every`.
        progress: callback that receives the number of symbols scored so far.
    """
    started, sizes = time.perf_counter(), scored_sizes(corpus)
    if exact or restart_every is not None:
        nats, bounds = surprisals(model, corpus, restart_every=restart_every, progress=progress)
        pieces, coverage = Pieces.whole(sizes), Coverage()
        if restart_every is not None:
            pieces = Pieces.cut(sizes, restart_every)
            coverage = Coverage(pieces=len(pieces.size), is_exact=False)
        return ScoredCorpus(nats, bounds, pieces, coverage, time.perf_counter() - started)
    is_sample = limit is not None and (limit.seconds is not None or is_below(limit, sizes))
    pieces, coverage = plan_pieces(sizes, model.reach, is_sample=is_sample)
    if isinstance(model, ScoresCorpora):
        return _of_itself(model, corpus, pieces, limit, progress)

    def score(units: Ints, report: Callable[[int], None] | None) -> Nats:
        return piece_surprisals(model, corpus, pieces.select(units), progress=report)

    return score_units(score, pieces, coverage, limit, progress)


def _of_itself(
    model: ScoresCorpora,
    corpus: TokenSequences,
    pieces: Pieces,
    limit: SampleLimit | None,
    progress: Callable[[int], None] | None,
) -> ScoredCorpus:
    """What a model that scores corpora says of all of it, or of the sample that others score."""
    started = time.perf_counter()
    nats = model.corpus_surprisals(corpus)
    if progress is not None:
        progress(len(nats))
    symbols = None if limit is None else limit.symbols
    if symbols is None or symbols >= len(nats):
        pieces = Pieces.whole(scored_sizes(corpus))
        seconds = time.perf_counter() - started
        return ScoredCorpus(nats, _bounds(pieces.size), pieces, Coverage(), seconds)
    bounds = _bounds(pieces.size)

    def select(units: Ints, report: Callable[[int], None] | None) -> Nats:
        return np.concatenate([nats[bounds[i] : bounds[i + 1]] for i in units])

    scored = score_units(select, pieces, Coverage(), SampleLimit(symbols), None)
    return replace(scored, seconds=time.perf_counter() - started)


def score_units(
    score: Callable[[Ints, Callable[[int], None] | None], Nats],
    pieces: Pieces,
    coverage: Coverage,
    limit: SampleLimit | None,
    progress: Callable[[int], None] | None,
) -> ScoredCorpus:
    """The surprisals of pieces, or of a sample of them, in the order of the text.

    Args:
        score: a function of the indices of pieces, in rising order, and of a callback for its
            progress; it returns the surprisals of their symbols.
        pieces: all pieces; of pairs their targets.
        coverage: how they are read.
        limit: what it may cost; None: all are scored.
        progress: callback that receives the number of symbols scored so far.
    """
    started = time.perf_counter()
    rounds: list[tuple[Ints, Nats]] = []
    every = 1
    for units, stride in sample_rounds(pieces.size, limit):
        rounds.append((units, score(units, _after(rounds, progress))))
        every = stride
    units = np.concatenate([units for units, _ in rounds])
    order = np.argsort(units, kind="stable")
    nats = _reordered(np.concatenate([part for _, part in rounds]), pieces.size[units], order)
    scored = pieces.select(units[order])
    coverage = Coverage(
        fraction=len(nats) / max(int(pieces.size.sum()), 1),
        every=every,
        pieces=None if coverage.pieces is None else len(units),
        warmup=coverage.warmup,
        is_exact=coverage.is_exact,
    )
    seconds = time.perf_counter() - started
    return ScoredCorpus(nats, _bounds(scored.size), scored, coverage, seconds)


def _after(
    rounds: Sequence[tuple[Ints, Nats]], progress: Callable[[int], None] | None
) -> Callable[[int], None] | None:
    """The progress of another round."""
    done = sum(len(nats) for _, nats in rounds)
    return None if progress is None else lambda count: progress(done + count)


def is_below(limit: SampleLimit, sizes: NDArray[np.int64]) -> bool:
    """Whether a limit of symbols leaves some of them out."""
    return limit.symbols is not None and limit.symbols < int(sizes.sum())


def scored_sizes(corpus: TokenSequences) -> NDArray[np.int64]:
    """(M,) the number of scored symbols of each sequence: its end is one, where it has an end."""
    sizes = np.diff(corpus.offsets) + (0 if corpus.is_stream else 1)
    return np.asarray(sizes, np.int64)


def scored_bounds(offsets: NDArray[np.int64], extra: int) -> NDArray[np.int64]:
    """(M + 1,) bounds of sequences among their scored symbols, `extra` more than stored each."""
    return _bounds(np.diff(offsets) + extra)


def _bounds(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _reordered(nats: Nats, sizes: NDArray[np.int64], order: NDArray[np.int64]) -> Nats:
    """Runs of `nats` in another order."""
    begins = _bounds(sizes)[:-1][order]
    bounds = _bounds(sizes[order])
    within = np.arange(len(nats)) - np.repeat(bounds[:-1], sizes[order])
    reordered: Nats = nats[np.repeat(begins, sizes[order]) + within]
    return reordered


def piece_surprisals(
    model: SequenceModel,
    corpus: TokenSequences,
    pieces: Pieces,
    *,
    progress: Callable[[int], None] | None = None,
) -> Nats:
    """(N,) the surprisals of the symbols of pieces, in their order, each from an empty state."""
    bounds = _bounds(pieces.size)
    nats = np.empty(bounds[-1], np.float32)
    done = 0
    rows = ROWS if pieces.is_cut else 0
    with torch.inference_mode():
        for group in _groups(pieces.size + pieces.warmup, model.positions_at_once, rows):
            longest = int((pieces.size + pieces.warmup)[group].max())
            with threads_for(model, len(group), min(longest, CHUNK)):
                for i, part in _fold(model, corpus, pieces.select(group), bounds[group]):
                    nats[i] = part
                    done += len(part)
                    if progress is not None:
                        progress(done)
    return nats


def _groups(sizes: NDArray[np.int64], positions: int, rows: int) -> Iterator[NDArray[np.int64]]:
    """Runs to read together: of similar length, bounded in memory, `rows` of them if possible."""
    order = np.argsort(sizes, kind="stable")[::-1]
    i = 0
    while i < len(order):
        longest = min(int(sizes[order[i]]), CHUNK)
        count = max(1, positions // max(longest, 1), min(rows, positions // LEAST_STEP))
        yield order[i : i + count]
        i += count


def _fold(
    model: SequenceModel, corpus: TokenSequences, pieces: Pieces, at: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Nats]]:
    """Score runs side by side, chunk by chunk; yields positions in the result and their nats.

    Args:
        at: (B,) the position in the result of the first scored symbol of each.
    """
    sizes = pieces.size + pieces.warmup
    carry, longest = None, int(sizes.max())
    step = min(CHUNK, max(1, model.positions_at_once // len(sizes)))
    for begin in range(0, longest, step):
        k = np.arange(begin, min(begin + step, longest))
        lengths = np.clip(sizes - begin, 0, len(k))
        first = pieces.first - pieces.warmup
        batch = Batch(
            *_teacher_forced(corpus, model.boundary, pieces.sequence, first[:, None] + k),
            None if bool((lengths == len(k)).all()) else torch.from_numpy(lengths),
        )
        is_last = begin + step >= longest
        scores, carry = model.forward(batch.to(model.device), carry, keep=not is_last)
        valid = valid_mask(torch.from_numpy(lengths), len(k)).numpy()
        valid &= k >= pieces.warmup[:, None]
        where = (at[:, None] + k - pieces.warmup[:, None])[valid]
        yield where, -scores.float().cpu().numpy()[valid]


def _teacher_forced(
    corpus: TokenSequences,
    boundary: int,
    rows: NDArray[np.int64],
    k: NDArray[np.int64],
) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, L) at the positions k (B, L) of sequences `rows`.

    Target k is token k, and the boundary after the last; input k is the token before it, and the
    boundary before the first.
    """
    tokens, last = corpus.tokens, max(len(corpus.tokens) - 1, 0)
    if len(tokens) == 0:
        ends = torch.full(k.shape, boundary)
        return ends, ends
    begin, end = corpus.offsets[rows, None], corpus.offsets[rows + 1, None]
    index = begin + k
    targets = np.where(index < end, tokens[np.clip(index, 0, last)], boundary)
    inputs = np.where(k == 0, boundary, tokens[np.clip(index - 1, 0, last)])
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
