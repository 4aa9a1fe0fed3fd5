"""Labellers as ONNX files: whole sequences in, calibrated log-probabilities of labels out.

The number of sequences and their length are dynamic. What a program needs to know is in the file's
metadata: the labels, whether a sequence or each element has one, the boundary that ends a source,
and the text of every symbol.

No file is written before onnxruntime has agreed with the model, at batch 1 and 3 and at several
lengths, to `checks.TOLERANCE`.

Shapes: B rows, S symbols of a source, its boundary included, C labels.
"""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import atomic
from seriatim.core.batch import Batch
from seriatim.errors import ConfigError
from seriatim.export.checks import ROWS, checked_difference, on_cpu
from seriatim.export.onnx_encoder import ragged_lengths, with_graph_encoder
from seriatim.export.onnx_graph import (
    Proto,
    describe,
    make_graph,
    open_session,
    symbol_facts,
)
from seriatim.models.build import LabelModel
from seriatim.tasks.labeller import Labeller

LENGTHS = (1, 2, 7, 50, 200)


class _Labels(nn.Module):
    """The log-probabilities of labels as a function of tensors."""

    def __init__(self, model: Any, temperature: float, *, per_sequence: bool) -> None:
        super().__init__()
        self.encoder, self.head = model.encoder, model.head
        self.temperature, self.per_sequence = temperature, per_sequence

    def forward(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        states = self.encoder(symbols, lengths)
        if self.per_sequence:
            states = self.encoder.pooled(states, lengths)
        logits: Tensor = self.head(states)
        return (logits / self.temperature).log_softmax(-1)


def labeller_to_onnx(model: Labeller, path: str | PathLike[str]) -> float:
    """Write a fitted labeller as an ONNX file.

    Inputs: `symbols` (B, S) int64, each row ending with the boundary, and `lengths` (B,) int64, the
    number of its symbols; what follows in a row has no effect. Output: `log_probs`, in nats,
    calibrated, (B, C) for a label of each sequence; (B, S, C) for a label of each element, in which
    the position of the boundary and what follows means nothing.

    Args:
        model: the labeller.
        path: the file to write.

    Returns:
        The largest difference that was seen between onnxruntime's log-probabilities and ours.

    Raises:
        ConfigError: the labeller is not fitted, or cannot be written as a graph of tensors.
        OutputError: onnxruntime does not compute what the model computes; nothing is written.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    if model.model is None or model.vocabulary is None or model.labels is None:
        raise ConfigError("the labeller is not fitted yet: call fit")
    per_sequence = model.labels.per == "sequence"
    plain = on_cpu(model.model)
    proto = label_graph(plain, model.temperature, per_sequence=per_sequence)
    labels = {"labels": model.labels.names, "per": model.labels.per}
    describe(proto, {"kind": "labeller", **symbol_facts(model.vocabulary), **labels})
    data = proto.SerializeToString()
    difference = check_labels(
        data,
        plain,
        model.temperature,
        num_symbols=model.vocabulary.num_symbols,
        per_sequence=per_sequence,
    )
    with atomic.write(Path(path)) as part:
        part.write_bytes(data)
    return difference


def label_graph(model: LabelModel, temperature: float, *, per_sequence: bool) -> Proto:
    """The graph of a labeller; see `labeller_to_onnx`."""
    rows, length = torch.export.Dim("batch"), torch.export.Dim("length")
    return make_graph(
        _Labels(with_graph_encoder(model), temperature, per_sequence=per_sequence),
        (torch.zeros(2, 5, dtype=torch.int64), torch.tensor([5, 3])),
        ({0: rows, 1: length}, {0: rows}),
        inputs=["symbols", "lengths"],
        outputs=["log_probs"],
        what="this labeller",
    )


@torch.no_grad()
def check_labels(
    data: bytes, model: LabelModel, temperature: float, *, num_symbols: int, per_sequence: bool
) -> float:
    """The largest difference to the labels of the model, as `checks.checked_difference` has it."""
    session, largest = open_session(data), 0.0
    for rows in ROWS:
        for longest in LENGTHS:
            generator = torch.Generator().manual_seed(longest)
            lengths = ragged_lengths(longest, rows)
            x = torch.randint(num_symbols, (rows, longest), generator=generator)
            logits = model.emit(model.features(Batch(x, x, lengths))).logits / temperature
            ours = logits.log_softmax(-1).numpy()
            (theirs,) = session.run(None, {"symbols": x.numpy(), "lengths": lengths.numpy()})
            theirs = theirs[:, None] if per_sequence else theirs
            ends = [1] * rows if per_sequence else lengths.tolist()
            difference = checked_difference(
                _valid(ours, ends),
                _valid(theirs, ends),
                tool="onnxruntime's",
                where=f"for {longest} symbols in a batch of {rows}",
                what="file",
            )
            largest = max(largest, difference)
    return largest


def _valid(log_probs: NDArray[np.float32], ends: list[int]) -> NDArray[np.float32]:
    """The rows of valid positions, one after another."""
    return np.concatenate([row[:end] for row, end in zip(log_probs, ends, strict=True)])
