"""The exported model is the same function: CTranslate2 gives our scores and finds our targets."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch

import seriatim as st
from seriatim.cli import main
from seriatim.data.batches.pairs import PairBoundaries, PairReader, source_batch
from seriatim.data.pairs import PairCorpus
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.decode.beam import beam_search_rows
from seriatim.decode.settings import Decoding
from seriatim.errors import ConfigError, OutputError
from seriatim.export import ctranslate2 as export_ctranslate2
from seriatim.export.ctranslate2 import model_to_ctranslate2, names_of
from seriatim.models.build import build_model

ctranslate2: Any = pytest.importorskip("ctranslate2")

V, END = 40, 1
NAMES = [f"s{i}" for i in range(V)]
SMALL = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "model_size": 32,
    "num_heads": 4,
    "feedforward_size": 48,
    "dropout": 0.0,
}
CLASSIC = st.Seq2Seq.classic(**SMALL)
VARIANTS = {
    "classic": CLASSIC,
    "norm first": st.Seq2Seq.classic(**SMALL, norm_first=True),
    "modern": st.Seq2Seq(**SMALL),
    "attention biases": st.Seq2Seq.classic(**SMALL, attention_bias=True),
    "wide heads": st.Seq2Seq(**SMALL, key_size=16),
    "own embeddings": st.Seq2Seq.classic(
        **SMALL, share_embeddings=False, tie_embeddings=False, feedforward="gelu"
    ),
}


def random_model(config: st.Seq2Seq) -> Any:
    """A model whose weights, biases and norms are all random, so that a lost one is seen."""
    torch.manual_seed(1)
    model = build_model(config, V, END).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.3 * torch.randn_like(p))
    return model


def sentences(count: int, seed: int) -> list[list[int]]:
    """Never empty: CTranslate2 answers an empty source without looking at the model."""
    rng = np.random.default_rng(seed)
    return [rng.integers(2, V, n).tolist() for n in rng.integers(1, 12, count)]


def exported(model: Any, path: Path) -> Any:
    model_to_ctranslate2(model, path, source_names=NAMES, target_names=NAMES, source_boundary=END)
    return ctranslate2.Translator(
        str(path), compute_type="float32", inter_threads=1, intra_threads=1
    )


def named(rows: list[list[int]]) -> list[list[str]]:
    return [[NAMES[i] for i in row] for row in rows]


@pytest.mark.parametrize("name", VARIANTS)
def test_given_targets_have_our_log_probabilities(name: str, tmp_path: Path) -> None:
    model = random_model(VARIANTS[name])
    sources, targets = sentences(8, 0), sentences(8, 1)
    theirs = exported(model, tmp_path / "m").score_batch(named(sources), named(targets))
    reader = PairReader(
        PairCorpus.from_tokens(zip(sources, targets, strict=True)), PairBoundaries(END, END)
    )
    with torch.no_grad():
        ours = model.log_prob(reader.batch(np.arange(8)))
    for row, found, target in zip(ours, theirs, targets, strict=True):
        expected = row[: len(target) + 1].numpy()
        np.testing.assert_allclose(found.log_probs, expected, atol=1e-4, rtol=0)


def ending(config: st.Seq2Seq, logit: float) -> Any:
    """A model whose end has about this logit everywhere, and whose other logits are sharp.

    The last norm adds 3 in every direction, which only the row of the end looks at.
    """
    model = random_model(replace(config, tie_embeddings=False, share_embeddings=False))
    ones = torch.ones(config.model_size)
    with torch.no_grad():
        norm = model.decoder.blocks[-1].feedforward_norm
        norm.weight.fill_(1.0)
        norm.bias.copy_(3 * ones)
        head = model.head.weight
        head -= head.mean(1, keepdim=True)
        head *= 3
        head[END] = logit / 3 * ones / config.model_size
    return model


@pytest.mark.parametrize(("logit", "width"), list(product([-30.0, 5.0], [1, 4])))
def test_beam_search_finds_the_same_targets(logit: float, width: int, tmp_path: Path) -> None:
    model, sources = ending(CLASSIC, logit), sentences(16, 2)
    theirs = exported(model, tmp_path / "m").translate_batch(
        named(sources),
        beam_size=width,
        length_penalty=0,
        min_decoding_length=0,
        max_decoding_length=9,
        return_scores=True,
    )
    bound = model.bind(source_batch([np.array(s) for s in sources], END))
    with torch.inference_mode():
        found = beam_search_rows(
            bound, bound.start(16), beam=width, max_length=9, end=END, num_best=1, patience=1.0
        )
    assert len({best.symbols for (best,) in found}) >= (2 if logit > 0 else 5)
    assert any(best.is_ended for (best,) in found) == (logit > 0)
    for their, (best,) in zip(theirs, found, strict=True):
        assert their.hypotheses[0] == [NAMES[i] for i in best.symbols]
        assert their.scores[0] == pytest.approx(best.log_prob, abs=1e-4)


def test_a_spoiled_weight_is_noticed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = export_ctranslate2.translator_spec

    def spoiled(*args: Any) -> Any:
        spec = honest(*args)
        layer = spec.decoder.layer[1].attention.linear[0]
        layer.weight = layer.weight.copy()  # it shares memory with the model
        layer.weight[0] += 0.3
        return spec

    monkeypatch.setattr(export_ctranslate2, "translator_spec", spoiled)
    with pytest.raises(OutputError, match="differ from the model's by"):
        exported(random_model(VARIANTS["modern"]), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


PAIRS = [(f"zahl {i}", f"number {i}") for i in range(60)]


@pytest.mark.slow
@pytest.mark.parametrize("symbols", ["bpe:280", "char", "word"])
def test_a_translator_is_exported_with_the_names_of_its_symbols(
    symbols: str, tmp_path: Path
) -> None:
    translator = st.Translator(st.Seq2Seq(**SMALL), symbols=symbols).fit(
        PAIRS, valid=PAIRS[:5], steps=20, seed=0
    )
    translator.save(tmp_path / "m")
    out = str(tmp_path / "c")
    assert main(["export", str(tmp_path / "m"), "--to", "ctranslate2", "--out", out]) == 0
    texts = ["zahl 7", "13 zahl", "x"]
    names = [names_of(s) for s in (translator.source_vocabulary, translator.vocabulary)]
    sources = [[names[0][i] for i in translator.source_vocabulary.encode(text)] for text in texts]
    theirs = ctranslate2.Translator(out, compute_type="float32").translate_batch(
        sources, beam_size=1, min_decoding_length=0, max_decoding_length=12
    )
    decoding = Decoding(beam=1, alpha=0.0, max_length=12)
    for found, their in zip(translator.translate(texts, decoding=decoding), theirs, strict=True):
        assert their.hypotheses[0] == [names[1][i] for i in found.symbols]
    if symbols.startswith("bpe"):
        tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "c" / "source_tokenizer.json"))
        assert [tokenizer.encode(text).tokens for text in texts] == sources


def test_names_are_distinct() -> None:
    vocabulary = fit_vocabulary("char", ["<a ␣"], sequences="document")  # a space is shown as ␣
    names = names_of(vocabulary)
    assert len(set(names)) == vocabulary.num_symbols


def test_recurrent_layers_are_refused(tmp_path: Path) -> None:
    model = build_model(st.Seq2Seq(encoder="lstm", decoder="lstm", model_size=16), V, END)
    with pytest.raises(ConfigError, match="knows Transformer layers, and these are lstm and lstm"):
        exported(model, tmp_path / "m")


def test_values_of_another_size_are_refused(tmp_path: Path) -> None:
    model = build_model(st.Seq2Seq(**SMALL, value_size=16), V, END)
    with pytest.raises(ConfigError, match="values and keys of one size, and these are 16 and 8"):
        exported(model, tmp_path / "m")


def test_an_existing_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        exported(random_model(CLASSIC), tmp_path)
    assert (tmp_path / "kept").read_text() == "mine"
