"""Translators as two ONNX files: the encoder, and one step of the decoder.

    (state, memory) = encoder(source)
    (log p(. | y_1 .. y_t, source), state') = decoder(y_t, state, memory)

A program runs the encoder once for a batch of sources of any length, then feeds the decoder the
boundary and every symbol that it chooses, with the memory and the state that came back. What it
needs to know is in the metadata of the files.

No file is written before onnxruntime has agreed with the model over both graphs, at batch 1 and 3
and sources of several lengths, to `checks.TOLERANCE`.

Shapes: B rows, S symbols of a source, its boundary included, V symbols of the target.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.model import Carry
from seriatim.errors import ConfigError
from seriatim.export.checks import ROWS, checked_difference, new_folder, on_cpu, whole_folder
from seriatim.export.onnx import log_probs_after
from seriatim.export.onnx_encoder import for_graph, ragged_lengths
from seriatim.export.onnx_graph import (
    Session,
    describe,
    make_graph,
    open_session,
    symbol_facts,
)
from seriatim.models.encoder_decoder import Seq2SeqModel
from seriatim.tasks.translator import Translator

CAPACITY = 256  # symbols of a target for which a Transformer's state has room
STEPS_OF_UNBOUNDED = 100  # how far the targets of other decoders are checked
LENGTHS = (1, 9, 100)  # of the sources


class _Source(nn.Module):
    """From sources to the state before the first symbol of the target, and the memory."""

    def __init__(self, model: Seq2SeqModel, capacity: int | None) -> None:
        super().__init__()
        self.model, self.encoder, self.capacity = model, for_graph(model.encoder), capacity

    def forward(self, symbols: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        states = self.encoder(symbols, lengths)
        summary = self.model.encoder.summary(states, lengths)
        memory = self.model.decoder.bind(states, lengths, summary)
        carry = self.model.decoder.empty(symbols.shape[0], memory, self.capacity)
        return tuple(tree.leaves(carry))


class _Target(nn.Module):
    """One symbol of the target."""

    def __init__(self, model: Seq2SeqModel, like: Carry) -> None:
        super().__init__()
        self.model, self.like = model, like

    def forward(self, symbol: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        leaves = iter(parts)
        carry = tree.map_leaves(lambda _: next(leaves), self.like)
        features, after = self.model.advance(carry, symbol.unsqueeze(1), None)
        assert after is not None
        return log_probs_after(self.model, features), *tree.leaves(after[0])


def translator_to_onnx(
    model: Translator, path: str | PathLike[str], *, capacity: int = CAPACITY
) -> float:
    """Write a fitted translator as a folder of two ONNX files.

    encoder.onnx takes `symbols` (B, S) int64, each row ending with the boundary of the source, and
    `lengths` (B,) int64; what follows in a row has no effect. It gives `state_0` ... and
    `memory_0` ..., which decoder.onnx takes beside `symbol` (B,) int64, first the boundary of the
    target. That gives `log_probs` (B, V) in nats of the next symbol, and `next_state_0` ..., the
    state to feed with it; the memory stays.

    Args:
        model: the translator.
        path: the folder; it must not exist, or be empty.
        capacity: the number of symbols of a target for which the state of a Transformer has room;
            beyond it the oldest are forgotten. Other decoders need no room.

    Returns:
        The largest difference that was seen between onnxruntime's log-probabilities and ours.

    Raises:
        ConfigError: the translator is not fitted, or cannot be written as graphs of tensors.
        OutputError: the folder is not empty, or onnxruntime does not compute what the model
            computes; nothing is written.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    network, source, target = model.model, model.source_vocabulary, model.vocabulary
    if network is None or source is None or target is None:
        raise ConfigError("the translator is not fitted yet: call fit")
    if not isinstance(network, Seq2SeqModel):
        raise ConfigError(
            f"a {type(network).__name__} has no encoder and decoder that could be written as graphs"
        )
    folder = new_folder(path)
    plain = on_cpu(network)
    room = capacity if plain.config.decoder == "transformer" else None
    graphs = TranslatorGraphs(plain, room)
    describe(graphs.encoder, {"kind": "encoder", **symbol_facts(source)})
    facts = {"state": graphs.states, "memory": graphs.memories, "capacity": room}
    describe(graphs.decoder, {"kind": "decoder", **symbol_facts(target), **facts})
    encoder, decoder = graphs.encoder.SerializeToString(), graphs.decoder.SerializeToString()
    difference = check_translator(
        encoder,
        decoder,
        plain,
        num_source_symbols=source.num_symbols,
        steps=room or STEPS_OF_UNBOUNDED,
    )
    with whole_folder(folder) as part:
        (part / "encoder.onnx").write_bytes(encoder)
        (part / "decoder.onnx").write_bytes(decoder)
    return difference


class TranslatorGraphs:
    """The two graphs of a translator.

    Attributes:
        encoder, decoder: the graphs.
        states, memories: the names of the decoder's inputs.
    """

    def __init__(self, model: Seq2SeqModel, capacity: int | None) -> None:
        """
        Args:
            model: a model in evaluation mode, in float32 on the CPU.
            capacity: as of `translator_to_onnx`; None: the state needs no room.
        """
        rows, length = torch.export.Dim("batch"), torch.export.Dim("length")
        symbols, lengths = torch.zeros(2, 5, dtype=torch.int64), torch.tensor([5, 3])
        with torch.no_grad():
            states = model.encoder(symbols, lengths)
            memory = model.decoder.bind(states, lengths, model.encoder.summary(states, lengths))
            carry = model.decoder.empty(2, memory, capacity)
        own, kept = (tuple(t.clone() for t in tree.leaves(part)) for part in carry)
        self.states = [f"state_{i}" for i in range(len(own))]
        self.memories = [f"memory_{i}" for i in range(len(kept))]
        self.encoder = make_graph(
            _Source(model, capacity),
            (symbols, lengths),
            ({0: rows, 1: length}, {0: rows}),
            inputs=["symbols", "lengths"],
            outputs=[*self.states, *self.memories],
            what="the encoder",
        )
        each_row = {0: rows}
        axes = (*(each_row for _ in own), *({0: rows, **_length_axis(t, length)} for t in kept))
        self.decoder = make_graph(
            _Target(model, carry),
            (torch.full((2,), model.boundary), (*own, *kept)),
            (each_row, axes),
            inputs=["symbol", *self.states, *self.memories],
            outputs=["log_probs", *(f"next_{name}" for name in self.states)],
            what="a step of the decoder",
        )


def _length_axis(memory: Tensor, length: Any) -> dict[int, Any]:
    """Where a part of the memory has the S positions: a bias (B, 1, 1, S), or (B, H, S, d)."""
    return {3 if memory.shape[1:3] == (1, 1) else 2: length}


@torch.no_grad()
def check_translator(
    encoder: bytes, decoder: bytes, model: Seq2SeqModel, *, num_source_symbols: int, steps: int
) -> float:
    """The largest difference to the model, as `checks.checked_difference` has it.

    Args:
        encoder, decoder: the bytes of the files.
        model: the model that they were made of.
        num_source_symbols: the size of the source's vocabulary.
        steps: the number of random symbols of the target.
    """
    sessions, largest = (open_session(encoder), open_session(decoder)), 0.0
    for rows in ROWS:
        for longest in LENGTHS:
            generator = torch.Generator().manual_seed(longest)
            lengths = ragged_lengths(longest, rows)
            x = torch.randint(num_source_symbols, (rows, longest), generator=generator)
            length = steps if longest == LENGTHS[-1] else min(steps, 20)
            y = torch.randint(model.num_symbols, (rows, length), generator=generator)
            y[:, 0] = model.boundary
            memory = model.encode(Batch(x, x, lengths))
            carry = model.empty(rows, memory=memory)
            features, _ = model.advance(carry, y, None, keep=False)
            ours = model.emit(features).dense().numpy()
            theirs = _decoded(*sessions, x, lengths, y)
            difference = checked_difference(
                ours,
                theirs,
                tool="onnxruntime's",
                where=f"for sources of {longest} symbols in a batch of {rows}",
                what="folder",
            )
            largest = max(largest, difference)
    return largest


def _decoded(
    encoder: Session, decoder: Session, x: Tensor, lengths: Tensor, y: Tensor
) -> NDArray[np.float32]:
    """(B, L, V) the log-probabilities after each symbol of y (B, L), as a program gets them."""
    names = [output.name for output in encoder.get_outputs()]
    outputs = encoder.run(None, {"symbols": x.numpy(), "lengths": lengths.numpy()})
    feed, steps = dict(zip(names, outputs, strict=True)), []
    states = [name for name in names if name.startswith("state_")]
    for symbol in y.unbind(1):
        log_probs, *after = decoder.run(None, {"symbol": symbol.numpy(), **feed})
        feed.update(zip(states, after, strict=True))
        steps.append(log_probs)
    return np.stack(steps, 1)
