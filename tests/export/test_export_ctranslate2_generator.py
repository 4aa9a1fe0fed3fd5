"""CTranslate2 continues texts as a Transformer language model does, beyond its context."""

from pathlib import Path
from typing import Any

import pytest
import torch

import seriatim as st
from seriatim.cli import main
from seriatim.decode.beam import beam_search_rows
from seriatim.errors import ConfigError, OutputError
from seriatim.export import ctranslate2_generator
from seriatim.export.ctranslate2_generator import language_model_to_ctranslate2

ctranslate2: Any = pytest.importorskip("ctranslate2")
pytestmark = pytest.mark.slow

TEXTS = [f"{i} the quick brown fox jumps over the lazy dog" for i in range(40)]
SMALL = {"model_size": 32, "num_layers": 2, "num_heads": 2, "context": 8}
VARIANTS = {
    "modern": st.Transformer(**SMALL),
    "classic": st.Transformer.classic(**SMALL),
    "own head, gelu, biases": st.Transformer(
        **SMALL, tie_embeddings=False, feedforward="gelu", bias=True, attention_bias=True
    ),
}


def fitted(config: st.Transformer, symbols: str = "char") -> st.LanguageModel:
    lm = st.LanguageModel(config, symbols=symbols).fit(TEXTS, steps=20)
    torch.manual_seed(0)
    with torch.no_grad():  # norms and biases that are not what they began as
        for p in lm.model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return lm


@pytest.mark.parametrize("name", VARIANTS)
def test_ctranslate2_generates_beyond_the_context_as_the_model_does(
    name: str, tmp_path: Path
) -> None:
    lm = fitted(VARIANTS[name])
    assert language_model_to_ctranslate2(lm, tmp_path / "model") <= 1e-5
    generator = ctranslate2.Generator(str(tmp_path / "model"), compute_type="float32")
    boundary = lm.vocabulary.name(lm.vocabulary.boundary)
    (result,) = generator.generate_batch(
        [[boundary]], max_length=40, include_prompt_in_result=False, sampling_topk=1
    )
    theirs = lm.vocabulary.decode(result.sequences_ids[0])
    ours = lm.generate("", 40, temperature=0.0)
    assert str(ours).startswith(theirs)
    assert len(theirs) > 1


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("max_length", [7, 80])
def test_beam_search_finds_the_same_best_continuation(
    width: int, max_length: int, tmp_path: Path
) -> None:
    lm = fitted(VARIANTS["modern"])
    language_model_to_ctranslate2(lm, tmp_path / "model")
    generator = ctranslate2.Generator(str(tmp_path / "model"), compute_type="float32")
    vocabulary, model, end, are_ended = lm.vocabulary, lm.model, lm.vocabulary.boundary, set()
    for text in ("", "1 the", "over", "dog"):  # one by one: it searches ragged prompts otherwise
        prompt = [int(i) for i in vocabulary.encode(text)]
        (their,) = generator.generate_batch(
            [[vocabulary.name(i) for i in (end, *prompt)]],
            beam_size=width,
            length_penalty=0,
            max_length=max_length,
            include_prompt_in_result=False,
            return_scores=True,
        )
        with torch.inference_mode():
            state = model.update(model.start(1), torch.tensor([prompt], dtype=torch.int64))
            ((best,),) = beam_search_rows(
                model, state, beam=width, max_length=max_length, end=end, num_best=1, patience=1.0
            )
        assert their.sequences_ids[0] == list(best.symbols)
        assert their.scores[0] == pytest.approx(best.log_prob, abs=1e-3)
        are_ended.add(best.is_ended)
    assert are_ended == {True, False}


def test_the_names_of_byte_pairs_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    lm = fitted(VARIANTS["modern"], symbols="bpe:300")
    language_model_to_ctranslate2(lm, tmp_path / "model")
    assert (tmp_path / "model" / "tokenizer.json").exists()


def test_a_spoiled_weight_is_noticed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ctranslate2_generator.generator_spec

    def spoiled(model: Any) -> Any:
        spec = honest(model)
        layer = spec.decoder.layer[1].ffn.linear_0
        layer.weight = layer.weight.copy()  # it shares memory with the model
        layer.weight[0] += 0.3
        return spec

    monkeypatch.setattr(ctranslate2_generator, "generator_spec", spoiled)
    with pytest.raises(OutputError, match="differ from the model's by"):
        language_model_to_ctranslate2(fitted(VARIANTS["modern"]), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_end_is_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CTranslate2 hides the score of the end where it may not choose it."""
    lm = fitted(VARIANTS["own head, gelu, biases"])
    honest = ctranslate2_generator.generator_spec

    def spoiled(model: Any) -> Any:
        spec = honest(model)
        layer = spec.decoder.projection
        layer.weight = layer.weight.copy()
        layer.weight[model.boundary] += 0.1
        return spec

    monkeypatch.setattr(ctranslate2_generator, "generator_spec", spoiled)
    with pytest.raises(OutputError, match="differ from the model's by"):
        language_model_to_ctranslate2(lm, tmp_path / "model")


def test_the_command_says_how_long_prompts_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted(VARIANTS["modern"]).save(tmp_path / "model")
    out = str(tmp_path / "out")
    assert main(["export", str(tmp_path / "model"), "--to", "ctranslate2", "--out", out]) == 0
    assert "a prompt may be as long as the model's context" in capsys.readouterr().out


def test_other_families_are_sent_to_the_format_that_can_hold_them(tmp_path: Path) -> None:
    lm = st.LanguageModel(st.LSTM(hidden_size=16), symbols="char").fit(TEXTS, steps=5)
    with pytest.raises(ConfigError, match="CTranslate2 has no lstm: write it with --to onnx"):
        language_model_to_ctranslate2(lm, tmp_path / "model")
