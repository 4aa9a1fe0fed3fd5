"""`./run bench`: speed and memory beside plain PyTorch and beside the machine's own limit.

See benchmarks/README.md for the protocol. Prints tables and, as its last line, JSON.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seriatim as st
from benchmarks import plain
from seriatim.data.batches.corpus import batch_source
from seriatim.data.corpus import Corpus
from seriatim.models.build import build_model
from seriatim.report.terminal import text_table
from seriatim.train.closed_form import ClosedForm
from seriatim.train.options import TrainingOptions
from seriatim.train.trainer import Trainer

B, L = 32, 64


def tokens(num_symbols: int, size: int = 400_000) -> np.ndarray:
    """Symbols with some structure (a random walk), so that no kernel sees a constant."""
    rng = np.random.default_rng(0)
    return (np.cumsum(rng.integers(-3, 4, size)) % num_symbols).astype(np.int64)


def cases(V: int) -> dict[str, tuple[Any, Callable[[], torch.nn.Module]]]:
    """Each family trained by gradients: ours, and the same model in plain PyTorch."""
    return {
        "autoregressive": (
            st.Autoregressive(window=8, embedding_size=64, hidden_size=512),
            lambda: plain.Window(V, 8, 64, 512),
        ),
        "rnn": (st.RNN(hidden_size=256), lambda: plain.Recurrent("RNN", V, 256, 1)),
        "lstm": (st.LSTM(hidden_size=256), lambda: plain.Recurrent("LSTM", V, 256, 1)),
        "gru": (st.GRU(hidden_size=256), lambda: plain.Recurrent("GRU", V, 256, 1)),
        "transformer": (
            st.Transformer(model_size=128, num_layers=4, num_heads=4, context=64),
            lambda: plain.Transformer(V, 128, 4, 4, 64),
        ),
    }


def rate(step: Iterator[Any], seconds: float) -> float:
    """Items per second, after a warm-up of two."""
    next(step), next(step)
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds or count < 2:
        next(step)
        count += 1
    return count / spent


def paired(
    ours: Iterator[Any], peer: Iterator[Any], seconds: float, rounds: int
) -> dict[str, float]:
    """Medians of both rates, measured in turn, and of their ratios."""
    pairs = [(rate(ours, seconds), rate(peer, seconds)) for _ in range(rounds)]
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "plain": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
    }


def matrix_rate(seconds: float) -> float:
    """FLOP/s of a float32 product of 1,024 x 1,024 matrices: the limit of the machine."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)

    def products() -> Iterator[None]:
        while True:
            a @ b
            yield

    return rate(products(), seconds) * 2 * 1024**3


def our_steps(model: st.SequenceModel, corpus: Corpus, options: TrainingOptions) -> Iterator[None]:
    """The training loop's own steps, one per item."""
    source = batch_source(
        corpus,
        model.boundary,
        batch_size=options.batch_size,
        length=options.length,
        carry=model.reach is None,
        seed=0,
        token_budget=None,
    )
    trainer = Trainer(model, source, options, steps=10**9)
    while True:
        trainer.update()
        yield


def our_symbols(model: st.SequenceModel) -> Iterator[Any]:
    """Symbols sampled one sequence at a time, one per item."""
    model.eval()
    with torch.inference_mode():
        state = model.start(1)
    return st.sample(model, state)


def training(V: int, seconds: float, rounds: int, peak: float) -> list[dict[str, Any]]:
    """Tokens/s of training: ours beside plain PyTorch, and as a fraction of the product rate."""
    data = tokens(V)
    corpus = Corpus.from_tokens([data], is_stream=True)
    options = TrainingOptions(batch_size=B, length=L, steps=10**6)
    rows = []
    for name, (config, peer) in cases(V).items():
        torch.manual_seed(0)
        model = build_model(config, V, 1)
        found = paired(
            our_steps(model, corpus, options),
            plain.training_steps(peer(), data, B, L),
            seconds,
            rounds,
        )
        weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
        # Forward and backward: 6 operations per matrix weight and token. An embedding look-up is
        # not a product, unless the head shares its weights.
        products = weights - (0 if config_ties(config) else model.embedding.weight.numel())
        rows.append(
            {
                "family": name,
                "symbols": V,
                **{k: v * B * L if k != "ratio" else v for k, v in found.items()},
                "share_of_product_rate": found["ours"] * B * L * 6 * products / peak,
            }
        )
    return rows


def config_ties(config: Any) -> bool:
    """Whether the head uses the embedding's weights."""
    return bool(getattr(config, "tie_embeddings", False))


def generation(V: int, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Symbols/s of a single sequence."""
    rows = []
    for name, (config, peer) in cases(V).items():
        torch.manual_seed(0)
        found = paired(
            our_symbols(build_model(config, V, 1)), plain.generating(peer()), seconds, rounds
        )
        rows.append({"family": name, "symbols": V, **found})
    return rows


def counting(seconds: float, rounds: int) -> list[dict[str, Any]]:
    """The Markov model: counting beside a dictionary of counters, and symbols/s."""
    V, data = 100, tokens(100)
    corpus = Corpus.from_tokens([data], is_stream=True)
    model = build_model(st.Markov(order=5), V, 1)
    assert isinstance(model, ClosedForm)
    text = data.tolist()

    def ours() -> Iterator[None]:
        while True:
            model.fit_closed_form(corpus)
            yield

    def peers() -> Iterator[None]:
        while True:
            plain.count_ngrams(text, 5)
            yield

    found = paired(ours(), peers(), seconds, rounds)
    scaled = {k: v * len(data) if k != "ratio" else v for k, v in found.items()}
    alone = statistics.median(rate(our_symbols(model), seconds) for _ in range(rounds))
    return [
        {"family": "markov", "what": "fit, tokens/s", **scaled},
        {"family": "markov", "what": "generate, symbols/s", "ours": alone},
    ]


def single_steps(seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Symbols/s of a single sequence, for the model sizes of the targets."""
    named = {
        "lstm 256, V = 100": (st.LSTM(hidden_size=256), 100, 3000),
        "transformer 6 x 384, V = 10,000": (
            st.Transformer(model_size=384, num_layers=6, num_heads=6, context=256),
            10_000,
            200,
        ),
    }
    rows = []
    for name, (config, V, target) in named.items():
        torch.manual_seed(0)
        model = build_model(config, V, 1)
        found = statistics.median(rate(our_symbols(model), seconds) for _ in range(rounds))
        rows.append({"model": name, "symbols_per_second": found, "target": target})
    return rows


def help_seconds() -> float:
    """Wall time of `seriatim --help`, median of nine."""
    command = [str(Path(sys.executable).parent / "seriatim"), "--help"]
    times = []
    for _ in range(9):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def peak_memory(megabytes: int) -> float:
    """Peak MB of a process that trains on a text of this size for a few steps."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--memory", str(megabytes)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def train_on(megabytes: int) -> None:
    """Train on a text of this size, from the file on, and print the peak memory in MB.

    Anonymous memory only: pages of the mapped token file, which the system can reclaim at any
    time, are not counted.
    """
    import tempfile
    import threading

    peak = 0.0

    def watch() -> None:
        nonlocal peak
        while True:
            status = Path("/proc/self/status").read_text()
            peak = max(peak, float(status.split("RssAnon:")[1].split()[0]) / 1000)
            time.sleep(0.005)

    threading.Thread(target=watch, daemon=True).start()

    line = ("the quick brown fox jumps over the lazy dog " * 2 + "\n") * 1000
    with tempfile.TemporaryDirectory() as place:
        os.environ["SERIATIM_CACHE"] = place
        path = Path(place) / "text.txt"
        with path.open("w") as file:
            for _ in range(megabytes * 1_000_000 // len(line)):
                file.write(line)
        st.LanguageModel(st.LSTM(hidden_size=64), symbols="byte").fit(
            path, valid=["a short text\n"], steps=5
        )
    print(peak)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one rate")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rates")
    parser.add_argument("--write", type=Path, help="also write the JSON here")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        train_on(given.memory)
        return
    s, n = given.seconds, given.rounds
    peak = statistics.median(matrix_rate(s) for _ in range(n))
    record: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "float32_product_gflops": peak / 1e9,
        },
        "training_tokens_per_second": training(100, s, n, peak) + training(10_000, s, n, peak),
        "generation_symbols_per_second": generation(100, s, n),
        "markov": counting(s, n),
        "single_steps": single_steps(s, n),
        "help_seconds": help_seconds(),
        "peak_megabytes_training_on": {f"{m} MB": peak_memory(m) for m in (1, 100)},
    }
    _print(record)
    text = json.dumps(record)
    if given.write:
        given.write.write_text(json.dumps(record, indent=1) + "\n")
    print(text)


def _print(record: dict[str, Any]) -> None:
    print(f"float32 matrix product: {record['machine']['float32_product_gflops']:.0f} GFLOP/s\n")
    print(f"training, {B} x {L}, tokens/s")
    head = ["family", "symbols", "seriatim", "plain", "ratio", "of product rate"]
    rows = [
        [*_beside(r), f"{r['share_of_product_rate']:.0%}"]
        for r in record["training_tokens_per_second"]
    ]
    print(text_table([head, *rows]) + "\n\ngenerating alone, symbols/s")
    rows = [_beside(r) for r in record["generation_symbols_per_second"]]
    print(text_table([head[:-1], *rows]) + "\n")
    for r in record["markov"]:
        beside = f", plain {r['plain']:,.0f}, ratio {r['ratio']:.1f}" if "plain" in r else ""
        print(f"markov, {r['what']}: {r['ours']:,.0f}{beside}")
    for r in record["single_steps"]:
        print(f"{r['model']}: {r['symbols_per_second']:,.0f} symbols/s (target {r['target']:,})")
    print(f"seriatim --help: {record['help_seconds']:.2f} s (target 0.30)")
    peaks = ", ".join(f"{k}: {v:.0f} MB" for k, v in record["peak_megabytes_training_on"].items())
    print(f"peak memory (anonymous) of training on a text of {peaks}")


def _beside(r: dict[str, Any]) -> list[str]:
    numbers = [f"{r['symbols']:,}", f"{r['ours']:,.0f}", f"{r['plain']:,.0f}", f"{r['ratio']:.2f}"]
    return [r["family"], *numbers]


if __name__ == "__main__":
    main()
