"""A Hugging Face folder computes what the model does, and its tokenizer cuts as the vocabulary."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import seriatim as st
from seriatim.cli import main
from seriatim.core.distributions import Discrete
from seriatim.errors import ConfigError, OutputError
from seriatim.export import huggingface
from seriatim.export.huggingface import language_model_to_huggingface
from seriatim.export.tokenizer_json import tokenizer_json

transformers: Any = pytest.importorskip("transformers")

TEXTS = [f"{i} the quick brown fox jumps over the lazy dog, übel" for i in range(40)]
SMALL = {"model_size": 32, "num_layers": 2, "num_heads": 2, "context": 8}
SYMBOLS = ["char", "byte", "word", "bpe:300"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def fitted(
    symbols: str = "char", sequences: str = "document", tmp_path: Path | None = None, **options: Any
) -> st.LanguageModel:
    lm = st.LanguageModel(st.Transformer(**{**SMALL, **options}), symbols=symbols)
    if sequences == "document":
        return lm.fit(TEXTS, steps=5)
    assert tmp_path is not None
    path = tmp_path / "train.txt"
    path.write_text("\n".join(TEXTS) + "\n", "utf-8")
    return st.LanguageModel(lm.config, symbols=symbols, sequences=sequences).fit(path, steps=5)


@pytest.mark.slow
@pytest.mark.parametrize("symbols", SYMBOLS)
@pytest.mark.parametrize("sequences", ["document", "line", "stream"])
def test_transformers_goes_on_as_the_model_does_far_beyond_its_context(
    symbols: str, sequences: str, tmp_path: Path
) -> None:
    lm = fitted(symbols, sequences, tmp_path)
    assert language_model_to_huggingface(lm, tmp_path / "hf") <= 1e-5
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    prompt = tokenizer("the quick", return_tensors="pt")
    with torch.no_grad():
        output = theirs.generate(
            **prompt, do_sample=False, max_new_tokens=30, min_new_tokens=30, top_k=None
        )[0]
    model = lm.model
    assert model is not None
    state = model.start(1)
    begin = prompt["input_ids"].shape[1]
    assert begin < output.shape[0]
    state = model.update(state, output[None, 1:begin])
    for symbol in output[begin:]:
        distribution = model.predict(state)
        assert isinstance(distribution, Discrete)
        log_probs = distribution.dense()[0].detach()
        log_probs[model.boundary] = -torch.inf  # `min_new_tokens` keeps it from ending
        assert log_probs[symbol] >= log_probs.max() - 1e-4
        state = model.step(state, symbol[None])


@pytest.mark.slow
@pytest.mark.parametrize("symbols", SYMBOLS)
def test_the_tokenizer_reads_and_writes_as_the_vocabulary_does(
    symbols: str, tmp_path: Path
) -> None:
    lm = fitted(symbols)
    language_model_to_huggingface(lm, tmp_path / "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    vocabulary = lm.vocabulary
    assert vocabulary is not None
    for text in ["the lazy dog", "the  dog\nthe fox", " übel\n\nfox", "the Zebra", ""]:
        ours = vocabulary.encode(text)
        theirs = tokenizer(text)["input_ids"]
        assert theirs == [vocabulary.boundary, *ours]
        if vocabulary.unknown is None or vocabulary.unknown not in ours:
            assert tokenizer.decode(theirs, skip_special_tokens=True) == vocabulary.decode(ours)


@pytest.mark.slow
@pytest.mark.parametrize("is_tied", [True, False])
def test_the_folder_has_every_weight_once_and_a_card(is_tied: bool, tmp_path: Path) -> None:
    lm = fitted(tie_embeddings=is_tied)
    language_model_to_huggingface(lm, tmp_path / "hf")
    assert lm.model is not None
    weights = sum(p.numel() for p in lm.model.parameters())
    assert (tmp_path / "hf" / "model.safetensors").stat().st_size < 4 * weights + 10_000
    card = (tmp_path / "hf" / "README.md").read_text("utf-8")
    assert f"{weights:,} weights" in card
    assert "bits per symbol" in card
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["sliding_window"] == 8
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


def test_a_spoiled_weight_is_noticed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = huggingface._weights

    def spoiled(network: Any) -> Any:
        for name, weight in honest(network):
            yield name, weight + 0.01 if name.endswith("1.mlp.up_proj.weight") else weight

    monkeypatch.setattr(huggingface, "_weights", spoiled)
    with pytest.raises(OutputError, match="differ from the model's by"):
        language_model_to_huggingface(fitted(), tmp_path / "hf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"positions": "sinusoidal"}, "rotary positions"),
        ({"feedforward": "gelu"}, "SwiGLU"),
        ({"value_size": 8}, "--value-size"),
    ],
)
def test_what_mistral_cannot_hold_is_refused(
    options: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=what):
        language_model_to_huggingface(fitted(**options), tmp_path / "hf")


def test_other_families_and_folders_in_use_are_refused(tmp_path: Path) -> None:
    gru = st.LanguageModel(st.GRU(hidden_size=8), symbols="char").fit(TEXTS, steps=2)
    with pytest.raises(ConfigError, match="--to onnx"):
        language_model_to_huggingface(gru, tmp_path / "hf")
    counted = st.LanguageModel(st.Markov(order=2), symbols="char").fit(TEXTS)
    with pytest.raises(ConfigError, match="--to arpa"):
        language_model_to_huggingface(counted, tmp_path / "hf")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "mine").write_text("")
    with pytest.raises(OutputError, match="exists"):
        language_model_to_huggingface(fitted(), tmp_path / "hf")


def test_events_with_spaces_cannot_be_cut_from_a_text() -> None:
    events = [["log in", *["read file"] * n, "log out"] for n in range(20)]
    lm = st.LanguageModel(st.Transformer(**SMALL), symbols="word").fit(events, steps=2)
    assert lm.vocabulary is not None
    with pytest.raises(ConfigError, match="cannot be cut from a text"):
        tokenizer_json(lm.vocabulary)


@pytest.mark.slow
def test_the_command_writes_the_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fitted().save(tmp_path / "model")
    capfd.readouterr()
    out = tmp_path / "hf"
    assert main(["export", str(tmp_path / "model"), "--to", "huggingface", "--out", str(out)]) == 0
    assert "transformers agrees with the model to" in capfd.readouterr().out
    assert (out / "config.json").exists()
