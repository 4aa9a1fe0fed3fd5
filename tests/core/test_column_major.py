"""Column-major weights: the same values, gradients, runs and files as row-major ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import seriatim as st
from seriatim.core import column_major
from seriatim.core.column_major import (
    cat_rows,
    is_column_major,
    to_column_major,
    to_row_major,
    transposed,
    transposed_weights,
    weight_gradient,
)
from seriatim.core.linear_softmax import linear_log_prob
from seriatim.data.batches.corpus import StreamChunks
from seriatim.errors import TrainingError
from seriatim.layers.kernels import recurrence
from seriatim.models.build import build_model
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.loop import fit
from seriatim.train.optimizer import moments
from seriatim.train.options import TrainingOptions
from seriatim.train.trainer import Trainer
from tests.train.test_train import stream


def model(**more: Any) -> Any:
    torch.manual_seed(0)
    return build_model(st.LSTM(hidden_size=8, num_layers=1, **more), 30, 1)


def small(**more: Any) -> TrainingOptions:
    options = {"steps": 9, "batch_size": 4, "length": 10, "carry": True, "seed": 3}
    return TrainingOptions(**{**options, "precision": "bf16", **more})


@pytest.mark.parametrize("shape", [(1, 5), (7, 3), (128, 4), (300, 130)])
def test_transposed_is_contiguous(shape: tuple[int, int]) -> None:
    x = torch.randn(shape)
    assert torch.equal(transposed(x), x.t())
    assert transposed(x).is_contiguous()


def test_which_matrices_are_column_major() -> None:
    assert is_column_major(transposed(torch.randn(5, 3)).t())
    assert is_column_major(transposed(torch.randn(5, 3)).t()[1:4])  # some rows of it
    assert not is_column_major(torch.randn(5, 3))
    assert not is_column_major(torch.randn(1, 5))  # both orders at once: nothing to gain
    assert not is_column_major(torch.randn(5))


@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("small", [0, 2**20], ids="small up to {}".format)
def test_products_and_stacked_rows_keep_the_memory_order(
    by_columns: bool, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_major, "_SMALL", small)
    dy, x, like = torch.randn(20, 6).double(), torch.randn(20, 4).double(), torch.randn(6, 4)
    like = transposed(like).t() if by_columns else like
    gradient = weight_gradient(dy, x, like)
    torch.testing.assert_close(gradient, dy.t() @ x)
    joined = cat_rows([like[4:], like[:4]])
    assert torch.equal(joined, torch.cat([like[4:], like[:4]]))
    assert is_column_major(gradient) == is_column_major(joined) == by_columns


def gradients(kind: str, is_transposed: bool, mask: Tensor | None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    gates, size = {"lstm": (4, 5), "gru": (3, 5)}[kind]
    shapes = [(gates * size, 3), (gates * size, size), (gates * size,), (gates * size,)]
    weights = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    if is_transposed:
        weights = [transposed(w).t() if w.ndim == 2 else w for w in weights]
    x = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    h = torch.randn(2, size, generator=generator, dtype=torch.float64)
    for tensor in (*weights, x, h):
        tensor.requires_grad_()
    states = (
        recurrence.lstm(x, h, h, weights, mask)[0]
        if kind == "lstm"
        else recurrence.gru(x, h, weights, mask)
    )
    states.cos().sum().backward()
    grads = [t.grad for t in (*weights, x, h)]
    assert all(is_column_major(g) == is_transposed for g in grads[:2] if g is not None)
    return [states.detach(), *(g for g in grads if g is not None)]


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrences_have_the_same_values_and_gradients(kind: str, is_masked: bool) -> None:
    mask = torch.tensor([[0.0, 2, 2, 0, 2], [2, 2, 0, 0, 2]]).double() if is_masked else None
    rows, columns = gradients(kind, False, mask), gradients(kind, True, mask)
    assert len(rows) == len(columns) == 7
    torch.testing.assert_close(columns, rows, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("group_bytes", [2**26, 2**17])  # one group, and several
def test_log_probabilities_have_the_same_values_and_gradients(
    group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seriatim.core.linear_softmax._GROUP_BYTES", group_bytes)
    torch.manual_seed(0)
    h, w, b = (torch.randn(s, dtype=torch.float64) for s in ((150, 6), (200, 6), (200,)))
    targets = torch.randint(200, (150,))
    results = []
    for weight in (w, transposed(w).t()):
        own = [t.detach().clone().requires_grad_() for t in (h, weight, b)]
        values = linear_log_prob(*own, targets, 0.1)
        values.sum().backward()
        results.append([values.detach(), *(t.grad for t in own)])
        assert is_column_major(own[1].grad) == is_column_major(weight)
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_changing_the_memory_order_and_back_changes_no_value() -> None:
    lm = model()
    before = {name: p.detach().clone() for name, p in lm.named_parameters()}
    weights = to_column_major(lm)
    assert [p is lm.head.weight for p in weights] == [True]
    lm.head.weight.grad = lm.head.weight.detach() * 2
    with transposed_weights(weights):
        assert lm.head.weight.shape == (8, 30) and lm.head.weight.is_contiguous()
        assert torch.equal(lm.head.weight.grad, 2 * before["head.weight"].t())
    assert is_column_major(lm.head.weight) and is_column_major(lm.head.weight.grad)
    to_row_major(weights)
    assert all(p.is_contiguous() for p in lm.parameters())
    assert all(torch.equal(p, before[name]) for name, p in lm.named_parameters())


def test_only_weights_that_gain_become_column_major() -> None:
    def names(config: Any, num_symbols: int) -> set[str]:
        lm = build_model(config, num_symbols, 1)
        to_column_major(lm)
        return {name for name, p in lm.named_parameters() if is_column_major(p)}

    cells = {"layers.0.weight_ih", "layers.0.weight_hh"}
    assert names(st.LSTM(hidden_size=448), 20) == cells
    assert names(st.LSTM(hidden_size=16), 20) == {"head.weight"}
    assert names(st.GRU(hidden_size=192), 500) == {"head.weight", *cells}
    assert names(st.RNN(hidden_size=320), 20) == set()
    assert (
        names(st.LSTM(hidden_size=16, tie_embeddings=True), 20) == set()
    )  # its rows are looked up


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_updates_equal_those_of_row_major_weights(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, results = StreamChunks(stream(), 1, batch_size=4, length=10), []
    options = small(optimizer=optimizer, learning_rate=0.01, clip=0.05)
    for reorder in (to_column_major, lambda _: []):
        monkeypatch.setattr("seriatim.train.trainer.to_column_major", reorder)
        lm = model().train()
        trainer = Trainer(lm, source, options, 9)
        for _ in range(9):
            trainer.update()
        assert is_column_major(lm.head.weight) == (reorder is to_column_major)
        state = {name: t.clone() for name, t in moments(lm, trainer.optimizer).items()}
        trainer.release()
        results.append(({name: p.detach() for name, p in lm.named_parameters()}, state))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_weights_that_are_column_major_already_are_trained_alike(precision: str) -> None:
    source, results = StreamChunks(stream(), 1, batch_size=4, length=10), []
    for is_own in (False, True):
        lm = model(
            tie_embeddings=True
        ).train()  # so that the trainer leaves all weights as they are
        cell = lm.layers[0]
        if is_own:
            cell.weight_hh.data = transposed(cell.weight_hh.data).t()
        trainer = Trainer(lm, source, small(precision=precision, learning_rate=0.01), 9)
        for _ in range(9):
            trainer.update()
        state = {name: t.clone() for name, t in moments(lm, trainer.optimizer).items()}
        trainer.release()
        assert is_column_major(cell.weight_hh) == is_own  # left as it was
        results.append(({name: p.detach() for name, p in lm.named_parameters()}, state))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-4)


def test_weights_are_row_major_after_a_run_even_a_failed_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = model()
    fit(lm, stream(), stream(), small())
    assert all(p.is_contiguous() for p in lm.parameters())
    broken = model()
    monkeypatch.setattr(
        "seriatim.train.trainer.clip_gradient", lambda *_, **__: torch.tensor(torch.nan)
    )
    with pytest.raises(TrainingError, match="norm of the gradient is nan"):
        fit(broken, stream(), None, small())
    assert all(p.is_contiguous() for p in broken.parameters())


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    whole = model()
    fit(whole, stream(), stream(), small())
    cut, steps = model(), iter(range(5))
    checkpoints = Checkpoints(folder=tmp_path, minutes=0.0)
    stop = Callbacks(should_stop=lambda: next(steps, None) is None)
    fit(cut, stream(), stream(), small(), checkpoints=checkpoints, callbacks=stop)
    again = model()
    resumed = Checkpoints(folder=tmp_path, minutes=0.0, resume=True)
    history = fit(again, stream(), stream(), small(), checkpoints=resumed)
    assert history.steps == 9
    for name, p in whole.named_parameters():
        assert torch.equal(p, again.get_parameter(name)), name
