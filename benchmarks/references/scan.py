"""SCAN: exact match of the action sequence, simple split and length split.

Words in, actions out; a tenth of the training commands is held out to choose the best weights;
greedy decoding. Published (Lake, Baroni 2018): simple near 99.8 %, length 14 to 21 % for recurrent
models. The length split trains on outputs of at most 22 actions and tests on 24 to 48.
"""

from functools import partial
from pathlib import Path
from typing import Any

import seriatim as st
from benchmarks.references.parts import Job

MODELS = {
    "transformer": st.Seq2Seq(
        model_size=128, encoder_layers=2, decoder_layers=2, num_heads=4, dropout=0.1
    ),
    "lstm": st.Seq2Seq(
        encoder="lstm",
        decoder="lstm",
        model_size=200,
        encoder_layers=1,
        decoder_layers=1,
        dropout=0.1,
    ),
}
SPLITS = ("simple", "length")
STEPS = 2000
POSITIONS = {"simple": 3544, "length": 3028}  # in a batch: about 100 steps an epoch
PUBLISHED = {"simple": "near 99.8", "length": "14 to 21, recurrent models"}


def jobs(data: Path) -> dict[str, Job]:
    """One part for each split and model."""
    return {
        f"{split}-{name}": partial(_run, split, name, data / "scan" / f"{split}_split")
        for split in SPLITS
        for name in MODELS
    }


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """Exact match in per cent beside the published figure."""
    return {
        name: {"exact_match": part["exact_match"], "published": PUBLISHED[name.split("-")[0]]}
        for name, part in parts.items()
    }


def _run(split: str, name: str, data: Path, folder: Path) -> dict[str, Any]:
    train, test = (_pairs(data / f"tasks_{part}_{split}.txt") for part in ("train", "test"))
    translator = st.Translator(MODELS[name], symbols="word")
    options = {"steps": STEPS, "token_budget": POSITIONS[split]}
    translator.fit(
        train,
        test=test,
        split=(0.9, 0.1, 0.0),
        options=options,
        callbacks=st.Callbacks(progress=_report),
    )
    found = translator.translate([source for source, _ in test], beam=1)
    right = sum(f.text == target for f, (_, target) in zip(found, test, strict=True))
    fit = translator.training.fit
    assert fit is not None  # a translator is trained
    return {
        "exact_match": round(100 * right / len(test), 2),
        "commands": len(test),
        "parameters": translator.info()["parameters"],
        "best_step": fit.best_step,
        "fit_seconds": round(translator.training.fit_seconds, 1),
    }


def _pairs(file: Path) -> list[tuple[str, str]]:
    """Lines such as IN: jump left OUT: I_TURN_LEFT I_JUMP."""
    found = []
    for line in file.read_text(encoding="ascii").splitlines():
        source, target = line.removeprefix("IN: ").split(" OUT: ")
        found.append((source, target))
    return found


def _report(progress: Any) -> None:
    if progress.is_best:
        print(f"step {progress.step:,}: {progress.valid_nats:.5f} nats per action", flush=True)
