"""Diverse beam search: groups of a beam that avoid one another's symbols.

Knows states, distributions and scorers; no family, no text.

Shapes: B sources, G groups, A = B G searches, K prefixes of a group, M candidates of a prefix.
"""

import numpy as np
from torch import Tensor

from seriatim.core import tree
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.beam import BestRanked, best_ranked
from seriatim.decode.hypotheses import Floats, Hypothesis, Ints, SearchRules, lengths_for
from seriatim.decode.scoring import Scorers
from seriatim.decode.search import BeamSearch, Extensions
from seriatim.errors import ConfigError


class DiverseChoice(BestRanked):
    """The choice of diverse beam search: each group avoids the symbols of the groups before it.

        rank(y_1 .. y_t) - strength * (prefixes of earlier groups that chose y_t at this step)

    Vijayakumar et al. 2018, equation 4, with the Hamming diversity of their section 4.1. The
    penalty ranks the extensions of this step; it is not accumulated.
    """

    keeps_best = False

    def __init__(self, num_groups: int, strength: float) -> None:
        self.num_groups, self.strength = num_groups, strength

    def num_candidates(self, width: int) -> int:
        """At most K (G - 1) symbols are penalized: the best K + 1 are among so many."""
        return width + 1 + width * (self.num_groups - 1)

    def order(self, extensions: Extensions, memory: Tree) -> tuple[Ints, Ints]:
        """The choices of group after group, for all sources at once."""
        stay, ended = (np.full((len(extensions.rank), extensions.width), -1) for _ in range(2))
        earlier: Ints = np.empty((len(stay) // self.num_groups, 0), np.int64)
        for g in range(self.num_groups):
            group = slice(g, None, self.num_groups)
            symbols = extensions.symbols[group]
            same = symbols[..., None] == earlier[:, None, None, :]
            rank: Floats = extensions.rank[group] - self.strength * same.sum(-1)
            on, off = best_ranked(rank, symbols, extensions.end, extensions.width)
            stay[group, : on.shape[1]], ended[group, : off.shape[1]] = on, off
            flat = symbols.reshape(len(symbols), -1)
            chosen = np.where(on >= 0, np.take_along_axis(flat, np.maximum(on, 0), 1), -1)
            earlier = np.concatenate([earlier, chosen], 1)
        return stay, ended


def diverse_beam_search(
    model: SequenceModel,
    state: State,
    *,
    beam: int,
    num_groups: int,
    max_length: int | Tensor,
    end: int | None = None,
    alpha: float = 0.0,
    strength: float = 0.5,
    scorers: Scorers = (),
    num_best: int | None = None,
) -> list[list[Hypothesis]]:
    """Good continuations of each of B states that differ from one another.

    The beam is split into groups that are searched side by side; see `DiverseChoice`. The results
    of all groups are ranked together by their score, without the penalty, and those found by
    several groups are returned once. All groups of a source continue until none of them could
    return anything else, because each changes what the later ones choose.

    Args:
        model: any model of symbols.
        state: the state of B rows to continue from.
        beam: the width of all groups together, a multiple of their number.
        num_groups: the number G of groups; 1 is plain beam search.
        strength: the penalty in nats of a symbol for each prefix of an earlier group that chose
            it at the same step.
        max_length, end, alpha, scorers: as in `beam_search_rows`.
        num_best: the maximum number of results of each source; None: `beam`.

    Raises:
        ConfigError: if the width is not a multiple of num_groups, the strength is negative, or
            `beam_search_rows` refuses the other values.
    """
    if num_groups < 1:
        raise ConfigError(f"num_groups = {num_groups}: give 1 or more")
    if beam % num_groups:
        raise ConfigError(
            f"a beam of width {beam} cannot be split into {num_groups} equal groups: give a "
            f"width that is a multiple of {num_groups}"
        )
    if strength < 0:
        raise ConfigError(f"strength {strength} would make the groups alike: give 0 or more")
    sources = tree.rows(state)
    limits = lengths_for(sources, max_length).repeat(num_groups)
    whole = SearchRules.checked(
        sources, width=beam, max_length=max_length, end=end, alpha=alpha, num_best=num_best
    )
    rules = SearchRules.checked(
        sources * num_groups,
        width=beam // num_groups,
        max_length=limits,
        end=end,
        alpha=alpha,
        num_best=None,
        together=num_groups,
    )
    search = BeamSearch(
        model, tree.repeat(state, num_groups), rules, scorers, DiverseChoice(num_groups, strength)
    )
    results = search.run()
    groups = (results[i : i + num_groups] for i in range(0, len(results), num_groups))
    return [_merged(group, whole.num_best) for group in groups]


def _merged(groups: list[list[Hypothesis]], num_best: int) -> list[Hypothesis]:
    """The best of several lists, each hypothesis once; ties to the earlier group."""
    unique = {(h.symbols, h.is_ended): h for group in reversed(groups) for h in reversed(group)}
    first_of_all = list(reversed(unique.values()))
    return sorted(first_of_all, key=lambda h: -h.score)[:num_best]
