"""LSTM language models in the layout of sherpa-onnx, used as its sources use them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import ConfigError, OutputError
from seriatim.export import language_model_to_sherpa, onnx_sherpa
from tests.export.onnx_programs import spoil

pytest.importorskip("onnxscript")
runtime: Any = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

TEXTS = [f"the quick brown fox {i} jumps over the lazy dog" for i in range(60)]


def fitted(config: Any) -> st.LanguageModel:
    return st.LanguageModel(config, symbols="word").fit(TEXTS, steps=20)


def shallow_fusion(folder: Path, words: list[str]) -> float:
    """ln p of words as sherpa-onnx adds it up: tensors by their order, scores of one token."""
    session = runtime.InferenceSession(str(folder / "lm.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    inputs = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]
    shape = (int(facts["num_layers"]), 1, int(facts["hidden_size"]))
    states = [np.zeros(shape, np.float32), np.zeros(shape, np.float32)]
    lines = (folder / "tokens.txt").read_text("utf-8").splitlines()
    number = {name: int(i) for name, i in (line.split() for line in lines)}
    token, total = int(facts["sos_id"]), 0.0
    for word in words:
        x = np.array([[token]], np.int64)
        scores, *states = session.run(outputs, dict(zip(inputs, (x, *states), strict=True)))
        token = number[word]
        total += float(scores.reshape(-1)[token])
    return total


def test_the_scores_of_shallow_fusion_are_the_models(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lm = fitted(st.LSTM(hidden_size=24, num_layers=2))
    lm.save(tmp_path / "model")
    capfd.readouterr()
    out = tmp_path / "lm"
    arguments = ["export", str(tmp_path / "model"), "--to", "sherpa-onnx", "--out", str(out)]
    assert main(arguments) == 0
    said = capfd.readouterr()
    assert "onnxruntime agrees" in said.out
    assert said.err == ""
    words = ["the", "lazy", "fox", "jumps"]
    bits = [one.bits for one in lm.surprisal(" ".join(words), by="symbol")][: len(words)]
    assert shallow_fusion(out, words) == pytest.approx(-sum(bits) * np.log(2), abs=1e-4)


def test_a_spoiled_weight_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = onnx_sherpa.sherpa_graph
    monkeypatch.setattr(onnx_sherpa, "sherpa_graph", lambda model: spoil(honest(model)))
    with pytest.raises(OutputError, match="differ from the model's by"):
        language_model_to_sherpa(fitted(st.LSTM(hidden_size=24)), tmp_path / "lm")
    assert list(tmp_path.iterdir()) == []


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes LSTM language models"):
        language_model_to_sherpa(fitted(st.GRU(hidden_size=16)), tmp_path / "lm")
    with pytest.raises(ConfigError, match="starts from zeros"):
        language_model_to_sherpa(
            fitted(st.LSTM(hidden_size=16, learn_initial_state=True)), tmp_path / "lm"
        )
