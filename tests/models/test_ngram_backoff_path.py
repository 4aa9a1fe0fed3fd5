"""The backoff path: the match and the backoffs add up to ln p, for every kind of table."""

import numpy as np
import pytest
import torch

from seriatim.models import Markov
from seriatim.models.build import build_model
from seriatim.models.markov import MarkovModel
from seriatim.models.ngram.backoff_path import backoff_path, known_context

V, N = 5, 400


class Corpus:
    """Two sequences of random symbols."""

    tokens = np.random.default_rng(1).integers(0, V, N).astype(np.uint8)
    offsets = np.array([0, 150, N])
    is_stream = False


CONFIGS = {
    "kneser-ney": Markov(order=4),
    "order 1": Markov(order=1),
    "order 2": Markov(order=2, smoothing="witten-bell"),
    "pruned": Markov(order=4, prune=(0, 0, 3)),
    "pruned by entropy": Markov(order=4, prune_entropy=1e-3),
    "quantized": Markov(order=3, quantize_bits=4),
    "add-k": Markov(order=3, smoothing="add-k"),
}


def fitted(name: str) -> MarkovModel:
    model = build_model(CONFIGS[name], V, 1)
    assert isinstance(model, MarkovModel)
    model.fit_closed_form(Corpus())
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_the_parts_of_all_context_lengths_sum_to_the_log_probability(name: str) -> None:
    model = fitted(name)
    x = np.random.default_rng(2).integers(0, V, (4, 60))
    context = model.table.fold(np.full((4, model.config.order - 1), -1), x)
    targets = np.random.default_rng(3).integers(0, V, (4, 60))
    order, nats = backoff_path(
        model.table, context.reshape(240, model.config.order - 1), targets.reshape(-1)
    )
    assert nats.shape == (240, model.config.order)
    np.testing.assert_allclose(
        nats.sum(1), model.table.score(context, targets).reshape(-1), rtol=1e-12
    )
    assert (nats[np.arange(240), order] < 0).all()
    shorter = np.arange(model.config.order) < order[:, None]
    assert (nats[shorter] == 0).all(), "contexts shorter than the match contribute nothing"


@pytest.mark.parametrize("name", ["kneser-ney", "pruned", "pruned by entropy"])
def test_the_match_is_the_longest_ngram_in_the_table(name: str) -> None:
    model = fitted(name)
    table, n = model.table, model.config.order
    keys: dict[int, tuple[int, ...]] = {i: (i,) for i in range(V)}
    bits = (V - 1).bit_length()
    for rank, key in enumerate(table.keys().tolist()):
        keys[V + rank] = (*keys[key >> bits], key & ((1 << bits) - 1))
    listed = set(keys.values())
    x = np.random.default_rng(4).integers(0, V, 200)
    context = table.fold(np.full((1, n - 1), -1), x[None, :-1])[0]
    order, _ = backoff_path(table, context, x[1:])
    known = known_context(context)
    for t in range(1, len(x)):
        past = tuple(x[:t].tolist())
        matches = [m for m in range(min(n, t + 1)) if (*past[t - m :], int(x[t])) in listed]
        assert order[t - 1] == max(matches)
        contexts = [m for m in range(1, min(n, t + 1)) if past[t - m :] in listed]
        assert known[t - 1] == max([0, *contexts])


def test_without_context_the_path_is_a_unigram() -> None:
    model = fitted("order 1")
    x = torch.arange(V).numpy()
    order, nats = backoff_path(model.table, np.empty((V, 0), np.int64), x)
    assert order.tolist() == [0] * V
    np.testing.assert_allclose(np.exp(nats).sum(), 1.0)
    assert known_context(np.empty((V, 0), np.int64)).tolist() == [0] * V
