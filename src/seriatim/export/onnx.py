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

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import atomic, tree
from seriatim.core.distributions import Discrete, as_discrete
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.errors import ConfigError
from seriatim.export.checks import ROWS, checked_difference, fitted_parts, on_cpu
from seriatim.export.onnx_graph import (
    Proto,
    describe,
    make_graph,
    open_session,
    symbol_facts,
)
from seriatim.tasks.language_model import LanguageModel

CHUNK = 32  # symbols that the model reads at once to be compared
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
        return log_probs_after(self.model, features), *tree.leaves(after)


def log_probs_after(model: SequenceModel, features: Features) -> Tensor:
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
    network, vocabulary = fitted_parts(model)
    if not any(True for _ in network.parameters()):
        raise ConfigError(
            f"a model of family {model.config.family} is a table of counts and not a graph of "
            "tensors: write it with --to arpa"
        )
    context = _context(model)
    plain = on_cpu(network)
    proto, states = step_graph(plain, capacity=context)
    facts = {"kind": "language model", **symbol_facts(vocabulary)}
    describe(proto, {**facts, "state": [asdict(state) for state in states]})
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
    with torch.no_grad():
        carry = model.empty(2, capacity=capacity)
        leaves = [leaf.detach().clone() for leaf in tree.leaves(carry)]
    states = tuple(_state_input(i, leaf) for i, leaf in enumerate(leaves))
    each_row = {0: torch.export.Dim("batch")}
    proto = make_graph(
        _Step(model, carry),
        (torch.full((2,), model.boundary), tuple(leaves)),
        (each_row, tuple(each_row for _ in leaves)),
        inputs=["symbol", *(s.input for s in states)],
        outputs=["log_probs", *(s.output for s in states)],
        what=f"a step of {type(model).__name__}, its advance and emit,",
    )
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
    session = open_session(data)
    largest = 0.0
    for rows in ROWS:
        symbols = np.random.default_rng(rows).integers(0, model.num_symbols, (steps, rows))
        symbols[0] = model.boundary
        carry = model.empty(rows, capacity=None)
        feed = {s.input: _start(s, rows) for s in states}
        for position, symbol in enumerate(symbols):
            if position % CHUNK == 0:
                chunk = torch.from_numpy(symbols[position : position + CHUNK].T.copy())
                ours, carry = _after_each(model, carry, chunk)
            theirs, *after = session.run(None, {"symbol": symbol, **feed})
            feed = {s.input: value for s, value in zip(states, after, strict=True)}
            where = f"at symbol {position + 1} of a batch of {rows}"
            difference = checked_difference(
                ours[:, position % CHUNK], theirs, tool="onnxruntime's", where=where, what="file"
            )
            largest = max(largest, difference)
    return largest


@torch.no_grad()
def _after_each(
    model: SequenceModel, carry: Carry, chunk: Tensor
) -> tuple[NDArray[np.float32], Carry]:
    """(B, L, V) log-probabilities after each symbol of a chunk (B, L), and the carry."""
    features, after = model.advance(carry, chunk, None)
    return as_discrete(model.emit(features)).dense().numpy(), after


def _start(state: StateInput, rows: int) -> NDArray[Any]:
    """The start of a part of the state for B rows, as a program reads it from the metadata."""
    if state.start is None:
        return np.zeros((rows, *state.shape), state.type)
    return np.repeat(np.array(state.start, state.type)[None], rows, axis=0)
