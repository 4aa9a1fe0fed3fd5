"""Restarts: what a model says when it may see only the last so many elements.

A sequence is fed as inputs, each followed by its target: the boundary, then x_1, x_2 .. . A model
restarted at input r begins from its empty state and folds inputs r, r + 1, .. . After the k-th of
them it has seen k elements, so a single run gives one sample of "the surprise with k elements
seen" for every k at once, each beside the full surprise of the same target.

No boundary is put in front: it would tell the model that a sequence begins where none does. What
is empty is empty: the state that a family calls by this name, and of which nothing is known but
what is folded into it.

Knows a model and arrays of symbols; no family, no text.

Shapes: N targets of a corpus, M sequences, R runs, V symbols.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.batch import Batch, TokenSequences, valid_mask
from seriatim.core.distributions import as_discrete
from seriatim.core.model import SequenceModel
from seriatim.errors import DataError
from seriatim.metrics.likelihood import surprisals

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Report: TypeAlias = Callable[[float], None]  # told which share of the work is done

MOST_NATS = 100.0  # what a probability of 0 costs, so that differences stay numbers
_PLACES = 2_048, 8_192  # elements of a batch, at least and at most: more leave the caches
_SHORTEST = 32  # elements of a run at least; longer runs are rarer
_GIVEN = 2_048  # elements after which a prediction without context is averaged


@dataclass(frozen=True)
class Elements:
    """A corpus as it is fed, element after element.

    Attributes:
        inputs: (N,) what is folded.
        targets: (N,) what is scored after it.
        bounds: (M + 1,) where the sequences begin and end.
        nats: (N,) the surprise of every target when everything before it in its sequence is seen.
    """

    inputs: Ints
    targets: Ints
    bounds: Ints
    nats: Floats

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def begins(self) -> Ints:
        """(N,) where the sequence of each target begins."""
        return np.repeat(self.bounds[:-1], np.diff(self.bounds))

    @cached_property
    def ends(self) -> Ints:
        """(N,) where the sequence of each target ends."""
        return np.repeat(self.bounds[1:], np.diff(self.bounds))

    @cached_property
    def depth(self) -> Ints:
        """(N,) how many elements stand before the input of each target in its sequence."""
        return np.arange(len(self)) - self.begins

    @property
    def block(self) -> int:
        """Targets of a block of a bootstrap: a thousand, or a twentieth of less than 20,000."""
        return max(1, min(1000, len(self) // 20))


@dataclass(frozen=True)
class _Part:
    """The beginning of a corpus."""

    tokens: NDArray[np.integer[Any]]
    offsets: Ints
    is_stream: bool


def elements(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Elements:
    """A corpus, or its beginning, as it is fed, with the full surprise of every target.

    Args:
        model: any model of symbols.
        corpus: in symbols of this model.
        limit: at most so many elements; a sequence that is cut has no end to be scored. None: all.
        progress: called with the number of symbols scored so far.

    Raises:
        DataError: symbols that the model does not have.
    """
    part, is_cut = _beginning(corpus, limit)
    tokens = np.asarray(part.tokens).astype(np.int64)
    check_symbols(model, tokens)
    if part.is_stream:
        targets, bounds = tokens, np.array([0, len(tokens)])
    else:
        targets = np.insert(tokens, part.offsets[1:], model.boundary)
        bounds = part.offsets + np.arange(len(part.offsets))
    inputs = np.concatenate([[model.boundary], targets[:-1]]).astype(np.int64)
    nats, _ = surprisals(model, part, progress=progress)
    if is_cut:
        inputs, targets, nats, bounds = inputs[:-1], targets[:-1], nats[:-1], bounds.copy()
        bounds[-1] -= 1
    return Elements(inputs, targets, bounds, np.minimum(nats.astype(np.float64), MOST_NATS))


def check_symbols(model: SequenceModel, tokens: NDArray[np.integer[Any]]) -> None:
    """
    Raises:
        DataError: symbols that the model does not have.
    """
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < model.num_symbols:
        raise DataError(
            f"the data has symbols {tokens.min()} to {tokens.max()}, and the model knows 0 to "
            f"{model.num_symbols - 1}: turn the text into the symbols of this model"
        )


def _beginning(corpus: TokenSequences, limit: int | None) -> tuple[_Part, bool]:
    """The first sequences, the last of them cut where need be; whether one with an end was."""
    offsets = np.asarray(corpus.offsets)
    if limit is None or offsets[-1] <= limit:
        return _Part(np.asarray(corpus.tokens), offsets, corpus.is_stream), False
    whole = int(np.searchsorted(offsets, limit, side="right")) - 1
    if whole > 0 and not corpus.is_stream:
        kept = offsets[: whole + 1]
        return _Part(np.asarray(corpus.tokens[: kept[-1]]), kept, False), False
    kept = np.array([0, limit])
    return _Part(np.asarray(corpus.tokens[:limit]), kept, corpus.is_stream), not corpus.is_stream


# ---- runs ---------------------------------------------------------------------------------------


def run(
    model: SequenceModel,
    inputs: Ints,
    targets: Ints,
    begins: Ints,
    sizes: Ints,
    *,
    progress: Report | None = None,
) -> Floats:
    """The surprises of runs from the empty state, one run after another.

    Args:
        model: any model of symbols.
        inputs: what runs are cut from.
        targets: what follows each input.
        begins: (R,) where each run begins.
        sizes: (R,) its elements, at least one.
        progress: told of the progress.

    Returns:
        (sum of sizes,) nats.
    """
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    nats = np.empty(offsets[-1])
    done = 0
    with torch.inference_mode():
        for rows in _groups(sizes, min(max(_PLACES[0], model.positions_at_once), _PLACES[1])):
            k = np.arange(sizes[rows].max())
            place = np.minimum(begins[rows, None] + k, len(inputs) - 1)
            lengths = torch.from_numpy(sizes[rows])
            batch = Batch(
                torch.from_numpy(inputs[place]),
                torch.from_numpy(targets[place]),
                None if bool((lengths == len(k)).all()) else lengths,
            )
            values = model.log_prob(batch.to(model.device)).double().cpu().numpy()
            valid = valid_mask(lengths, len(k)).numpy()
            nats[(offsets[rows, None] + k)[valid]] = -values[valid]
            done += int(sizes[rows].sum())
            if progress is not None:
                progress(done / len(nats))
    return np.minimum(nats, MOST_NATS)


def _groups(sizes: Ints, places: int) -> Iterator[Ints]:
    """Runs that are folded together: of like size, bounded in memory."""
    order = np.argsort(-sizes, kind="stable")
    i = 0
    while i < len(order):
        count = max(1, places // int(sizes[order[i]]))
        yield order[i : i + count]
        i += count


def flat_index(begins: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """For every element of every run: its place, and k = 1, 2, .. within the run."""
    ends = np.cumsum(sizes)
    k = np.arange(1, ends[-1] + 1 if len(ends) else 1) - np.repeat(ends - sizes, sizes)
    return np.repeat(begins, sizes) + k - 1, k


def choose(data: Elements, longest: int, count: int, *, depth: int, seed: int) -> tuple[Ints, Ints]:
    """Where runs begin and how long they are.

    Places are drawn one from each of `count` parts of the text. Runs are long in turn like the
    marks of a ruler: every second has 32 elements, every fourth 64, and so on, and what is left
    `longest`. So few elements seen, where surprises differ much, get many samples, and many
    elements few, at 3 elements a run for every doubling instead of `longest`.

    Args:
        data: the text.
        longest: elements of a run at most; runs end with their sequence.
        count: runs at most.
        depth: how many elements must stand before a run in its sequence.
        seed: of the places.

    Returns:
        begins (R,) and sizes (R,), in the order of the text.
    """
    places = np.flatnonzero(data.depth >= depth)
    if len(places) > count:
        rng = np.random.default_rng(seed)
        edges = np.linspace(0, len(places), count + 1)
        drawn = edges[:-1] + rng.random(count) * np.diff(edges)
        places = places[drawn.astype(np.int64)]
    i = np.arange(1, len(places) + 1)
    sizes = np.minimum(_SHORTEST * (i & -i), longest)  # i & -i: the greatest power of 2 in i
    return places, np.minimum(sizes, data.ends[places] - places)


def unconditioned(model: SequenceModel, data: Elements) -> Floats:
    """(V,) ln p of a symbol when nothing is seen.

        p_0(x) = mean over elements s of the text of p(x | s)

    What the model predicts after one element, averaged over what that element may be: it knows
    the model and the frequencies, and nothing of what stands before. (The prediction after the
    boundary would be that of a beginning, which the middle of a sequence is not.)
    """
    step = np.linspace(0, len(data) - 1, min(len(data), _GIVEN)).astype(np.int64)
    given, counts = np.unique(data.inputs[step], return_counts=True)
    total = np.zeros(model.num_symbols)
    size = max(16, min(_PLACES[0], model.positions_at_once))
    with torch.inference_mode():
        for i in range(0, len(given), size):
            x = torch.from_numpy(given[i : i + size])[:, None].to(model.device)
            features, _ = model.advance(model.empty(len(x)), x, None, keep=False)
            rows = as_discrete(model.emit(features)).dense()[:, 0]
            total += counts[i : i + size] @ rows.double().exp().cpu().numpy()
    found: Floats = np.maximum(np.log(np.maximum(total / counts.sum(), 1e-300)), -MOST_NATS)
    return found
