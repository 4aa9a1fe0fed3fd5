"""Callbacks of training: every step, every evaluation, the end; stopping, and failing by name."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

import seriatim as st
from seriatim.train.callbacks.callbacks import CallbackError
from seriatim.train.callbacks.history import Evaluation, History, Progress, TrainingStep
from seriatim.train.callbacks.log import JsonLines
from seriatim.train.loop import fit
from tests.train.test_train import Bigram, small, stream


def test_every_step_is_reported_with_its_own_loss() -> None:
    steps: list[TrainingStep] = []
    evaluations: list[Evaluation] = []
    ends: list[History] = []
    callbacks = st.Callbacks(
        on_step=steps.append, on_evaluation=evaluations.append, on_end=ends.append
    )
    options = small(steps=10, evaluate_every=5)
    history = fit(Bigram(), stream(), stream(), options, callbacks=callbacks)
    assert [step.step for step in steps] == [*range(1, 11)]
    assert tuple(evaluations) == history.evaluations and ends == [history]
    # The mean over the targets since the evaluation before is what the evaluation records.
    nats = sum(s.train_nats * s.num_targets for s in steps[:5])
    assert nats / sum(s.num_targets for s in steps[:5]) == pytest.approx(
        evaluations[1].train_nats, rel=1e-12
    )
    assert steps[4].gradient_norm == evaluations[1].gradient_norm


def test_following_every_step_changes_no_bit() -> None:
    followed, alone = Bigram(), Bigram()
    options = small(steps=12, evaluate_every=5)
    watched = fit(
        followed, stream(), stream(), options, callbacks=st.Callbacks(on_step=lambda s: None)
    )
    unwatched = fit(alone, stream(), stream(), options)
    assert bool((followed.table == alone.table).all())
    assert [e.train_nats for e in watched.evaluations] == [
        e.train_nats for e in unwatched.evaluations
    ]


@pytest.mark.parametrize("name", ["on_step", "on_evaluation", "progress", "should_stop"])
def test_a_callback_stops_training_and_says_why(name: str) -> None:
    calls = []

    def enough(*values: object) -> bool:
        calls.append(values)
        if len(calls) == 3:
            raise st.StopTraining("that is enough")
        return False

    options = small(steps=100, evaluate_every=5)
    callbacks = st.Callbacks(**{name: enough})  # type: ignore[arg-type]
    history = fit(Bigram(), stream(), stream(), options, callbacks=callbacks)
    assert history.stopped == "stopped" and history.steps_done < 15
    assert len(calls) == 3
    assert f"stopped by a callback after step {history.steps_done}: that is enough" in history.notes


@pytest.mark.parametrize("name", ["on_step", "on_evaluation", "on_end", "progress", "should_stop"])
def test_a_failing_callback_is_named_and_the_model_has_its_best_weights(name: str) -> None:
    def draw_my_plot(*values: object) -> None:
        raise KeyError("axis")

    model = Bigram()
    options = small(steps=10, evaluate_every=5)
    callbacks = st.Callbacks(**{name: draw_my_plot})  # type: ignore[arg-type]
    with pytest.raises(CallbackError, match=r"draw_my_plot failed .* step \d+: KeyError: 'axis'"):
        fit(model, stream(), stream(), options, callbacks=callbacks)
    assert not model.training


def test_all_records_of_training_share_their_names() -> None:
    names = {kind: {f.name for f in fields(kind)} for kind in (TrainingStep, Progress, Evaluation)}
    assert names[TrainingStep] - {"num_targets"} <= names[Progress] & names[Evaluation]
    assert names[Evaluation] <= names[Progress]


def test_a_log_of_every_second_step(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    callbacks = st.Callbacks(progress=log, on_step=log.every(2))
    fit(Bigram(), stream(), stream(), small(steps=6, evaluate_every=3), callbacks=callbacks)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == [2, 4, 6]
    assert [line["step"] for line in lines if line["event"] == "evaluation"] == [0, 3, 6]
    assert all("train_nats" in line for line in lines)
