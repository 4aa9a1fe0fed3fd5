"""Beam search: the best-ranked prefixes stay at every step.

The steps of the search are in `search`; this module has its choice and its entry points.

Knows states, distributions and scorers; no family, no text.

Shapes: B sources, A of them still searched, K prefixes of each, M candidates of a prefix.
"""

import numpy as np
from torch import Tensor

from seriatim.core import tree
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.core.validation import checked_arguments
from seriatim.decode.hypotheses import Bools, Floats, Hypothesis, Ints, SearchRules
from seriatim.decode.scoring import Scorers
from seriatim.decode.search import BeamSearch, Extensions


class BestRanked:
    """The choice of plain beam search: the best-ranked extensions stay.

    Of the extensions of a source, the `width` best that do not end stay; one that ends is a
    result if it is among the `width` best of all. So an end takes no slot of the beam.
    """

    keeps_best = True

    def num_candidates(self, width: int) -> int:
        """All that stay may come from one prefix, next to its end."""
        return width + 1

    def start(self, batch_size: int) -> Tree:
        """None: the choice has no state."""
        return None

    def update(self, memory: Tree, x: Tensor) -> Tree:
        """None: the choice has no state."""
        return None

    def wanted(self, memory: Tree) -> Tensor | None:
        """None: no symbol is wanted whatever its rank."""
        return None

    def accepts(self, source: int, symbols: Ints) -> bool:
        """True: every cut prefix is a result."""
        return True

    def order(self, extensions: Extensions, memory: Tree) -> tuple[Ints, Ints]:
        """By falling rank; ties go to the earlier prefix, then to the smaller symbol."""
        return best_ranked(extensions.rank, extensions.symbols, extensions.end, extensions.width)


def best_ranked(rank: Floats, symbols: Ints, end: int | None, width: int) -> tuple[Ints, Ints]:
    """The `width` best extensions that do not end, and those among the `width` best that end.

    Args:
        rank: (A, K, M) the ranking scores, K at most the width.
        symbols: (A, K, M) the last symbols of the extensions.
        end: the symbol that ends a sequence; None: there is none.
        width: the number of extensions that stay.

    Returns:
        (A, width) and (A, any) positions in the flattened last two axes, best first; -1: none.
    """
    sources = len(rank)
    flat = rank.reshape(sources, -1)
    # At most one extension of each prefix ends: those that stay are among the best 2 * width.
    order = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * width]
    is_possible = np.take_along_axis(flat, order, 1) > -np.inf
    chosen = np.take_along_axis(symbols.reshape(sources, -1), order, 1)
    is_end = np.zeros_like(is_possible) if end is None else chosen == end
    ended = np.where((is_possible & is_end)[:, :width], order[:, :width], -1)
    return _first_positions(order, is_possible & ~is_end, width), ended


def _first_positions(order: Ints, is_wanted: Bools, count: int) -> Ints:
    """(A, count) the first wanted entries of each row of `order` (A, C); -1: there are fewer."""
    front = np.argsort(~is_wanted, axis=1, kind="stable")[:, :count]
    positions = np.take_along_axis(np.where(is_wanted, order, -1), front, 1)
    return np.pad(positions, ((0, 0), (0, count - positions.shape[1])), constant_values=-1)


def beam_search_rows(
    model: SequenceModel,
    state: State,
    *,
    beam: int,
    max_length: int | Tensor,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
    num_best: int | None = None,
    patience: float | None = None,
) -> list[list[Hypothesis]]:
    """The best continuations of each of B states that a beam finds, best first.

    At every step each live prefix of a source is extended by every symbol. The best `beam`
    extensions that do not end stay; those that end and are among the best `beam` of all are
    results. A beam as wide as the space gives the exact result. A source gets the results that
    it would get alone: exactly in float64, in float32 up to ties closer than 1e-5.

    A source is searched until nothing that could still be found would be returned (the proof is
    at `BeamSearch` and `bounds`), or until its maximum length, whichever comes first. Prefixes
    that reach the maximum length compete as results whose `is_ended` is false.

    Args:
        model: any model of symbols.
        state: the state of B rows to continue from.
        beam: the width of the beam, the number of prefixes kept of each source at each step.
        max_length: the maximum number of steps, one for all or (B,); the end takes one step. 0:
            the empty sequence is returned, unended. A smaller one lets the search stop earlier.
        end: the symbol that ends a sequence; None: there is none, all results have max_length.
        alpha: the exponent of the length penalty; it ranks, it never enters `log_prob`.
        scorers: pairs of a scorer and its weight.
        num_best: the number of results of each source, at most `beam`; None: `beam`. With
            fewer the search may stop earlier.
        patience: the factor of early stopping: a source is finished once round(patience *
            beam) results were found (Kasai et al. 2022; 1 is the rule of most toolkits), and
            the best of those are returned. None: the exact rule above.

    Returns:
        For each source at most `num_best` hypotheses, by falling score; ties in the order they
        were found. None only where the scorers, or the model's zeros, forbid everything.

    Raises:
        ConfigError: if the width is 0, or num_best, patience or max_length do not fit.
        ModelError: if the model predicts something that is not a number.
    """
    rules = SearchRules.checked(
        tree.rows(state),
        width=beam,
        max_length=max_length,
        end=end,
        alpha=alpha,
        num_best=num_best,
        patience=patience,
    )
    return BeamSearch(model, state, rules, scorers, BestRanked()).run()


@checked_arguments
def beam_search(
    model: SequenceModel,
    state: State,
    *,
    beam: int,
    max_length: int,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
    num_best: int | None = None,
) -> list[Hypothesis]:
    """The best continuations of one state, best first; see `beam_search_rows`."""
    return beam_search_rows(
        model,
        state,
        beam=beam,
        max_length=max_length,
        end=end,
        alpha=alpha,
        scorers=scorers,
        num_best=num_best,
    )[0]
