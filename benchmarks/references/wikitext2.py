"""WikiText-2 as a small corpus, trained on its validation text and tested on its test text.

The 217,646 tokens of the validation file, one end for each line, are split nine to one into
training and validation; words seen once are `<unk>`. Figures are word perplexities. The LSTM is
`--preset zaremba-small`: 2 x 200, no regularization, 13 epochs of SGD, as Zaremba, Sutskever,
Vinyals 2014 trained theirs on the Penn Treebank (test perplexity 114.5 to 115.9 there; this corpus
is a fourth of that size and has no published figure). Beside it: counting, and an LSTM regularized
as in Gal, Ghahramani 2016 and Merity et al. 2017.
"""

from functools import partial
from pathlib import Path
from typing import Any

import seriatim as st
from benchmarks.references.parts import Job
from seriatim.models import ModelConfig, configure

REGULARIZED: dict[str, Any] = {
    "hidden_size": 200,
    "num_layers": 2,
    "tie_embeddings": True,
    "dropout": 0.5,
    "variational_dropout": True,
    "embedding_dropout": 0.1,
    "weight_dropout": 0.3,
}


def jobs(data: Path) -> dict[str, Job]:
    """One part for each model."""
    folder = data / "wikitext-2"
    small = configure("lstm", {}, preset="zaremba-small")
    return {
        "markov": partial(_run, st.Markov(order=5), None, {}, folder),
        "lstm-zaremba-small": partial(_run, small, "zaremba-small", {}, folder),
        "lstm-regularized": partial(
            _run,
            configure("lstm", REGULARIZED),
            None,
            {"epochs": 25.0, "batch_size": 20, "length": 35, "learning_rate": 3e-3},
            folder,
        ),
    }


def summary(parts: dict[str, Any]) -> dict[str, Any]:
    """Perplexities."""
    return {name: round(part["test_perplexity"], 2) for name, part in parts.items()}


def _run(
    config: ModelConfig, preset: str | None, options: dict[str, Any], data: Path, folder: Path
) -> dict[str, Any]:
    lm = st.LanguageModel(config, symbols="word", sequences="stream", min_count=2)
    lm.fit(
        data / "valid.txt",
        test=data / "test.txt",
        split=(0.9, 0.1, 0.0),
        options=lm.training_options(options, preset=preset),
        callbacks=st.Callbacks(progress=_report),
    )
    test, fit = lm.training.scores["test"], lm.training.fit
    assert fit is not None  # these models are trained
    return {
        "test_perplexity": test.perplexity,
        "test_perplexity_known": test.perplexity_known,
        "valid_perplexity": lm.training.scores["valid"].perplexity,
        "unknown": test.unknown,
        "symbols": lm.info()["symbols"]["number"],
        "parameters": lm.info()["parameters"],
        "fit": {name: getattr(fit, name) for name in ("steps", "best_step", "tokens_per_second")},
    }


def _report(progress: Any) -> None:
    if progress.is_best:
        print(f"step {progress.step:,}: {progress.valid_nats:.4f} nats per word", flush=True)
