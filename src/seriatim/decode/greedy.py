"""Greedy search: the most probable symbol at every step.

Knows distributions and scorers; no family, no text.

Shapes: B rows at the start, N of them still in the batch.
"""

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import Discrete, top_k
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.continuation import Continuation, Picked
from seriatim.decode.hypotheses import Hypothesis, Ints, lengths_for
from seriatim.decode.scoring import Scorers, weighted_scores


def greedy_search(
    model: SequenceModel,
    state: State,
    *,
    max_length: int | Tensor,
    end: int | None = None,
    scorers: Scorers = (),
) -> list[Hypothesis]:
    """The most probable symbol at every step, from each of B states, until the end or max_length.

    Ties go to the smaller symbol. Equal to beam search of width 1 without length penalty, but
    cheaper.

    Args:
        model: any model of symbols.
        state: the state of B rows to continue from.
        max_length: the maximum number of steps, one for all or (B,); the end takes one step.
        end: the symbol that ends a sequence; None: there is none.
        scorers: pairs of a scorer and its weight, added before the best symbol is taken.

    Returns:
        One hypothesis for each row; `is_ended` says whether the end was reached.
    """

    def best(distribution: Discrete, memories: list[Tree], rows: Ints, step: int) -> Picked:
        if not scorers:
            log_prob, symbol = distribution.top(1)
            return symbol[:, 0], log_prob[:, 0], torch.zeros_like(log_prob[:, 0])
        dense = distribution.dense()
        bonus = weighted_scores(scorers, memories, dense)
        symbol = top_k(torch.where(dense > -torch.inf, dense + bonus, dense), 1)[1]
        return symbol[:, 0], dense.gather(1, symbol)[:, 0], bonus.gather(1, symbol)[:, 0]

    limits = lengths_for(tree.rows(state), max_length)
    return Continuation(model, state, scorers, end, limits).run(best)
