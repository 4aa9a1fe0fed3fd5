"""Sampling: reshape a distribution, then take a symbol by its row's own counter.

Knows states, distributions and uniforms; no family, no text.

Shapes: B rows, V symbols, N generated symbols.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import Categorical, Discrete, Distribution, uniforms
from seriatim.core.model import SequenceModel, State
from seriatim.errors import ConfigError

_BLOCK = 256  # uniforms made at once: the numbers do not depend on it, the time per symbol does


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a next symbol is chosen. The defaults sample from the model as it is.

    Filters apply in this order, each to what the one before left: temperature, top_k, min_p,
    top_p. The most probable symbol always stays.

    Attributes:
        temperature: p^(1/temperature), renormalized; 0 takes the most probable (greedy).
        top_k: keep the k most probable.
        top_p: keep the fewest most probable whose sum reaches top_p (Holtzman et al. 2020).
        min_p: keep those of at least min_p times the greatest probability (Nguyen et al. 2024).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature {self.temperature} is not a number from 0 up")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k {self.top_k} keeps no symbol: give 1 or more")
        for name, value in (("top_p", self.top_p), ("min_p", self.min_p)):
            if value is not None and not 0 < value <= 1:
                raise ConfigError(f"{name} {value} is not a share: give a number in (0, 1]")

    def reshape(self, distribution: Discrete) -> Discrete:
        """The distribution that is sampled from; the given one when nothing is asked."""
        if self.temperature == 1 and self.top_k is self.top_p is self.min_p is None:
            return distribution  # stays lazy
        if self.temperature == 0:
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


def _keep(a: Tensor, kept: Tensor) -> Tensor:
    return a.masked_fill(~kept, -torch.inf)


def _nucleus(a: Tensor, share: float) -> Tensor:
    p, order = a.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = p.double().cumsum(-1) - p
    return torch.zeros_like(a, dtype=torch.bool).scatter(-1, order, before < share)


def symbols_of(distribution: Distribution) -> Discrete:
    """The distribution as one over symbols.

    Raises:
        ConfigError: it is one over something else, so there are no symbols to choose from.
    """
    if not isinstance(distribution, Discrete):
        raise ConfigError(
            f"{type(distribution).__name__} is no distribution over symbols; this needs a model "
            "of symbols"
        )
    return distribution


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
        state: where to go on from; it stays usable.
        sampling: how to choose; None: from the model's own distribution.
        seed: of the counters.
        row_ids: (B,) the counters' rows; None: 0 .. B-1.
        first_step: t of the first symbol, to continue an earlier run.

    Yields:
        The symbols (B,), and the state before they were folded in: a caller that stops at a
        symbol has not paid for folding it.
    """
    sampling = sampling or Sampling()
    rows = torch.arange(tree.rows(state.features)) if row_ids is None else row_ids
    step, device = first_step, model.device
    x: Tensor | None = None
    while True:
        block = uniforms(seed, rows[None], torch.arange(step, step + _BLOCK)[:, None].numpy())
        for u in block.to(device):
            with torch.inference_mode():
                if x is not None:
                    state = model.step(state, x)
                x = sampling.reshape(symbols_of(model.predict(state))).sample(u)
            yield x, state
        step += _BLOCK
