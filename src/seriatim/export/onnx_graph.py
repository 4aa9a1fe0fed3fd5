"""What all ONNX exports share: from a module to a file's bytes, its metadata, and a session.

Knows torch's exporter, the metadata and onnxruntime; no model.

Shapes: B rows.
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import nn

from seriatim.core.extras import import_extra
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, OutputError

Proto: TypeAlias = Any  # of the package onnx, which has no complete types
Session: TypeAlias = Any  # of onnxruntime, which has no types
Feed: TypeAlias = dict[str, NDArray[Any]]

FORMAT = 1


def make_graph(
    module: nn.Module,
    example: tuple[Any, ...],
    axes: tuple[Any, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    what: str,
) -> Proto:
    """The graph of a module's forward, every weight once and nothing of this machine.

    Args:
        module: the module, in evaluation mode, in float32 on the CPU.
        example: arguments of its forward.
        axes: the dynamic axes of each argument, as torch.export takes them.
        inputs: the names of all inputs.
        outputs: the names of all outputs.
        what: what the graph is of, for the message.

    Raises:
        ConfigError: torch cannot express it as a graph.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    library("onnxscript")
    try:
        with torch.no_grad(), _silence():
            program = torch.onnx.export(
                module.eval(),
                example,
                dynamo=True,
                verbose=False,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=axes,
            )
    except Exception as error:  # torch.onnx and torch.export raise errors of many kinds
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"torch cannot write {what} as a graph: it must be made of operations on tensors "
            f"({reason})"
        ) from error
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    return proto


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


def describe(proto: Proto, facts: Mapping[str, Any]) -> None:
    """Put facts into the file's metadata, every value as JSON under `seriatim.NAME`."""
    for name, value in {"format": FORMAT, **facts}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = f"seriatim.{name}", json.dumps(value, ensure_ascii=False)
    proto.producer_name = "seriatim"


def symbol_facts(vocabulary: Vocabulary) -> dict[str, Any]:
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


def open_session(data: bytes) -> Session:
    """onnxruntime's session of a file's bytes.

    Raises:
        OutputError: onnxruntime refuses the graph.
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = library("onnxruntime")
    try:
        return runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # errors of onnxruntime's own C++ classes
        raise OutputError(
            f"onnxruntime refuses the graph, so it is not written: {error}"
        ) from error


def library(name: str) -> Any:
    """A package of the extra `export`."""
    return import_extra(
        name, f"this export needs {name}, which is not installed: pip install 'seriatim[export]'"
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's notes, which are about torch's own code and not about the model."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
