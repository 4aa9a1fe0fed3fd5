"""Quantized probabilities: rows that sum to one, few values, the same results everywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core.batch import Batch
from seriatim.data.corpus import Corpus
from seriatim.errors import ConfigError
from seriatim.export.arpa import language_model_from_arpa, language_model_to_arpa
from seriatim.metrics import likelihood
from seriatim.metrics.likelihood import surprisals
from seriatim.models.markov import MarkovModel
from seriatim.models.ngram.quantization import codebook
from seriatim.models.options.registry import restore
from seriatim.tasks.language_model import LanguageModel

V, BOUNDARY = 12, 1
OPTIONS = [
    {"order": 1},
    {"order": 2},
    {"order": 5},
    {"order": 4, "smoothing": "witten-bell"},
    {"order": 4, "smoothing": "add-k"},
    {"order": 4, "smoothing": "stupid-backoff"},
    {"order": 4, "smoothing": "maximum-likelihood"},
    {"order": 4, "prune": (0, 0, 1)},
    {"order": 4, "prune_entropy": 1e-3},
]


def corpus(seed: int, *, is_stream: bool = False, num_lines: int = 150) -> Corpus:
    """Symbols 0 and 2 .. 10 by Zipf's law; 11 is never seen; some lines are empty."""
    rng = np.random.default_rng(seed)
    ids = np.delete(np.arange(V - 1), BOUNDARY)
    p = 1 / np.arange(1, len(ids) + 1)
    sizes = rng.integers(0, 12, num_lines)
    return Corpus.from_tokens(
        [rng.choice(ids, n, p=p / p.sum()) for n in sizes], is_stream=is_stream
    )


def fitted(bits: int | None, text: Corpus | None = None, **options: object) -> MarkovModel:
    model = MarkovModel(st.Markov(quantize_bits=bits, **options), V, BOUNDARY)
    model.fit_closed_form(text or corpus(0))
    return model


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_row_is_finite_and_sums_to_one(options: dict, bits: int) -> None:
    x = torch.randint(V, (60, 7), generator=torch.Generator().manual_seed(0))
    for text in (corpus(0), corpus(1, num_lines=3000), corpus(2, num_lines=9), corpus(1)):
        model = fitted(bits, text, **options)
        features, _ = model.advance(model.empty(60), x, None)
        rows = model.emit(features).dense()
        assert bool(rows.isfinite().all())
        ones = torch.ones(rows.shape[:-1], dtype=torch.float64)
        torch.testing.assert_close(rows.exp().sum(-1), ones, rtol=0, atol=1e-11)


@pytest.mark.parametrize("bits", [4, 6])
def test_an_order_has_no_more_values_than_codes_beside_exact_ones(bits: int) -> None:
    table = fitted(bits, order=4).table
    starts, log_prob = table.starts.tolist(), table.backoff_model().log_prob
    kept = set(table.kept.tolist())
    for m in range(2, 5):
        coded = [log_prob[i] for i in range(starts[m - 1], starts[m]) if i not in kept]
        assert 1 < len(set(coded)) < 1 << bits


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_with_more_values_than_ngrams_quantization_is_exact(options: dict) -> None:
    """24 n-grams of an order at most: each is its own value of 255, as are their weights."""
    text = Corpus.from_tokens([np.array([0, 2, 3]), np.array([0, 2, 4, 4])])
    exact, coded = fitted(None, text, **options), fitted(8, text, **options)
    x = torch.randint(V, (60, 7), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        coded.log_prob(Batch(x, x)), exact.log_prob(Batch(x, x)), rtol=0, atol=1e-9
    )


def test_a_probability_becomes_the_nearest_value_or_the_one_below_it() -> None:
    exact, table = fitted(None, order=3).table, fitted(5, order=3).table
    for m in (2, 3):
        low, high = table.starts[m - 1 : m + 1].tolist()
        own = exact.log_prob.numpy()[low:high]
        book = codebook(own, 31)
        result = table.log_probs(np.arange(low, high))
        gap = np.diff(book).max()
        is_kept = np.isin(np.arange(low, high), table.kept.numpy())
        np.testing.assert_array_equal(result[is_kept], own[is_kept])
        assert np.isin(result[~is_kept], book).all()
        assert (result <= own + gap / 2).all()
        assert (result >= own - gap).all()


def test_values_are_means_of_bins_of_equal_population() -> None:
    values = np.array([-9.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -8.0, -7.0])
    np.testing.assert_allclose(codebook(values, 3), [-9.0, -5.0, -2.0])
    np.testing.assert_array_equal(codebook(values, 100), np.sort(values))
    np.testing.assert_array_equal(codebook(np.full(5, -2.0), 3), [-2.0])
    assert len(codebook(values[:0], 3)) == 0


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_corpus_at_once_has_the_surprisals_of_its_batches_and_of_a_stream(
    options: dict, is_stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(5, corpus(0, is_stream=is_stream), **options)
    text = corpus(1, is_stream=is_stream)
    result, _ = surprisals(model, text)
    monkeypatch.setattr(likelihood, "ScoresCorpora", str)  # no model is a str
    np.testing.assert_array_equal(result, surprisals(model, text)[0])
    if is_stream:
        state, one_by_one = model.start(1), []
        for symbol in text.tokens[:50].tolist():
            x = torch.tensor([symbol])
            one_by_one.append(-model.predict(state).log_prob(x).item())
            state = model.update(state, x[:, None])
        np.testing.assert_allclose(one_by_one, result[:50], rtol=1e-6)


LINES = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", ""] * 3


@pytest.mark.parametrize("order", [1, 3])
def test_a_folder_and_an_arpa_file_give_the_same_model(order: int, tmp_path: Path) -> None:
    config = st.Markov(order=order, quantize_bits=4)
    lm = LanguageModel(config, symbols="word", sequences="line").fit(LINES, valid=LINES)
    lm.save(tmp_path / "model")
    back = st.load(tmp_path / "model")
    assert back.config == config
    language_model_to_arpa(lm, tmp_path / "model.arpa")
    read = language_model_from_arpa(tmp_path / "model.arpa")
    text = [*LINES, "the log sat on a cow"]
    for other in (back, read):
        assert other.score(text).perplexity == pytest.approx(lm.score(text).perplexity, rel=1e-12)


def test_weights_of_another_width_or_cut_are_refused() -> None:
    weights = fitted(4, order=3).state_dict()
    with pytest.raises(RuntimeError, match=r"has books of shape \(2, 16\), expected \(2, 32\)"):
        MarkovModel(st.Markov(order=3, quantize_bits=5), V, BOUNDARY).load_state_dict(weights)
    with pytest.raises(RuntimeError, match="log_prob of shape"):
        MarkovModel(st.Markov(order=3), V, BOUNDARY).load_state_dict(weights)
    with pytest.raises(RuntimeError, match="Missing key"):
        MarkovModel(st.Markov(order=3, quantize_bits=4), V, BOUNDARY).load_state_dict(
            fitted(None, order=3).state_dict()
        )
    cut = {**weights, "table.code": weights["table.code"][:-1]}
    with pytest.raises(RuntimeError, match="has code of shape"):
        MarkovModel(st.Markov(order=3, quantize_bits=4), V, BOUNDARY).load_state_dict(cut)


def test_the_record_says_how_many_ngrams_are_not_quantized() -> None:
    model = MarkovModel(st.Markov(order=2, quantize_bits=4), V, BOUNDARY)
    facts = model.fit_closed_form(corpus(0, num_lines=5000))
    assert facts["not_quantized"] == len(model.table.kept)


@pytest.mark.parametrize("options", [{"quantize_bits": 3}, {"quantize_bits": 9}])
def test_a_code_has_four_to_eight_bits(options: dict) -> None:
    with pytest.raises(ConfigError, match="quantize_bits"):
        st.Markov(**options)


def test_the_option_of_models_saved_by_0_1_0_is_read() -> None:
    record = {"family": "markov", "options": {"order": 2, "quantise_bits": 4}}
    assert restore(record) == st.Markov(order=2, quantize_bits=4)


def test_a_model_read_from_a_file_is_not_quantized() -> None:
    with pytest.raises(ConfigError, match="keeps its numbers"):
        st.Markov(smoothing="arpa", quantize_bits=8)
