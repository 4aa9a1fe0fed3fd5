"""English to Japanese, 50,000 short sentences: BLEU and chrF on the 500 test sentences.

The text is already tokenized, so symbols are words (those seen at least twice) and BLEU uses the
words as they are; beam 4. Three models of about the same size, each trained within 30 minutes on
two cores: a Transformer, an LSTM with attention and an LSTM without.
"""

from functools import partial
from pathlib import Path
from typing import Any

import seriatim as st
from benchmarks.references.parts import Job
from seriatim.metrics import bleu, chrf

MODELS = {
    "transformer": st.Seq2Seq(
        model_size=192, encoder_layers=3, decoder_layers=3, num_heads=4, dropout=0.2
    ),
    "lstm-attention": st.Seq2Seq(
        encoder="lstm",
        decoder="lstm",
        attention="multiplicative",
        model_size=320,
        encoder_layers=1,
        decoder_layers=2,
        dropout=0.2,
    ),
    "lstm": st.Seq2Seq(
        encoder="lstm",
        decoder="lstm",
        attention="none",
        model_size=320,
        encoder_layers=1,
        decoder_layers=2,
        dropout=0.2,
    ),
}
EPOCHS = 6.0


def jobs(data: Path) -> dict[str, Job]:
    """One part for each model."""
    folder = data / "small_parallel_enja"
    return {name: partial(_run, name, folder) for name in MODELS}


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """BLEU and chrF, and what attention gains."""
    found: dict[str, Any] = {
        name: {"bleu": part["bleu"], "chrf": part["chrf"]} for name, part in parts.items()
    }
    if {"lstm", "lstm-attention"} <= parts.keys():
        gain = parts["lstm-attention"]["bleu"] - parts["lstm"]["bleu"]
        found["attention_gains_bleu"] = round(gain, 2)
    return found


def _run(name: str, data: Path, folder: Path) -> dict[str, Any]:
    files = {part: (data / f"{part}.en", data / f"{part}.ja") for part in ("train", "dev", "test")}
    translator = st.Translator(MODELS[name], symbols="word", min_count=2)
    translator.fit(
        files["train"],
        valid=files["dev"],
        test=files["test"],
        epochs=EPOCHS,
        callbacks=st.Callbacks(progress=_report),
    )
    sources, targets = (f.read_text(encoding="utf-8").splitlines() for f in files["test"])
    found = [t.text for t in translator.translate(sources, beam=4)]
    b, c = bleu(found, targets, tokenize="none"), chrf(found, targets)
    model = folder / "model"
    translator.save(model, overwrite=True)
    fit = translator.training.fit
    assert fit is not None  # a translator is trained
    return {
        "bleu": round(b.score, 2),
        "bleu_signature": b.signature,
        "chrf": round(c.score, 2),
        "chrf_signature": c.signature,
        "parameters": translator.info()["parameters"],
        "best_step": fit.best_step,
        "steps": fit.steps,
        "fit_seconds": round(translator.training.fit_seconds, 1),
    }


def _report(progress: Any) -> None:
    if progress.is_best:
        print(
            f"step {progress.step:,}/{progress.steps:,}: {progress.valid_nats:.4f} nats per word",
            flush=True,
        )
