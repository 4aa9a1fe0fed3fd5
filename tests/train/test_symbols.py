"""`st.train`: any model of symbols on arrays, tensors, lists and files, or one clear sentence."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.errors import ConfigError, ContractError, DataError, OutputError
from tests.train.test_train import Bigram, V, small, weights

IDS = np.arange(200) % V
OPTIONS = {"steps": 4, "batch_size": 4, "length": 8}

KINDS: dict[str, Callable[[Path], Any]] = {
    "list": lambda folder: IDS.tolist(),
    "array": lambda folder: IDS,
    "narrow array": lambda folder: IDS.astype(np.uint8),
    "tensor": lambda folder: torch.tensor(IDS),
    "file": lambda folder: _saved(folder, IDS),
    "name of a file": lambda folder: str(_saved(folder, IDS)),
    "mapped": lambda folder: np.load(_saved(folder, IDS), mmap_mode="r"),
}


def _saved(folder: Path, ids: Any) -> Path:
    np.save(folder / "ids.npy", ids)
    return folder / "ids.npy"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_stream_trains_the_same_weights(kind: str, tmp_path: Path) -> None:
    model, usual = Bigram(), Bigram()
    history = st.train(model, KINDS[kind](tmp_path), IDS[:50], OPTIONS)
    st.train(usual, IDS, IDS[:50], OPTIONS)
    assert torch.equal(weights(model), weights(usual)) and weights(model).any()
    assert history.steps_done == 4 and history.best_valid_nats is not None


@pytest.mark.parametrize(
    "rows",
    [IDS.reshape(20, 10), torch.tensor(IDS.reshape(20, 10)), list(IDS.reshape(20, 10))],
    ids=["array", "tensor", "list of arrays"],
)
def test_sequences_end(rows: Any) -> None:
    model, usual = Bigram(), Bigram()
    st.train(model, rows, options=OPTIONS)
    st.train(usual, IDS.reshape(20, 10).tolist(), options=OPTIONS)
    assert torch.equal(weights(model), weights(usual)) and weights(model).any()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "the training data holds no symbol"),
        ([[], []], "the training data holds no symbol"),
        (np.array([0.0, 1.0]), "holds float64 where ids are needed"),
        ([[0, 1], [0.5]], "sequence 2 of the training data holds float64"),
        ([0, 1, V], rf"the id {V} at position 2, and the model has the symbols 0 .. {V - 1}"),
        ([0, -1], "the id -1 at position 1"),
        (np.zeros((2, 2, 2), int), r"has the shape \(2, 2, 2\)"),
        ([[0], [[1]]], r"sequence 2 of the training data has the shape \(1, 1\)"),
        ([[[0], [1, 2]]], "no array of ids"),
        (["a text"], "a list of texts, and ids are needed"),
        ("a text", r"a text is no .npy file"),
        ("none.npy", "there is no file none.npy"),
        (None, "the training data is a NoneType"),
        ({"ids": [1]}, "the training data is a dict"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        st.train(Bigram(), data, options=OPTIONS)


def test_what_is_no_model_or_option_is_refused() -> None:
    with pytest.raises(ContractError, match="a SequenceModel is needed, and a Linear was given"):
        st.train(torch.nn.Linear(2, 2), IDS)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"unknown option stesp; did you mean steps\?"):
        st.train(Bigram(), IDS, options={"stesp": 3})


def test_a_run_is_stopped_and_resumed_to_the_bit(tmp_path: Path) -> None:
    def enough(step: Any) -> None:
        if step.step == 5:
            raise st.StopTraining

    options = small(steps=12, evaluate_every=4)
    cut, whole = Bigram(), Bigram()
    stop = st.Callbacks(on_step=enough)
    run = tmp_path / "run"
    assert st.train(cut, IDS, IDS[:50], options, stop, checkpoints=run).steps_done == 5
    with pytest.raises(OutputError):
        st.train(Bigram(), IDS, IDS[:50], options, checkpoints=run)
    resumed = Bigram()
    history = st.train(resumed, IDS, IDS[:50], options, checkpoints=run, resume=True)
    st.train(whole, IDS, IDS[:50], options)
    assert history.resumed_at == (5,) and torch.equal(weights(resumed), weights(whole))


def test_the_package_is_called_whatever_was_imported_before() -> None:
    import seriatim.train.loop as loop

    assert st.train is sys.modules["seriatim.train"] and loop.train is st.train.train  # type: ignore[attr-defined]
    assert [*inspect.signature(st.train).parameters][:3] == ["model", "data", "valid"]
