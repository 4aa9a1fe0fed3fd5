"""Beam search, written once: select the state's rows, fold the chosen symbols.

Knows states, distributions and scorers; no family, no text.

Shapes: B = K rows of the beam, V symbols, N length of a result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim import tree
from seriatim.compose import Scorer
from seriatim.decode.sample import symbols_of
from seriatim.distributions import top_k
from seriatim.model import SequenceModel, State


@dataclass(frozen=True)
class Hypothesis:
    """One result of a search.

    Attributes:
        symbols: x_1 .. x_N, without the end symbol.
        log_prob: ln p(symbols, and the end when it was reached), nats: what `log_prob` of the
            model gives for them.
        score: what the search ranked by: log_prob plus scorers, divided by the length penalty.
        is_ended: whether the end symbol was predicted; if not, max_length cut it.
    """

    symbols: tuple[int, ...]
    log_prob: float
    score: float
    is_ended: bool


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6)^alpha (Wu et al. 2016, equation 14); alpha = 0 is no penalty."""
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    model: SequenceModel,
    state: State,
    *,
    width: int,
    max_length: int,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Sequence[tuple[Scorer, float]] = (),
) -> list[Hypothesis]:
    """The best continuations of one state that a beam of `width` finds, best first.

    At every step each live prefix is extended by every symbol and the best `width` extensions
    stay; those that end leave the beam and compete as results. With a beam as wide as the space
    the result is exact. The search stops early only when no live prefix can still win: log
    p only falls with length, so a prefix's bound is its own total under the most favourable
    penalty.

    Args:
        model: any model of symbols.
        state: of one row, where to go on from.
        width: prefixes kept at each step.
        max_length: symbols at most; a prefix of that length is returned unended.
        end: the symbol that ends a sequence; None: nothing does, all results have max_length.
        alpha: of the length penalty; it ranks, it never enters `log_prob`.
        scorers: pairs of a scorer and its weight.

    Returns:
        At most `width` hypotheses, by falling score; ties in the order they were found.
    """
    done: list[Hypothesis] = []
    symbols = torch.empty(1, 0, dtype=torch.int64)
    log_prob = extra = torch.zeros(1, dtype=torch.float64)
    memories = [scorer.start(1) for scorer, _ in scorers]
    for length in range(1, max_length + 1):
        with torch.no_grad():
            rows = symbols_of(model.predict(state)).dense().double().cpu()
        candidates = log_prob[:, None] + rows
        bonus = extra[:, None] + sum(
            (w * s.scores(m).double().cpu() for (s, w), m in zip(scorers, memories, strict=True)),
            torch.zeros_like(rows),
        )
        # A symbol of probability 0 is no continuation, whatever a scorer says of it.
        ranking = (candidates + bonus).flatten()
        _, best = top_k(ranking, min(width, int((ranking > -torch.inf).sum())))
        parent, symbol = best // rows.shape[1], best % rows.shape[1]
        log_prob, extra = candidates.flatten()[best], bonus.flatten()[best]
        symbols = torch.cat([symbols[parent], symbol[:, None]], 1)

        is_end = symbol == end if end is not None else torch.zeros_like(symbol, dtype=torch.bool)
        for i in torch.nonzero(is_end).flatten().tolist():
            done.append(_result(symbols[i, :-1], log_prob[i], extra[i], length, alpha, True))
        live = torch.nonzero(~is_end).flatten()
        symbols, log_prob, extra = symbols[live], log_prob[live], extra[live]
        if len(live) == 0 or length == max_length:
            break
        if not scorers and _is_settled(done, log_prob, width, alpha, max_length):
            return _ranked(done, width)
        where = parent[live].to(model.device)
        with torch.no_grad():
            state = model.step(tree.select(state, where), symbol[live].to(model.device))
        memories = [
            s.update(tree.select(m, parent[live]), symbol[live])
            for (s, _), m in zip(scorers, memories, strict=True)
        ]
    for row, p, e in zip(symbols, log_prob, extra, strict=True):
        done.append(_result(row, p, e, len(row), alpha, False))
    return _ranked(done, width)


def _result(
    symbols: Tensor, log_prob: Tensor, extra: Tensor, length: int, alpha: float, is_ended: bool
) -> Hypothesis:
    score = float(log_prob + extra) / length_penalty(length, alpha)
    return Hypothesis(tuple(symbols.tolist()), float(log_prob), score, is_ended)


def _ranked(done: list[Hypothesis], width: int) -> list[Hypothesis]:
    return sorted(done, key=lambda h: -h.score)[:width]


def _is_settled(
    done: list[Hypothesis], log_prob: Tensor, width: int, alpha: float, max_length: int
) -> bool:
    """Whether `width` results stand that no live prefix can overtake.

    A live prefix of total a ends with a total of at most a, divided by at most the penalty of
    max_length + 1 (a is negative, so the largest penalty flatters it most).
    """
    if len(done) < width:
        return False
    bound = float(log_prob.max()) / length_penalty(max_length + 1, max(alpha, 0.0))
    return _ranked(done, width)[-1].score >= bound
