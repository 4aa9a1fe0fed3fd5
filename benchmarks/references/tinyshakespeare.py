"""Six families on the characters of tiny-shakespeare, each trained on the same number of symbols.

Protocol: the first 90 % of the characters are for training, the rest is scored. 2,000 steps of 12 x
64 symbols, seed 0. Two figures in nats per character: *blocks*, in disjoint blocks of 64 that each
see only the one character before them (every position is scored), and *stream*, the whole part as
one sequence with the state carried from the first character to the last. The Markov model counts
the training part once and has no steps. Speed is measured elsewhere (`./run bench`).
"""

from functools import partial
from pathlib import Path
from typing import Any

import seriatim as st
from benchmarks.references.parts import Job

TRAINING: dict[str, Any] = {"steps": 2000, "batch_size": 12, "length": 64, "seed": 0}
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "markov": (st.Markov(order=6), {}),
    "autoregressive": (
        st.Autoregressive(window=12, embedding_size=48, hidden_size=768),
        {"learning_rate": 2e-3},
    ),
    "rnn": (st.RNN(hidden_size=512), {"learning_rate": 1e-3}),
    "lstm": (st.LSTM(hidden_size=384), {"learning_rate": 4e-3}),
    "gru": (st.GRU(hidden_size=384), {"learning_rate": 3e-3}),
    "transformer": (
        st.Transformer(model_size=128, num_layers=4, num_heads=4, context=64),
        {"learning_rate": 3e-3, "warmup": 100},
    ),
}


def jobs(data: Path) -> dict[str, Job]:
    """One part for each family."""
    text = data / "tinyshakespeare" / "input.txt"
    return {name: partial(_run, name, text) for name in CONFIGS}


def _run(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Train one family and score it in both ways."""
    config, options = CONFIGS[name]
    text = data.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    parts = {"train": text[:cut], "valid": text[cut:]}
    paths = {part: folder / f"{part}.txt" for part in parts}
    for part, path in paths.items():
        path.write_text(parts[part], encoding="utf-8")
    lm = st.LanguageModel(config, symbols="char")
    lm.fit(
        paths["train"],
        valid=paths["valid"],
        options=lm.training_options({**TRAINING, **options}),
        callbacks=st.Callbacks(message=print),
    )
    blocks = lm.score(paths["valid"], restart_every=64)
    stream = lm.score(paths["valid"])
    fit = lm.training.fit
    return {
        "family": name,
        "parameters": lm.info()["parameters"],
        "blocks_nats_per_character": blocks.nats / blocks.characters,
        "stream_nats_per_character": stream.nats / stream.characters,
        "training_symbols": cut if fit is None else fit.num_targets,
    }
