"""The number of threads follows from the sizes of a model's products, and from nothing else."""

import pytest
import torch

import seriatim as st
from seriatim.core import threads
from seriatim.core.model import SequenceModel
from seriatim.core.threads import suited_threads, threads_for


@pytest.fixture(autouse=True)
def _eight_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


def _lstm(size: int, symbols: int = 65) -> SequenceModel:
    return st.build_model(st.LSTM(hidden_size=size), symbols, 0)


def test_small_products_are_not_divided_and_large_ones_are() -> None:
    assert suited_threads(_lstm(64), 16, 64) == 1
    assert 1 < suited_threads(_lstm(128), 16, 64) < 8
    assert suited_threads(_lstm(650), 256, 128) == 8


def test_the_rows_of_a_bounded_model_are_multiplied_at_once() -> None:
    config = st.Transformer(model_size=128, num_layers=1, num_heads=4)
    model = st.build_model(config, 65, 0)
    assert suited_threads(model, 1, 1) == 1
    assert suited_threads(model, 32, 256) > 1


def test_a_large_vocabulary_is_worth_threads() -> None:
    assert suited_threads(_lstm(64, 5000), 16, 64) > suited_threads(_lstm(64), 16, 64)


def test_a_number_that_was_named_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_is_fixed", True)
    with threads_for(_lstm(64), 1, 1) as number:
        assert number == 8
    monkeypatch.setattr(threads, "_is_fixed", False)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert suited_threads(_lstm(64), 1, 1) == 8


def test_the_number_is_recorded() -> None:
    text = ["the cat sat on the mat"] * 40
    lm = st.LanguageModel(st.LSTM(hidden_size=4, embedding_size=4), sequences="line")
    lm.fit(text, valid=text, steps=1, score=False)
    assert lm.training.fit is not None
    assert lm.training.fit.threads == 8  # of the patched function
    assert "threads 1 of 8: small products are not divided" in lm.training.fit.notes
