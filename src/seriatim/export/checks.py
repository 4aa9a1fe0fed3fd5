"""What exports check: that a model is fitted, a folder new, and what leaves the same function.

Knows models, paths and log-probabilities; no format.
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
from seriatim.core.model import SequenceModel
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, OutputError
from seriatim.models.transformer import TransformerModel
from seriatim.tasks.language_model import LanguageModel

TOLERANCE = 1e-5  # of a log-probability in nats, relative to 1 + |ln p|
M = TypeVar("M", bound=nn.Module)

ROWS = (1, 3)  # the batches in which it is compared


def on_cpu(model: M) -> M:
    """A copy in float32 on the CPU, in evaluation mode."""
    return copy.deepcopy(model).to(torch.device("cpu"), torch.float32).eval()


def fitted_parts(model: LanguageModel) -> tuple[SequenceModel, Vocabulary]:
    """The network and the vocabulary of a language model.

    Raises:
        ConfigError: if it is not fitted yet.
    """
    if model.model is None or model.vocabulary is None:
        raise ConfigError("the language model is not fitted yet: call fit")
    return model.model, model.vocabulary


def transformer_parts(model: LanguageModel, tool: str) -> tuple[TransformerModel, Vocabulary]:
    """The network and the vocabulary of a language model that must be a Transformer.

    Args:
        model: the language model.
        tool: what has no other family, for the message.

    Raises:
        ConfigError: if it is not fitted yet, or of another family.
    """
    network, vocabulary = fitted_parts(model)
    if not isinstance(network, TransformerModel):
        other = "onnx" if any(True for _ in network.parameters()) else "arpa"
        raise ConfigError(f"{tool} has no {model.config.family}: write it with --to {other}")
    return network, vocabulary


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
