"""How many threads a model's products are worth: a fact of the model, not a timing.

Every product that torch divides among threads waits for all of them, so small ones are not divided:
a thread is added for every `WORTH` multiplications of the product that takes the time of a step.
(Under other load a wait takes as long as a turn of the scheduler, and one thread is faster for far
larger products: then `--threads 1`.) A timing would choose differently from run to run, and sums of
another number of threads differ in their last bits.

Knows torch and the sizes of weights; no family.

Shapes: B rows, L elements of a chunk.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from seriatim.core.elements import Symbols
from seriatim.core.model import TargetModel

WORTH = 600_000  # multiplications of a product for each thread

_is_fixed = False  # whether somebody has named a number


def fix_threads(threads: int) -> None:
    """Use this number of threads from now on, whatever the model."""
    global _is_fixed  # noqa: PLW0603
    torch.set_num_threads(threads)
    _is_fixed = True


def suited_threads(model: TargetModel, rows: int, length: int) -> int:
    """The number of threads for batches of (rows, length), at most as many as torch has now.

    A matrix takes part in products of B rows, one for each element, if the model's reach is
    unbounded, and of B L rows at once if it is bounded or the matrix makes the distribution, with
    a row for each symbol. The product counted is the mean, weighted by multiplications.

    Args:
        model: the model.
        rows: B.
        length: L.
    """
    most = torch.get_num_threads()
    if _is_fixed or most == 1 or "OMP_NUM_THREADS" in os.environ or model.device.type != "cpu":
        return most
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    is_stepwise = getattr(model, "reach", 0) is None
    element = getattr(model, "element", None)
    symbols = element.num_symbols if isinstance(element, Symbols) else None
    work = weight = 0.0
    for p in model.parameters():
        if p.ndim < 2 or (id(p) in looked_up and p.shape[0] != symbols):
            continue
        at_once = rows if is_stepwise and p.shape[0] != symbols else rows * length
        work += p.numel() * p.numel() * at_once
        weight += p.numel()
    return int(max(1, min(most, work / max(weight, 1) // WORTH)))


@contextmanager
def threads_for(model: TargetModel, rows: int, length: int) -> Iterator[int]:
    """Context with `suited_threads`, whose number it gives."""
    before = torch.get_num_threads()
    threads = suited_threads(model, rows, length)
    if threads != before:
        torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        if threads != before:
            torch.set_num_threads(before)
