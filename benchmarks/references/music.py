"""JSB chorales and Nottingham: nats per step, summed over the 88 keys, of the test pieces.

As in Bai, Kolter, Koltun 2018 (table 1, and their code): the first step is given and the rest are
scored; the mean is over all scored steps of all test pieces. Their networks: 2 layers of 200,
dropout 0.2, gradient clipped at 1. Published: JSB LSTM 8.45, GRU 8.43, RNN 8.91; Nottingham LSTM
3.29, GRU 3.46, RNN 4.05. Ours: the same sizes and clip, dropout 0.5 (JSB) and 0.2 (Nottingham),
AdamW with a cosine, the best weights by the validation pieces.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

import seriatim as st
from benchmarks.references.parts import Job
from seriatim.data.batches.examples import Example, ExampleBatches, ExamplePass
from seriatim.models import VectorModel
from seriatim.train.evaluation import mean_nats
from seriatim.train.loop import train
from seriatim.train.options import configure_training
from seriatim.train.seeding import seeded

KEYS = 88
FILES = {"jsb": "JSB_Chorales.json", "nottingham": "Nottingham.json"}
PUBLISHED = {
    "jsb": {"rnn": 8.91, "lstm": 8.45, "gru": 8.43},
    "nottingham": {"rnn": 4.05, "lstm": 3.29, "gru": 3.46},
}
CONFIGS = {"rnn": st.RNN, "lstm": st.LSTM, "gru": st.GRU}
DROPOUT = {"jsb": 0.5, "nottingham": 0.2}
EPOCHS = {"jsb": 50, "nottingham": 60}
ROWS = {"jsb": 2, "nottingham": 16}


def jobs(data: Path) -> dict[str, Job]:
    """One part for each corpus and family."""
    folder = data / "polyphonic-music"
    return {
        f"{corpus}-{family}": partial(_run, corpus, family, folder / file)
        for corpus, file in FILES.items()
        for family in CONFIGS
    }


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """Our figure beside the published one."""
    return {
        name: {"nats": round(part["test_nats"], 3), "published": part["published"]}
        for name, part in parts.items()
    }


def _run(corpus: str, family: str, file: Path, folder: Path) -> dict[str, Any]:
    pieces = {name: _examples(part) for name, part in json.loads(file.read_text()).items()}
    config = CONFIGS[family](hidden_size=200, num_layers=2, dropout=DROPOUT[corpus])
    options = configure_training(
        {
            "epochs": EPOCHS[corpus],
            "batch_size": ROWS[corpus],
            "learning_rate": 1e-3 if family == "rnn" else 4e-3,
            "warmup": 50,
            "clip": 1.0,
            "weight_decay": 0.05,
            "precision": "float32",
        }
    )
    with seeded(torch.device("cpu"), options.seed):
        model = VectorModel(config, KEYS)
    source = ExampleBatches(pieces["train"], batch_size=options.batch_size, seed=options.seed)
    valid = ExamplePass(pieces["valid"], batch_size=16)
    history = train(model, source, valid, options, callbacks=st.Callbacks(progress=_report))
    return {
        "test_nats": mean_nats(model, ExamplePass(pieces["test"], batch_size=16)),
        "valid_nats": history.best_valid_nats,
        "published": PUBLISHED[corpus][family],
        "best_step": history.best_step,
        "steps": history.steps,
        "options": options.to_json(),
    }


def _examples(pieces: list[list[list[int]]]) -> list[Example]:
    """Each piece as its steps without the last, and its steps without the first."""
    examples = []
    for piece in pieces:
        x = torch.zeros(len(piece), KEYS)
        for t, keys in enumerate(piece):
            x[t, keys] = 1.0
        examples.append(Example(x[:-1], x[1:]))
    return examples


def _report(progress: Any) -> None:
    if progress.is_best:
        print(f"step {progress.step:,}/{progress.steps:,}: {progress.valid_nats:.3f}", flush=True)
