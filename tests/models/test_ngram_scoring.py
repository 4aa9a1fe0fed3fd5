"""Scoring a corpus at once equals scoring it batch by batch, bit for bit."""

import numpy as np
import pytest

from seriatim.data.corpus import Corpus
from seriatim.export.arpa_files import spell
from seriatim.metrics import likelihood
from seriatim.metrics.likelihood import surprisals
from seriatim.models import Markov
from seriatim.models.markov import MarkovModel
from seriatim.models.ngram import scoring

V, BOUNDARY = 12, 1


def corpus(seed: int, *, is_stream: bool = False) -> Corpus:
    """Symbols 0 and 2 .. 10 by Zipf's law; 11 is never seen; some lines are empty."""
    rng = np.random.default_rng(seed)
    ids = np.delete(np.arange(V - 1), BOUNDARY)
    p = 1 / np.arange(1, len(ids) + 1)
    sizes = rng.integers(0, 12, 150)
    return Corpus.from_tokens(
        [rng.choice(ids, n, p=p / p.sum()) for n in sizes], is_stream=is_stream
    )


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("chunk", [7, 64, 1 << 15])
@pytest.mark.parametrize(
    "options",
    [
        {"order": 1},
        {"order": 2},
        {"order": 5},
        {"order": 8},
        {"order": 4, "prune": (0, 0, 1)},
        {"order": 4, "prune_entropy": 1e-3},
        {"order": 4, "smoothing": "add-k"},
        {"order": 4, "smoothing": "stupid-backoff"},
    ],
    ids=str,
)
def test_a_corpus_at_once_has_the_surprisals_of_its_batches(
    options: dict, chunk: int, is_stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MarkovModel(Markov(**options), V, BOUNDARY)
    model.fit_closed_form(corpus(0, is_stream=is_stream))
    text = corpus(1, is_stream=is_stream)
    text.tokens[5] = V - 1
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    result, bounds = surprisals(model, text)
    monkeypatch.setattr(likelihood, "ScoresCorpora", str)  # no model is a str
    expected, expected_bounds = surprisals(model, text)
    np.testing.assert_array_equal(bounds, expected_bounds)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    "options",
    [{"order": 5}, {"order": 5, "prune": (0, 0, 1)}, {"order": 3, "smoothing": "add-k"}],
    ids=str,
)
def test_a_closed_table_has_the_suffix_of_every_ngram(options: dict) -> None:
    model = MarkovModel(Markov(**options), V, BOUNDARY)
    model.fit_closed_form(corpus(0))
    assert model.table.is_closed
    starts, key = model.table.starts.numpy(), model.table.keys()
    for m in range(2, len(starts)):
        first, *others = spell(starts, key, np.arange(starts[m - 1], starts[m]), m)
        node = others[0]
        for symbol in others[1:]:
            node = model.table.find(node, symbol)
        assert len(first) > 0
        assert bool((node >= 0).all())


def test_an_entropy_pruned_table_is_not_closed() -> None:
    assert not MarkovModel(Markov(order=4, prune_entropy=1e-3), V, BOUNDARY).table.is_closed
