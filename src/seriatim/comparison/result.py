"""What came of a comparison: figures, pairwise differences, the best mixture, a recommendation.

Two things are kept apart. *This model beats that one on text like this* is said of the models
that were kept, those with the best validation loss among their seeds. *This family beats that
one under this budget* is said only of three seeds or more.

Knows what was measured and what it is called; trains nothing.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seriatim.comparison.measured import LN2, Compared
from seriatim.comparison.page import compare_report
from seriatim.comparison.store import TrainedRun
from seriatim.comparison.text import Candidate, advice, family_sentence, text_sentence
from seriatim.core.ensembles import Mixture
from seriatim.errors import ConfigError, DataError, ModelError
from seriatim.metrics.bootstrap import Floats, bootstrap_interval, ratio
from seriatim.metrics.significance import (
    MIN_BLOCKS,
    MIN_SEEDS,
    BestMixture,
    PairwiseDifference,
    best_mixture,
    pairwise_differences,
)
from seriatim.report.document import Report
from seriatim.tasks.language_model import LanguageModel

FORMAT = 1


@dataclass(frozen=True)
class ModelComparison:
    """The result of `compare`.

    Attributes:
        record: everything, as JSON values; see `to_json`.
        fitted: the models that were kept, by name, where they are still in memory.
    """

    record: Mapping[str, Any]
    fitted: Mapping[str, LanguageModel]

    @classmethod
    def load(cls, folder: str | Path) -> "ModelComparison":
        """The comparison that stands in a folder.

        Raises:
            ModelError: none does.
        """
        path = Path(folder) / "compare.json"
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")), {})
        except (OSError, ValueError):
            raise ModelError(
                f"{folder} holds no comparison that is finished: give a folder that compare --out "
                "has written"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """JSON values: format, data, budget, metric, models, texts, families, mixture ..."""
        return dict(self.record)

    def model(self, name: str) -> LanguageModel:
        """A model that was kept.

        Raises:
            ModelError: there is none of this name.
        """
        if name in self.fitted:
            return self.fitted[name]
        found = {m["name"]: m["folder"] for m in self.record["models"]}
        if not found.get(name):
            raise ModelError(f"there is no model {name!r} here: choose one of {', '.join(found)}")
        return LanguageModel.load(found[name])

    def mixture(self) -> Mixture:
        """The best mixture of all, a model like any other.

        Raises:
            ConfigError: there is none, for no two models have the same symbols.
        """
        mixed = self.record["mixture"]
        if mixed is None:
            raise ConfigError("there is no mixture: no two models have the same symbols")
        models = [self.model(name).model for name in mixed["weights"]]
        return Mixture([m for m in models if m is not None], list(mixed["weights"].values()))

    def report(self) -> Report:
        """The page that shows all of it; `.write(path)`, and a notebook shows it by itself.

        Raises:
            MissingExtraError: the extra `report` is not installed.
        """
        return compare_report(self.record)

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()

    def __str__(self) -> str:
        ran = [m for m in self.record["models"] if m["status"] == "ok"]
        lines = [
            f"{m['name']}: {m['bits']:.4f} {self.record['metric']}"
            for m in sorted(ran, key=lambda m: m["bits"])
        ]
        lines += [f"{m['name']}: not run" for m in self.record["models"] if m not in ran]
        return "\n".join([*lines, self.recommendation])

    @property
    def recommendation(self) -> str:
        """Which model to take, and why."""
        return str(self.record["recommendation"]["sentence"])

    def took_also(self, seconds: float) -> "ModelComparison":
        """The same after so many seconds more of anything but training."""
        before = self.record["overhead"]
        overhead = _shared(before["training_seconds"], before["other_seconds"] + seconds)
        return replace(self, record={**self.record, "overhead": overhead})


def conclude(
    compared: Compared, fitted: Mapping[tuple[str, int], LanguageModel], began: float
) -> ModelComparison:
    """Everything that can be said.

    Args:
        compared: what was measured.
        fitted: the models in memory, by name and seed.
        began: when all of it began, of `time.perf_counter`, and the seconds of the runs on top.
    """
    c, notes = compared, []
    texts: list[PairwiseDifference] = []
    families: list[PairwiseDifference] = []
    if c.blocks.count < MIN_BLOCKS:
        notes.append(
            f"the test text has {c.blocks.count} blocks, and {MIN_BLOCKS} are needed to say that a "
            "difference is more than luck: give more text"
        )
    else:
        texts = pairwise_differences({n: c.bits(n, r)[None] for n, r in c.kept.items()}, c.sizes)
        families, missing = _families(c)
        notes += missing
    mixed = _mixture(c)
    models = [_model(c, name) for name in c.runs]
    unit = "character" if c.is_by_character else "symbol"
    mixture = None if mixed is None else _mixture_json(c, *mixed)
    record: dict[str, Any] = {
        "format": FORMAT,
        "data": _data(c),
        "budget": c.budget,
        "split": c.split,
        "metric": f"bits per {unit}",
        "blocks": {"count": c.blocks.count, "characters": float(np.median(c.blocks.sizes))},
        "models": models,
        "texts": [_statement(s, text_sentence(s, unit)) for s in texts],
        "families": [
            _statement(s, family_sentence(s, unit, c.budget["sentence"])) for s in families
        ],
        "mixture": mixture,
        "notes": notes,
    }
    record["recommendation"] = advice(
        [_candidate(c, m) for m in models if m["status"] == "ok"],
        texts,
        families,
        mixture,
        unit=unit,
    )
    record["overhead"] = _overhead(c, time.perf_counter() - began)
    seeds = {name: (name, run.record["seed"]) for name, run in c.kept.items()}
    return ModelComparison(record, {n: fitted[key] for n, key in seeds.items() if key in fitted})


def _families(c: Compared) -> tuple[list[PairwiseDifference], list[str]]:
    """What is said of families, and why nothing is."""
    ok = {name: [r for r in runs if r.is_ok] for name, runs in c.runs.items()}
    enough = {
        name: np.stack([c.bits(name, run) for run in runs])
        for name, runs in ok.items()
        if runs and (len(runs) >= MIN_SEEDS or runs[0].record["is_counted"])
    }
    few = [name for name, runs in ok.items() if runs and name not in enough]
    trained = [name for name in enough if not ok[name][0].record["is_counted"]]
    if not trained or len(enough) < 2:
        return [], [
            "whether one family beats another under this budget is not said: other seeds might "
            f"turn it round, and that takes {MIN_SEEDS} seeds or more (--seeds {MIN_SEEDS})"
        ]
    left_out = f"as families, {', '.join(few)} are left out: fewer than {MIN_SEEDS} seeds were run"
    return pairwise_differences(enough, c.sizes), [left_out] if few else []


def _mixture(c: Compared) -> tuple[list[str], BestMixture] | None:
    """The best mixture of the models of one alphabet, the one that most of them have."""
    by_spec: dict[str, list[str]] = {}
    for name in c.kept:
        by_spec.setdefault(c.specs[name], []).append(name)
    names = max(by_spec.values(), key=len, default=[])
    if len(names) < 2:
        return None
    valid = {name: c.kept[name].valid for name in names}
    return names, best_mixture(valid, {name: c.kept[name].test for name in names})


def _mixture_json(c: Compared, names: list[str], mixed: BestMixture) -> dict[str, Any]:
    spec = c.specs[names[0]]
    best = min(names, key=lambda name: c.figure(name, c.kept[name]))
    run = TrainedRun(c.kept[best].record, c.kept[best].valid, mixed.nats.astype(np.float32))
    bits, total = c.bits(best, run), float(c.sizes.sum())
    found = {
        "weights": mixed.weights,
        "bits_per_character": _per_character(c, spec, float(bits.sum())),
        "bits": float(bits.sum()) / total,
        "interval": _interval(c, bits),
        "adds": {name: nats / LN2 / total for name, nats in mixed.contributions.items()},
        "gain": c.figure(best, c.kept[best]) - float(bits.sum()) / total,
        "best": best,
        "left_out": [name for name in c.kept if name not in names],
    }
    if c.blocks.count >= MIN_BLOCKS:
        pair = {"mixture": bits[None], best: c.bits(best, c.kept[best])[None]}
        found["p_value"] = pairwise_differences(pair, c.sizes)[0].p_value
    return found


def _model(c: Compared, name: str) -> dict[str, Any]:
    runs = c.runs[name]
    if name not in c.kept:
        record = runs[0].record
        return {**dict.fromkeys(_FIGURES), **record, "seeds": [], "folder": None}
    run, spec = c.kept[name], c.specs[name]
    bits = c.bits(name, run)
    total = float(bits.sum())
    corpus = c.test[spec]
    of_text = c.is_by_character or corpus.lossless_reason is None
    seeds = []
    for r in runs:
        if r.is_ok:
            own = float(c.bits(name, r).sum())
            figure = own / float(c.sizes.sum())
            per = _per_character(c, spec, own)
            seeds.append({"seed": r.record["seed"], "bits": figure, "bits_per_character": per})
    return {
        **dict.fromkeys(_FIGURES),
        **runs[0].record,  # of what was measured once
        **run.record,
        "history": _history(run.record["history"]),
        "bits": total / float(c.sizes.sum()),
        "bits_per_character": _per_character(c, spec, total),
        "interval": _interval(c, bits),
        "bits_per_symbol": float(np.mean(run.test, dtype=np.float64)) / LN2,
        "bits_per_byte": total / corpus.num_bytes if of_text else None,
        "seeds": seeds,
        "train_seconds": float(np.mean([r.record["train_seconds"] for r in runs if r.is_ok])),
    }


def _history(history: Any) -> list[dict[str, Any]]:
    """Evaluations, in bits per symbol of the training and of the validation text."""

    def bits(nats: float | None) -> float | None:
        return None if nats is None else nats / LN2

    return [
        {"step": e["step"], "epoch": e["epoch"], "seconds": e["seconds"]}
        | {"train": bits(e["train_nats"]), "valid": bits(e["valid_nats"])}
        for e in history
    ]


_FIGURES = (
    "bits",
    "bits_per_character",
    "bits_per_symbol",
    "bits_per_byte",
    "interval",
    "config",
    "parameters",
    "bytes",
    "state_bytes",
    "train_seconds",
    "train_symbols_per_second",
    "generate_symbols_per_second",
    "operations_per_symbol",
    "history",
    "folder",
)


def _per_character(c: Compared, spec: str, bits: float) -> float | None:
    corpus = c.test[spec]
    if not c.is_by_character and corpus.lossless_reason is not None:
        return None
    return bits / max(corpus.num_characters, 1)


def _interval(c: Compared, bits: Floats) -> list[float] | None:
    if c.blocks.count < MIN_BLOCKS:
        return None
    try:
        return list(bootstrap_interval(np.stack([bits, c.sizes], 1), ratio)[1])
    except DataError:
        return None


def _data(c: Compared) -> dict[str, Any]:
    spec = next(iter(c.test))
    parts = c.corpora[spec]
    return {
        "name": c.name,
        "sequences": c.sequences,
        "num_sequences": {name: corpus.num_sequences for name, corpus in parts.items()},
        "characters": {name: corpus.num_characters for name, corpus in parts.items()},
        "symbols": {
            spec: {"kind": symbols.kind, "number": symbols.num_symbols}
            for spec, symbols in c.alphabets.items()
        },
        "unknown": {spec: corpus.num_unknown for spec, corpus in c.test.items()},
    }


def _statement(found: PairwiseDifference, sentence: str) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "difference": found.difference,
        "interval": list(found.interval),
        "p_value": found.p_value,
        "p_value_alone": found.p_value_alone,
        "is_real": found.is_significant,
        "sentence": sentence,
    }


def _candidate(c: Compared, model: Mapping[str, Any]) -> Candidate:
    train = c.corpora[c.specs[model["name"]]]["train"]
    return Candidate(
        name=model["name"],
        bits=model["bits"],
        mean_bits=float(np.mean([s["bits"] for s in model["seeds"]])),
        operations=model["operations_per_symbol"],
        num_bytes=model["bytes"],
        history=model["history"],
        epochs=model["train_symbols"] / max(train.num_scored, 1),
    )


def _overhead(c: Compared, shared: float) -> dict[str, Any]:
    """Seconds of training, and of everything else; those of runs that were finished before are
    as they were then."""
    runs = [run.record for runs in c.runs.values() for run in runs]
    training = sum(r.get("train_seconds", 0.0) for r in runs)
    other = shared + sum(r["other_seconds"] for r in runs)
    return _shared(training, other)


def _shared(training: float, other: float) -> dict[str, Any]:
    share = other / training if training else None
    return {"training_seconds": training, "other_seconds": other, "share": share}
