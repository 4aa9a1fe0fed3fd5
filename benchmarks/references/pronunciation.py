"""SIGMORPHON 2021 task 1, pronunciation: word error rate on test, the ten medium languages.

8,000 training words per language; characters in, phones out. The weights are those with the best
loss on the 1,000 development words; beam 5; a word is wrong unless all its phones are right.
Published: the baseline's mean of 10.64. Ours: the normalized product of two `Translator`s per
language that differ in their seed, with one set of options for all languages; the first alone is
reported beside it. Korean syllables are decomposed, as `seriatim look` advises (1,089 of them have
67 parts).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import seriatim as st
from benchmarks.references.parts import Job

LANGUAGES = (
    "arm_e",
    "bul",
    "dut",
    "fre",
    "geo",
    "hbs_latn",
    "hun",
    "jpn_hira",
    "kor",
    "vie_hanoi",
)
BASELINE = 10.64
CONFIG = st.Seq2Seq(
    encoder="lstm",
    decoder="lstm",
    attention="multiplicative",
    model_size=256,
    encoder_layers=2,
    decoder_layers=1,
    dropout=0.3,
)
# Small batches: learning to attend takes steps, not words.
OPTIONS = {"steps": 5000, "token_budget": 700, "average": 0.99}
# Not 0: with it the attention of hbs_latn settled on wrong positions, 0.25 nats a phone, not 0.20.
SEEDS = (1, 2)


def jobs(data: Path) -> dict[str, Job]:
    """One part for each language."""
    folder = data / "sigmorphon2021-g2p" / "medium"
    return {name: partial(_run, name, folder) for name in LANGUAGES}


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """The means over the languages run so far, beside the baseline."""

    def mean(name: str) -> float:
        return round(sum(part[name] for part in parts.values()) / len(parts), 2)

    return {
        "word_error_rate": {name: part["word_error_rate"] for name, part in parts.items()},
        "mean": mean("word_error_rate"),
        "mean_of_one_translator": mean("of_one_translator"),
        "languages": len(parts),
        "baseline_mean_of_ten": BASELINE,
    }


def _run(language: str, data: Path, folder: Path) -> dict[str, Any]:
    files = {part: data / f"{language}_{part}.tsv" for part in ("train", "dev", "test")}
    first, *others = (_fitted(language, files, seed) for seed in SEEDS)
    pairs = [line.split("\t") for line in files["test"].read_text(encoding="utf-8").splitlines()]

    def word_errors(ensemble: Sequence[st.Translator]) -> float:
        found = first.translate([source for source, _ in pairs], beam=5, ensemble=ensemble)
        wrong = sum(f.text != target for f, (_, target) in zip(found, pairs, strict=True))
        return round(100 * wrong / len(pairs), 2)

    records = [translator.training for translator in (first, *others)]
    fits = [record.fit for record in records if record.fit is not None]
    return {
        "word_error_rate": word_errors(others),
        "of_one_translator": word_errors(()),
        "words": len(pairs),
        "parameters": first.info()["parameters"],
        "translators": len(records),
        "best_step": [fit.best_step for fit in fits],
        "steps": [fit.steps for fit in fits],
        "fit_seconds": [round(record.fit_seconds, 1) for record in records],
    }


def _fitted(language: str, files: dict[str, Path], seed: int) -> st.Translator:
    print(f"seed {seed}", flush=True)
    reading = "nfd" if language == "kor" else "char"
    translator = st.Translator(CONFIG, symbols="word", source_symbols=reading)
    return translator.fit(
        files["train"],
        valid=files["dev"],
        test=files["test"],
        options={**OPTIONS, "seed": seed},
        callbacks=st.Callbacks(progress=_report),
    )


def _report(progress: Any) -> None:
    if progress.is_best:
        print(f"step {progress.step:,}: {progress.valid_nats:.4f} nats per phone", flush=True)
