"""One run by several processes: the same losses and weights as one, to the bits of rounding.

What needs real processes is gathered into a few launches, each of two or three workers.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import seriatim
from seriatim.cli import launch, main
from seriatim.errors import ConfigError, DataError
from seriatim.train.distributed import ALONE, Ranks, Vote
from seriatim.train.options import TrainingOptions
from seriatim.train.parallel import check_enough, local_carry, local_rows, split_batch
from tests.train import two_processes
from tests.train.two_processes import run, source

PACKAGE = Path(seriatim.__file__).parent
TEXT = "".join(f"the {a} saw the {b}.\n" for a in ("cat", "dog", "owl") for b in ("sun", "moon"))


class Pretended(Ranks):
    """Rank r of P, alone in its process: for tests without communication."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def environment(**more: str) -> dict[str, str]:
    """One thread per process, and the loopback network."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(PACKAGE.parent)]),
        **more,
    }


def launched(out: Path, size: int, name: str, argument: Any) -> list[Any]:
    """What each of `size` workers returned from a function of `two_processes`."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    worker = [f"--nproc-per-node={size}", two_processes.__file__, name, str(out)]
    done = subprocess.run(
        [*torchrun, *worker, json.dumps(argument)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:4000]
    return [json.loads(Path(f"{out}.{rank}.json").read_text()) for rank in range(size)]


def difference(a: Any, b: Any) -> float:
    """The greatest difference between two JSON values of one shape."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return max((difference(a[k], b[k]) for k in a), default=0.0)
    if isinstance(a, list):
        assert len(a) == len(b)
        return max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    return float(abs(a - b))


# ---- rows, without processes --------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5, 9])
def test_the_ranks_split_the_rows_and_ranks_without_rows_have_weight_zero(size: int) -> None:
    batch = source("lines", 6).batch(0)
    shares = [local_rows(batch, Pretended(r, size)) for r in range(size)]
    assert sum(share.num_targets() for share in shares) == batch.num_targets()
    assert all(share.shape[0] >= 1 for share in shares)
    for r, share in enumerate(shares[: batch.shape[0]]):
        assert torch.equal(share.inputs, batch.inputs[r::size])


def test_a_carry_is_split_like_the_rows_of_its_batch() -> None:
    carry = {"h": torch.arange(5.0)[:, None]}
    result = [local_carry(carry, Pretended(r, 3))["h"][:, 0].tolist() for r in range(3)]
    assert result == [[0.0, 3.0], [1.0, 4.0], [2.0]]
    assert local_carry(carry, Pretended(6, 7))["h"].shape == (1, 1)


def test_a_source_and_weights_are_split_with_their_rows() -> None:
    from dataclasses import replace

    batch = source("lines", 4).batch(0)
    batch = replace(batch, weights=torch.rand(batch.shape), source=batch)
    share = local_rows(batch, Pretended(1, 2))
    assert share.source is not None and batch.weights is not None and share.weights is not None
    assert torch.equal(share.source.targets, batch.targets[1::2])
    assert torch.equal(share.weights, batch.weights[1::2])


def test_every_rank_has_the_same_number_of_parts() -> None:
    batch = source("lines", 5).batch(0)
    counts = {
        len(split_batch(local_rows(batch, Pretended(r, 3)), None, min(4, -(-5 // 3))))
        for r in range(3)
    }
    assert counts == {2}


def test_dropout_differs_by_rank_and_rank_0_draws_like_a_single_process() -> None:
    seeds = [Pretended(r, 4).seed(7) for r in range(4)]
    assert seeds[0] == ALONE.seed(7) == 7
    assert len(set(seeds)) == 4 and all(0 <= s < 2**63 for s in seeds)


def test_fewer_symbols_than_processes_is_refused_in_one_sentence() -> None:
    with pytest.raises(DataError, match=r"3 symbols for 4 processes.* fewer processes"):
        check_enough(3, Pretended(0, 4))
    check_enough(4, Pretended(0, 4))


def test_one_process_votes_at_every_step() -> None:
    vote = Vote(ALONE)
    assert vote(1, True, False) == (True, False)
    assert vote(2, False, True) == (False, True)


def test_several_processes_vote_occasionally_at_steps_that_all_know() -> None:
    now = [0.0]
    vote = Vote(Pretended(0, 2), lambda: now[0])
    taken = []
    for step in range(40):
        taken.append(vote(step, True)[0])
        now[0] += 0.01
    assert taken[0] and 5 <= sum(taken) <= 12  # every 0.05 s at 0.01 s a step


# ---- the command line, without processes --------------------------------------------------------


def test_one_process_relaunches_itself_as_several() -> None:
    with pytest.raises(launch.Relaunch) as requested:
        launch.check_processes(3, {})
    assert requested.value.processes == 3
    launch.check_processes(None, {})
    launch.check_processes(1, {})
    launch.check_processes(2, {"RANK": "0", "WORLD_SIZE": "2"})


@pytest.mark.parametrize("processes", [0, -2])
def test_less_than_one_process_is_refused(processes: int) -> None:
    with pytest.raises(ConfigError, match="give 1 or more"):
        launch.check_processes(processes, {})


def test_a_number_of_processes_other_than_that_of_torchrun_is_refused() -> None:
    with pytest.raises(ConfigError, match="--processes 4 inside a run of 2"):
        launch.check_processes(4, {"RANK": "0", "WORLD_SIZE": "2"})


def test_the_environment_of_slurm_is_read() -> None:
    result = {
        "SLURM_PROCID": "5",
        "SLURM_NTASKS": "7",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_TASKS_PER_NODE": "4,3",
        "SLURM_JOB_NODELIST": "gpu[007-009,12]",
        "SLURM_JOB_ID": "31234",
    }
    launch.adopt_slurm(result)
    assert launch.is_worker(result)
    assert (result["RANK"], result["WORLD_SIZE"], result["LOCAL_RANK"]) == ("5", "7", "1")
    assert result["LOCAL_WORLD_SIZE"] == "3"
    assert (result["MASTER_ADDR"], result["MASTER_PORT"]) == ("gpu007", "31234")


def test_one_task_of_slurm_is_one_process() -> None:
    result = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    launch.adopt_slurm(result)
    assert not launch.is_worker(result)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("n[3-7]", "n3"), ("a-[08,9],b", "a-08"), ("a,b[1-2]", "a")],
)
def test_the_first_node_of_a_slurm_node_list(nodes: str, first: str) -> None:
    assert launch.first_node(nodes) == first


class SharedStore:
    """A group of two ranks in one process, with what was written to its store."""

    def __init__(self, rank: int, message: tuple[int, str] | None = None) -> None:
        self.rank, self.message = rank, message

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def report_failure(self, message: str, code: int) -> bool:
        is_first, self.message = self.message is None, self.message or (code, message)
        return is_first

    def failure(self) -> tuple[int, str] | None:
        return self.message


def voice(group: SharedStore) -> tuple[Any, io.StringIO]:
    """The reporter of failures of that group, and what it prints."""
    out = io.StringIO()
    return launch._ErrorReporter(cast(Any, group), out), out


def test_rank_0_reports_at_once() -> None:
    speaker, out = voice(SharedStore(0))
    assert speaker.say("there is no file x", 3) == 3
    assert out.getvalue() == "seriatim: there is no file x\n"


def test_another_rank_reports_if_rank_0_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "_PATIENCE", 0.2)
    speaker, out = voice(SharedStore(1))
    assert speaker.say("there is no file x", 3) == 3
    assert out.getvalue() == "seriatim: on rank 1: there is no file x\n"


@pytest.mark.slow
def test_a_failure_is_reported_by_one_rank_only() -> None:
    speaker, out = voice(SharedStore(1, (3, "there is no file x")))
    assert speaker.say("there is no file x", 3) == 0
    assert speaker.lost() == 3
    assert out.getvalue() == ""


def test_a_loss_that_is_not_finite_is_reported_by_rank_0_which_saves() -> None:
    speaker, out = voice(SharedStore(1))
    assert speaker.say("the loss is nan", 6) == 0 and out.getvalue() == ""


@pytest.mark.slow
def test_a_broken_connection_is_reported_once() -> None:
    group = SharedStore(1)
    first, out = voice(group)
    assert first.lost() == 6
    assert "ended without a message" in out.getvalue() and "--resume" in out.getvalue()
    second, silent = voice(group)
    assert second.lost() == 6 and silent.getvalue() == ""


@pytest.mark.parametrize(
    ("codes", "code"),
    [({0: -15, 1: 3}, 3), ({0: 1, 1: -9}, 6), ({0: -15, 1: -15}, 143), ({0: 2, 1: 2}, 2)],
)
def test_the_exit_code_is_that_of_the_failed_process(codes: dict[int, int], code: int) -> None:
    assert launch._verdict(codes, 2) == code


# ---- two processes ------------------------------------------------------------------------------

# model, kind of batches, rows, type, options; one row: the second rank has none
UPDATES: list[list[Any]] = [
    ["lstm", "lines", 6, "float64", {}],
    ["lstm", "carried", 5, "float32", {}],
    ["gru", "carried", 5, "float64", {}],
    ["gru", "carried", 1, "float64", {}],
    ["transformer", "lines", 1, "float64", {"optimizer": "sgd", "clip": 0.1}],
    ["transformer", "windows", 5, "float64", {"accumulate": 2, "clip": 0.3}],
    ["transformer", "lines", 6, "float32", {"label_smoothing": 0.1}],
]


def with_parallelism(case: list[Any], parallelism: str) -> list[Any]:
    """A case with its options completed."""
    return [*case[:-1], {**case[-1], "distributed": parallelism}]


@pytest.fixture(scope="module")
def updates(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any]]:
    """(by one process, by both ranks of two) of every case, with DDP and FSDP."""
    cases = [
        with_parallelism(case, parallelism) for parallelism in ("ddp", "fsdp") for case in UPDATES
    ]
    one = two_processes.update(ALONE, json.dumps(cases))
    return one, launched(tmp_path_factory.mktemp("updates") / "out", 2, "update", cases)


@pytest.mark.slow
@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
@pytest.mark.parametrize("case", range(len(UPDATES)))
def test_two_processes_have_the_losses_gradients_and_weights_of_one(
    updates: tuple[list[Any], list[Any]], parallelism: str, case: int
) -> None:
    one, both = updates
    at = case + (parallelism == "fsdp") * len(UPDATES)
    for rank in both:
        for what in ("losses", "norms", "moments", "weights"):
            assert difference(one[at][what], rank[at][what]) < 1e-6, what
    assert both[0][at] == both[1][at], "the ranks differ"
    losses = one[at]["losses"]
    assert len(losses) == 5 and len(set(losses)) == 5


# ---- runs that are cut short, and go on with another number of processes ------------------------

RUNS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("lstm", "carried", "ddp", {}),
    ("transformer", "lines", "fsdp", {"average": 0.6}),
    ("transformer", "windows", "ddp", {"average": 0.6}),
]
OPTIONS: dict[str, Any] = {"steps": 10, "evaluate_every": 4}


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A folder of runs begun by two processes, and runs begun by one and ended by two."""
    folder = tmp_path_factory.mktemp("runs")
    for i, (name, kind, _, more) in enumerate(RUNS):
        run(f"{folder}/one/{i}", name, kind, 5, TrainingOptions(**OPTIONS, **more))
    cases = [
        [
            f"{folder}/{began}/{i}",
            name,
            kind,
            until,
            {**OPTIONS, **more, "distributed": parallelism},
        ]
        for began, until in (("two", 5), ("one", None))
        for i, (name, kind, parallelism, more) in enumerate(RUNS)
    ]
    both = launched(folder / "out", 2, "runs", cases)
    assert difference(*([r["weights"] for r in rank] for rank in both)) == 0.0
    return folder, both[0][len(RUNS) :]


@pytest.mark.slow
@pytest.mark.parametrize("case", range(len(RUNS)))
def test_a_run_of_one_process_is_resumed_by_two(
    cut_short: tuple[Path, list[Any]], case: int
) -> None:
    name, kind, _, more = RUNS[case]
    whole = run(None, name, kind, None, TrainingOptions(**OPTIONS, **more))
    result = cut_short[1][case]
    assert result["resumed"] and 5 <= result["resumed"][0] < result["steps"] == 10
    assert difference(whole["weights"], result["weights"]) < 1e-12
    assert difference(whole["valid"], result["valid"]) < 1e-12


@pytest.mark.parametrize("case", range(len(RUNS)))
def test_a_run_of_two_processes_is_resumed_by_one(
    cut_short: tuple[Path, list[Any]], case: int
) -> None:
    name, kind, parallelism, more = RUNS[case]
    folder = cut_short[0] / "two" / str(case)
    shards = list(folder.glob("shard-*-of-2.safetensors"))
    assert len(shards) == (2 if parallelism == "fsdp" else 0)
    whole = run(None, name, kind, None, TrainingOptions(**OPTIONS, **more))
    result = run(str(folder), name, kind, None, TrainingOptions(**OPTIONS, **more))
    assert result["resumed"] and 5 <= result["resumed"][0] < result["steps"] == 10
    assert difference(whole["weights"], result["weights"]) < 1e-12
    assert difference(whole["valid"], result["valid"]) < 1e-12
    assert result["best"] == whole["best"]


# ---- the command --------------------------------------------------------------------------------


def fit(text: Path, out: Path, *more: str) -> list[str]:
    """The command of a small run."""
    sizes = ["--hidden-size=16", "--batch-size=4", "--length=8", "--split", "0.6", "0.2", "0.2"]
    model = ["--model", "lstm", "--sequences", "line", *sizes]
    return [
        sys.executable,
        "-m",
        "seriatim",
        "fit",
        str(text),
        "--out",
        str(out),
        *model,
        *more,
    ]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_the_command_starts_two_processes_and_ends_like_one(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--steps", "12", "--json", "--precision", "float32")
    done = subprocess.run(
        [*fit(text, tmp_path / "2", *options), "--processes", "2"],
        env=environment(SERIATIM_CACHE=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "rank 0 alone prints"
    assert main(fit(text, tmp_path / "1", *options)[3:]) == 0
    two, one = (json.loads(out)["training"] for out in (done.stdout, capsys.readouterr().out))
    bits = [record["scores"]["test"]["bits_per_symbol"] for record in (two, one)]
    assert bits[0] == pytest.approx(bits[1], 1e-5)
    assert two["fit"]["best_valid_nats"] == pytest.approx(one["fit"]["best_valid_nats"], 1e-5)
    assert two["fit"]["best_step"] == one["fit"]["best_step"]
    assert (tmp_path / "2" / "weights.safetensors").is_file()


@pytest.mark.slow
def test_a_killed_rank_ends_the_others(text: Path, tmp_path: Path) -> None:
    command = fit(text, tmp_path / "out", "--steps", "10000000", "--processes", "2")
    env = environment(SERIATIM_CACHE=str(tmp_path / "cache"), TMPDIR=str(tmp_path))
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as launcher:
        assert launcher.stderr is not None
        for line in launcher.stderr:
            if line.startswith("step"):
                break
        pids = [int(file.name) for file in tmp_path.glob("seriatim-*/*") if file.name.isdigit()]
        assert len(pids) == 2
        began = time.monotonic()
        os.kill(pids[1], signal.SIGKILL)
        rest = launcher.stderr.read()
        assert launcher.wait(60) == 6
        assert time.monotonic() - began < 60
    assert "was ended by SIGKILL" in rest and "--resume" in rest
    assert "Traceback" not in rest
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    yield
    assert not torch.distributed.is_initialized()
