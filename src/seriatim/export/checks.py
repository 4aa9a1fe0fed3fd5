"""What exports check: that a folder is new, and that what leaves is the same function.

Knows paths and log-probabilities; no format.
"""

import contextlib
import copy
import shutil
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seriatim.core import atomic
from seriatim.errors import OutputError

TOLERANCE = 1e-5  # of a log-probability in nats, relative to 1 + |ln p|
M = TypeVar("M", bound=nn.Module)

ROWS = (1, 3)  # the batches in which it is compared


def on_cpu(model: M) -> M:
    """A copy in float32 on the CPU, in evaluation mode."""
    return copy.deepcopy(model).to(torch.device("cpu"), torch.float32).eval()


def new_folder(path: str | PathLike[str]) -> Path:
    """The path of a folder to be written.

    Raises:
        OutputError: if it is there and not empty.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists: choose another name, or remove it first")
    return folder


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name, of `new_folder`, when all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = atomic.make_folder(path.parent, f".{path.name}.")
    try:
        yield part
        if path.exists():
            path.rmdir()
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def checked_difference(
    ours: NDArray[np.float32], theirs: NDArray[np.float32], *, tool: str, where: str, what: str
) -> float:
    """The largest difference of log-probabilities, relative to 1 + |ln p|.

    Args:
        ours: those of the model.
        theirs: those of another tool, of the same shape.
        tool: the name of the tool, in the genitive.
        where: which of its answers they are, for the message.
        what: what is then not written, for the message.

    Raises:
        OutputError: if it exceeds `TOLERANCE`, or is no number.
    """
    difference = float((np.abs(theirs - ours) / (1 + np.abs(ours))).max())
    if not difference <= TOLERANCE:
        raise OutputError(
            f"{tool} log-probabilities differ from the model's by {difference:.2g} {where}, and "
            f"{TOLERANCE:g} is allowed: the {what} is not written"
        )
    return difference
