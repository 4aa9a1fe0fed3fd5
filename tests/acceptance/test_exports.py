"""`seriatim export` as a user runs it: each format for each kind of model."""

import re
from pathlib import Path
from typing import Any

import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.models.options.registry import configure_encoder

for needed in ("onnxscript", "onnxruntime", "ctranslate2", "transformers"):
    pytest.importorskip(needed)
pytestmark = pytest.mark.slow

TEXTS = [f"the quick brown fox {i} jumps over the lazy dog" for i in range(60)]
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in ("red", "blue") for b in range(40)]
LABELLED = [(f"{colour} {i}", colour) for colour in ("red", "blue") for i in range(40)]
SMALL: dict[str, Any] = {"model_size": 32, "encoder_layers": 1, "decoder_layers": 1}
HEADS: dict[str, Any] = {"model_size": 32, "num_layers": 2, "num_heads": 2, "context": 8}


def language(config: Any, symbols: str = "char") -> st.LanguageModel:
    return st.LanguageModel(config, symbols=symbols).fit(TEXTS, steps=5)


MODELS = {
    "markov": lambda: language(st.Markov(order=3), "word"),
    "autoregressive": lambda: language(st.Autoregressive(window=4)),
    "rnn": lambda: language(st.RNN(hidden_size=16)),
    "gru": lambda: language(st.GRU(hidden_size=16)),
    "lstm": lambda: language(st.LSTM(hidden_size=16)),
    "transformer": lambda: language(st.Transformer(**HEADS)),
    "translator": lambda: st.Translator(st.Seq2Seq(**SMALL, num_heads=2)).fit(PAIRS, steps=5),
    "labeller": lambda: st.Labeller(
        configure_encoder("lstm", {"model_size": 16, "encoder_layers": 1})
    ).fit(LABELLED, steps=5),
}
EXPORTS = [
    ("markov", "arpa"),
    *((name, "onnx") for name in MODELS if name != "markov"),
    ("transformer", "huggingface"),
    ("transformer", "ctranslate2"),
    ("translator", "ctranslate2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind."""
    path = tmp_path_factory.mktemp("models")
    for name, make in MODELS.items():
        make().save(path / name)
    return path


@pytest.mark.parametrize(("model", "to"), EXPORTS)
def test_a_model_leaves_with_a_proof_and_only_progress_on_stderr(
    model: str, to: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(folder / model), "--to", to, "--out", str(out)]) == 0
    said = capfd.readouterr()  # of the process, so that what libraries write is seen too
    assert re.sub(r"exporting to \w+ \(\d+ s\)\n", "", said.err) == ""
    assert "agrees with the model to" in said.out
    assert out.exists()


@pytest.mark.parametrize(
    ("model", "to", "why"),
    [
        ("markov", "onnx", "write it with --to arpa"),
        ("markov", "ctranslate2", "write it with --to arpa"),
        ("lstm", "huggingface", "write it with --to onnx"),
        ("lstm", "arpa", "only Markov models"),
        ("labeller", "ctranslate2", "labeller"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_in_a_sentence(
    model: str,
    to: str,
    why: str,
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")
    assert main(["export", str(folder / model), "--to", to, "--out", out]) != 0
    said = capfd.readouterr().err
    assert why in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
