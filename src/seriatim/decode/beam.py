"""Beam search and greedy search, written once: select the state's rows, fold the chosen symbols.

The search itself is in `search`; here is what is kept of it, and how it is asked for.

Knows states, distributions and scorers; no family, no text.

Shapes: B sources, A of them still searched, K prefixes of each, M candidates of a prefix.
"""

import numpy as np
from torch import Tensor

from seriatim.core import tree
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Floats, Hypothesis, Ints, rules_for
from seriatim.decode.search import Bools, Extensions, Scorers, Search


class Best:
    """The choice of plain beam search: the best ranked stay.

    Of the extensions of a source, the `width` best that do not end go on; one that ends is a
    result if it is among the `width` best of all. So an end takes no place in the beam.
    """

    keeps_best = True

    def num_candidates(self, width: int) -> int:
        """All that go on could be of one prefix, beside its end."""
        return width + 1

    def start(self, batch_size: int) -> Tree:
        """Nothing."""
        return None

    def update(self, memory: Tree, x: Tensor) -> Tree:
        """Nothing."""
        return None

    def wanted(self, memory: Tree) -> Tensor | None:
        """None."""
        return None

    def accepts(self, source: int, symbols: Ints) -> bool:
        """Every one is."""
        return True

    def order(self, extensions: Extensions, memory: Tree) -> tuple[Ints, Ints]:
        """By falling rank, ties to the earlier prefix and then to the smaller symbol."""
        of = extensions
        return best_places(of.rank, of.symbols, of.end, of.width)


def best_places(rank: Floats, symbols: Ints, end: int | None, width: int) -> tuple[Ints, Ints]:
    """The `width` best extensions that go on, and those among the `width` best of all that end.

    Args:
        rank, symbols: (A, K, M), K at most the width.
        end: the symbol that ends; None: nothing does.
        width: how many go on.

    Returns:
        (A, width) and (A, any) places in the flattened last two axes, best first; -1: none.
    """
    sources = len(rank)
    flat = rank.reshape(sources, -1)
    # At most one extension of each prefix ends: the best that go on are among twice the width.
    order = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * width]
    is_possible = np.take_along_axis(flat, order, 1) > -np.inf
    chosen = np.take_along_axis(symbols.reshape(sources, -1), order, 1)
    is_end = np.zeros_like(is_possible) if end is None else chosen == end
    ended = np.where((is_possible & is_end)[:, :width], order[:, :width], -1)
    return first_places(order, is_possible & ~is_end, width), ended


def first_places(order: Ints, is_wanted: Bools, count: int) -> Ints:
    """(A, count) the first wanted places of each row of `order` (A, C); -1: there are fewer."""
    front = np.argsort(~is_wanted, axis=1, kind="stable")[:, :count]
    places = np.take_along_axis(np.where(is_wanted, order, -1), front, 1)
    return np.pad(places, ((0, 0), (0, count - places.shape[1])), constant_values=-1)


def beam_search_rows(
    model: SequenceModel,
    state: State,
    *,
    width: int,
    max_length: int | Tensor,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
    num_best: int | None = None,
    patience: float | None = None,
) -> list[list[Hypothesis]]:
    """The best continuations of each of B states that a beam of `width` finds, best first.

    At every step each live prefix of a source is extended by every symbol. The best `width`
    extensions that do not end stay; those that end, and are among the best `width` of all, are
    results. With a beam as wide as the space the result is exact. A source finds what it would
    find alone: exactly in float64, in float32 up to ties closer than 1e-5.

    A source is searched until nothing that could still be found would be returned (the proof is
    at `Search` and `bounds`), or until its maximum length, whatever comes first. Prefixes that
    reach the maximum length compete as results that are not ended, and say so.

    Args:
        model: any model of symbols.
        state: of B rows, where to go on from.
        width: prefixes kept of each source at each step.
        max_length: steps at most, for all or (B,) for each; the end takes one. 0: the empty
            sequence is returned, unended. The early stop comes the sooner the smaller it is.
        end: the symbol that ends a sequence; None: nothing does, all results have max_length.
        alpha: of the length penalty; it ranks, it never enters `log_prob`.
        scorers: pairs of a scorer and its weight.
        num_best: results wanted of each source, at most `width`; None: `width`. The fewer, the
            sooner the search may stop.
        patience: stop a source already when round(patience * width) results were found (Kasai
            et al. 2022; 1 is the rule of most toolkits). What is returned is then the best of
            those. None: the exact rule above.

    Returns:
        For each source at most `num_best` hypotheses, by falling score; ties in the order they
        were found. None at all only where the scorers, or the model's zeros, forbid everything.

    Raises:
        ConfigError: a width of 0, or num_best, patience or max_length that do not fit.
        ModelError: the model predicts something that is not a number.
    """
    rules = rules_for(
        tree.rows(state),
        width=width,
        max_length=max_length,
        end=end,
        alpha=alpha,
        num_best=num_best,
        patience=patience,
    )
    return Search(model, state, rules, scorers, Best()).run()


def beam_search(
    model: SequenceModel,
    state: State,
    *,
    width: int,
    max_length: int,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
    num_best: int | None = None,
) -> list[Hypothesis]:
    """The best continuations of one state, best first: `beam_search_rows` of one row."""
    return beam_search_rows(
        model,
        state,
        width=width,
        max_length=max_length,
        end=end,
        alpha=alpha,
        scorers=scorers,
        num_best=num_best,
    )[0]
