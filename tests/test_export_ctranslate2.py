"""The exported model is the same function: CTranslate2 gives our scores and finds our targets."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.data.pair_batches import Boundaries, PairReader, source_batch
from seriatim.data.pairs import PairCorpus
from seriatim.decode.beam import beam_search_rows
from seriatim.errors import ConfigError, OutputError
from seriatim.export.ctranslate2 import model_to_ctranslate2

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


def made(config: st.Seq2Seq) -> Any:
    """A model all of whose weights are random, biases and norms too, so that none can be lost."""
    torch.manual_seed(1)
    model = config.build(V, END).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.3 * torch.randn_like(p))
    return model


def sentences(count: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, V, n).tolist() for n in rng.integers(0, 12, count)]


def exported(model: Any, path: Path) -> Any:
    model_to_ctranslate2(
        model, path, source_names=NAMES, target_names=NAMES, source_boundary=END
    )
    return ctranslate2.Translator(
        str(path), compute_type="float32", inter_threads=1, intra_threads=1
    )


def named(rows: list[list[int]]) -> list[list[str]]:
    return [[NAMES[i] for i in row] for row in rows]


@pytest.mark.parametrize("name", VARIANTS)
def test_given_targets_have_our_log_probabilities(name: str, tmp_path: Path) -> None:
    model = made(VARIANTS[name])
    sources, targets = sentences(8, 0), sentences(8, 1)
    theirs = exported(model, tmp_path / "m").score_batch(named(sources), named(targets))
    reader = PairReader(
        PairCorpus.from_tokens(zip(sources, targets, strict=True)), Boundaries(END, END)
    )
    with torch.no_grad():
        ours = model.log_prob(reader.batch(np.arange(8)))
    for row, found, target in zip(ours, theirs, targets, strict=True):
        expected = row[: len(target) + 1].numpy()
        np.testing.assert_allclose(found.log_probs, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "width"), list(product(["classic", "modern"], [1, 4])))
def test_beam_search_finds_the_same_targets(name: str, width: int, tmp_path: Path) -> None:
    model = made(VARIANTS[name])
    sources = sentences(8, 2)
    theirs = exported(model, tmp_path / "m").translate_batch(
        named(sources),
        beam_size=width,
        num_hypotheses=1,
        length_penalty=0,
        max_decoding_length=9,
        return_scores=True,
    )
    bound = model.given(source_batch([np.array(s) for s in sources], END))
    with torch.inference_mode():
        # CTranslate2 does not count the end as a step, and stops as soon as there are as many
        # results as are wanted.
        found = beam_search_rows(
            bound, bound.start(8), width=width, max_length=9, end=END, num_best=1
        )
    same = 0
    for their, (best, *_) in zip(theirs, found, strict=True):
        assert best.log_prob >= their.scores[0] - 1e-4  # the exact stop loses nothing
        if their.hypotheses[0] == [NAMES[i] for i in best.symbols]:
            same += 1
            assert abs(their.scores[0] - best.log_prob) < 1e-3
    assert same >= 6


def test_recurrent_layers_are_refused_in_one_sentence(tmp_path: Path) -> None:
    model = st.Seq2Seq(encoder="lstm", decoder="lstm", model_size=16).build(V, END)
    with pytest.raises(ConfigError, match="layers for Transformers, and these are lstm and lstm"):
        exported(model, tmp_path / "m")


def test_values_of_another_size_are_refused(tmp_path: Path) -> None:
    model = st.Seq2Seq(**SMALL, value_size=16).build(V, END)
    with pytest.raises(ConfigError, match="values of 16 differ from keys of 8"):
        exported(model, tmp_path / "m")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        exported(made(CLASSIC), tmp_path)
    assert (tmp_path / "kept").read_text() == "mine"
