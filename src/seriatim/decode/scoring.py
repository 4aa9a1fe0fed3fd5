"""Scorers inside a search: their weighted sum, and the most that it can be.

Knows scorers; no model and no search.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from seriatim.core.ensembles import Scorer
from seriatim.core.tree import Tree

Scorers: TypeAlias = Sequence[tuple[Scorer, float]]  # each with its weight


def weighted_scores(scorers: Scorers, memories: Sequence[Tree], like: Tensor) -> Tensor:
    """(N, V) what the scorers add to each symbol's log-probability.

    Args:
        scorers: pairs of a scorer and its weight.
        memories: the state of each scorer.
        like: (N, V) log-probabilities; the result has their type and device.
    """
    total = torch.zeros_like(like)
    for (scorer, weight), memory in zip(scorers, memories, strict=True):
        total = total + weight * scorer.scores(memory).to(total)
    return total


def score_ceiling(scorers: Scorers) -> float:
    """The most that all scorers together add to one symbol; inf: no bound is known."""
    if any(weight < 0 for _, weight in scorers):
        return float("inf")
    return sum((weight * s.ceiling() for s, weight in scorers if weight > 0), 0.0)
