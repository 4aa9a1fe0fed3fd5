"""The cost of a model: bytes, operations and symbols per second.

Operations are those of matrix products (two for each multiplied pair), counted by torch during
one forward pass; element-wise work is left out. A model whose work is not products, such as one
that looks up counts, declares its operations itself.

Knows any `SequenceModel`; no data and no family.

Shapes: L time steps, B rows, E inputs, D hidden units, G gates.
"""

import copy
import time
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from seriatim.core.batch import Batch
from seriatim.core.model import SequenceModel
from seriatim.decode.sampling import sample
from seriatim.metrics.size import state_bytes

LENGTHS = (1, 8, 32, 128, 512)  # sequence lengths at which the state is measured
BACKWARD = 2  # cost of a backward pass in forward passes: both factors of a product have gradients


@runtime_checkable
class CountsOperations(Protocol):
    """A model that declares its operations, because its work is not matrix products."""

    @property
    def operations_per_symbol(self) -> float:
        """The number of elementary operations for the probability of one symbol."""


def operations_per_symbol(model: SequenceModel, length: int = 64) -> float:
    """The number of operations per symbol, averaged over one sequence of `length` symbols."""
    if isinstance(model, CountsOperations):
        return float(model.operations_per_symbol)
    model = copy.deepcopy(model).cpu().eval()  # the same count on every machine
    x = torch.zeros(1, length, dtype=torch.int64)
    counter = FlopCounterMode(display=False, custom_mapping=_FUSED)
    with torch.no_grad(), counter:
        model.log_prob(Batch(x, x))
    return counter.get_total_flops() / length


def num_bytes(model: torch.nn.Module) -> int:
    """The size of weights and counts in bytes; tied ones count once."""
    tensors = {t.data_ptr(): t.nbytes for t in model.state_dict().values() if t.numel()}
    return sum(tensors.values())


def state_sizes(model: SequenceModel) -> list[tuple[int, int]]:
    """(length, bytes of the state after a sequence of that length) for each of `LENGTHS`."""
    return [(length, state_bytes(model, length)) for length in LENGTHS]


def generation_speed(model: SequenceModel, *, seconds: float = 0.3, most: int = 400) -> float:
    """Symbols per second when one sequence is sampled symbol by symbol.

    Args:
        model: the model to sample from.
        seconds: the time after which to stop.
        most: the number of symbols after which to stop.
    """
    count = 0
    with torch.inference_mode():
        symbols = sample(model, model.start(1), seed=0)
        for _ in range(8):  # warm-up
            next(symbols)
        start = time.perf_counter()
        while count < most and time.perf_counter() - start < seconds:
            next(symbols)
            count += 1
        return count / max(time.perf_counter() - start, 1e-9)


# ---- kernels that torch's counter does not know -------------------------------------------------


def _recurrent_layer(x: torch.Size, W: torch.Size, U: torch.Size, *_: Any, **__: Any) -> int:
    """One layer over L steps of B rows: x (L, B, E), W (G D, E), U (G D, D)."""
    return 2 * x[0] * x[1] * (W.numel() + U.numel())


def _attention(q: torch.Size, k: torch.Size, v: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


_FUSED: dict[Any, Any] = {
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_layer,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}
