"""The language of a surname: accuracy on a held-out fifth, 18 languages.

A tenth is held out to choose the best weights and to calibrate. Equal spellings stay on one side of
the split, so that no test name was seen in training: with entries drawn at random, most Arabic test
names would have been (its 2,000 entries are 108 spellings). Some spellings occur in several
languages, so no model can be right about all of them. The baseline is the frequency of the most
frequent language.
"""

from functools import partial
from pathlib import Path
from typing import Any

import seriatim as st
from benchmarks.references.parts import Job

ENCODERS = ("rnn", "lstm", "gru", "transformer")


def jobs(data: Path) -> dict[str, Job]:
    """One part for each encoder."""
    return {name: partial(_run, name, data / "names") for name in ENCODERS}


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """Accuracy in per cent, and macro F1."""
    return {
        name: {k: part[k] for k in ("accuracy", "macro_f1", "most_frequent")}
        for name, part in parts.items()
    }


def _run(encoder: str, data: Path, folder: Path) -> dict[str, Any]:
    labeller = st.Labeller(encoder)
    labeller.fit(data, split=(0.7, 0.1, 0.2), callbacks=st.Callbacks(progress=_report))
    test = labeller.training.scores["test"]
    frequent = max(sum(row) for row in test.confusion) / test.num_labelled
    return {
        "accuracy": round(100 * test.accuracy, 2),
        "macro_f1": round(test.macro_f1, 4),
        "most_frequent": round(100 * frequent, 2),
        "calibration_error": round(test.calibration_error, 4),
        "num_labelled": test.num_labelled,
        "parameters": labeller.info()["parameters"],
        "labelling_seconds": round(labeller.training.seconds, 1),
    }


def _report(progress: Any) -> None:
    if progress.is_best:
        print(f"step {progress.step:,}: {progress.valid_nats:.4f} nats", flush=True)
