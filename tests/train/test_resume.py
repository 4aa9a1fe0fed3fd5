"""A run that is killed and resumed ends with the bits of an undisturbed one.

The killing is real: a process of its own, SIGKILL from outside, at random instants.
"""

import multiprocessing
import random
import time
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import seriatim as st
from seriatim.core.model import SequenceModel
from seriatim.data.corpus import Corpus
from seriatim.models.build import build_model
from seriatim.train.budget import Plan
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.checkpoint import store
from seriatim.train.checkpoint.diff import compare
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.loop import fit
from seriatim.train.options import TrainingOptions
from seriatim.train.seeding import seeded

V = 7


def corpus(size: int, seed: int, *, is_stream: bool = True) -> Corpus:
    """Symbols of a chain that mostly counts upwards."""
    rng, x = random.Random(seed), [0]
    while len(x) < size:
        x.append((x[-1] + 1) % V if rng.random() < 0.8 else rng.randrange(V))
    pieces = [x] if is_stream else [x[i : i + 3 + i % 11] for i in range(0, size, 14)]
    return Corpus.from_tokens([torch.tensor(p).numpy() for p in pieces], is_stream=is_stream)


@dataclass(frozen=True)
class Case:
    """A small run."""

    config: Any
    options: dict[str, Any]
    is_stream: bool = True


CASES = {
    "lstm on a stream with carried state": Case(
        st.LSTM(hidden_size=8, num_layers=2, dropout=0.3), {"steps": 60, "evaluate_every": 7}
    ),
    "transformer with dropout": Case(
        st.Transformer(model_size=16, num_layers=2, num_heads=2, context=12, dropout=0.2),
        {
            "steps": 60,
            "evaluate_every": 9,
            "optimizer": "sgd",
            "momentum": 0.9,
            "average": 0.9,
        },
        is_stream=False,
    ),
    "patience and a plateau": Case(
        st.GRU(hidden_size=8),
        {
            "steps": 400,
            "schedule": "plateau",
            "plateau_patience": 1,
            "patience": 5,
            "evaluate_every": 5,
            "learning_rate": 0.1,
        },
    ),
    "minutes, parts and windows": Case(
        st.RNN(hidden_size=8), {"minutes": 0.02, "accumulate": 2, "carry": False}
    ),
}


def options_of(case: Case) -> TrainingOptions:
    return TrainingOptions(**{"batch_size": 4, "length": 10, "seed": 3, **case.options})


def built(case: Case) -> SequenceModel:
    with seeded(torch.device("cpu"), 5):
        model: SequenceModel = build_model(case.config, V, 1)
    return model


def run(name: str, folder: Path, slowness: float = 0.0, plan: Plan | None = None) -> None:
    """Begin the run of a case, or resume it; with a plan, repeat what it found by a clock."""
    case = CASES[name]
    options = options_of(case)
    if plan is not None:
        options = replace(
            options,
            minutes=None,
            steps=plan.steps,
            evaluate_symbols=plan.evaluate_symbols,
            pace=tuple(astuple(stretch) for stretch in plan.pace),
        )

    def wait() -> bool:
        time.sleep(slowness)
        return False

    fit(
        built(case),
        corpus(700, 0, is_stream=case.is_stream),
        corpus(300, 1, is_stream=case.is_stream),
        options,
        callbacks=Callbacks(should_stop=wait),
        checkpoints=Checkpoints(folder=folder, minutes=0.0, resume=True),
    )


def assert_same_bits(first: Path, second: Path) -> None:
    result = compare(first, second)
    assert not result.differences
    assert len(result.compared) == 7


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that start with torch imported, and share nothing else with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seriatim.train.loop", "seriatim.models.options.registry"])
    return context


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_run_killed_at_random_instants_ends_with_the_bits_of_an_undisturbed_run(
    name: str, tmp_path: Path, processes: Any
) -> None:
    rng = random.Random(name)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kills, steps = 0, []
    while kills < 4:
        process = processes.Process(target=run, args=(name, killed, 0.005))
        process.start()
        while process.is_alive() and not (killed / store.HEAD).exists():
            time.sleep(0.002)
        process.join(rng.uniform(0.0, 0.15))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        head = store.read_head(killed)
        assert head is not None
        steps.append(head.numbers.step)
    assert kills, "the run was over before it could be killed"
    run(name, killed)
    head = store.read_head(killed)
    assert head is not None
    if "minutes" in CASES[name].options:
        # Its steps and its pace were measured: the run is that of so many steps at this pace.
        run(name, whole, plan=head.numbers.plan)
    else:
        run(name, whole)
    assert_same_bits(killed, whole)
    assert head.numbers.resumed_at == tuple(sorted(head.numbers.resumed_at))
    assert head.numbers.resumed_at[-1] >= steps[-1]
