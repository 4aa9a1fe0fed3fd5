"""Encoders as parts of ONNX graphs, for sources of any number and any length.

A recurrent layer runs as ONNX's own RNN, LSTM or GRU operator, whose length is dynamic and which
stops at the end of every row in both directions; torch's exporter would write one step after
another and freeze the length of the example. A Transformer's layers are written as they are.

Knows encoders and ONNX's recurrent operators.

Shapes: B rows, S positions, E and H features of a layer's input and of one direction.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.layers.cells import Layer
from seriatim.models.encoders import Encoder, RecurrentEncoder, scaled_embedding

# The gates of our layers in the order of ONNX's: its LSTM has input, output, forget, cell, and its
# GRU update, reset, new.
_GATES = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}


def for_graph(encoder: Encoder) -> nn.Module:
    """The encoder as a module of (source, lengths) that torch's exporter can follow."""
    return _RecurrentGraph(encoder) if isinstance(encoder, RecurrentEncoder) else encoder


class _RecurrentGraph(nn.Module):
    """A recurrent encoder by ONNX's operators; it has no value outside of a graph."""

    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        self.config, self.embedding = encoder.config, encoder.embedding
        self.size, self.operator = encoder.size, encoder.config.encoder.upper()
        pairs = zip(encoder.forward_layers, encoder.backward_layers, strict=True)
        self.layers = nn.ModuleList(
            _BothDirections(self.operator, [ahead.cells[0], back.cells[0]]) for ahead, back in pairs
        )
        self.summary: Callable[[Tensor, Tensor | None], Tensor] = encoder.summary
        self.pooled: Callable[[Tensor, Tensor | None], Tensor] = encoder.pooled

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, S, 2 H) the outputs of the last layer, [forward; backward]."""
        h = scaled_embedding(self.embedding, x, self.config).transpose(0, 1)
        lengths = lengths.to(torch.int32)
        for layer in self.layers:
            h = layer(h, lengths)
        return h.transpose(0, 1)


class _BothDirections(nn.Module):
    """One layer in both directions, with the weights as ONNX's operator takes them."""

    def __init__(self, operator: str, cells: Iterable[Layer]) -> None:
        super().__init__()
        self.operator = operator
        w, u, b_w, b_u = zip(*([t.detach() for t in cell.weights] for cell in cells), strict=True)
        self.size = u[0].shape[1]
        self.input_weight = nn.Parameter(self._joined(w))  # (2, G H, E)
        self.state_weight = nn.Parameter(self._joined(u))  # (2, G H, H)
        self.bias = nn.Parameter(torch.cat([self._joined(b_w), self._joined(b_u)], 1))

    def _joined(self, weights: Iterable[Tensor]) -> Tensor:
        """(2, G H, ...) the weights of both directions, their gates in ONNX's order."""
        gates = [w.chunk(len(_GATES[self.operator])) for w in weights]
        order = _GATES[self.operator]
        return torch.stack([torch.cat([gate[i] for i in order]) for gate in gates])

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(S, B, E) to (S, B, 2 H)."""
        attributes: dict[str, Any] = {"hidden_size": self.size, "direction": "bidirectional"}
        if self.operator == "GRU":
            attributes["linear_before_reset"] = 1
        (outputs,) = torch.onnx.ops.symbolic_multi_out(
            self.operator,
            [x, self.input_weight, self.state_weight, self.bias, lengths],
            attributes,
            dtypes=[x.dtype],
            shapes=[(x.shape[0], 2, x.shape[1], self.size)],
        )
        return outputs.transpose(1, 2).flatten(2)


def ragged_lengths(longest: int, rows: int) -> Tensor:
    """(B,) lengths of a batch to be checked: the longest first, the others shorter."""
    return torch.tensor([max(1, longest - i * max(1, longest // 3)) for i in range(rows)])


def with_graph_encoder(model: Any) -> Any:
    """A copy of a model whose encoder torch's exporter can follow."""
    twin = copy.deepcopy(model)
    twin.encoder = for_graph(twin.encoder)
    return twin
