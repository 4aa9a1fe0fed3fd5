"""What exports check: that a folder is new, and that what leaves is the same function.

Knows paths and log-probabilities; no format.
"""

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import OutputError

TOLERANCE = 1e-5  # of a log-probability in nats, relative to 1 + |ln p|
ROWS = (1, 3)  # the batches in which it is compared


def new_folder(path: str | PathLike[str]) -> Path:
    """The path of a folder to be written.

    Raises:
        OutputError: if it is there and not empty.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists: choose another name, or remove it first")
    return folder


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
