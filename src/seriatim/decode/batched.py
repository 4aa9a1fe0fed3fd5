"""Decoding many sources: which search runs, and in which batches.

Sources are sorted by length, searched side by side, and returned in their own order; each source
gets the results that it would get alone. Knows models bound to sources, searches and symbols; no
text, no files and no training.

Shapes: N sources, B sources of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch

from seriatim.core.model import SequenceModel
from seriatim.data.batches.pairs import cut_batches
from seriatim.decode.beam import beam_search_rows
from seriatim.decode.constraints import Forced, constrained_beam_search
from seriatim.decode.diverse import diverse_beam_search
from seriatim.decode.greedy import greedy_search
from seriatim.decode.hypotheses import Hypothesis, Ints
from seriatim.decode.phrases import Phrase, Phrases
from seriatim.decode.sampling import sample_sequences
from seriatim.decode.scoring import Scorers
from seriatim.decode.settings import Decoding
from seriatim.errors import ConfigError

Bind: TypeAlias = Callable[[list[int]], SequenceModel]  # the model bound to these sources


def search_sources(
    bind: Bind,
    sizes: Ints,
    limits: Ints,
    decoding: Decoding,
    *,
    end: int,
    scorers: Scorers = (),
    required: Phrases | None = None,
    prefixes: Sequence[Phrase] | None = None,
    first: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[list[Hypothesis]]:
    """The best targets of every source, in the order of the sources.

    Args:
        bind: a function that returns the model bound to some of the sources.
        sizes: (N,) the number of symbols of each source.
        limits: (N,) the maximum number of symbols of each target, its end included.
        decoding: the settings; their texts and their language model are not read here.
        end: the symbol that ends a target.
        scorers: pairs of a scorer and its weight: what the settings forbid or fuse.
        required: for each source the phrases that must occur in its target; None: none.
        prefixes: the symbols with which the target of each source begins; None: any.
        first: the number of the first source, for the counters of sampling and for messages.
        progress: callback that receives the number of sources done so far.

    Returns:
        For each source its hypotheses, best first.

    Raises:
        ConfigError: if no target satisfies the constraints of a source, which is named.
    """

    def search(group: list[int]) -> list[list[Hypothesis]]:
        phrases = None if required is None else [required[i] for i in group]
        model, forced = bind(group), []
        if prefixes is not None:
            forced = [(Forced([prefixes[i] for i in group], model.num_symbols), 1.0)]
        try:
            row_ids = torch.tensor(group) + first
            return _search_group(
                model, limits[group], decoding, end, [*scorers, *forced], phrases, row_ids
            )
        except ConfigError as error:
            if required is None:
                raise
            if len(group) == 1:
                raise ConfigError(f"source {first + group[0] + 1:,}: {error}") from None
            # The message counts within the group, whose order the user does not know.
            return [hypotheses for i in group for hypotheses in search([i])]

    results: list[list[Hypothesis]] = [[] for _ in sizes]
    done = 0
    for group in _groups(sizes, limits, decoding):
        for i, hypotheses in zip(group, search(group), strict=True):
            if not hypotheses:
                raise ConfigError(
                    f"source {first + i + 1:,}: the forbidden texts leave no possible target: "
                    "forbid less"
                )
            results[i] = hypotheses
        done += len(group)
        if progress is not None:
            progress(done)
    return results


def _groups(sizes: Ints, limits: Ints, decoding: Decoding) -> Iterator[list[int]]:
    """Sources of similar length that are searched together, bounded in memory."""
    order = np.argsort(-sizes, kind="stable")
    rows = decoding.beam if decoding.sampling is None else decoding.num_best
    # Most targets end long before their limit, which is about twice the expected length.
    targets = rows * (limits[order] // 2 + 1)
    cuts = cut_batches(sizes[order], targets, batch_size=1, token_budget=decoding.token_budget)
    for begin, finish in pairwise(cuts.tolist()):
        yield [int(i) for i in order[begin:finish]]


def _search_group(
    model: SequenceModel,
    limits: Ints,
    decoding: Decoding,
    end: int,
    scorers: Scorers,
    phrases: Phrases | None,
    row_ids: torch.Tensor,
) -> list[list[Hypothesis]]:
    """The results of B sources, by the search that the settings choose."""
    with torch.inference_mode():
        state = model.start(len(limits))
    max_length = torch.from_numpy(limits)
    if decoding.sampling is not None:
        drawn = sample_sequences(
            model,
            state,
            num_samples=decoding.num_best,
            max_length=max_length,
            end=end,
            sampling=decoding.sampling,
            scorers=scorers,
            seed=decoding.seed,
            row_ids=row_ids,
        )
        return [sorted(samples, key=lambda h: -h.log_prob) for samples in drawn]
    beam_search: Callable[..., list[list[Hypothesis]]] = beam_search_rows
    if phrases is not None:
        beam_search = partial(constrained_beam_search, phrases=phrases)
    elif decoding.beam == 1:
        best = greedy_search(model, state, max_length=max_length, end=end, scorers=scorers)
        return [[hypothesis] for hypothesis in best]
    elif decoding.num_groups > 1:
        beam_search = partial(diverse_beam_search, num_groups=decoding.num_groups)
    return beam_search(
        model,
        state,
        beam=decoding.beam,
        max_length=max_length,
        end=end,
        alpha=decoding.alpha,
        scorers=scorers,
        num_best=decoding.num_best,
    )
