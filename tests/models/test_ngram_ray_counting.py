"""Counting on a cluster: a local Ray of two workers gives the counts of one process."""

import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from seriatim.data.corpus import Corpus
from seriatim.errors import ConfigError
from seriatim.models import Markov, configure
from seriatim.models.markov import MarkovModel
from seriatim.models.ngram.counting import Counts
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_corpus
from seriatim.models.ngram.ray_counting import count_on_cluster

V, BOUNDARY = 12, 1


def corpus(*, is_stream: bool = False) -> Corpus:
    rng = np.random.default_rng(0)
    ids = np.delete(np.arange(V), BOUNDARY)
    p = 1 / np.arange(1, V)
    lines = [rng.choice(ids, n, p=p / p.sum()) for n in rng.integers(0, 12, 200)]
    return Corpus.from_tokens(lines, is_stream=is_stream)


def padded(*, is_stream: bool = False) -> PaddedCorpus:
    text = corpus(is_stream=is_stream)
    return PaddedCorpus(text.tokens, text.offsets, boundary=BOUNDARY, is_stream=is_stream)


def assert_equal(one: Counts, other: Counts) -> None:
    for name in ("starts", "key", "suffix", "count", "first", "num_first"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray = pytest.importorskip("ray", reason="needs ray: pip install seriatim[ray]")
        ray.init(
            num_cpus=2,
            object_store_memory=100_000_000,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
        yield
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("is_stream", [False, True])
def test_two_workers_count_what_one_process_counts(is_stream: bool) -> None:
    text = padded(is_stream=is_stream)
    expected = count_corpus(text, order=5, num_symbols=V)
    for size in (None, 150):  # two blocks, and ten that are merged in two steps
        result = count_on_cluster(text, order=5, num_symbols=V, workers=2, block_size=size)
        assert_equal(result, expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("local_ray")
def test_a_model_fitted_by_workers_is_bit_identical() -> None:
    one, two = (MarkovModel(Markov(order=4, workers=workers), V, BOUNDARY) for workers in (None, 2))
    assert one.fit_closed_form(corpus()) == two.fit_closed_form(corpus())
    assert one.fingerprint() == two.fingerprint()


def test_without_ray_workers_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'seriatim\[ray\]'"):
        MarkovModel(Markov(order=2, workers=2), V, BOUNDARY).count(corpus())


@pytest.mark.slow
def test_workers_and_memory_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="workers count elsewhere: give one"):
        configure("markov", {"workers": 2, "memory": "1GB"})
