"""Folders of Llama and Mistral become Transformers here with the same outputs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import seriatim as st
from seriatim.errors import ConfigError, ModelError
from seriatim.export import from_huggingface, language_model_to_huggingface

transformers: Any = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # importing transformers takes seconds

SIZE = 40
SYMBOLS = ["<unk>", "<eos>", *(f"w{i}" for i in range(SIZE - 2))]
SMALL = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "num_key_value_heads": 4},
    "shared keys": {"model_type": "llama", "num_key_value_heads": 2, "rms_norm_eps": 1e-5},
    "biases": {"model_type": "llama", "num_key_value_heads": 1, "attention_bias": True},
    "tied": {"model_type": "llama", "num_key_value_heads": 4, "tie_word_embeddings": True},
    "wide heads": {"model_type": "mistral", "num_key_value_heads": 2, "head_dim": 16},
    "window": {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 8},
    "other base": {
        "model_type": "llama",
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    },
}


def saved(folder: Path, **options: Any) -> Any:
    """A random model in a folder, as transformers writes it."""
    torch.manual_seed(0)
    kind = options.pop("model_type")
    config = transformers.AutoConfig.for_model(kind, **{**SMALL, **options})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # biases and norms that are not what they began as
                parameter.add_(0.2 * torch.randn_like(parameter)), name
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_a_folder_has_the_same_outputs(name: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path / "folder", **SHAPES[name])
    lm = from_huggingface(tmp_path / "folder", symbols=SYMBOLS)
    assert lm.model is not None
    x = torch.randint(SIZE, (3, 60), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, _ = lm.model.advance(lm.model.empty(3), x, None, keep=False)
        ours = lm.model.emit(features).dense()
        expected = theirs(input_ids=x).logits.log_softmax(-1)
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)
    if name == "window":
        assert lm.config.context == 8
    lm.save(tmp_path / "model")
    assert st.load(tmp_path / "model").surprisal("w1 w2").bits == lm.surprisal("w1 w2").bits


@pytest.mark.parametrize("symbols", ["char", "word", "byte", "bpe:300"])
def test_what_we_wrote_comes_back_with_its_symbols(symbols: str, tmp_path: Path) -> None:
    texts = [f"{i} the quick brown fox jumps over the lazy dog" for i in range(40)]
    small = st.Transformer(model_size=32, num_layers=2, num_heads=2, context=8)
    lm = st.LanguageModel(small, symbols=symbols).fit(texts, steps=5)
    language_model_to_huggingface(lm, tmp_path / "folder")
    again = from_huggingface(tmp_path / "folder", sequences=lm.sequences)
    assert again.vocabulary.to_json() == lm.vocabulary.to_json()
    text = "the lazy fox 7"
    assert again.surprisal(text).bits == pytest.approx(lm.surprisal(text).bits, abs=1e-4)


def refusal(folder: Path, error: type[Exception] = ConfigError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        from_huggingface(folder, **{"symbols": SYMBOLS, **options})
    return str(caught.value)


def change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_cannot_be_imported_is_refused_with_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    saved(folder, **SHAPES["llama"])
    assert "39 symbols were given, and the model has 40" in refusal(folder, symbols=SYMBOLS[:39])
    assert "has no tokenizer.json of 40" in refusal(folder, symbols=None)
    change(folder, hidden_act="gelu")
    assert "SwiGLU, and config.json says hidden_act='gelu'" in refusal(folder)
    change(folder, hidden_act="silu", intermediate_size=47)
    assert "do not fit its config.json" in refusal(folder, ModelError)
    change(folder, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4})
    assert "not scaled" in refusal(folder)
    change(folder, model_type="gpt2")
    assert "holds a gpt2, and what can be imported is llama and mistral" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "is not JSON" in refusal(folder, ModelError)
    assert "has no config.json" in refusal(tmp_path / "nowhere", ModelError)
