"""Programs that have never seen seriatim: they know ONNX files alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Facts = dict[str, Any]


def open_file(path: Path) -> tuple[Any, Facts]:
    """The session of a file, and the facts of its metadata."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    return session, {k.removeprefix("seriatim."): json.loads(v) for k, v in facts.items()}


def padded(texts: list[Any], facts: Facts) -> dict[str, NDArray[np.int64]]:
    """Texts as symbols, each followed by the boundary, with rubbish as padding."""
    number = {text: i for i, text in enumerate(facts["texts"])}
    rows = [[*(number[symbol] for symbol in text), facts["boundary"]] for text in texts]
    lengths = np.array([len(row) for row in rows])
    symbols = np.full((len(rows), lengths.max()), number[facts["texts"][-1]])
    for i, row in enumerate(rows):
        symbols[i, : len(row)] = row
    return {"symbols": symbols, "lengths": lengths}


def label(path: Path, texts: list[Any]) -> tuple[list[Any], NDArray[np.float32]]:
    """The most probable labels of each text, or of each of its elements; all log-probabilities."""
    session, facts = open_file(path)
    feed = padded(texts, facts)
    (log_probs,) = session.run(None, feed)
    best = log_probs.argmax(-1)
    names = facts["labels"]
    if facts["per"] == "sequence":
        return [names[i] for i in best], log_probs
    ends = feed["lengths"] - 1
    return [[names[i] for i in row[:end]] for row, end in zip(best, ends, strict=True)], log_probs


def translate(folder: Path, texts: list[str], longest: int) -> list[str]:
    """Greedy translations of texts, all at a time."""
    encoder, source = open_file(folder / "encoder.onnx")
    decoder, target = open_file(folder / "decoder.onnx")
    names = [output.name for output in encoder.get_outputs()]
    feed = dict(zip(names, encoder.run(None, padded(texts, source)), strict=True))
    symbol = np.full(len(texts), target["boundary"])
    chosen = []
    for _ in range(longest):
        log_probs, *after = decoder.run(None, {"symbol": symbol, **feed})
        feed.update(zip(target["state"], after, strict=True))
        symbol = log_probs.argmax(-1)
        chosen.append(symbol)
    results = []
    for row in np.stack(chosen, 1).tolist():
        end = row.index(target["boundary"]) if target["boundary"] in row else len(row)
        results.append("".join(target["texts"][i] for i in row[:end]))
    return results


def spoil(proto: Any) -> Any:
    """A graph with one value of its first matrix changed by 0.05."""
    import onnx

    matrix = next(t for t in proto.graph.initializer if len(t.dims) >= 2 and t.data_type == 1)
    values = onnx.numpy_helper.to_array(matrix).copy()
    values.flat[0] += 0.05
    matrix.CopyFrom(onnx.numpy_helper.from_array(values, matrix.name))
    return proto
