"""Count and entropy pruning: what is dropped, what stays, and that rows still sum to 1."""

import itertools
import math

import numpy as np
import pytest
import torch

from seriatim.errors import ConfigError
from seriatim.export.arpa_files import spell
from seriatim.models import configure
from seriatim.models.ngram.pruning import normalize, prune_by_entropy
from tests.models.test_ngram_sampling import METHODS, V, contexts, fitted

PRUNED = [method for method in METHODS if method != "add-k"]


@pytest.mark.parametrize("smoothing", PRUNED)
@pytest.mark.parametrize(
    "options", [{"prune": (0, 1)}, {"prune": (0, 0, 2)}, {"prune_entropy": 1e-3}]
)
def test_a_pruned_model_is_smaller_and_its_rows_sum_to_one(smoothing: str, options: dict) -> None:
    whole, model = fitted(4, smoothing), fitted(4, smoothing, **options)
    assert sum(model.table.num_ngrams) < sum(whole.table.num_ngrams)
    rows = contexts(model).dense().exp()
    torch.testing.assert_close(rows.sum(-1), torch.ones(40, 6).double(), rtol=0, atol=1e-12)


def test_thresholds_of_zero_prune_nothing() -> None:
    assert fitted(4, prune=(0, 0)).fingerprint() == fitted(4).fingerprint()


@pytest.mark.parametrize("smoothing", ["kneser-ney", "witten-bell"])
def test_backoff_weights_are_those_that_normalize(smoothing: str) -> None:
    backoff_model = fitted(4, smoothing).table.backoff_model()
    again = normalize(backoff_model)
    np.testing.assert_allclose(again.log_backoff, backoff_model.log_backoff, atol=1e-12)


def test_the_loss_of_an_ngram_is_the_relative_entropy_it_costs() -> None:
    """By enumeration: drop one bigram of a bigram model, and compare whole rows.

    D = p(h) sum of p(w|h) ln p(w|h) / q(w|h), with q the model without it and renormalized.
    """
    model = fitted(2, "witten-bell")
    table, backoff_model = model.table, model.table.backoff_model()
    single = 10 ** backoff_model.log_prob[:V]
    contexts_, last = spell(
        backoff_model.starts, backoff_model.key, np.arange(V, V + len(backoff_model.key)), 2
    )
    costs = []
    for h, w in zip(contexts_, last, strict=True):
        row = np.exp(table.rows(np.array([[h]]))[0])
        seen = [int(x) for x in table.successors(np.array([h]))[1] if x != w]
        other = single * (1 - row[seen].sum()) / (1 - single[seen].sum())
        other[seen] = row[seen]
        costs.append(math.expm1(single[h] * float((row * np.log(row / other)).sum())))
    ranked = np.sort(costs)
    real = int(
        (ranked < 1e-9).sum()
    )  # after contexts that saw every symbol, one of them costs nothing
    for cut in (real, real + 9, len(ranked) - 9):
        threshold = (ranked[cut] + ranked[cut + 1]) / 2
        pruned = prune_by_entropy(backoff_model, threshold)
        np.testing.assert_array_equal(pruned.key, backoff_model.key[np.array(costs) >= threshold])


def test_prefixes_of_longer_ngrams_stay() -> None:
    pruned = prune_by_entropy(fitted(4).table.backoff_model(), 1e-3)
    sizes = np.diff(pruned.starts)
    assert sizes[3] > 0
    bits = 4
    prefixes = pruned.key >> bits
    assert bool((prefixes < np.repeat(pruned.starts[1:-1], sizes[1:])).all())
    everything = prune_by_entropy(fitted(4).table.backoff_model(), 1e9)
    assert np.diff(everything.starts).tolist() == [V, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune": (1,)}, "the first must be 0"),
        ({"prune": (0, 2, 1)}, "falls"),
        ({"prune": (0,) * 6}, "needs at most 5 counts"),
        ({"prune": (0, 1), "smoothing": "add-k"}, "add-k cannot be pruned"),
    ],
)
def test_invalid_thresholds_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure("markov", options)


def test_samples_of_a_pruned_model_follow_its_rows() -> None:
    model = fitted(3, prune_entropy=1e-3)
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    for h in itertools.islice(range(V), 3):
        nodes = model.advance(model.empty(1), torch.tensor([[h]]), None)[0][0]
        drawn = model.emit(nodes.expand(2000, -1)).sample(grid)
        fraction = torch.bincount(drawn, minlength=V).double() / 2000
        expected = model.emit(nodes).dense()[0].exp()
        torch.testing.assert_close(fraction, expected, rtol=0, atol=4 / 2000)
