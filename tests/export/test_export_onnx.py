"""An ONNX file is the same function as the model, and says all that a program needs to run it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.core.distributions import Discrete
from seriatim.errors import ConfigError, OutputError
from seriatim.export import onnx as export_onnx
from seriatim.export.onnx import language_model_to_onnx

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime: Any = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow  # tracing a step takes seconds

TEXTS = [f"{i} the quick brown fox jumps over the lazy dog, übel" for i in range(40)]
FAMILIES = {
    "rnn": st.RNN(hidden_size=24),
    "lstm": st.LSTM(hidden_size=24, num_layers=2),
    "start and tied weights": st.LSTM(
        hidden_size=24, learn_initial_state=True, tie_embeddings=True
    ),
    "gru": st.GRU(hidden_size=24),
    "autoregressive": st.Autoregressive(window=4),
    "transformer": st.Transformer(model_size=32, num_layers=2, num_heads=2, context=8),
    "classic transformer": st.Transformer.classic(
        model_size=32, num_layers=2, num_heads=2, context=8
    ),
}


def fitted(config: Any, symbols: str = "char") -> st.LanguageModel:
    return st.LanguageModel(config, symbols=symbols).fit(TEXTS, steps=10)


class Program:
    """A program that has never seen seriatim: it knows the file alone."""

    def __init__(self, path: Path) -> None:
        self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        self.facts = {k.removeprefix("seriatim."): json.loads(v) for k, v in facts.items()}

    def greedy(self, count: int, rows: int = 1) -> tuple[str, list[float]]:
        """The most probable continuation of the start, and its log-probabilities in nats."""
        feed = {}
        for part in self.facts["state"]:
            start = part["start"] or np.zeros(part["shape"])
            feed[part["input"]] = np.repeat(np.array(start, part["type"])[None], rows, 0)
        symbol, text, scores = self.facts["boundary"], "", []
        for _ in range(count):
            log_probs, *after = self.session.run(None, {"symbol": np.full(rows, symbol), **feed})
            names = [part["input"] for part in self.facts["state"]]
            feed = dict(zip(names, after, strict=True))
            symbol = int(log_probs[0].argmax())
            text += self.facts["texts"][symbol]
            scores.append(float(log_probs[0, symbol]))
        return text, scores


@pytest.mark.parametrize("name", FAMILIES)
def test_a_program_that_knows_the_file_alone_continues_as_the_model_does(
    name: str, tmp_path: Path
) -> None:
    lm = fitted(FAMILIES[name])
    model = lm.model
    assert model is not None
    assert lm.vocabulary is not None
    difference = language_model_to_onnx(lm, tmp_path / "model.onnx")
    assert difference <= 1e-5
    state, text, scores = model.start(1), "", []
    for _ in range(30):
        distribution = model.predict(state)
        assert isinstance(distribution, Discrete)
        log_probs = distribution.dense()[0].detach()
        symbol = log_probs.argmax()
        scores.append(float(log_probs[symbol]))
        text += lm.vocabulary.decode([int(symbol)])
        state = model.step(state, symbol[None])
    theirs, their_scores = Program(tmp_path / "model.onnx").greedy(30, rows=2)
    assert theirs == text
    np.testing.assert_allclose(their_scores, scores, rtol=1e-5, atol=1e-5)
    # Every weight once, and nothing of the machine that wrote the file.
    data = (tmp_path / "model.onnx").read_bytes()
    assert len(data) <= 1.1 * 4 * sum(p.numel() for p in model.parameters()) + 200_000
    assert b"seriatim/" not in data
    assert b".py" not in data
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)


def test_a_spoiled_weight_is_noticed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = export_onnx.step_graph

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        proto, states = honest(*args, **kwargs)
        matrix = next(t for t in proto.graph.initializer if len(t.dims) == 2)
        values = onnx.numpy_helper.to_array(matrix).copy()
        values.flat[0] += 0.01
        matrix.CopyFrom(onnx.numpy_helper.from_array(values, matrix.name))
        return proto, states

    monkeypatch.setattr(export_onnx, "step_graph", spoiled)
    with pytest.raises(OutputError, match="differ from the model's by"):
        language_model_to_onnx(fitted(st.GRU(hidden_size=24)), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("symbols", ["byte", "word", "bpe:300"])
def test_the_metadata_has_a_text_for_every_symbol(symbols: str, tmp_path: Path) -> None:
    lm = fitted(st.GRU(hidden_size=24), symbols)
    language_model_to_onnx(lm, tmp_path / "model.onnx")
    facts = Program(tmp_path / "model.onnx").facts
    assert facts["symbols"] == symbols.partition(":")[0]
    assert len(facts["texts"]) == lm.vocabulary.num_symbols
    assert facts["boundary"] == lm.vocabulary.boundary
    assert ("tokenizer" in facts) == (symbols == "bpe:300")


def test_the_command_writes_the_file_and_says_how_well_it_agrees(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fitted(st.GRU(hidden_size=24)).save(tmp_path / "model")
    capfd.readouterr()
    out = tmp_path / "model.onnx"
    assert main(["export", str(tmp_path / "model"), "--to", "onnx", "--out", str(out)]) == 0
    said = capfd.readouterr()
    assert "onnxruntime agrees with the model to" in said.out
    assert said.err == ""
    assert out.exists()


def test_counts_are_written_as_arpa() -> None:
    lm = st.LanguageModel(st.Markov(order=2), symbols="char").fit(TEXTS)
    with pytest.raises(ConfigError, match="--to arpa"):
        language_model_to_onnx(lm, "model.onnx")
