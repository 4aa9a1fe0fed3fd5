"""The adding problem, lengths 200 and 600: mean squared error on 1,000 sequences never trained on.

As in Bai, Kolter, Koltun 2018: each step has a number from [0, 1) and a mark; two steps are marked,
one in each half, and the target is the sum of their numbers. Guessing 1 costs 1/6 = 0.1667.
Published for length 600: LSTM 0.164, GRU 5.3e-5, RNN 0.177. Ours: one layer of 128, read at its
last state; new sequences at every step.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import seriatim as st
from benchmarks.references.parts import Job
from seriatim.core import Batch
from seriatim.data.batches.corpus import BatchSource
from seriatim.data.batches.examples import Example, ExamplePass
from seriatim.models import CausalEncoder, SequenceNumber, VectorModel
from seriatim.train.evaluation import mean_nats
from seriatim.train.loop import train
from seriatim.train.options import configure_training
from seriatim.train.seeding import seeded

CONFIGS = {"rnn": st.RNN, "lstm": st.LSTM, "gru": st.GRU}
LENGTHS = (200, 600)
STEPS, ROWS = 1500, 32
PUBLISHED = {"rnn-600": 0.177, "lstm-600": 0.164, "gru-600": 5.3e-5}


def jobs(data: Path) -> dict[str, Job]:
    """One part for each family and length."""
    return {
        f"{family}-{length}": partial(_run, family, length)
        for length in LENGTHS
        for family in CONFIGS
    }


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """Our figure beside the published one and that of guessing."""
    return {
        name: {
            "mean_squared_error": round(part["mean_squared_error"], 6),
            "published": PUBLISHED.get(name),
            "guessing": 0.1667,
        }
        for name, part in parts.items()
    }


class _Sums(BatchSource):
    """New sequences at every step."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self.num_targets, self.steps_per_epoch = ROWS * STEPS, STEPS
        self.targets_per_step = float(ROWS)

    def batch(self, step: int) -> Batch:
        x, y = _sums(ROWS, self.length, self.seed + step)
        return Batch(y, y, source=Batch(x, x))


def _sums(rows: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """(rows, length, 2) numbers and marks; (rows, 1) their sums."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(rows, length, generator=generator)
    half = length // 2
    first = torch.randint(half, (rows, 1), generator=generator)
    second = torch.randint(half, length, (rows, 1), generator=generator)
    marks = torch.zeros(rows, length).scatter(1, first, 1.0).scatter(1, second, 1.0)
    x = torch.stack([numbers, marks], -1)
    return x, (numbers * marks).sum(1, keepdim=True)


def _run(family: str, length: int, folder: Path) -> dict[str, Any]:
    options = configure_training(
        {
            "steps": STEPS,
            "learning_rate": 1e-3 if family == "rnn" else 4e-3,
            "warmup": 50,
            "clip": 1.0,
            "weight_decay": 0.0,
            "evaluate_every": 100,
            "precision": "float32",
        }
    )
    with seeded(torch.device("cpu"), 0):
        model = SequenceNumber(CausalEncoder(VectorModel(CONFIGS[family](hidden_size=128), 2)))
    valid, test = (_held_out(length, seed) for seed in (10**9, 2 * 10**9))
    history = train(
        model, _Sums(length, 0), valid, options, callbacks=st.Callbacks(progress=_report)
    )
    constant = 0.9189385332046727  # ln(2 pi) / 2
    return {
        "mean_squared_error": 2 * (mean_nats(model, test) - constant),
        "best_step": history.best_step,
        "steps": STEPS,
        "options": options.to_json(),
    }


def _held_out(length: int, seed: int) -> ExamplePass:
    x, y = _sums(1000, length, seed)
    examples = [Example(b, b, source=a) for a, b in zip(x, y, strict=True)]
    return ExamplePass(examples, batch_size=100)


def _report(progress: Any) -> None:
    if progress.is_best:
        print(f"step {progress.step:,}: {2 * (progress.valid_nats - 0.91894):.5f}", flush=True)
