"""A fit on the command line that is killed, terminated or interrupted, and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from seriatim.cli import main
from seriatim.train.checkpoint import store

TEXT = "the cat sat on the mat\nthe dog sat on the cat\na dog and a cat\n" * 30
SMALL = ["--hidden-size", "8", "--batch-size", "4", "--length", "8", "--dropout", "0.1"]
ENDLESS = ["--steps", "1000000", "--evaluate-every", "50", "--checkpoint-minutes", "0"]


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "text.txt").write_text(TEXT)
    return str(tmp_path / "text.txt")


def cut_short(arguments: list[str], out: Path, number: int) -> tuple[int, str]:
    """Start a fit and send it a signal at step 60; returns its exit code and its output."""
    command = [sys.executable, "-m", "seriatim", "fit", *arguments, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        while process.poll() is None:
            head = store.read_head(out / "checkpoints")
            if head is not None and head.numbers.step >= 60:
                break
            time.sleep(0.01)
        process.send_signal(number)
        _, output = process.communicate()
    return process.returncode, output


def refused(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1] and lines[-1].startswith("seriatim: "), lines


@pytest.mark.slow
def test_a_killed_fit_is_refused_then_resumed_to_its_end_and_its_log_continues(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    code, _ = cut_short([text, *SMALL, *ENDLESS], out, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert {p.name for p in out.iterdir()} == {"checkpoints", "log.jsonl"}
    again = ["fit", text, *SMALL, *ENDLESS, "--out", str(out), "--quiet"]
    refused(again, 5, "holds an interrupted run: resume it (--resume)", capsys)
    refused(["generate", str(out)], 4, "fit with --resume", capsys)
    refused([*again, "--resume", "--seed", "9"], 2, "other options: seed was 0 and is 9", capsys)
    changed = tmp_path / "changed.txt"
    changed.write_text(TEXT + "a mat\n")
    other = ["fit", str(changed), *again[2:], "--resume"]
    refused(other, 3, "begun on other data (train was", capsys)
    # The same run with fewer steps.
    file = out / "checkpoints" / "checkpoint.json"
    head = json.loads(file.read_text())
    step = head["numbers"]["step"]
    head["numbers"]["plan"]["steps"] = step + 70
    file.write_text(json.dumps(head))
    assert main([*again, "--resume"]) == 0
    fitted = json.loads((out / "training.json").read_text())["fit"]
    assert (fitted["stopped"], fitted["resumed_at"]) == ("finished", [step])
    assert not (out / "checkpoints").exists()
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {"event", "time"} <= lines[0].keys()
    assert any(line.get("text", "").startswith(f"resumed at step {step}") for line in lines)
    assert {0, 50, step + 70} <= {r["step"] for r in lines if r["event"] == "evaluation"}
    capsys.readouterr()
    assert main([*again, "--resume"]) == 0
    assert "finished model" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_saves_the_best_weights_and_the_run_can_be_resumed(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    code, output = cut_short([text, *SMALL, *ENDLESS], out, signal.SIGINT)
    assert code == 130
    assert "with --resume" in output
    assert main(["generate", str(out), "-n", "5"]) == 0
    assert (out / "checkpoints" / "checkpoint.json").exists()
    again = ["fit", text, *SMALL, "--steps", "3", "--out", str(out), "--quiet"]
    refused(again, 5, "--overwrite", capsys)
    assert main([*again, "--overwrite"]) == 0
    fitted = json.loads((out / "training.json").read_text())["fit"]
    assert (fitted["stopped"], fitted["steps_done"], fitted["resumed_at"]) == ("finished", 3, [])


@pytest.mark.slow
def test_sigterm_keeps_the_run_and_ends_the_process_as_sigterm_does(
    text: str, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    code, output = cut_short([text, *SMALL, *ENDLESS], out, signal.SIGTERM)
    assert code == -signal.SIGTERM
    assert "cut short at step" in output
    head = store.read_head(out / "checkpoints")
    assert head is not None
    store.read_tensors(out / "checkpoints", head)


def test_resume_starts_a_run_where_there_is_none_and_can_keep_its_checkpoint(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    arguments = ["fit", text, *SMALL, "--steps", "4", "--out", str(out), "--json"]
    assert main([*arguments, "--resume", "--keep-checkpoints"]) == 0
    assert store.read_head(out / "checkpoints") is not None
    assert json.loads(capsys.readouterr().out)["training"]["fit"]["resumed_at"] == []


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    rest = ["--out", str(out), "--resume"]
    begun = ["fit", text, *SMALL, "--steps", "2"]
    assert main([*begun, *rest]) == 0
    before = (out / "weights.safetensors").read_bytes()
    assert main([*begun, *rest]) == 0
    assert "there is nothing to resume" in capsys.readouterr().out
    other = tmp_path / "other.txt"
    other.write_text(TEXT + "and a mouse\n")
    refused(["fit", str(other), *begun[2:], *rest], 3, "was begun on other data", capsys)
    refused(["fit", text, *SMALL, "--steps", "3", *rest], 2, "steps was 2 and is 3", capsys)
    refused([*begun, "--model", "gru", *rest], 2, "another model: model.family was lstm", capsys)
    refused([*begun, "--symbols", "word", *rest], 2, "was ['auto'", capsys)
    refused([*begun, "--seed", "1", *rest], 2, "seed was 0 and is 1", capsys)
    refused([*begun, "--split", "0.7", "0.2", "0.1", *rest], 3, "other data", capsys)
    assert main(["fit", str(other), *begun[2:], *rest, "--allow-changed-data"]) == 0
    assert "there is nothing to resume" in capsys.readouterr().out
    assert (out / "weights.safetensors").read_bytes() == before


def test_a_first_step_that_does_not_fit_into_memory_leaves_nothing_and_says_what_to_lower(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from seriatim.train.trainer import Trainer

    def refuse(trainer: Trainer) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(Trainer, "update", refuse)
    arguments = ["fit", text, *SMALL, "--out", str(tmp_path / "m"), "--steps", "2", "--quiet"]
    refused(arguments, 6, "batches of 4 rows x 8: use --auto-batch", capsys)
    assert not (tmp_path / "m").exists()
    refused([*arguments, "--auto-batch"], 6, "batches of 4 rows x 8 in 4 parts", capsys)


def test_options_of_long_runs_are_checked(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fit", text, *SMALL, "--out", str(tmp_path / "m"), "--steps", "2", "--quiet"]
    refused([*arguments, "--allow-changed-data"], 2, "belongs to --resume", capsys)
    refused([*arguments, "--checkpoint-minutes", "-1"], 2, "every -1.0 minutes", capsys)
    refused(["fit", "--verify", text, "--out", "m"], 2, "--out is chosen by --verify", capsys)
    assert not (tmp_path / "m").exists()


def test_a_disk_that_fills_up_at_the_end_leaves_a_run_that_can_be_resumed(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from seriatim.tasks import storage

    out = tmp_path / "m"
    arguments = ["fit", text, *SMALL, "--steps", "4", "--out", str(out), "--quiet"]
    honest = storage._put

    def full(temporary: Path, path: Path) -> None:
        if path == out:
            raise OSError(28, "No space left on device")
        honest(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_put", full)
        assert main(arguments) == 5
    elsewhere = capsys.readouterr().err.split("saved in ")[1].split(" instead")[0]
    assert main([*arguments, "--resume"]) == 0
    saved = [Path(p) / "weights.safetensors" for p in (elsewhere, out)]
    assert saved[0].read_bytes() == saved[1].read_bytes()
    shutil.rmtree(Path(elsewhere).parent)


@pytest.mark.slow
def test_verify_refuses_a_model_that_is_counted(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["fit", text, "--model", "markov", "--verify"], 4, "nothing to resume", capsys)


@pytest.mark.slow
def test_verify_resume_kills_a_run_and_finds_it_the_same(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = [text, *SMALL, "--steps", "120", "--evaluate-every", "25", "--patience", "9"]
    assert main(["fit", *arguments, "--verify", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["same"] and result["differences"] == []
    assert 0 <= result["killed_at"] <= result["steps"] == 120
    assert len(result["compared"]) == 8


def test_training_that_improves_nothing_is_an_error_unless_it_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abc" * 300 + "cba" * 60)  # what is learnt misleads on the validation part
    out = tmp_path / "out"
    options = ["--steps", "30", "--learning-rate", "0.5", "--hidden-size", "8", "--overwrite"]
    command = ["fit", str(text), "--model", "rnn", *options, "--out", str(out), "--quiet"]
    assert main(command) == 1
    assert "no evaluation was better than the model before training" in capsys.readouterr().err
    assert (out / "weights.safetensors").exists()
    assert main([*command, "--allow-untrained"]) == 0


def test_a_run_is_repeated_by_its_record_and_by_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("It goes on, and on, and then it ends.\n" * 60)
    first, second = tmp_path / "first", tmp_path / "second"
    begin = ["fit", str(text), "--quiet", "--threads", "1"]
    small = ["--model", "rnn", "--hidden-size", "8", "--batch-size", "4"]
    assert main([*begin, *small, "--minutes", "0.05", "--out", str(first)]) in (0, 1)
    assert main([*begin, "--repeat", str(first), "--out", str(second)]) in (0, 1)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (first, second)]
    assert weights[0] == weights[1]
    capsys.readouterr()
    again = [*begin, *small, "--repeat", str(first), "--out", str(tmp_path / "third")]
    assert main(again) == 2
    assert "leave out all options of models" in capsys.readouterr().err
