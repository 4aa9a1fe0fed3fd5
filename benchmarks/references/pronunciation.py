"""SIGMORPHON 2021 task 1, pronunciation: word error rate on test, the ten medium languages.

8,000 training words a language; characters in, phones out. The best weights by the loss on the
1,000 development words; beam 5; a word is wrong unless all its phones are right. Published: the
baseline's mean of 10.64. Ours: one `Translator` a language, with one set of options for all. Seed
1, since with seed 0 the attention of hbs_latn settled on wrong places (0.25 nats a phone on its
development words instead of 0.20). Parts of 2,200 steps are from before, and say so.
"""

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
# Small batches: what the attention has to learn first takes steps, not words.
OPTIONS = {"steps": 5000, "token_budget": 700, "average": 0.99, "seed": 1}


def jobs(data: Path) -> dict[str, Job]:
    """One part for each language."""
    folder = data / "sigmorphon2021-g2p" / "medium"
    return {name: partial(_run, name, folder) for name in LANGUAGES}


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """The mean of the languages that have been run, beside the baseline."""
    rates = {name: part["word_error_rate"] for name, part in parts.items()}
    return {
        "word_error_rate": rates,
        "mean": round(sum(rates.values()) / len(rates), 2),
        "languages": len(rates),
        "baseline_mean_of_ten": BASELINE,
    }


def _run(language: str, data: Path, folder: Path) -> dict[str, Any]:
    files = {part: data / f"{language}_{part}.tsv" for part in ("train", "dev", "test")}
    translator = st.Translator(CONFIG, symbols="word", source_symbols="char")
    translator.fit(
        files["train"], valid=files["dev"], test=files["test"], options=OPTIONS, report=_report
    )
    pairs = [line.split("\t") for line in files["test"].read_text(encoding="utf-8").splitlines()]
    found = translator.translate([source for source, _ in pairs], beam=5)
    wrong = sum(f.text != target for f, (_, target) in zip(found, pairs, strict=True))
    fitted = translator.training["fit"]
    return {
        "word_error_rate": round(100 * wrong / len(pairs), 2),
        "words": len(pairs),
        "parameters": translator.info()["parameters"],
        "best_step": fitted["best_step"],
        "steps": fitted["steps"],
        "fit_seconds": round(translator.training["fit_seconds"], 1),
    }


def _report(progress: Any) -> None:
    if progress.is_best:
        print(f"step {progress.step:,}: {progress.valid:.4f} nats per phone", flush=True)
