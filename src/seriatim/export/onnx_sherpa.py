"""LSTM language models as ONNX files in the layout that sherpa-onnx reads for shallow fusion.

    (log p(. | s), h', c') = step(x, h, c)

sherpa-onnx takes inputs and outputs by their order: the tokens x (B, 1), then the states h and c of
all layers, (N, B, D), from zeros; it gets the log-probabilities of the next token and the states.
It reads `num_layers`, `hidden_size` and `sos_id` in the metadata. Its recognizer's tokens must be
the model's symbols with the same ids; they are written beside the file, in tokens.txt.

As read in its sources (online-rnn-lm.cc); no recognizer was run. What is checked is that
onnxruntime, used as those sources do, agrees with the model.

Shapes: B rows, N layers, D features of a state, V symbols.
"""

from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core.distributions import as_discrete
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError
from seriatim.export.checks import (
    ROWS,
    checked_difference,
    fitted_parts,
    new_folder,
    on_cpu,
    whole_folder,
)
from seriatim.export.onnx import log_probs_after
from seriatim.export.onnx_graph import Proto, describe, make_graph, open_session
from seriatim.models.options.recurrent import LSTM
from seriatim.models.recurrent import Recurrent
from seriatim.tasks.language_model import LanguageModel

STEPS = 100


class _Step(nn.Module):
    """One symbol, with the states of all layers in two tensors."""

    def __init__(self, model: Recurrent) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        carry = tuple(zip(h.unbind(0), c.unbind(0), strict=True))
        features, after = self.model.advance(carry, x, None)
        hidden, cells = zip(*after, strict=True)  # type: ignore[misc]  # it is kept
        log_probs = log_probs_after(self.model, features)
        return log_probs.unsqueeze(1), torch.stack(hidden), torch.stack(cells)


def language_model_to_sherpa(model: LanguageModel, path: str | PathLike[str]) -> float:
    """Write a fitted LSTM language model as a folder with lm.onnx and tokens.txt for sherpa-onnx.

    Args:
        model: the language model.
        path: the folder; it must not exist, or be empty.

    Returns:
        The largest difference that was seen between onnxruntime's log-probabilities and ours.

    Raises:
        ConfigError: the model is not fitted, is no LSTM, or starts from a learned state.
        OutputError: the folder is not empty, or onnxruntime does not compute what the model
            computes; nothing is written.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    network, vocabulary = fitted_parts(model)
    if not isinstance(network, Recurrent) or not isinstance(network.config, LSTM):
        raise ConfigError(
            f"sherpa-onnx takes LSTM language models, and this is of family {model.config.family}: "
            "fit one with --model lstm"
        )
    if network.initial is not None:
        raise ConfigError(
            "sherpa-onnx starts from zeros, and this model from a learned state: fit without "
            "--learn-initial-state"
        )
    folder = new_folder(path)
    plain = on_cpu(network)
    proto = sherpa_graph(plain)
    size, layers = network.config.hidden_size, network.config.num_layers
    describe(proto, {"kind": "sherpa-onnx language model"})
    facts = {
        "model_type": "rnnlm",
        "version": 1,
        "vocab_size": vocabulary.num_symbols,
        "num_layers": layers,
        "hidden_size": size,
        "sos_id": vocabulary.boundary,
        "eos_id": vocabulary.boundary,
    }
    for name, value in facts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = name, str(value)
    data = proto.SerializeToString()
    difference = check_sherpa(data, plain)
    with whole_folder(folder) as part:
        (part / "lm.onnx").write_bytes(data)
        (part / "tokens.txt").write_text(_tokens(vocabulary), "utf-8")
    return difference


def _tokens(vocabulary: Vocabulary) -> str:
    """A line for each symbol: its name and its id."""
    rows = [f"{vocabulary.name(i)} {i}\n" for i in range(vocabulary.num_symbols)]
    return "".join(rows)


def sherpa_graph(model: Recurrent) -> Proto:
    """The graph of a step; see `language_model_to_sherpa`."""
    shape = (model.config.num_layers, 2, model.config.hidden_size)
    batch = torch.export.Dim("batch")
    return make_graph(
        _Step(model),
        (torch.full((2, 1), model.boundary), torch.zeros(shape), torch.zeros(shape)),
        ({0: batch}, {1: batch}, {1: batch}),
        inputs=["x", "h0", "c0"],
        outputs=["log_prob", "next_h0", "next_c0"],
        what="this LSTM",
    )


@torch.no_grad()
def check_sherpa(data: bytes, model: Recurrent) -> float:
    """The largest difference to the model, as `checks.checked_difference` has it."""
    session, largest = open_session(data), 0.0
    names = [node.name for node in session.get_inputs()]
    for rows in ROWS:
        symbols = np.random.default_rng(rows).integers(0, model.num_symbols, (rows, STEPS))
        symbols[:, 0] = model.boundary
        features, _ = model.advance(model.empty(rows), torch.from_numpy(symbols), None, keep=False)
        ours: NDArray[np.float32] = as_discrete(model.emit(features)).dense().numpy()
        shape = (model.config.num_layers, rows, model.config.hidden_size)
        h, c = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for i in range(STEPS):
            step = dict(zip(names, (symbols[:, i : i + 1], h, c), strict=True))
            theirs, h, c = session.run(None, step)
            where = f"at symbol {i + 1} of a batch of {rows}"
            difference = checked_difference(
                ours[:, i], theirs[:, 0], tool="onnxruntime's", where=where, what="folder"
            )
            largest = max(largest, difference)
    return largest
