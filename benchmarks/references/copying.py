"""Copy memory: ten symbols, a long run of blanks, a mark, and the ten symbols again.

As in Bai, Kolter, Koltun 2018, with lag T = 1,000 (and 100): the loss is the mean over all T + 20
positions, of which only the ten copied symbols cost anything; guessing them is 10 ln 8 / (T + 20),
0.0204 for T = 1,000. Published for T = 1,000: LSTM 0.0204, GRU 0.0197, RNN 0.0202. One difference:
here every family models the whole sequence, so while copying it reads the symbols copied so far,
and everything before the mark has weight 0. New sequences at every step; 400 in the test.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seriatim as st
from benchmarks.references.parts import Job
from seriatim.core import Batch, SequenceModel, uniforms
from seriatim.data.batches.corpus import BatchSource
from seriatim.data.batches.examples import Example, ExamplePass
from seriatim.data.corpus import Corpus
from seriatim.models import ModelConfig
from seriatim.models.build import build_model
from seriatim.train.closed_form import ClosedForm
from seriatim.train.evaluation import mean_nats
from seriatim.train.loop import train
from seriatim.train.options import configure_training
from seriatim.train.seeding import seeded

COPIED, KINDS = 10, 8
BLANK, MARK, BOUNDARY, V = 0, 9, 10, 11
LAGS = (100, 1000)
STEPS, ROWS = 800, 16
PUBLISHED = {"rnn-1000": 0.0202, "lstm-1000": 0.0204, "gru-1000": 0.0197}
RATES = {"rnn": 1e-3, "transformer": 1e-3}


def jobs(data: Path) -> dict[str, Job]:
    """One part for each family and lag."""
    return {
        f"{family}-{lag}": partial(_run, family, lag) for lag in LAGS for family in _configs(lag)
    }


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """Our figure beside the published one and that of guessing."""
    return {
        name: {
            "loss": round(part["loss"], 5),
            "published": PUBLISHED.get(name),
            "guessing": round(part["guessing"], 5),
            "nats_per_copied_symbol": round(part["nats_per_copied_symbol"], 4),
        }
        for name, part in parts.items()
    }


def _configs(lag: int) -> dict[str, ModelConfig]:
    return {
        "markov": st.Markov(order=6),
        "autoregressive": st.Autoregressive(window=12, embedding_size=16, hidden_size=256),
        "rnn": st.RNN(hidden_size=128),
        "lstm": st.LSTM(hidden_size=128),
        "gru": st.GRU(hidden_size=128),
        "transformer": st.Transformer(
            model_size=64, num_layers=2, num_heads=4, context=lag + 2 * COPIED + 1
        ),
    }


def _sequences(rows: np.ndarray, step: int, lag: int) -> torch.Tensor:
    """(B, lag + 20): functions of (row, step)."""
    u = uniforms(step, rows[:, None], np.arange(COPIED)).numpy()
    symbols = 1 + (u * KINDS).astype(np.int64)
    blanks = np.full((len(rows), lag - 1), BLANK)
    mark = np.full((len(rows), 1), MARK)
    return torch.from_numpy(np.concatenate([symbols, blanks, mark, symbols], 1))


class _Copies(BatchSource):
    """New sequences at every step."""

    def __init__(self, lag: int) -> None:
        self.lag = lag
        self.steps_per_epoch, self.num_targets = STEPS, STEPS * ROWS * COPIED
        self.targets_per_step = float(ROWS * COPIED)

    def batch(self, step: int) -> Batch:
        targets = _sequences(np.arange(ROWS), step, self.lag)
        first = torch.full((ROWS, 1), BOUNDARY)
        return Batch(torch.cat([first, targets[:, :-1]], 1), targets, weights=_weights(targets))


def _weights(targets: torch.Tensor) -> torch.Tensor:
    weights = torch.zeros(targets.shape)
    weights[..., -COPIED:] = 1.0
    return weights


def _held_out(lag: int, step: int, size: int) -> ExamplePass:
    targets = _sequences(np.arange(size), step, lag)
    first = torch.full((1,), BOUNDARY)
    examples = [Example(torch.cat([first, t[:-1]]), t, _weights(t)) for t in targets]
    return ExamplePass(examples, batch_size=ROWS)


def _run(family: str, lag: int, folder: Path) -> dict[str, Any]:
    with seeded(torch.device("cpu"), 0):
        model = build_model(_configs(lag)[family], V, BOUNDARY)
    steps = _fit(model, family, lag)
    nats = mean_nats(model, _held_out(lag, 2 * 10**9, 400))
    length = lag + 2 * COPIED
    return {
        "loss": nats * COPIED / length,
        "guessing": COPIED * math.log(KINDS) / length,
        "nats_per_copied_symbol": nats,
        "reach": model.reach,
        "steps": steps,
        "sequences_per_step": ROWS,
    }


def _fit(model: SequenceModel, family: str, lag: int) -> int:
    if isinstance(model, ClosedForm):
        rows = [t.numpy() for s in range(50) for t in _sequences(np.arange(ROWS), s, lag)]
        model.fit_closed_form(Corpus.from_tokens(rows, is_stream=False))
        return 50
    options = configure_training(
        {
            "steps": STEPS,
            "learning_rate": RATES.get(family, 3e-3),
            "warmup": 50,
            "evaluate_every": 100,
            "precision": "float32",
        }
    )
    train(
        model,
        _Copies(lag),
        _held_out(lag, 10**9, 64),
        options,
        callbacks=st.Callbacks(progress=_report),
    )
    return STEPS


def _report(progress: Any) -> None:
    if progress.is_best:
        nats = progress.valid_nats
        print(f"step {progress.step:,}: {nats:.4f} nats per copied symbol", flush=True)
