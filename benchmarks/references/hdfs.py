"""Events of the Hadoop file system: surprisal as an anomaly score, six families.

The 4,855 normal sessions (the training file of DeepLog), in file order: the first 60 % are for
training, the next 10 % for early stopping, the next 10 % set the threshold, and the last 20 % (971
sessions) are the normal half of the test; the anomalies are all 16,838 sessions of the abnormal
file. A session's score is its surprisal under a model that saw only normal sessions: the mean over
its events, its end included, or the highest of them. Reported are the area under the ROC curve; F1
at the threshold that 1 % of the sessions set aside for it exceed; and the best F1 of any threshold,
which knows the answers. Intervals: 95 %, 1,000 resamples of the sessions. The published test set
has 553,366 normal sessions, which we do not have, so F1 is also given at its rate of anomalies
(2.95 %), from the detection and false alarm rates measured here. `exact` is not a model: it calls
every session an anomaly that does not occur, event for event, in the training part.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import seriatim as st
from benchmarks.references.parts import Job
from seriatim.metrics import auc_interval, best_f1, detect, quantile_threshold, roc_auc

CONFIGS: dict[str, Any] = {
    "markov": st.Markov(order=6),
    "autoregressive": st.Autoregressive(window=10, embedding_size=16, hidden_size=128),
    "rnn": st.RNN(hidden_size=64),
    "lstm": st.LSTM(hidden_size=64),
    "gru": st.GRU(hidden_size=64),
    "transformer": st.Transformer(model_size=64, num_layers=2, num_heads=4, context=64),
}
SHARES = (0.6, 0.1, 0.1, 0.2)
FALSE_ALARMS = 0.01
PREVALENCE = 16_838 / (16_838 + 553_366)
SEEDS = (0, 1)


def jobs(data: Path) -> dict[str, Job]:
    """One part for each family and seed (counting has no seed), and the look-up."""
    folder = data / "deeplog-hdfs"
    found: dict[str, Job] = {"exact": partial(_exact, folder)}
    for seed in SEEDS:
        for family in CONFIGS if seed == SEEDS[0] else list(CONFIGS)[1:]:
            found[f"{family}-{seed}"] = partial(_run, family, seed, folder)
    return found


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """The mean over the seeds of each family."""
    found: dict[str, Any] = {}
    for family in ("exact", *CONFIGS):
        own = [part for name, part in parts.items() if name.split("-")[0] == family]
        for score in ("exact",) if family == "exact" else ("mean", "highest"):
            figures = [part[score] for part in own]
            if figures:
                name = family if family == "exact" else f"{family} {score}"
                found[name] = {
                    key: round(float(np.mean([f[key] for f in figures])), 4) for key in _SHOWN
                } | {"seeds": len(figures)}
    return found


_SHOWN = ("auc", "f1", "recall", "false_alarms", "best_f1", "f1_published_share")


def sessions(folder: Path) -> tuple[list[list[list[str]]], list[list[str]]]:
    """Normal sessions in four parts, and the anomalies; a session is a list of events."""
    normal, odd = (
        [line.split() for line in (folder / name).read_text().splitlines()]
        for name in ("hdfs_train", "hdfs_test_abnormal")
    )
    cuts = np.round(np.cumsum(SHARES) * len(normal)).astype(int).tolist()
    starts = [0, *cuts[:-1]]
    return [normal[a:b] for a, b in zip(starts, cuts, strict=True)], odd


def _run(family: str, seed: int, data: Path, folder: Path) -> dict[str, Any]:
    (train, valid, calibration, normal), odd = sessions(data)
    lm = st.LanguageModel(CONFIGS[family], symbols="word", sequences="line")
    options = lm.training_options({"epochs": 20, "batch_size": 32, "length": 64, "seed": seed})
    began = time.perf_counter()
    lm.fit(train, valid=valid, options=options, callbacks=st.Callbacks(progress=_report))
    fitted = time.perf_counter()
    found = [list(lm.score_each(part)) for part in (calibration, normal, odd)]
    scored = time.perf_counter()
    num_events = sum(s.symbols for part in found for s in part)
    record = {
        name: _judged(*(np.array([getattr(s, key) for s in part]) for part in found))
        for name, key in (("mean", "bits_per_symbol"), ("highest", "highest"))
    }
    return {
        **record,
        "normal_bits_per_event": float(
            sum(s.bits for s in found[1]) / sum(s.symbols for s in found[1])
        ),
        "parameters": lm.info()["parameters"],
        "fit_seconds": round(fitted - began, 1),
        "events_per_second": round(num_events / (scored - fitted)),
        "sessions": [len(part) for part in (train, valid, calibration, normal, odd)],
    }


def _exact(data: Path, folder: Path) -> dict[str, Any]:
    """The look-up: whether a session is new, without any model."""
    (train, _, calibration, normal), odd = sessions(data)
    known = {tuple(session) for session in train}

    def is_new(part: Sequence[list[str]]) -> np.ndarray:
        return np.array([tuple(session) not in known for session in part], np.float64)

    return {"exact": _judged(is_new(calibration), is_new(normal), is_new(odd), threshold=0.5)}


def _judged(
    calibration: np.ndarray, normal: np.ndarray, odd: np.ndarray, threshold: float | None = None
) -> dict[str, Any]:
    if threshold is None:
        threshold = quantile_threshold(calibration, FALSE_ALARMS)
    found = detect(normal, odd, threshold, resamples=1000)
    best = best_f1(normal, odd)
    return {
        "auc": roc_auc(normal, odd),
        "auc_interval": auc_interval(normal, odd),
        **found.to_json(),
        "f1_published_share": found.at_prevalence(PREVALENCE)[1],
        "best_f1": best.f1,
        "best_false_alarms": best.false_alarms,
    }


def _report(progress: Any) -> None:
    if progress.is_best:
        bits = progress.valid_nats / np.log(2)
        print(f"step {progress.step:,}: {bits:.4f} bits per event", flush=True)
