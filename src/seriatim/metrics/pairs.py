"""Likelihood of pairs: -ln p of every symbol of every target, given its source.

Knows a model and pairs of symbols; no family and no text.

Shapes: B rows, L target positions, N scored symbols of all pairs, ends included.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.batch import valid_mask
from seriatim.core.model import SequenceModel
from seriatim.data.batches.pairs import PairBoundaries, PairPass
from seriatim.data.pairs import PairCorpus
from seriatim.metrics.likelihood import Nats, scored_bounds, summarize_surprisals, unknown_targets
from seriatim.metrics.score import Score, score_text

POSITIONS = 8_192  # scored at once, of sources and targets together


def pair_surprisals(
    model: SequenceModel,
    corpus: PairCorpus,
    boundaries: PairBoundaries,
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[Nats, NDArray[np.int64]]:
    """The surprisal of every target symbol, in order: -ln p(y_t | y_1 .. y_{t-1}, x), nats.

    Args:
        model: a model that takes a source.
        corpus: the pairs, in symbols of this model.
        boundaries: the boundary symbols of both vocabularies.
        progress: callback that receives the number of symbols scored so far.

    Returns:
        The surprisals (N,), and the bounds (pairs + 1,) of the targets in them; a target of T
        symbols has T + 1.

    Raises:
        DataError: if there are no pairs.
    """
    bounds = scored_bounds(corpus.target.offsets, 1)
    sizes = np.diff(bounds)
    nats = np.empty(bounds[-1], np.float32)
    data = PairPass(corpus, boundaries, token_budget=min(POSITIONS, 2 * model.positions_at_once))
    done = 0
    with torch.inference_mode():
        for rows, batch in data.indexed_batches():
            values = model.log_prob(batch.to(model.device)).float().cpu().numpy()
            valid = valid_mask(torch.from_numpy(sizes[rows]), values.shape[1]).numpy()
            nats[(bounds[rows, None] + np.arange(values.shape[1]))[valid]] = -values[valid]
            done += int(sizes[rows].sum())
            if progress is not None:
                progress(done)
    return nats, bounds


def score_pairs(
    model: SequenceModel,
    corpus: PairCorpus,
    boundaries: PairBoundaries,
    unknown: int | None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Score:
    """The score of a model on the targets of pairs.

    Args:
        model: a model that takes a source.
        corpus: the pairs, in symbols of this model.
        boundaries: the boundary symbols of both vocabularies.
        unknown: the id of `<unk>` in the target vocabulary; None: it has none.
        progress: callback that receives the number of symbols scored so far.
    """
    started = time.perf_counter()
    nats, bounds = pair_surprisals(model, corpus, boundaries, progress=progress)
    seconds = time.perf_counter() - started
    summary = summarize_surprisals(nats, bounds, unknown_targets(corpus.target, unknown))
    return score_text(summary, corpus.target, seconds)
