"""A checkpoint on disk: whole or not at all, checked when read, and never the end of a run."""

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import seriatim as st
from seriatim.core import atomic
from seriatim.data.corpus import Corpus
from seriatim.errors import ConfigError, DataError, ModelError, OutputError
from seriatim.models.build import build_model
from seriatim.train.budget import Plan
from seriatim.train.callbacks.history import Evaluation, Progress
from seriatim.train.callbacks.monitor import Monitor
from seriatim.train.checkpoint import snapshot, store, writer
from seriatim.train.checkpoint.diff import compare
from seriatim.train.checkpoint.numbers import RunNumbers, RunSeconds
from seriatim.train.checkpoint.snapshot import Snapshot
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.loop import fit
from seriatim.train.options import TrainingOptions
from seriatim.train.schedule import PlateauState
from seriatim.train.trainer import TrainerNumbers
from tests.train.test_resume import CASES, built, corpus

ABOUT = {"model": {"size": 3}, "options": {"seed": 0}, "data": {"train": "a"}}
LSTM = CASES["lstm on a stream with carried state"]


def numbers(step: int) -> RunNumbers:
    return RunNumbers(
        step=step,
        plan=Plan(12, 4, 100),
        accumulate=1,
        precision="float32",
        threads=1,
        processes=1,
        evaluations=(Evaluation(0, 0.0, None, 1.9, 0.002, None, 0.1, True),),
        best_nats=1.9,
        monitor=Monitor(1.0).state,
        notes=("a note",),
        resumed_at=(),
        seconds=RunSeconds(3.0, 2.0, 1.0),
        trainer=TrainerNumbers(step, PlateauState(1.9, 0, 0), 40.0, 44, 3.5, 4.0, 0.002, 0.7),
    )


def a_snapshot(value: float = 1.0, best_step: int | None = 5) -> Snapshot:
    tensors = {"weights:w": torch.full((3, 2), value), "random:cpu": torch.get_rng_state()}
    return Snapshot(numbers(int(value)), tensors, {"w": torch.full((3, 2), 9.0)}, best_step)


def value_of(folder: Path) -> float:
    head = store.read_head(folder)
    assert head is not None
    tensors, best = store.read_tensors(folder, head)
    assert float(best["w"][0, 0]) == 9.0
    assert head.numbers == numbers(int(tensors["weights:w"][0, 0]))
    return float(tensors["weights:w"][0, 0])


def small(**options: Any) -> TrainingOptions:
    return TrainingOptions(
        **{"batch_size": 4, "length": 10, "steps": 12, "evaluate_every": 4, **options}
    )


def run(
    folder: Path,
    *,
    options: TrainingOptions | None = None,
    data: Corpus | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **more: Any,
) -> Any:
    where = Checkpoints(folder=folder, **{"minutes": 0.0, "resume": True, **more})
    return fit(
        built(LSTM),
        corpus(700, 0) if data is None else data,
        corpus(300, 1),
        options or small(),
        callbacks=st.Callbacks(progress=report, should_stop=stop),
        checkpoints=where,
    )


def after(steps: int) -> Callable[[], bool]:
    answers = iter([False] * steps + [True])
    return lambda: next(answers)


# ---- files ---------------------------------------------------------------------------------------


def test_a_checkpoint_is_read_back_as_written_and_only_the_last_stays(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        store.write(tmp_path, a_snapshot(value), ABOUT)
    assert value_of(tmp_path) == 3.0
    head = store.read_head(tmp_path)
    assert head is not None and head.about == ABOUT and head.best_step == 5
    names = {"best-5.safetensors", "checkpoint.json", "state-3.safetensors"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_the_best_weights_are_written_when_they_change_and_not_before(tmp_path: Path) -> None:
    store.write(tmp_path, a_snapshot(1.0), ABOUT)
    first = (tmp_path / "best-5.safetensors").stat().st_ino
    store.write(tmp_path, a_snapshot(2.0), ABOUT)
    assert (tmp_path / "best-5.safetensors").stat().st_ino == first
    store.write(tmp_path, a_snapshot(3.0, best_step=7), ABOUT)
    assert {p.name for p in tmp_path.glob("best-*")} == {"best-7.safetensors"}


@pytest.mark.parametrize("when", range(8))
def test_whenever_the_disk_fails_the_old_or_the_new_checkpoint_is_whole(
    when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(tmp_path, a_snapshot(1.0), ABOUT)
    calls = 0

    def failing(honest: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == when + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return honest(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(store.safetensors.torch, "save_file", failing(snapshot_save))
        patch.setattr(atomic, "flush", failing(atomic.flush))
        patch.setattr(os, "replace", failing(os.replace))
        with pytest.raises(OSError, match="No space left"):
            store.write(tmp_path, a_snapshot(2.0, best_step=6), ABOUT)
    assert value_of(tmp_path) in (1.0, 2.0)
    assert not list(tmp_path.glob("*.part"))
    store.write(tmp_path, a_snapshot(3.0, best_step=6), ABOUT)
    assert value_of(tmp_path) == 3.0


snapshot_save = store.safetensors.torch.save_file


def test_altered_truncated_missing_and_newer_files_are_refused(tmp_path: Path) -> None:
    store.write(tmp_path, a_snapshot(), ABOUT)
    head = store.read_head(tmp_path)
    assert head is not None
    state = tmp_path / "state-1.safetensors"
    honest = state.read_bytes()
    for content in (honest[:-1], honest[:-1] + bytes([honest[-1] ^ 1]), b""):
        state.write_bytes(content)
        with pytest.raises(ModelError, match=r"damaged: state-1.safetensors is not what was wr"):
            store.read_tensors(tmp_path, head)
    state.unlink()
    with pytest.raises(ModelError, match=r"state-1.safetensors is missing; restore it"):
        store.read_tensors(tmp_path, head)
    file = tmp_path / "checkpoint.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(ModelError, match=r"has format 99.*: update seriatim"):
        store.read_head(tmp_path)
    file.write_text(json.dumps({**content, "format": 1}))
    with pytest.raises(ModelError, match=r"format 1 of an older version"):
        store.read_head(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{half", "cannot be read"),
        ("[]", "does not hold a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "names no format"),
        ('{"format": 2}', r"checkpoint\.json is damaged: about: field required"),
        ('{"format": 2, "about": {}, "numbers": {"step": "3"}}', r"numbers\.step: input should be"),
    ],
)
def test_a_damaged_head_is_refused_in_one_sentence(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(ModelError, match=reason) as error:
        store.read_head(tmp_path)
    assert str(error.value).startswith(f"the checkpoint in {tmp_path} is damaged: ")
    assert str(error.value).endswith("; restore it, or remove it and start again")


def test_removing_a_checkpoint_leaves_other_files_alone(tmp_path: Path) -> None:
    store.write(tmp_path, a_snapshot(), ABOUT)
    store.write_document(tmp_path, "symbols", {"a": 1})
    (tmp_path / "thesis.tex").write_text("years of work")
    store.remove(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_tied_weights_are_stored_once_and_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            self.head.weight = self.embed.weight

    old, new = Tied(), Tied()
    result = snapshot.unique_tensors(old)
    assert list(result) == ["embed.weight"]
    snapshot.load_unique_tensors(new, result)
    assert new.head.weight is new.embed.weight
    assert torch.equal(new.head.weight, old.head.weight)
    with pytest.raises(RuntimeError, match=r"embed.weight is missing, other is unexpected"):
        snapshot.load_unique_tensors(new, {"other": torch.zeros(1)})


def test_copies_do_not_change_with_what_was_copied() -> None:
    weight = torch.zeros(3)
    first = snapshot.copy_into({}, {"w": weight})
    weight += 1
    assert first["w"].sum() == 0
    again = snapshot.copy_into(first, {"w": weight})
    assert again["w"].sum() == 3
    assert again["w"].data_ptr() == first["w"].data_ptr(), "the buffer is reused"


# ---- a run ---------------------------------------------------------------------------------------


def test_a_run_holds_json_and_safetensors_and_its_last_checkpoint_says_it_is_done(
    tmp_path: Path,
) -> None:
    run(tmp_path / "c")
    assert {p.suffix for p in (tmp_path / "c").iterdir()} == {".json", ".safetensors"}
    again = run(tmp_path / "c")
    assert (again.stopped, again.steps_done, again.resumed_at) == ("finished", 12, (12,))


def test_a_stopped_run_is_resumed_and_says_so(tmp_path: Path) -> None:
    reports: list[Progress] = []
    first = run(tmp_path / "a", stop=after(7))
    assert (first.stopped, first.steps_done) == ("stopped", 7)
    history = run(tmp_path / "a", report=reports.append)
    run(tmp_path / "b")
    assert not compare(tmp_path / "a", tmp_path / "b").differences
    assert history.resumed_at == (7,)
    assert [e.step for e in history.evaluations] == [0, 4, 8, 12]
    assert any("resumed at step 7 of 12" in note for p in reports for note in p.notes)


def test_runs_with_different_learning_rates_differ(tmp_path: Path) -> None:
    run(tmp_path / "a", options=small(learning_rate=1e-3))
    run(tmp_path / "b", options=small(learning_rate=2e-3))
    result = compare(tmp_path / "a", tmp_path / "b").differences
    for part in ("weights: ", "moments of the optimizer: ", "evaluations was"):
        assert any(part in clause for clause in result)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"options": small(seed=1)}, ConfigError, "other options: seed was 0 and is 1"),
        ({"options": small(steps=13)}, ConfigError, "other options: steps was 12 and is 13"),
        ({"model": {"size": 2}}, ConfigError, "another model: size was not given and is 2"),
        ({"data": corpus(701, 5)}, DataError, "other data .* --allow-changed-data"),
        ({"resume": False}, OutputError, "holds a run that has come to step 7"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    change: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    run(tmp_path, stop=after(7))
    with pytest.raises(error, match=message):
        run(tmp_path, **change)


def test_a_run_is_resumed_on_changed_data_if_allowed(tmp_path: Path) -> None:
    run(tmp_path, stop=after(7))
    history = run(tmp_path, data=corpus(701, 5), allow_changed_data=True)
    assert (history.stopped, history.resumed_at) == ("finished", (7,))


def test_a_checkpoint_of_a_model_of_another_size_is_refused(tmp_path: Path) -> None:
    run(tmp_path, stop=after(3))
    model = build_model(st.LSTM(hidden_size=9, num_layers=2, dropout=0.3), 7, 1)
    where = Checkpoints(folder=tmp_path, resume=True)
    with pytest.raises(ConfigError, match=r"another model: tensors.embedding.weight was 7x8 f"):
        fit(model, corpus(700, 0), corpus(300, 1), small(), checkpoints=where)


def test_a_resumed_run_uses_as_many_threads_as_before_and_restores_the_setting(
    tmp_path: Path,
) -> None:
    before = torch.get_num_threads()
    run(tmp_path, stop=after(3))
    head = store.read_head(tmp_path)
    assert head is not None and head.numbers.threads == before
    file = tmp_path / "checkpoint.json"
    content = json.loads(file.read_text())
    content["numbers"]["threads"] = before + 1
    file.write_text(json.dumps(content))
    seen: list[int] = []
    run(tmp_path, report=lambda p: seen.append(torch.get_num_threads()), stop=after(1))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_minutes_between_checkpoints_are_not_negative() -> None:
    with pytest.raises(ConfigError, match=r"every -1 minutes: give 0"):
        Checkpoints(folder=Path("x"), minutes=-1)


# ---- a full disk ---------------------------------------------------------------------------------


def test_a_full_disk_is_reported_once_and_training_continues_while_writing_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, tries, notes = store.write, 0, list[str]()

    def full(*args: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries <= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(*args)

    monkeypatch.setattr(writer.store, "write", full)
    history = run(
        tmp_path / "c",
        options=small(evaluate_every=1, steps=30),
        report=lambda p: notes.extend(p.notes),
    )
    assert history.stopped == "finished"
    failing, working = [note for note in notes if "checkpoint" in note]
    assert "could not be written" in failing and "No space left on device" in failing
    assert "are written to" in working and "again" in working
    head = store.read_head(tmp_path / "c")
    assert head is not None and head.numbers.step == 30


# ---- signals -------------------------------------------------------------------------------------


def raise_at(step: int, number: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step and progress.is_evaluation:
            signal.raise_signal(number)

    return report


def test_ctrl_c_waits_for_the_checkpoint_and_the_run_is_resumed_from_there(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    history = run(tmp_path / "a", report=raise_at(4, signal.SIGINT))
    assert (history.stopped, history.steps_done) == ("interrupted", 4)
    head = store.read_head(tmp_path / "a")
    assert head is not None and head.numbers.step == 4
    assert signal.getsignal(signal.SIGINT) is before
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert not compare(tmp_path / "a", tmp_path / "b").differences


def test_sigterm_is_delivered_after_the_checkpoint(tmp_path: Path) -> None:
    delivered_at: list[int] = []

    def handler(number: int, frame: Any) -> None:
        head = store.read_head(tmp_path)
        assert head is not None
        delivered_at.append(head.numbers.step)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        run(tmp_path, report=raise_at(8, signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert delivered_at == [8]


# ---- a language model ----------------------------------------------------------------------------


def test_a_language_model_is_resumed_with_its_vocabulary_even_on_other_data(tmp_path: Path) -> None:
    first, other = ["abcab", "bcabc", "cabca"] * 8, ["abab", "baba"] * 8
    where = Checkpoints(folder=tmp_path / "c", minutes=0.0)

    def language_model(data: list[str], **more: Any) -> st.LanguageModel:
        lm = st.LanguageModel(st.GRU(hidden_size=4), sequences="line")
        return lm.fit(data, valid=data, options=small(), **more)

    def interrupt(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    lm = language_model(first, checkpoints=where, callbacks=st.Callbacks(progress=interrupt))
    assert lm.training.fit.stopped == "interrupted"
    with pytest.raises(OutputError, match="holds a run"):
        language_model(first, checkpoints=tmp_path / "c")
    with pytest.raises(DataError, match="other data"):
        language_model(other, checkpoints=tmp_path / "c", resume=True)
    allowed = Checkpoints(folder=tmp_path / "c", resume=True, allow_changed_data=True)
    again = language_model(other, checkpoints=allowed)
    assert again.training.fit.stopped == "finished"
    assert again.vocabulary is not None and lm.vocabulary is not None
    assert again.vocabulary.to_json() == lm.vocabulary.to_json()
    with pytest.raises(ConfigError, match="another model: symbols"):
        st.LanguageModel(st.GRU(hidden_size=4), symbols="byte", sequences="line").fit(
            other, valid=other, options=small(), checkpoints=allowed
        )
