"""Likelihood of pairs: -ln p of every symbol of every target, given its source.

Knows a model and pairs of symbols; no family and no text.

Shapes: B rows, L target positions, N scored symbols of all pairs, ends included.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.batch import valid_mask
from seriatim.core.model import SequenceModel
from seriatim.data.batches.pairs import PairBoundaries, PairPass
from seriatim.data.pairs import PairCorpus
from seriatim.metrics.likelihood import Nats, ScoredCorpus, score_units, scored_sizes
from seriatim.metrics.pieces import Coverage, Pieces, SampleLimit

Ints = NDArray[np.int64]

POSITIONS = 8_192  # scored at once, of sources and targets together


def pair_surprisals(
    model: SequenceModel,
    corpus: PairCorpus,
    boundaries: PairBoundaries,
    *,
    chosen: NDArray[np.int64] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Nats, NDArray[np.int64]]:
    """The surprisal of every target symbol, in order: -ln p(y_t | y_1 .. y_{t-1}, x), nats.

    Args:
        model: a model that takes a source.
        corpus: the pairs, in symbols of this model.
        boundaries: the boundary symbols of both vocabularies.
        chosen: the indices of the pairs to score, in rising order; None: all.
        progress: callback that receives the number of symbols scored so far.

    Returns:
        The surprisals (N,), and the bounds (pairs + 1,) of the targets in them; a target of T
        symbols has T + 1.

    Raises:
        DataError: if there are no pairs.
    """
    sizes = scored_sizes(corpus.target)
    own = sizes if chosen is None else sizes[chosen]
    bounds = np.concatenate([[0], np.cumsum(own)])
    begins = np.zeros(len(sizes), np.int64)
    begins[slice(None) if chosen is None else chosen] = bounds[:-1]
    nats = np.empty(bounds[-1], np.float32)
    data = PairPass(corpus, boundaries, token_budget=min(POSITIONS, 2 * model.positions_at_once))
    done = 0
    with torch.inference_mode():
        for rows, batch in data.indexed_batches(chosen=chosen):
            values = model.log_prob(batch.to(model.device)).float().cpu().numpy()
            valid = valid_mask(torch.from_numpy(sizes[rows]), values.shape[1]).numpy()
            nats[(begins[rows, None] + np.arange(values.shape[1]))[valid]] = -values[valid]
            done += int(sizes[rows].sum())
            if progress is not None:
                progress(done)
    return nats, bounds


def score_pairs(
    model: SequenceModel,
    corpus: PairCorpus,
    boundaries: PairBoundaries,
    *,
    limit: SampleLimit | None = None,
    progress: Callable[[int], None] | None = None,
) -> ScoredCorpus:
    """The surprisals of the targets of pairs, or of a sample of the pairs.

    Args:
        model: a model that takes a source.
        corpus: the pairs, in symbols of this model.
        boundaries: the boundary symbols of both vocabularies.
        limit: what it may cost; None: every pair is scored.
        progress: callback that receives the number of symbols scored so far.
    """

    def score(units: Ints, report: Callable[[int], None] | None) -> Nats:
        return pair_surprisals(model, corpus, boundaries, chosen=units, progress=report)[0]

    pairs = Pieces.whole(scored_sizes(corpus.target))
    return score_units(score, pairs, Coverage(), limit, progress)
