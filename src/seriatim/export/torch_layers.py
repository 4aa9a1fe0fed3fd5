"""Language models of torch's own layers: nn.LSTM, nn.GRU or nn.RNN between an embedding and a head.

    e_t = E[x_t],    h_t = layers(h_{t-1}, e_t),    p(x_{t+1}) = softmax(W h_t + b)

The weights are found by their names and shapes and copied as they are, so the imported model has
the same outputs, and everything else that a model here has: scores with intervals, streams, beam
search, exports.

Knows recurrent language models and the names of torch's weights.

Shapes: V symbols, E features of the embedding, D of a hidden state, G gates, N layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seriatim.errors import ConfigError
from seriatim.export.foreign_symbols import ForeignSymbols, Sequences, arrange_symbols
from seriatim.models.options.recurrent import GRU, LSTM, RNN, RecurrentConfig
from seriatim.models.recurrent import Recurrent
from seriatim.tasks.language_model import LanguageModel

Weights = Mapping[str, Tensor]

_GATES = {4: "lstm", 3: "gru", 1: "rnn"}
_NEVER = -1e4  # the bias of a symbol that the model did not have: exp(-1e4) is 0 in float32
_FIRST = "weight_ih_l0"


@dataclass(frozen=True)
class _Found:
    """What the names and shapes of the weights say.

    Attributes:
        kind: lstm, gru or rnn.
        prefix: what is before the names of the weights of the layers.
        num_layers: N.
        size: D.
        embedding: (V, E).
        head: (V, D).
        bias: (V,) or None.
    """

    kind: str
    prefix: str
    num_layers: int
    size: int
    embedding: Tensor
    head: Tensor
    bias: Tensor | None

    @property
    def is_tied(self) -> bool:
        """Whether the output layer is the embedding."""
        return self.head.shape == self.embedding.shape and torch.equal(self.head, self.embedding)


def from_torch(
    weights: nn.Module | Weights,
    symbols: Sequence[str],
    *,
    boundary: str | None = None,
    unknown: str | None = None,
    sequences: Sequences = "stream",
    embedding: str | None = None,
    head: str | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    device: str | None = None,
) -> LanguageModel:
    """A language model with the weights of a module of torch's own recurrent layers.

    Args:
        weights: the module, or its state dict.
        symbols: the text of every id: characters, or words.
        boundary: the symbol that ends a sequence or a line, and is fed before the first; None: a
            usual one, such as the line end or `<eos>`.
        unknown: the symbol of everything else; None: a usual one, or none.
        sequences: what one sequence is.
        embedding: the name of the weight (V, E) of the embedding; None: it is found by its shape.
        head: the name of the weight (V, D) of the output layer; None: it is found by its shape.
        nonlinearity: that of an nn.RNN whose state dict alone is given.
        device: where to compute; None: a GPU if there is one.

    Raises:
        ConfigError: there are no such layers, or they have parts that our models do not have.
    """
    if isinstance(weights, nn.Module):
        nonlinearity = _nonlinearity(weights, nonlinearity)
        weights = weights.state_dict()
    found = _find(weights, len(symbols), embedding, head)
    arranged = arrange_symbols(symbols, boundary=boundary, unknown=unknown, sequences=sequences)
    config = _config(found, nonlinearity)
    model = Recurrent(config, arranged.vocabulary.num_symbols, arranged.vocabulary.boundary)
    with torch.no_grad():
        _copy(model, found, weights, arranged)
    return LanguageModel.of_model(
        model,
        config=config,
        vocabulary=arranged.vocabulary,
        sequences=sequences,
        words=arranged.texts,
        imported={"name": f"nn.{found.kind.upper()}", "has_unknown": arranged.has_unknown},
        device=device,
    )


def _nonlinearity(module: nn.Module, given: Literal["tanh", "relu"]) -> Literal["tanh", "relu"]:
    layers = [part for part in module.modules() if isinstance(part, nn.RNN)]
    return "relu" if layers and layers[0].nonlinearity == "relu" else given


# ---- finding ------------------------------------------------------------------------------------


def _find(weights: Weights, num_symbols: int, embedding: str | None, head: str | None) -> _Found:
    starts = [name for name in weights if name.endswith(_FIRST)]
    if len(starts) != 1:
        raise ConfigError(
            f"one nn.LSTM, nn.GRU or nn.RNN is needed, and these weights have {len(starts)}: its "
            f"first weight is called {_FIRST}"
        )
    prefix = starts[0].removesuffix(_FIRST)
    for part, what in (("_reverse", "a backward direction"), ("weight_hr_l0", "projections")):
        if any(part in name for name in weights if name.startswith(prefix)):
            raise ConfigError(f"the layers have {what}, and a language model here has none")
    rows, width = weights[starts[0]].shape
    size = weights[f"{prefix}weight_hh_l0"].shape[1]
    layers = sum(name.startswith(f"{prefix}weight_ih_l") for name in weights)
    others = {name: w for name, w in weights.items() if name != prefix and w.ndim == 2}
    others = {
        n: w
        for n, w in others.items()
        if not n.startswith((f"{prefix}weight_ih_l", f"{prefix}weight_hh_l"))
    }
    table = _pick(others, embedding, (num_symbols, width), "embedding", first=True)
    output = _pick(others, head, (num_symbols, size), "head", first=False)
    bias = weights.get(output.removesuffix("weight") + "bias")
    return _Found(_GATES[rows // size], prefix, layers, size, weights[table], weights[output], bias)


def _pick(
    weights: Weights, given: str | None, shape: tuple[int, int], what: str, *, first: bool
) -> str:
    """The name of the weight of a shape; of several the first or the last."""
    if given is not None:
        if given not in weights or tuple(weights[given].shape) != shape:
            raise ConfigError(
                f"{what}={given!r} is not a weight of shape {shape}: choose from "
                f"{', '.join(weights)}"
            )
        return given
    fitting = [name for name, weight in weights.items() if tuple(weight.shape) == shape]
    if not fitting or len(fitting) > 2:
        shown = ", ".join(f"{name} {tuple(w.shape)}" for name, w in weights.items())
        raise ConfigError(
            f"{len(fitting) or 'no'} weights have the shape {shape} of the {what} of these "
            f"symbols: name it with {what}=..., of {shown or 'none'}"
        )
    return fitting[0 if first else -1]


# ---- copying ------------------------------------------------------------------------------------


def _config(found: _Found, nonlinearity: Literal["tanh", "relu"]) -> RecurrentConfig:
    options: dict[str, Any] = {
        "hidden_size": found.size,
        "num_layers": found.num_layers,
        "embedding_size": found.embedding.shape[1],
        "tie_embeddings": found.is_tied,
    }
    if found.kind == "rnn":
        return RNN(**options, nonlinearity=nonlinearity)
    return LSTM(**options) if found.kind == "lstm" else GRU(**options)


def _copy(model: Recurrent, found: _Found, weights: Weights, symbols: ForeignSymbols) -> None:
    model.embedding.weight.copy_(symbols.rows(found.embedding))
    if not found.is_tied:
        model.head.weight.copy_(symbols.rows(found.head))
    bias = torch.zeros(len(found.head)) if found.bias is None else found.bias
    model.head.bias.copy_(symbols.rows(bias, absent=_NEVER))
    for i, cell in enumerate(model.layers):
        for ours in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            theirs = weights.get(f"{found.prefix}{ours}_l{i}")
            parameter = getattr(cell, ours)
            parameter.copy_(torch.zeros_like(parameter) if theirs is None else theirs)
