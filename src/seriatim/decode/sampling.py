"""Sampling: reshape a distribution, then draw a symbol by its row's own counter.

Knows states, distributions and uniforms; no family, no text.

Shapes: B rows, V symbols.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import (
    Categorical,
    Discrete,
    as_discrete,
    inverse_cdf_of_row,
    uniforms,
)
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.core.validation import checked_arguments
from seriatim.decode.continuation import Continuation, Picked
from seriatim.decode.hypotheses import Hypothesis, Ints, lengths_for
from seriatim.decode.scoring import Scorers, weighted_scores
from seriatim.errors import ConfigError

_GREEDY_BELOW = 1e-30  # a smaller temperature acts as 0: ln p / T would overflow float32
_BLOCK = 256  # uniforms drawn at once: it changes the time per symbol, never the numbers


@checked_arguments
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next symbol is drawn. The defaults sample from the model as it is.

    Filters apply in this order, each to what the one before left: temperature, top_k, min_p,
    top_p. The most probable symbol always stays.

    Attributes:
        temperature: the exponent 1/temperature of p, renormalized; 0 takes the most probable
            symbol (greedy).
        top_k: the number of most probable symbols to keep.
        top_p: the probability mass to keep, by the fewest most probable symbols (nucleus
            sampling, Holtzman et al. 2020).
        min_p: the smallest probability to keep, relative to the greatest (Nguyen et al. 2024).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature {self.temperature}: give a finite number, 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k {self.top_k} keeps no symbol: give 1 or more")
        for name, value in (("top_p", self.top_p), ("min_p", self.min_p)):
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"{name} {value} is not a fraction: give a number in (0, 1]")

    @property
    def is_plain(self) -> bool:
        """Whether nothing is to be changed."""
        return self.temperature == 1 and self.top_k is self.top_p is self.min_p is None

    def reshape(self, distribution: Discrete) -> Discrete:
        """The distribution to sample from; the given one where nothing is to be changed."""
        if self.is_plain:
            return distribution  # stays lazy
        if self.temperature < _GREEDY_BELOW:
            _, symbol = distribution.top(1)
            row = torch.full(
                (*symbol.shape[:-1], distribution.num_symbols), -torch.inf, device=symbol.device
            )
            return Categorical(row.scatter(-1, symbol, 0.0))
        a = (distribution.dense() / self.temperature).log_softmax(-1)
        if self.top_k is not None and self.top_k < a.shape[-1]:
            _, symbols = Categorical(a).top(self.top_k)
            a = _keep(a, torch.zeros_like(a, dtype=torch.bool).scatter(-1, symbols, True))
        if self.min_p is not None:
            a = _keep(a, a >= a.amax(-1, keepdim=True) + math.log(self.min_p))
        if self.top_p is not None:
            a = _keep(a, _nucleus(a, self.top_p))
        return Categorical(a)


def _keep(a: Tensor, is_kept: Tensor) -> Tensor:
    return a.masked_fill(~is_kept, -torch.inf)


def _nucleus(a: Tensor, mass: float) -> Tensor:
    p, order = a.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = p.double().cumsum(-1) - p
    return torch.zeros_like(a, dtype=torch.bool).scatter(-1, order, before < mass)


def sample(
    model: SequenceModel,
    state: State,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    row_ids: Tensor | None = None,
    first_step: int = 0,
) -> Iterator[tuple[Tensor, State]]:
    """Symbols without end, one per row and step: x_t ~ p(. | s_{t-1}), s_t = fold(s_{t-1}, x_t).

    Row r's symbol at step t depends on its own state and on the counter (seed, row_ids[r], t)
    alone, so it is the same in any batch (exactly in float64; in float32 up to ties closer than
    the rounding of a kernel at another batch size).

    Args:
        model: any model of symbols.
        state: the state to continue from; it stays usable.
        sampling: how to draw; None: from the model's own distribution.
        seed: the seed of the counters.
        row_ids: (B,) the counters' rows; None: 0 .. B-1.
        first_step: the step t of the first symbol, to continue an earlier run.

    Yields:
        The symbols (B,), and the state before they were folded in: a caller that stops at a
        symbol has not paid for folding it.
    """
    sampling = sampling or Sampling()
    rows = torch.arange(tree.rows(state.features)) if row_ids is None else row_ids
    step, device = first_step, model.device
    inference = torch.inference_mode()  # one for all symbols: to make it takes some microseconds
    is_one = len(rows) == 1 and sampling.is_plain
    x: Tensor | None = None
    while True:
        block = uniforms(seed, rows[None], torch.arange(step, step + _BLOCK)[:, None].numpy())
        for u in block.to(device):
            with inference:
                steps = model.row_steps() if is_one else None
                if steps is not None and x is not None:
                    features, carry = steps.after(state.carry, int(x.item()))
                    state = State(features, carry)
                    drawn = inverse_cdf_of_row(steps.logits(features.numpy()), u.item())
                    x = torch.from_numpy(drawn)
                else:
                    if x is not None:
                        state = model.step(state, x)
                    x = sampling.reshape(as_discrete(model.predict(state))).sample(u)
            yield x, state
        step += _BLOCK


def sample_sequences(
    model: SequenceModel,
    state: State,
    *,
    num_samples: int,
    max_length: int | Tensor,
    end: int | None = None,
    sampling: Sampling | None = None,
    scorers: Scorers = (),
    seed: int = 0,
    row_ids: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """`num_samples` sequences drawn from each of B states, each until its end or max_length.

    Sample j of a row depends on the counter (seed, its row id, j) alone: not on the batch, nor
    on the number of samples.

    Args:
        model: any model of symbols.
        state: the state of B rows to continue from.
        num_samples: the number of samples for each row.
        max_length: the maximum number of steps, one for all or (B,); the end takes one step.
        end: the symbol that ends a sequence; None: there is none.
        sampling: how to draw; None: from the model's own distribution.
        scorers: pairs of a scorer and its weight, whose scores are added to the log-probabilities
            before a symbol is drawn.
        seed: the seed of the counters.
        row_ids: (B,) the counters' rows, such as line numbers; None: 0 .. B-1.

    Returns:
        For each row its samples in the order drawn; `log_prob` and `score` are the model's own.

    Raises:
        ConfigError: if num_samples is below 1, or max_length does not fit.
    """
    if num_samples < 1:
        raise ConfigError(f"num_samples {num_samples} draws nothing: give 1 or more")
    num_rows = tree.rows(state)
    draws_from = sampling or Sampling()
    limits = lengths_for(num_rows, max_length).repeat(num_samples)
    ids = np.arange(num_rows) if row_ids is None else row_ids.cpu().numpy().astype(np.int64)
    # Samples of one row lie 2^40 counters apart: row ids are smaller than that.
    counters = (ids[:, None] + (np.arange(num_samples) << 40)).reshape(-1)

    def draw(distribution: Discrete, memories: list[Tree], rows: Ints, step: int) -> Picked:
        u = uniforms(seed, counters[rows], step).to(model.device)
        drawn_from = distribution
        if scorers:
            dense = distribution.dense()
            drawn_from = Categorical(dense + weighted_scores(scorers, memories, dense))
        symbol = draws_from.reshape(drawn_from).sample(u)
        log_prob = distribution.log_prob(symbol)
        return symbol, log_prob, torch.zeros_like(log_prob)

    drawn = Continuation(model, tree.repeat(state, num_samples), scorers, end, limits).run(draw)
    return [drawn[i : i + num_samples] for i in range(0, len(drawn), num_samples)]
