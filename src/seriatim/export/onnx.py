"""Language models as ONNX files: one step, with the state as inputs and outputs.

    (log p(. | s), s') = step(symbol, s)

A graph of a whole text would freeze its length and start anew with every text; a step streams as
our own states do, in any runtime and language: feed the boundary with the start state, then each
symbol with the state that came back. The batch is dynamic. What a program needs to know is in the
file's metadata: names, shapes and start of the state, the boundary, and the text of every symbol.

No file is written before onnxruntime has agreed with the model, step by step, at batch 1 and 3 and
three times beyond the context, to `checks.TOLERANCE`.

Knows language models and vocabularies; no family: whatever state a model has becomes inputs and
outputs.

Shapes: B rows, V symbols.
"""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import atomic, tree
from seriatim.core.distributions import Discrete
from seriatim.core.extras import import_extra
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, OutputError
from seriatim.export.checks import ROWS, checked_difference
from seriatim.tasks.language_model import LanguageModel

Proto: TypeAlias = Any  # of the package onnx, which has no complete types
Feed: TypeAlias = dict[str, NDArray[Any]]

FORMAT = 1
STEPS_OF_UNBOUNDED = 100  # how far models without a bound on their context are checked


@dataclass(frozen=True)
class StateInput:
    """A tensor of the state.

    Attributes:
        input: the name of the input that takes it.
        output: the name of the output that returns it after the step.
        shape: the shape without the batch, which is axis 0.
        type: float32 or int64.
        start: the values of one row before the boundary was fed; None: zeros.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    type: str
    start: list[Any] | None


class _Step(nn.Module):
    """A model's step as a function of tensors."""

    def __init__(self, model: SequenceModel, like: Carry) -> None:
        super().__init__()
        self.model, self.like = model, like

    def forward(self, symbol: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        leaves = iter(state)
        carry = tree.map_leaves(lambda _: next(leaves), self.like)
        features, after = self.model.advance(carry, symbol.unsqueeze(1), None)
        return _log_probs(self.model, features), *tree.leaves(after)


def _log_probs(model: SequenceModel, features: Features) -> Tensor:
    """(B, V) of the symbol after a chunk of one."""
    distribution = model.emit(tree.at_last(features, None))
    if not isinstance(distribution, Discrete):
        raise ConfigError(f"{type(model).__name__} does not predict symbols: it has no such graph")
    return distribution.dense()


def language_model_to_onnx(model: LanguageModel, path: str | PathLike[str]) -> float:
    """Write a fitted language model as an ONNX file, one step with the state as inputs and outputs.

    Inputs: `symbol` (B,) int64, and `state_0` ... as the metadata lists them. Outputs: `log_probs`
    (B, V) in nats of the next symbol, and `next_state_0` ...

    Args:
        model: the language model.
        path: the file to write.

    Returns:
        The largest difference that was seen between onnxruntime's log-probabilities and ours.

    Raises:
        ConfigError: the model is not fitted, or cannot be written as a graph of tensors.
        OutputError: onnxruntime does not compute what the model computes; nothing is written.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    network, vocabulary = model.model, model.vocabulary
    if network is None or vocabulary is None:
        raise ConfigError("the language model is not fitted yet: call fit")
    if not any(True for _ in network.parameters()):
        raise ConfigError(
            f"a model of family {model.config.family} is a table of counts and not a graph of "
            "tensors: write it with --to arpa"
        )
    context = _context(model)
    plain = _on_cpu(network)
    proto, states = step_graph(plain, capacity=context)
    _describe(proto, {"kind": "language model", **_symbols(vocabulary), "state": states})
    data = proto.SerializeToString()
    steps = STEPS_OF_UNBOUNDED if context is None else 3 * context
    difference = check_step(data, plain, states, capacity=context, steps=steps)
    with atomic.write(Path(path)) as part:
        part.write_bytes(data)
    return difference


def _context(model: LanguageModel) -> int | None:
    """The number of elements that the state has to keep; None: it does not grow."""
    network = model.model
    context: int | None = getattr(model.config, "context", None)
    return context or (None if network is None else network.reach)


def _on_cpu(model: SequenceModel) -> SequenceModel:
    """A copy in float32 on the CPU, in evaluation mode."""
    return copy.deepcopy(model).to(torch.device("cpu"), torch.float32).eval()


# ---- the graph -----------------------------------------------------------------------------------


def step_graph(
    model: SequenceModel, *, capacity: int | None
) -> tuple[Proto, tuple[StateInput, ...]]:
    """The graph of a step, and the tensors of its state.

    Args:
        model: a model in evaluation mode, in float32 on the CPU.
        capacity: the number of elements for which the state has room; None: it does not grow.

    Raises:
        ConfigError: torch cannot express the step as a graph.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    _library("onnxscript")
    with torch.no_grad():
        carry = model.empty(2, capacity=capacity)
        leaves = [leaf.detach().clone() for leaf in tree.leaves(carry)]
        states = tuple(_state_input(i, leaf) for i, leaf in enumerate(leaves))
        names = [s.input for s in states]
        batch = torch.export.Dim("batch")
        each_row = {0: batch}
        try:
            with _silence():
                program = torch.onnx.export(
                    _Step(model, carry).eval(),
                    (torch.full((2,), model.boundary), tuple(leaves)),
                    dynamo=True,
                    verbose=False,
                    input_names=["symbol", *names],
                    output_names=["log_probs", *(s.output for s in states)],
                    dynamic_shapes=(each_row, tuple(each_row for _ in leaves)),
                )
        except Exception as error:  # torch.onnx and torch.export raise errors of many kinds
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"torch cannot write a step of {type(model).__name__} as a graph: its advance and "
                f"emit must be made of operations on tensors ({reason})"
            ) from error
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    return proto, states


def _state_input(number: int, leaf: Tensor) -> StateInput:
    row = leaf[0]
    return StateInput(
        f"state_{number}",
        f"next_state_{number}",
        tuple(row.shape),
        str(leaf.dtype).removeprefix("torch."),
        row.tolist() if bool(row.any()) else None,
    )


def _strip(proto: Proto) -> None:
    """Remove what names this machine: traces of the source code in every node."""
    for graph in (proto.graph, *proto.functions):
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.value_info):
            del part.metadata_props[:]
            part.doc_string = ""
    for part in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del proto.graph.value_info[:]  # shapes in between, which every runtime infers
    del proto.metadata_props[:]


def _describe(proto: Proto, facts: Mapping[str, Any]) -> None:
    """Put facts into the file's metadata, every value as JSON under `seriatim.NAME`."""
    for name, value in {"format": FORMAT, **facts}.items():
        if name == "state":
            value = [asdict(state) for state in value]
        entry = proto.metadata_props.add()
        entry.key, entry.value = f"seriatim.{name}", json.dumps(value, ensure_ascii=False)
    proto.producer_name = "seriatim"


def _symbols(vocabulary: Vocabulary) -> dict[str, Any]:
    """What a program needs to know of the vocabulary."""
    record = vocabulary.to_json()
    return {
        "symbols": vocabulary.kind,
        "boundary": vocabulary.boundary,
        "unknown": vocabulary.unknown,
        "separator": vocabulary.separator,
        "texts": [_text(vocabulary, i) for i in range(vocabulary.num_symbols)],
        **({"tokenizer": record["tokenizer"]} if "tokenizer" in record else {}),
    }


def _text(vocabulary: Vocabulary, symbol: int) -> str:
    """The text of a symbol; the readable name of a part of a character, such as `\\xc3`."""
    text = vocabulary.decode([symbol])
    is_part = "\N{REPLACEMENT CHARACTER}" in text and symbol != vocabulary.unknown
    return vocabulary.name(symbol) if is_part else text


# ---- the proof -----------------------------------------------------------------------------------


def check_step(
    data: bytes,
    model: SequenceModel,
    states: Sequence[StateInput],
    *,
    capacity: int | None,
    steps: int,
) -> float:
    """Compare the log-probabilities of a graph in onnxruntime with those of the model.

    Args:
        data: the file's bytes.
        model: the model that it was made of.
        states: the tensors of the state.
        capacity: as in `step_graph`.
        steps: the number of random symbols after the boundary.

    Returns:
        The largest difference, in nats relative to 1 + |ln p|.

    Raises:
        OutputError: if it exceeds `checks.TOLERANCE`, or onnxruntime refuses the graph.
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = _library("onnxruntime")
    try:
        session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # errors of onnxruntime's own C++ classes
        raise OutputError(
            f"onnxruntime refuses the graph, so it is not written: {error}"
        ) from error
    largest = 0.0
    for rows in ROWS:
        symbols = np.random.default_rng(rows).integers(0, model.num_symbols, (steps, rows))
        symbols[0] = model.boundary
        carry = model.empty(rows, capacity=None)
        feed = {s.input: _start(s, rows) for s in states}
        for position, symbol in enumerate(symbols):
            ours, carry = _our_step(model, carry, torch.from_numpy(symbol))
            theirs, *after = session.run(None, {"symbol": symbol, **feed})
            feed = {s.input: value for s, value in zip(states, after, strict=True)}
            where = f"at symbol {position + 1} of a batch of {rows}"
            difference = checked_difference(
                ours, theirs, tool="onnxruntime's", where=where, what="file"
            )
            largest = max(largest, difference)
    return largest


@torch.no_grad()
def _our_step(
    model: SequenceModel, carry: Carry, symbol: Tensor
) -> tuple[NDArray[np.float32], Carry]:
    features, after = model.advance(carry, symbol.unsqueeze(1), None)
    return _log_probs(model, features).numpy(), after


def _start(state: StateInput, rows: int) -> NDArray[Any]:
    """The start of a part of the state for B rows, as a program reads it from the metadata."""
    if state.start is None:
        return np.zeros((rows, *state.shape), state.type)
    return np.repeat(np.array(state.start, state.type)[None], rows, axis=0)


def _library(name: str) -> Any:
    return import_extra(
        name, f"this export needs {name}, which is not installed: pip install 'seriatim[export]'"
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's notes, which are about torch's own code and not about the model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
