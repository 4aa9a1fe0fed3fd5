"""`./run gpu` without a GPU: the same code in tiny sizes, and what becomes of a part that hangs."""

import json
import sys
import zipfile
from pathlib import Path

import pytest
from benchmarks import gpu

STUCK = """
import json, time
print(json.dumps({"name": "first", "tokens_per_second": 1.0}), flush=True)
time.sleep(600)
"""
BROKEN = """
import json
print(json.dumps({"name": "lstm", "broken": ["law 6"]}), flush=True)
raise ValueError("no more")
"""


def run(path: Path) -> gpu.Run:
    return gpu.Run(path, {"parts": {}})


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    parts = [name for name in gpu.LIMITS if name != "tests"]  # which all skip without a GPU
    options = ["--device", "cpu", "--seconds", "0.02", "--only", *parts, "--write", str(path)]
    options += ["--minutes", "24"]  # on a busy machine
    code = gpu.main(options)
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record == json.loads(path.read_text())
    assert list(record["parts"]) == parts
    # Without a C++ compiler torch.compile says so, and everything else is measured.
    failures = [line for line in record["failures"] if "ompile" not in line]
    assert failures == [] and code in (0, 1)
    trained = record["parts"]["training"]["results"]
    ours = [r["name"] for r in trained if "share_of_bf16_products" in r]
    assert ours == ["lstm", "gru", "rnn", "autoregressive", "transformer"]
    assert record["targets"]["recurrent_beside_cudnn"]["seen"] > 0
    held = {r["name"]: r["laws_held"] for r in record["parts"]["laws"]["results"]}
    assert min(held.values()) >= 14 and "lstm, float32" in held


@pytest.mark.slow
def test_a_part_that_hangs_is_stopped_and_keeps_its_results(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    run(path).part("training", [sys.executable, "-c", STUCK], limit=1.5)
    part = json.loads(path.read_text())["parts"]["training"]
    assert part["status"] == "stopped at its limit of 2 s"
    assert part["results"] == [{"name": "first", "tokens_per_second": 1.0}]


def test_a_part_that_fails_says_why_and_what_is_broken_is_listed(tmp_path: Path) -> None:
    one = run(tmp_path / "gpu.json")
    one.part("laws", [sys.executable, "-c", BROKEN], limit=60)
    assert gpu.failures(one.record) == ["laws: ValueError: no more", "laws, lstm: ['law 6']"]


def test_without_a_gpu_it_says_so_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import sys; sys.exit({gpu.NO_GPU!r})"
    part = gpu.Run.part
    monkeypatch.setattr(
        gpu.Run,
        "part",
        lambda self, name, _, limit: part(self, name, [sys.executable, "-c", code], limit),
    )
    path = tmp_path / "gpu.json"
    assert gpu.main(["--write", str(path)]) == 3
    assert gpu.NO_GPU in capsys.readouterr().out and not path.exists()


def test_missing_wheels_are_named_with_the_command_that_fetches_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gpu.missing_wheels()[0] == []
    monkeypatch.setattr(gpu, "REQUIRED", ("torch", "nowhere"))
    monkeypatch.setattr(gpu, "OPTIONAL", {"elsewhere": "the commands"})
    required, sentence = gpu.missing_wheels()
    assert required == ["nowhere"]
    assert "nowhere (required), elsewhere (the commands)" in sentence
    assert "-d wheels nowhere elsewhere" in sentence


def test_carried_wheels_can_be_imported(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "carried-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried/__init__.py", "")
    gpu.unpack(tmp_path, tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "carried" / "__init__.py").exists()


def test_targets_stand_beside_the_worst_recurrent_ratio_and_the_best_share() -> None:
    results = [
        {"name": "lstm", "peer": "cuDNN", "ratio": 1.2},
        {"name": "gru", "peer": "cuDNN", "ratio": 0.9},
        {"name": "transformer", "share_of_bf16_products": 0.4},
        {"name": "transformer", "peer": "plain PyTorch", "ratio": 2.0},
    ]
    found = gpu.judged({"parts": {"training": {"results": results}}})
    assert found["recurrent_beside_cudnn"] == {"target": 1.0, "seen": 0.9}
    assert found["transformer_share_of_bf16_products"]["seen"] == 0.4
    assert gpu.judged({"parts": {}})["recurrent_beside_cudnn"]["seen"] is None
