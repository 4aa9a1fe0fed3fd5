"""Warnings about exploding and vanishing gradients and states, cost estimates, and logs."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import seriatim as st
from seriatim.core.model import SequenceModel
from seriatim.core.records import from_json, to_json
from seriatim.data.batches.corpus import StreamChunks
from seriatim.errors import TrainingError
from seriatim.models.build import build_model
from seriatim.train.callbacks.history import Evaluation, Progress
from seriatim.train.callbacks.log import JsonLines, call_all
from seriatim.train.callbacks.loss_curve import draw_losses
from seriatim.train.callbacks.monitor import Monitor, MonitorState, state_size
from seriatim.train.estimate import estimate, fit_into_memory, is_out_of_memory
from seriatim.train.loop import fit
from seriatim.train.options import TrainingOptions
from seriatim.train.trainer import Trainer
from tests.train.test_checkpoint import small
from tests.train.test_resume import corpus

A_PROGRESS = Progress(
    step=3,
    steps=9,
    epoch=0.5,
    train_nats=1.0,
    valid_nats=2.0,
    learning_rate=1e-3,
    gradient_norm=0.5,
    tokens_per_second=100.0,
    seconds=1.0,
    seconds_left=2.0,
    is_best=True,
    is_evaluation=True,
)


# ---- monitors ------------------------------------------------------------------------------------


def test_a_gradient_far_above_the_usual_is_reported_once() -> None:
    monitor = Monitor(clip=None)
    assert monitor.see_gradients([1.0] * 30 + [99.0], 31) == []
    (warning,) = monitor.see_gradients([1.0, 101.0, 500.0], 34)
    assert "exploded: its norm is 101 at step 33" in warning and "set clip" in warning
    (clipped,) = Monitor(clip=1.0).see_gradients([1.0] * 30 + [1e4], 31)
    assert "it was clipped to 1" in clipped


def test_a_vanishing_gradient_is_reported_after_twenty_steps() -> None:
    monitor = Monitor(clip=1.0)
    assert monitor.see_gradients([1.0] * 5 + [1e-9] * 19, 24) == []
    (warning,) = monitor.see_gradients([1e-9] * 5, 29)
    assert "vanished: its norm is 1.0e-09 at step 25" in warning


def test_warnings_do_not_depend_on_when_the_norms_arrive() -> None:
    norms = [1.0, 2.0] * 20 + [300.0] + [1.0] * 9 + [1e-8] * 30
    whole, parts = Monitor(None), Monitor(None)
    warnings = []
    for i, norm in enumerate(norms, 1):
        warnings += parts.see_gradients([norm], i)
        resumed = Monitor(None)
        resumed.state = from_json(MonitorState, to_json(parts.state), name="state")
        parts = resumed
    assert warnings == whole.see_gradients(norms, len(norms))
    assert len(warnings) == 2


def test_a_state_that_overflows_can_be_written_as_json() -> None:
    monitor = Monitor(None)
    for i, size in enumerate((1.0, 1.0, math.inf)):
        monitor.see_state(size, i)
    assert to_json(monitor.state)["states"]["recent"] == [1.0, 1.0]


def test_the_size_of_a_state_is_its_root_mean_square() -> None:
    carry = {"h": torch.tensor([[3.0, 4.0]]), "position": torch.tensor([7])}
    assert state_size(carry) == pytest.approx(math.sqrt(12.5))
    assert state_size(None) is None
    monitor = Monitor(None)
    assert [monitor.see_state(x, i) for i, x in enumerate((1.0, 1.0, 50.0))] == [[], [], []]
    (warning,) = monitor.see_state(1e4, 3)
    assert "the carried state grows without bound" in warning


def test_a_run_whose_gradient_explodes_has_a_note_of_it() -> None:
    model = build_model(st.RNN(hidden_size=8, nonlinearity="relu"), 7, 1)
    options = small(steps=40, learning_rate=1e-4)

    class Damaged(StreamChunks):
        def batch(self, step: int) -> st.Batch:
            if step == 30:
                with torch.no_grad():
                    model.get_parameter("embedding.weight").mul_(1e5)
            return super().batch(step)

    from seriatim.train.loop import train

    source = Damaged(corpus(700, 0), 1, batch_size=4, length=10)
    notes: list[str] = []
    history = train(
        model,
        source,
        None,
        options,
        callbacks=st.Callbacks(progress=lambda p: notes.extend(p.notes)),
    )
    assert any("the gradient exploded" in note for note in history.notes)
    assert any("the gradient exploded" in note for note in notes)


# ---- costs ---------------------------------------------------------------------------------------


def test_an_estimate_counts_parameters_moments_and_the_memory_of_a_step() -> None:
    model = build_model(st.LSTM(hidden_size=8), 7, 1)
    number = sum(p.numel() for p in model.parameters())

    def trainer(batch_size: int, accumulate: int = 1) -> Trainer:
        source = StreamChunks(corpus(4000, 0), 1, batch_size=batch_size, length=10)
        options = small(batch_size=batch_size, accumulate=accumulate)
        return Trainer(model.train(), source, options, 9)

    small_batch = estimate(trainer(4), 100, iter(range(99)).__next__)
    assert (small_batch.parameters, small_batch.steps, small_batch.seconds) == (number, 100, 100.0)
    assert small_batch.weight_bytes == 3 * 4 * number
    assert 2 * 4 * number <= small_batch.moment_bytes <= 2 * 4 * number + 100
    large = estimate(trainer(32), 100)
    assert 4.0 < large.step_bytes / small_batch.step_bytes < 12.0, "eight times the rows"
    parts = estimate(trainer(32, accumulate=8), 100)
    assert parts.step_bytes < 0.4 * large.step_bytes, "parts one after another need less"


@pytest.mark.parametrize(("seconds", "batches"), [(1.0, [0, 0]), (10.0, [0])])
def test_an_estimate_measures_one_batch_again_if_that_is_quick(
    seconds: float, batches: list[int]
) -> None:
    """Another batch might have sizes of its own, whose kernels are set up in its first step."""
    seen: list[int] = []

    class Watched(StreamChunks):
        def batch(self, step: int) -> st.Batch:
            seen.append(step)
            return super().batch(step)

    model = build_model(st.GRU(hidden_size=8), 7, 1)
    source = Watched(corpus(4000, 0), 1, batch_size=4, length=10)
    clock = (seconds * i for i in range(99))
    estimate(Trainer(model.train(), source, small(batch_size=4), 9), 100, clock.__next__)
    assert seen == batches


def limit_rows(model: SequenceModel, rows: int) -> None:
    """Let the model run out of memory with more rows."""

    def refuse(module: torch.nn.Module, args: tuple[st.Batch, ...]) -> None:
        if args[0].shape[0] > rows:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    model.register_forward_pre_hook(refuse)


def test_auto_batch_halves_the_rows_until_a_step_fits_and_learns_the_same() -> None:
    limited, free = (build_model(st.GRU(hidden_size=8), 7, 1) for _ in range(2))
    free.load_state_dict(limited.state_dict())
    limit_rows(limited, 3)
    data = corpus(700, 0)
    history = fit(limited, data, None, small(batch_size=8, auto_batch=True))
    assert history.options["accumulate"] == 4
    fit(free, data, None, small(batch_size=8))
    for mine, theirs in zip(limited.parameters(), free.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_out_of_memory_names_the_batch_and_what_to_lower() -> None:
    model = build_model(st.GRU(hidden_size=8), 7, 1)
    before = [p.clone() for p in model.parameters()]
    limit_rows(model, 3)
    with pytest.raises(TrainingError, match=r"batches of 8 rows x 10: use --auto-batch, raise acc"):
        fit(model, corpus(700, 0), None, small(batch_size=8))
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)
    limit_rows(model, 0)
    with pytest.raises(TrainingError, match=r"8 rows x 10 in 8 parts"):
        fit(model, corpus(700, 0), None, small(batch_size=8, auto_batch=True))


def test_other_errors_are_not_taken_for_out_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))

    def broken(options: TrainingOptions) -> Trainer:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit_into_memory(small(), 4, broken)


# ---- logs ----------------------------------------------------------------------------------------


def test_a_log_has_a_line_for_each_evaluation_and_note_and_few_between(tmp_path: Path) -> None:
    now = 0.0
    log = JsonLines(tmp_path / "new" / "log.jsonl", clock=lambda: now)
    log(replace(A_PROGRESS, notes=("look out",)))
    for now in (1.0, 5.0, 9.0, 11.0, 12.0):  # the clock reads it
        log(replace(A_PROGRESS, is_evaluation=False, step=int(now)))
    lines = (tmp_path / "new" / "log.jsonl").read_text().splitlines()
    note, evaluation, progress = map(json.loads, lines)
    assert (note["event"], note["text"]) == ("note", "look out")
    assert (evaluation["event"], evaluation["valid_nats"], evaluation["step"]) == (
        "evaluation",
        2.0,
        3,
    )
    assert (progress["event"], progress["step"]) == ("progress", 11)


def test_a_line_cut_by_a_kill_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "evaluation", "step": 1}\n{"event": "eval')
    JsonLines(path)(A_PROGRESS)
    first, cut, last = path.read_text().splitlines()
    assert (json.loads(first)["step"], cut, json.loads(last)["step"]) == (1, '{"event": "eval', 3)


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reports: list[Progress] = []
    progress = call_all(JsonLines(tmp_path / "file" / "log.jsonl"), reports.append)
    progress(A_PROGRESS)
    progress(A_PROGRESS)
    assert len(reports) == 2


def test_the_curve_of_the_loss_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    evaluations = [Evaluation(i, i / 9, 2.0 / i, 3.0 / i, 1e-3, 1.0, 1.0, True) for i in (1, 2, 3)]
    draw_losses(evaluations, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["loss.png"]


@pytest.mark.filterwarnings("ignore")  # of tensorboard and what it imports
def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from seriatim.train.callbacks.tensorboard import TensorBoard

    with TensorBoard(tmp_path) as board:
        board(A_PROGRESS)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    names = {"train_nats", "valid_nats", "learning_rate", "gradient_norm", "tokens_per_second"}
    assert set(events.Tags()["scalars"]) == names  # those of `Progress`, and so of log.jsonl
    (point,) = events.Scalars("valid_nats")
    assert (point.step, point.value) == (3, 2.0)
