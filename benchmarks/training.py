"""`python -m benchmarks.training`: speed and memory of training, in one run with peers and limits.

Everything is measured in one run and reported as ratios: ours and the peer's are timed in turn, and
medians are taken. The machine's own limits (products in float32 and bfloat16, copying) are
measured in the same rounds. See benchmarks/README.md for the protocol. Prints a line for every
measurement and, as its last line, JSON. `--only NAME` runs one part, `--write` writes the file.

Peers: transformers (any version with GPT-2; a plain Transformer stands in where it is missing), and
rau in an environment of its own, given by `--rau PATH/bin/rau`.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import seriatim as st
from benchmarks.peak import peak_bytes
from benchmarks.processor import processor_facts, processor_name
from benchmarks.run import our_symbols, rate, tokens
from benchmarks.training_pairs import (
    CPU,
    Protocol,
    Steps,
    V,
    Work,
    paired,
    products,
    profile,
    trainer,
)
from seriatim.core import distributions
from seriatim.data.batches.corpus import batch_source
from seriatim.data.corpus import Corpus
from seriatim.models.build import build_model
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.loop import train
from seriatim.train.options import TrainingOptions
from seriatim.train.precision import choose_precision, process_settings

# ---- the machine ---------------------------------------------------------------------------------


def copying(seconds: float) -> float:
    """GB/s read and written while copying 200 MB."""
    a, b = torch.ones(50_000_000), torch.empty(50_000_000)

    def steps() -> Steps:
        while True:
            yield b.copy_(a)

    return rate(steps(), seconds) * 2 * a.nbytes / 1e9


def machine(protocol: Protocol) -> dict[str, Any]:
    """The processor and its limits."""
    found = [
        (products(torch.float32, 0.3), products(torch.bfloat16, 0.3), copying(0.3))
        for _ in range(protocol.rounds)
    ]
    float32, bf16, copies = (statistics.median(column) for column in zip(*found, strict=True))
    return {
        "processor": processor_name(),
        "has_amx": "amx_bf16" in processor_facts(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "float32_product_gflops": float32,
        "bf16_product_gflops": bf16,
        "copy_gb_per_second": copies,
    }


# ---- the parts -----------------------------------------------------------------------------------


def transformer(protocol: Protocol) -> dict[str, Any]:
    """6 x 384, context 256, batch 16, 10k symbols, beside GPT-2 of transformers in its defaults."""
    work = Work("Transformer", 384, 6, 16, 256)
    found = paired(work, protocol)
    # Six operations per matrix weight and token, forward and backward, and the products of
    # attention, of which causality needs half: 6 L D per layer and token.
    per_token = 6 * found["num_weights"] + 6 * work.layers * work.length * work.size
    return {
        **found,
        "target_ratio": 3.0,
        "gflop_per_token": per_token / 1e9,
        "share_of_bf16_rate": found["ours"] * per_token / 1e9 / found["bf16_product_gflops"],
        "target_share": 0.45,
    }


def recurrent(protocol: Protocol) -> dict[str, Any]:
    """LSTM and GRU, 2 layers, batch 20 x 35, 10k symbols, beside the plain loop in defaults."""
    names = protocol.models or [f"{f} 2 x {s}" for f in ("LSTM", "GRU") for s in (650, 200)]
    found = {}
    for name in names:
        family, _, _, size = name.split()
        found[name] = {**paired(Work(family, int(size), 2, 20, 35), protocol), "target_ratio": 2.0}
    return found


def streaming(protocol: Protocol) -> dict[str, Any]:
    """One LSTM of 256 over 100 symbols, sampling alone; and its two products alone."""
    torch.manual_seed(0)
    ours, products = (
        our_symbols(build_model(st.LSTM(hidden_size=256), 100, 1)),
        _two_products(256, 100),
    )
    pairs = [
        (rate(ours, protocol.seconds), rate(products, protocol.seconds / 4))
        for _ in range(protocol.rounds)
    ]
    rates, limits = zip(*pairs, strict=True)
    return {
        "symbols_per_second": statistics.median(rates),
        "target": 10_000,
        "limit": {"two_products_per_second": statistics.median(limits)},
        "profile_of_100_symbols": profile(lambda: [next(ours) for _ in range(100)], 24),
    }


def _two_products(size: int, num_symbols: int) -> Iterator[Any]:
    """The least work for a symbol: h U, added to the input's row, and the logits."""
    h, u = torch.randn(1, size), torch.randn(size, 4 * size)
    row, head, bias = (
        torch.randn(*s) for s in ((1, 4 * size), (num_symbols, size), (num_symbols,))
    )
    while True:
        with torch.inference_mode():
            torch.addmm(row, h, u)
            yield torch.nn.functional.linear(h, head, bias)


def memory(protocol: Protocol) -> dict[str, Any]:
    """An LSTM of 256 over 50,000 symbols, batch 16 x 256: in groups, and with all logits."""
    found: dict[str, list[dict[str, float]]] = {"groups": [], "full": []}
    for _ in range(max(1, min(3, protocol.rounds))):
        for kind in found:
            command = [sys.executable, "-m", "benchmarks.training", "--peak", kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))

    def median(kind: str, what: str) -> float:
        return statistics.median(run[what] for run in found[kind])

    return {
        "megabytes": {kind: median(kind, "megabytes") for kind in found},
        "megabytes_before_the_first_step": median("groups", "before"),
        "seconds_per_step": {kind: median(kind, "seconds") for kind in found},
        "ratio": median("full", "megabytes") / median("groups", "megabytes"),
        "ratio_of_the_loss": (median("full", "megabytes") - median("full", "before"))
        / (median("groups", "megabytes") - median("groups", "before")),
        "target_ratio": 3.0,
        "speed": median("full", "seconds") / median("groups", "seconds"),
        "target_speed": 1.0,
    }


def peak(kind: str) -> None:
    """In a process of its own: train for a few steps; print the peak memory in MB and the speed.

    `before` is the peak once the weights, gradients and moments of the optimizer are allocated.
    """
    if kind == "full":
        distributions._FEW_LOGITS = 2**62
    made = trainer(st.LSTM(hidden_size=256), 16, 256, num_symbols=50_000)
    for p in made.parameters:
        p.grad = torch.zeros_like(p)
    made.optimizer.step()
    before = peak_bytes() / 1e6
    made.optimizer.zero_grad()
    times = []
    with process_settings(CPU):
        for _ in range(4):
            began = time.perf_counter()
            made.update()
            times.append(time.perf_counter() - began)
    after = peak_bytes() / 1e6
    print(json.dumps({"megabytes": after, "before": before, "seconds": min(times[1:])}))


def checkpoints(protocol: Protocol) -> dict[str, Any]:
    """The cost of a checkpoint of the 6 x 384 Transformer, as a fraction of a minute."""
    config = st.Transformer(model_size=384, num_layers=6, num_heads=6, context=256)
    torch.manual_seed(0)
    corpus = Corpus.from_tokens([tokens(V)], is_stream=True)
    steps = 6

    def seconds(every: float | None) -> float:
        model = build_model(config, V, 1)
        source = batch_source(
            corpus, 1, batch_size=4, length=64, carry=False, seed=0, token_budget=None
        )
        options = TrainingOptions(batch_size=4, length=64, steps=steps)
        with tempfile.TemporaryDirectory() as place:
            kept = None if every is None else Checkpoints(folder=Path(place), minutes=every)
            began = time.perf_counter()
            train(model, source, None, options, checkpoints=kept)
            return time.perf_counter() - began

    seconds(None)
    # A checkpoint after every step against one at the beginning and end: `steps` - 1 fewer.
    found = [(seconds(0.0) - seconds(60.0)) / (steps - 1) for _ in range(protocol.rounds)]
    cost = statistics.median(found)
    return {"seconds": cost, "share_at_one_a_minute": cost / 60, "target": 0.01}


# ---- rau -----------------------------------------------------------------------------------------

_EPOCHS, _PLACES, _RATE, _CLIP, _SEEDS = 6, 2048, 0.002, 5.0, (0, 1)


def rau(protocol: Protocol) -> dict[str, Any]:
    """rau's own commands and ours, in turn: the same lines, words, model, batches and optimizer.

    To make them equal: rau's language models tie the embedding and learn the first hidden state.
    Its loss is the mean over lines of a line's sum and ours is a mean over targets, so its clipping
    threshold is ours times the mean length of a line. Both are evaluated once, after the last
    epoch, on all targets of the same lines, ends included.
    """
    if protocol.rau is None:
        return {"left_out": "give --rau PATH/bin/rau (pip install rau, in its own environment)"}
    text = Path(__file__).parents[2] / "shared" / "data" / "wikitext-2"
    if not text.is_dir():
        return {"left_out": "the corpus wikitext-2 is not here"}
    lines = _lines(text / "valid.txt")
    runs = []
    for seed in _SEEDS:
        with tempfile.TemporaryDirectory() as place:
            theirs = _rau_run(protocol.rau, Path(place), *lines, seed)
        runs.append({"seed": seed, "rau": theirs, "ours": _our_run(*lines, seed)})

    def median(who: str, what: str) -> float:
        return statistics.median(run[who][what] for run in runs)  # type: ignore[index]

    return {
        "runs": runs,
        "ratio": statistics.median(
            run["ours"]["tokens_per_second"] / run["rau"]["tokens_per_second"] for run in runs
        ),
        "target_ratio": 2.0,
        "perplexity": {who: median(who, "perplexity") for who in ("ours", "rau")},
        "perplexity_ratio": median("ours", "perplexity") / median("rau", "perplexity"),
        "target_perplexity_ratio": 1.0,
        "model": f"LSTM 1 x 256, tied, first state learned, {_PLACES:,} places a batch, "
        f"Adam {_RATE}, {_EPOCHS} epochs, first weights from U(-0.1, 0.1)",
    }


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """Lines to train on, and lines to judge by in which every word is known."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    lines = [line for line in lines if 0 < len(line.split()) <= 200][:1200]
    train_lines, valid_lines = lines[:-150], lines[-150:]
    known = set(" ".join(train_lines).split())
    return train_lines, [
        " ".join(w if w in known else "<unk>" for w in line.split()) for line in valid_lines
    ]


def _num_targets(lines: list[str]) -> int:
    """Words, and an end for every line."""
    return sum(len(line.split()) + 1 for line in lines)


def _rau_run(
    rau: str, place: Path, train_lines: list[str], valid: list[str], seed: int
) -> dict[str, float]:
    (place / "datasets" / "valid").mkdir(parents=True)
    (place / "main.tok").write_text("\n".join(train_lines) + "\n")
    (place / "datasets" / "valid" / "main.tok").write_text("\n".join(valid) + "\n")

    def call(*words: object) -> str:
        done = subprocess.run(
            [rau, "lm", *map(str, words)], capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    call("prepare", "--training-data", place, "--more-data", "valid")
    call(
        "train", "--training-data", place, "--validation-data", "valid",
        "--architecture", "lstm", "--num-layers", 1, "--hidden-units", 256, "--dropout", 0,
        "--init-scale", 0.1, "--max-epochs", _EPOCHS, "--max-tokens-per-batch", _PLACES,
        "--optimizer", "Adam", "--initial-learning-rate", _RATE,
        "--gradient-clipping-threshold", _CLIP, "--early-stopping-patience", 10,
        "--learning-rate-patience", 10, "--learning-rate-decay-factor", 0.5,
        "--examples-per-checkpoint", _EPOCHS * len(train_lines), "--output", place / "model",
        "--parameter-seed", seed, "--random-shuffling-seed", seed,
        "--no-progress", "--device", "cpu",
    )  # fmt: skip
    # The log has lines "name time {..}"; only the last epoch holds an evaluation.
    events: dict[str, list[dict[str, Any]]] = {}
    for line in (place / "model" / "logs" / "main.log").read_text().splitlines():
        name, _, data = line.split(" ", 2)
        events.setdefault(name, []).append(json.loads(data))
    seconds = statistics.median(float(e["duration"]) for e in events["epoch"][:-1])
    nats = float(events["checkpoint"][-1]["scores"]["cross_entropy_per_token"])
    return {
        "tokens_per_second": _num_targets(train_lines) / seconds,
        "perplexity": math.exp(nats),
        "train_perplexity": math.exp(float(events["epoch"][-1]["loss"])),
        "num_weights": int(events["model_info"][0]["num_parameters"]),
        "batches_per_epoch": int(events["epoch"][-1]["num_training_batches"]),
    }


def _our_run(train_lines: list[str], valid: list[str], seed: int) -> dict[str, float]:
    from seriatim.data.sources import open_source
    from seriatim.tasks.language_model import LanguageModel

    options = TrainingOptions(
        token_budget=_PLACES,
        length=256,
        learning_rate=_RATE,
        clip=_CLIP * len(train_lines) / _num_targets(train_lines),
        schedule="constant",
        weight_decay=0.0,
        betas=(0.9, 0.999),
        epochs=_EPOCHS,
        evaluate_every=10**6,
        evaluate_symbols=10**6,
        seed=seed,
    )
    config = st.LSTM(
        hidden_size=256, init_uniform=0.1, tie_embeddings=True, learn_initial_state=True
    )
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(place) / name for name in ("train.txt", "valid.txt")]
        for path, lines in zip(paths, (train_lines, valid), strict=True):
            path.write_text("\n".join(lines) + "\n")
        lm = LanguageModel(config, symbols="word")
        lm.fit(open_source(paths[0], sequences="line"), valid=paths[1], options=options)
    found = lm.training.fit
    assert found is not None
    last = found.evaluations[-1]
    return {
        "tokens_per_second": found.tokens_per_second,
        "perplexity": math.exp(last.valid_nats),
        "num_weights": sum(p.numel() for p in lm.model.parameters()),
        "batches_per_epoch": found.steps_per_epoch,
        "padding_fraction": found.padding_fraction,
    }


# ---- all of it -----------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Protocol], dict[str, Any]]] = {
    "machine": machine,
    "transformer": transformer,
    "recurrent": recurrent,
    "streaming": streaming,
    "memory": memory,
    "checkpoints": checkpoints,
    "rau": rau,
}


def main() -> None:
    """Run everything, or one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one rate")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rates")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part (repeatable)")
    parser.add_argument("--models", nargs="+", help='of "recurrent", such as "GRU 2 x 200"')
    parser.add_argument("--rau", help="the program rau, in an environment of its own")
    parser.add_argument("--write", type=Path, help="also write the JSON here")
    parser.add_argument("--peak", choices=["groups", "full"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        peak(asked.peak)
        return
    protocol = Protocol(asked.seconds, asked.rounds, asked.rau, asked.models)
    record = {}
    for name in asked.only or PARTS:
        record[name] = PARTS[name](protocol)
        print(f"{name}: {json.dumps(record[name])}", flush=True)
    record["precision"] = {"why": choose_precision("auto", torch.nn.Linear(1000, 1000)).why}
    if asked.write:
        asked.write.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
