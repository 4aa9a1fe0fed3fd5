"""What leaves: how large, how soon it is open, how well it agrees.

    python -m benchmarks.export
    python -m benchmarks.export --write benchmarks/results/export.json

Every model is written in every format that can hold it. Measured: the bytes written beside those of
the weights in float32, the seconds of the export, its proof included, and the median seconds to
open it in its own runtime beside opening seriatim's folder, in turn (A B A B ..), with files in the
cache. Agreement is what the export itself has measured: the largest difference of a log-probability
in nats, relative to 1 + |ln p|. Weights are random but for one step: only their number matters.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import seriatim as st
from benchmarks.processor import processor_name
from seriatim.export import (
    labeller_to_onnx,
    language_model_to_arpa,
    language_model_to_ctranslate2,
    language_model_to_huggingface,
    language_model_to_onnx,
    translator_to_ctranslate2,
    translator_to_onnx,
)
from seriatim.models.options.registry import configure_encoder


@dataclass(frozen=True)
class Row:
    """A model in a format.

    Attributes:
        model, format: what was written.
        weights: the bytes of the weights in float32; of a model of counts, of its folder.
        written: the bytes that were written.
        seconds: the seconds of the export.
        open, ours: the median seconds to open it in its runtime, and in seriatim.
        difference: the largest difference; None: the format holds decimal numbers.
    """

    model: str
    format: str
    weights: int
    written: int
    seconds: float
    open: float
    ours: float
    difference: float | None


def lines(count: int, words: int) -> list[str]:
    """Sentences of random words, all of which occur."""
    draw = np.random.default_rng(0)
    every = np.concatenate([np.arange(words), draw.integers(0, words, 10 * count - words)])
    return [" ".join(f"w{i}" for i in row) for row in draw.permutation(every).reshape(-1, 10)]


def models() -> dict[str, Any]:
    """The models, after one step."""
    text = lines(2_000, 5_000)
    pairs = [(line, line) for line in text]
    labelled = [(line, line.split()[0][:2]) for line in text]
    whole: dict[str, Any] = {"valid": text[:5], "test": text[:5]}
    options = {"symbols": "word", "sequences": "line"}
    transformer = st.Transformer(model_size=256, num_layers=4, context=128)
    encoder = configure_encoder("lstm", {"model_size": 256, "encoder_layers": 1})
    return {
        "Markov, order 3": st.LanguageModel(st.Markov(order=3), **options).fit(text, **whole),
        "LSTM 512": st.LanguageModel(st.LSTM(hidden_size=512), **options).fit(
            text, steps=1, **whole
        ),
        "Transformer 256 x 4": st.LanguageModel(transformer, **options).fit(text, steps=1, **whole),
        "translator, Transformer 256 x 3 + 3": st.Translator(
            st.Seq2Seq(model_size=256), symbols="word"
        ).fit(pairs, valid=pairs[:5], test=pairs[:5], steps=1),
        "labeller, LSTM 256": st.Labeller(encoder, symbols="word").fit(
            labelled, valid=labelled[:500], test=labelled[:5], steps=1
        ),
    }


def onnx_session(path: Path) -> Any:
    """onnxruntime's sessions of a file, or of the files in a folder."""
    import onnxruntime

    files = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    return [onnxruntime.InferenceSession(str(file)) for file in files]


def transformers_model(path: Path) -> Any:
    """The model of transformers."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path)


def ctranslate2_generator(path: Path) -> Any:
    """CTranslate2's generator."""
    import ctranslate2

    return ctranslate2.Generator(str(path))


def ctranslate2_translator(path: Path) -> Any:
    """CTranslate2's translator."""
    import ctranslate2

    return ctranslate2.Translator(str(path))


def kenlm_model(path: Path) -> Any:
    """KenLM's model of an ARPA file."""
    import kenlm

    return kenlm.Model(str(path))


CASES: tuple[tuple[str, str, Callable[..., Any], Callable[[Path], Any]], ...] = (
    ("Markov, order 3", "arpa", language_model_to_arpa, kenlm_model),
    ("LSTM 512", "onnx", language_model_to_onnx, onnx_session),
    ("Transformer 256 x 4", "onnx", language_model_to_onnx, onnx_session),
    ("Transformer 256 x 4", "huggingface", language_model_to_huggingface, transformers_model),
    ("Transformer 256 x 4", "ctranslate2", language_model_to_ctranslate2, ctranslate2_generator),
    ("translator, Transformer 256 x 3 + 3", "onnx", translator_to_onnx, onnx_session),
    (
        "translator, Transformer 256 x 3 + 3",
        "ctranslate2",
        translator_to_ctranslate2,
        ctranslate2_translator,
    ),
    ("labeller, LSTM 256", "onnx", labeller_to_onnx, onnx_session),
)


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds of a call, and its result."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def measure(name: str, to: str, model: Any, export: Any, opened: Any, rounds: int) -> Row:
    """One row."""
    with tempfile.TemporaryDirectory() as folder:
        saved, path = Path(folder) / "model", Path(folder) / ("out.arpa" if to == "arpa" else "out")
        model.save(saved)
        seconds, difference = timed(lambda: export(model, path))
        pairs = []
        for _ in range(rounds + 1):  # the first opens files that are not in the cache yet
            theirs = timed(lambda: opened(path))[0]
            pairs.append((theirs, timed(lambda: st.load(saved))[0]))
        theirs, ours = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
        weights = 4 * sum(p.numel() for p in model.model.parameters()) or size_of(saved)
        return Row(name, to, weights, size_of(path), seconds, theirs, ours, difference)


def main() -> None:
    """Measure all, print a table, and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    with contextlib.redirect_stderr(io.StringIO()):
        made = models()
    rows = []
    print("| model | format | weights | written | export | open | seriatim opens | agrees to |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name, to, export, opened in CASES:
        row = measure(name, to, made[name], export, opened, options.rounds)
        rows.append(row)
        agrees = "" if row.difference is None else f"{row.difference:.0e}"
        print(
            f"| {name} | {to} | {row.weights / 1e6:.2f} MB | {row.written / 1e6:.2f} MB | "
            f"{row.seconds:.1f} s | {1e3 * row.open:.0f} ms | {1e3 * row.ours:.0f} ms | {agrees} |",
            flush=True,
        )
    record = {"machine": processor_name(), "rows": [asdict(row) for row in rows]}
    if options.write is not None:
        options.write.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
