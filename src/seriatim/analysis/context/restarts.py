"""Restarts: what a model says when it may see only the last so many elements.

A sequence is fed as inputs, each followed by its target: the boundary, then x_1, x_2 .. . A model
restarted at input r begins from its empty state and folds inputs r, r + 1, .. . After the k-th of
them it has seen k elements, so a single run gives one sample of "the surprisal with k elements
seen" for every k at once, each paired with the full surprisal of the same target.

No boundary is put in front: it would tell the model that a sequence begins where none does. A run
begins from the state that the family calls empty, and nothing else.

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
from seriatim.metrics.bootstrap import Floats
from seriatim.metrics.likelihood import surprisals

Ints: TypeAlias = NDArray[np.int64]
FractionDone: TypeAlias = Callable[[float], None]  # receives the fraction of the work that is done

MOST_NATS = 100.0  # what a probability of 0 costs, so that differences stay finite
_POSITIONS = 2_048, 8_192  # of a batch, at least and at most: more do not fit the caches
_SHORTEST = 32  # elements of a run at least; longer runs are rarer
_AVERAGED = 2_048  # elements over which the prediction without context is averaged


@dataclass(frozen=True)
class Elements:
    """A corpus as it is fed, element after element.

    Attributes:
        inputs: (N,) the symbols that are folded.
        targets: (N,) the symbol that is scored after each.
        bounds: (M + 1,) where the sequences begin and end.
        nats: (N,) the full surprisal of every target: with everything before it in its sequence.
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
        """(N,) the number of elements before the input of each target in its sequence."""
        return np.arange(len(self)) - self.begins

    @property
    def block(self) -> int:
        """The targets of a bootstrap block: a thousand, or a twentieth of fewer than 20,000."""
        return max(1, min(1000, len(self) // 20))


@dataclass(frozen=True)
class _Part:
    """The beginning of a corpus."""

    tokens: NDArray[np.integer[Any]]
    offsets: Ints
    is_stream: bool


def read_elements(
    model: SequenceModel,
    corpus: TokenSequences,
    *,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Elements:
    """A corpus, or its beginning, as it is fed, with the full surprisal of every target.

    Args:
        model: any model of symbols.
        corpus: the text in symbols of this model.
        limit: the most elements that are read; a sequence that is cut has no end to be scored.
            None: all.
        progress: a callback that receives the number of symbols scored so far.

    Raises:
        DataError: if the corpus has symbols that the model does not have.
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
    """Check that a model knows all symbols.

    Raises:
        DataError: if it does not.
    """
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < model.num_symbols:
        raise DataError(
            f"the data has symbols {tokens.min()} to {tokens.max()}, and the model knows 0 to "
            f"{model.num_symbols - 1}: encode the text with the vocabulary of this model"
        )


def _beginning(corpus: TokenSequences, limit: int | None) -> tuple[_Part, bool]:
    """The first sequences, and whether the last one was cut and has lost its end."""
    offsets = np.asarray(corpus.offsets)
    if limit is None or offsets[-1] <= limit:
        return _Part(np.asarray(corpus.tokens), offsets, corpus.is_stream), False
    whole = int(np.searchsorted(offsets, limit, side="right")) - 1
    if whole > 0 and not corpus.is_stream:
        part = _Part(np.asarray(corpus.tokens[: offsets[whole]]), offsets[: whole + 1], False)
        return part, False
    bounds = np.array([0, limit])
    return _Part(np.asarray(corpus.tokens[:limit]), bounds, corpus.is_stream), not corpus.is_stream


# ---- runs ---------------------------------------------------------------------------------------


def score_runs(
    model: SequenceModel,
    inputs: Ints,
    targets: Ints,
    begins: Ints,
    sizes: Ints,
    *,
    progress: FractionDone | None = None,
) -> Floats:
    """The surprisals of runs from the empty state, one run after another.

    Args:
        model: any model of symbols.
        inputs: the elements that runs are cut from.
        targets: the element after each input.
        begins: (R,) where each run begins.
        sizes: (R,) the elements of each run, at least one.
        progress: a callback that receives the fraction of the work that is done.

    Returns:
        (sum of sizes,) nats.
    """
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    nats = np.empty(offsets[-1])
    done = 0
    with torch.inference_mode():
        for rows in _groups(sizes, min(max(_POSITIONS[0], model.positions_at_once), _POSITIONS[1])):
            k = np.arange(sizes[rows].max())
            index = np.minimum(begins[rows, None] + k, len(inputs) - 1)
            lengths = torch.from_numpy(sizes[rows])
            batch = Batch(
                torch.from_numpy(inputs[index]),
                torch.from_numpy(targets[index]),
                None if bool((lengths == len(k)).all()) else lengths,
            )
            values = model.log_prob(batch.to(model.device)).double().cpu().numpy()
            valid = valid_mask(lengths, len(k)).numpy()
            nats[(offsets[rows, None] + k)[valid]] = -values[valid]
            done += int(sizes[rows].sum())
            if progress is not None:
                progress(done / len(nats))
    return np.minimum(nats, MOST_NATS)


def _groups(sizes: Ints, positions: int) -> Iterator[Ints]:
    """Runs that are folded together: of similar size, with at most so many positions."""
    order = np.argsort(-sizes, kind="stable")
    i = 0
    while i < len(order):
        count = max(1, positions // int(sizes[order[i]]))
        yield order[i : i + count]
        i += count


def flat_index(begins: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """For every element of every run: its index in the text, and k = 1, 2, .. within the run."""
    ends = np.cumsum(sizes)
    k = np.arange(1, ends[-1] + 1 if len(ends) else 1) - np.repeat(ends - sizes, sizes)
    return np.repeat(begins, sizes) + k - 1, k


def choose_runs(
    data: Elements, longest: int, count: int, *, depth: int, seed: int
) -> tuple[Ints, Ints]:
    """Where runs begin and how long they are.

    One run begins in each of `count` parts of the text. Lengths alternate like the marks of a
    ruler: every second run has 32 elements, every fourth 64, and so on, and the rest `longest`. So
    small k, where surprisals differ much, get many samples, and large k few: each doubling of
    `longest` adds only 16 elements to the mean run.

    Args:
        data: the text.
        longest: the most elements of a run; runs end with their sequence.
        count: the most runs.
        depth: the elements that must precede a run in its sequence.
        seed: the seed of the positions.

    Returns:
        begins (R,) and sizes (R,), in the order of the text.
    """
    begins = spread(np.flatnonzero(data.depth >= depth), count, seed)
    i = np.arange(1, len(begins) + 1)
    sizes = np.minimum(_SHORTEST * (i & -i), longest)  # i & -i: the greatest power of 2 in i
    return begins, np.minimum(sizes, data.ends[begins] - begins)


def spread(positions: Ints, count: int, seed: int) -> Ints:
    """At most `count` of the positions, one drawn from each of so many parts."""
    if len(positions) <= count:
        return positions
    edges = np.linspace(0, len(positions), count + 1)
    drawn = edges[:-1] + np.random.default_rng(seed).random(count) * np.diff(edges)
    return positions[drawn.astype(np.int64)]


def unconditioned(model: SequenceModel, data: Elements) -> Floats:
    """(V,) ln p of a symbol when nothing is seen.

        p_0(x) = mean over elements s of the text of p(x | s)

    This is the prediction after one element, averaged over that element: it knows the model and
    the frequencies, and nothing of the past. (The prediction after the boundary would be that of
    the beginning of a sequence.)
    """
    step = np.linspace(0, len(data) - 1, min(len(data), _AVERAGED)).astype(np.int64)
    elements, counts = np.unique(data.inputs[step], return_counts=True)
    total = np.zeros(model.num_symbols)
    size = max(16, min(_POSITIONS[0], model.positions_at_once))
    with torch.inference_mode():
        for i in range(0, len(elements), size):
            x = torch.from_numpy(elements[i : i + size])[:, None].to(model.device)
            features, _ = model.advance(model.empty(len(x)), x, None, keep=False)
            rows = as_discrete(model.emit(features)).dense()[:, 0]
            total += counts[i : i + size] @ rows.double().exp().cpu().numpy()
    log_probs: Floats = np.maximum(np.log(np.maximum(total / counts.sum(), 1e-300)), -MOST_NATS)
    return log_probs
