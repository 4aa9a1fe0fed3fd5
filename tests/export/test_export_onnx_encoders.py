"""ONNX files of labellers and translators are the same functions, for sources of any length."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import OutputError
from seriatim.export import onnx_labeller, onnx_translator
from seriatim.export.onnx_labeller import labeller_to_onnx
from seriatim.export.onnx_translator import translator_to_onnx
from seriatim.models.options.encoder_decoder import EncoderConfig
from seriatim.models.options.registry import configure_encoder
from tests.export.onnx_programs import label, spoil, translate

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow  # tracing a graph takes seconds

PER_TEXT = [(f"{colour} {i}", colour) for colour in ("red", "blue", "green") for i in range(40)]
PER_WORD = [(f"the cat{i} sat".split(), ["D", "N", "V"]) for i in range(40)]
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in ("red", "blue") for b in range(40)]
ENCODERS = ("lstm", "gru", "rnn", "transformer")
SMALL = {"model_size": 32, "encoder_layers": 2, "decoder_layers": 2}
TRANSLATORS = {
    "transformer": st.Seq2Seq(**SMALL, num_heads=2),
    "classic": st.Seq2Seq.classic(**SMALL, num_heads=2, feedforward_size=48),
    "lstm and transformer": st.Seq2Seq(**SMALL, num_heads=2, encoder="lstm"),
    "transformer and gru": st.Seq2Seq(**SMALL, num_heads=2, decoder="gru"),
    "additive": st.Seq2Seq(**SMALL, encoder="lstm", decoder="lstm"),
    "multiplicative": st.Seq2Seq(**SMALL, encoder="gru", decoder="gru", attention="multiplicative"),
    "without attention": st.Seq2Seq(
        **SMALL, encoder="rnn", decoder="rnn", attention="none", tie_embeddings=False
    ),
}


def configured(encoder: str) -> EncoderConfig:
    heads = {"num_heads": 2} if encoder == "transformer" else {}
    return configure_encoder(encoder, {"model_size": 32, "encoder_layers": 2, **heads})


def fitted_translator(config: Any) -> st.Translator:
    return st.Translator(config, symbols="char").fit(PAIRS, steps=60)


def check_size(path: Path, num_weights: int) -> None:
    """Every weight once, no second file, nothing of the machine that wrote it."""
    data = path.read_bytes()
    assert len(data) <= 1.1 * 4 * num_weights + 200_000
    assert b"seriatim/" not in data
    assert b".py" not in data
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_file_labels_texts_of_any_length_as_the_labeller_does(
    encoder: str, tmp_path: Path
) -> None:
    labeller = st.Labeller(configured(encoder)).fit(PER_TEXT, steps=40)
    assert labeller_to_onnx(labeller, tmp_path / "model.onnx") <= 1e-5
    texts = ["red 7", "blue 23 " * 30, "e"]
    labels, log_probs = label(tmp_path / "model.onnx", texts)
    ours = labeller.label(texts, top=3)
    assert labels == [one.label for one in ours]
    np.testing.assert_allclose(np.exp(log_probs).max(-1), [one.probability for one in ours], 1e-4)
    assert labeller.model is not None
    check_size(tmp_path / "model.onnx", sum(p.numel() for p in labeller.model.parameters()))
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("encoder", ["lstm", "transformer"])
def test_a_file_labels_elements_as_the_labeller_does(encoder: str, tmp_path: Path) -> None:
    labeller = st.Labeller(configured(encoder)).fit(PER_WORD, steps=40)
    labeller_to_onnx(labeller, tmp_path / "model.onnx")
    texts = [["the", "cat3", "sat"], ["sat"], ["the"] * 40]
    labels, _ = label(tmp_path / "model.onnx", texts)
    assert labels == [[one.label for one in row] for row in labeller.label(texts)]


@pytest.mark.parametrize("name", TRANSLATORS)
def test_two_files_translate_as_the_translator_does(name: str, tmp_path: Path) -> None:
    translator = fitted_translator(TRANSLATORS[name])
    assert translator_to_onnx(translator, tmp_path / "model", capacity=40) <= 1e-5
    texts = ["red 12", "blue 3", "red"]
    ours = [t.text for t in translator.translate(texts, beam=1)]
    theirs = translate(tmp_path / "model", texts, longest=40)
    for mine, other in zip(ours, theirs, strict=True):
        assert other.startswith(mine)  # our search stops at a longest length
    assert translator.model is not None
    weights = sum(p.numel() for p in translator.model.parameters())
    files = sorted(p.name for p in (tmp_path / "model").iterdir())
    assert files == ["decoder.onnx", "encoder.onnx"]
    for file in files:
        check_size(tmp_path / "model" / file, weights)


def test_a_spoiled_labeller_is_noticed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = onnx_labeller.label_graph
    monkeypatch.setattr(onnx_labeller, "label_graph", lambda *a, **k: spoil(honest(*a, **k)))
    labeller = st.Labeller(configured("lstm")).fit(PER_TEXT, steps=5)
    with pytest.raises(OutputError, match="differ from the model's by"):
        labeller_to_onnx(labeller, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [0, 1])
def test_a_spoiled_half_of_a_translator_is_noticed_and_nothing_is_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, made = onnx_translator.make_graph, []

    def spoiled(*args: Any, **options: Any) -> Any:
        made.append(honest(*args, **options))
        return spoil(made[-1]) if len(made) == number + 1 else made[-1]

    monkeypatch.setattr(onnx_translator, "make_graph", spoiled)
    with pytest.raises(OutputError, match="differ from the model's by"):
        translator_to_onnx(fitted_translator(TRANSLATORS["additive"]), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_labellers_and_translators_with_only_progress_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    st.Labeller(configured("gru")).fit(PER_TEXT, steps=5).save(tmp_path / "labeller")
    fitted_translator(TRANSLATORS["multiplicative"]).save(tmp_path / "translator")
    capfd.readouterr()
    for model, out in (("labeller", "labels.onnx"), ("translator", "pairs")):
        arguments = ["export", str(tmp_path / model), "--to", "onnx", "--out", str(tmp_path / out)]
        assert main(arguments) == 0
        said = capfd.readouterr()
        assert "onnxruntime agrees with the model to" in said.out
        assert re.sub(r"exporting to onnx \(\d+ s\)\n", "", said.err) == ""
