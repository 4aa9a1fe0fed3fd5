"""What a model costs: bytes, operations and symbols per second.

Operations are those of products (two for each multiplied pair), counted by torch as they are
called in one forward pass; what goes element by element is left out. A model whose work is no
product, such as one that is looked up in counts, declares its operations itself. They stand for
the energy that a symbol takes, in which nothing else is as large.

Knows any `SequenceModel`; no data and no family.

Shapes: L symbols of one sequence.
"""

import copy
import time
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from seriatim.core.batch import Batch
from seriatim.core.model import SequenceModel
from seriatim.decode.sampling import sample
from seriatim.metrics.size import state_bytes

LENGTHS = (1, 8, 32, 128, 512)  # of sequences whose states are measured
BACKWARD = 2  # forward passes that a backward pass costs: both factors of a product have gradients


@runtime_checkable
class CountsOperations(Protocol):
    """A model whose work is no product, and that says itself how much it is."""

    @property
    def operations_per_symbol(self) -> float:
        """Elementary operations that the probability of one symbol takes."""


def operations_per_symbol(model: SequenceModel, length: int = 64) -> float:
    """Operations that one symbol takes, on average over one sequence of `length` symbols."""
    if isinstance(model, CountsOperations):
        return float(model.operations_per_symbol)
    model = copy.deepcopy(model).cpu().eval()  # the same count on every machine
    x = torch.zeros(1, length, dtype=torch.int64)
    counter = FlopCounterMode(display=False, custom_mapping=_FUSED)
    with torch.no_grad(), counter:
        model.log_prob(Batch(x, x))
    return counter.get_total_flops() / length


def num_bytes(model: torch.nn.Module) -> int:
    """Bytes of weights and counts, tied ones once."""
    tensors = {t.data_ptr(): t.nbytes for t in model.state_dict().values() if t.numel()}
    return sum(tensors.values())


def state_sizes(model: SequenceModel, lengths: Sequence[int] = LENGTHS) -> list[tuple[int, int]]:
    """(length, bytes kept of a sequence of so many symbols) for each of the lengths."""
    return [(length, state_bytes(model, length)) for length in lengths]


def generation_speed(
    model: SequenceModel, *, seconds: float = 0.3, most: int = 400, warm: int = 8
) -> float:
    """Symbols per second when one sequence is sampled, one symbol after another.

    Args:
        seconds: that the measurement may take.
        most: symbols at most.
        warm: symbols that come first and are not counted.
    """
    done = 0
    with torch.inference_mode():
        symbols = sample(model, model.start(1), seed=0)
        for _ in range(warm):
            next(symbols)
        began = time.perf_counter()
        while done < most and time.perf_counter() - began < seconds:
            next(symbols)
            done += 1
        return done / max(time.perf_counter() - began, 1e-9)


# ---- kernels that torch's counter does not know -------------------------------------------------


def _recurrent_layer(
    x: torch.Size, W: torch.Size, U: torch.Size, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    """One layer over L steps of B rows: x (L, B, E), W (G D, E), U (G D, D)."""
    return 2 * x[0] * x[1] * (W.numel() + U.numel())


def _attention(
    q: torch.Size, k: torch.Size, v: torch.Size, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


_FUSED: dict[Any, Any] = {
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_layer,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}
