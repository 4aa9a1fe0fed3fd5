"""Several processes: measured on this machine, computed for machines that we do not have.

    python -m benchmarks.scaling                    # the computed tables
    python -m benchmarks.scaling --measure          # beside them two processes on two cores
    python -m benchmarks.scaling --measure --write benchmarks/results/scaling.json

Measured: tokens/s of one process with two threads and of two processes with one thread each, on
the same global batch, in turn (A B A B ..), the median of the ratios of each pair. A run's start
is not counted, nor its first steps. Nothing else may run on the machine.

Computed, by a formula and not by a run (W weights in float32, P ranks, a tokens a rank and step,
r tokens/s of a rank alone, b bytes/s of its network, l seconds of latency, U units gathered):

    compute   c = a / r
    network   n = v (P - 1) / P * 4 W / b + m (P - 1) l
              DDP   v = 2 (reduce-scatter and all-gather of a ring), m = 2
              FSDP  v = 3 (gather the weights for forward and for backward, scatter gradients),
                    m = 3 U
    step      t = max(c, c / 3 + n)    the network is busy while the 2/3 that are backward compute
    tokens/s  P a / t;   efficiency  c / t
    memory    DDP 16 W bytes: weights, gradients, two moments;  FSDP 16 W / P + 8 W / U
              (besides activations, the same for both)

Patarasuk, Yuan 2009 (ring all-reduce is optimal in bytes); Rajbhandari et al. 2020, section 7
(ZeRO stage 3 moves 1.5 times the bytes of data parallelism).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seriatim.models.build import build_model

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Machine:
    """The assumptions about one rank and its network."""

    name: str
    weights: float  # W
    units: int  # U
    tokens: int  # a, of a rank and step
    rate: float  # r, tokens/s
    bandwidth: float  # b, bytes/s
    latency: float  # l, s


MACHINES = (
    Machine("15 M weights, 2 CPU cores a rank, 1 Gb/s", 15e6, 6, 4096, 3e3, 1.25e8, 5e-5),
    Machine("1 G weights, a GPU a rank, 400 Gb/s", 1e9, 24, 16_384, 5e4, 5e10, 1e-5),
)


@dataclass(frozen=True)
class Row:
    """The formula's figures for a number of ranks; bytes are per rank and step."""

    ranks: int
    tokens_per_second: float
    efficiency: float
    network_bytes: float
    memory_bytes: float


def computed(machine: Machine, ranks: int, *, is_sharded: bool) -> Row:
    """One row of a table: see the formula above."""
    w = 4 * machine.weights
    volume, hops = (3, 3 * machine.units) if is_sharded else (2, 2)
    sent = volume * (ranks - 1) / ranks * w
    compute = machine.tokens / machine.rate
    network = sent / machine.bandwidth + hops * (ranks - 1) * machine.latency
    step = max(compute, compute / 3 + network)
    memory = 4 * w / ranks + 2 * w / machine.units if is_sharded and ranks > 1 else 4 * w
    return Row(ranks, ranks * machine.tokens / step, compute / step, sent, memory)


def tables() -> str:
    """The computed tables, as Markdown."""
    lines = []
    for machine in MACHINES:
        lines += [
            f"Computed: {machine.name}; {machine.tokens:,} tokens a rank and step, "
            f"{machine.rate:,.0f} tokens/s alone, {1e6 * machine.latency:.0f} us of latency",
            "",
            "| ranks | DDP tokens/s | efficiency | sent a step | memory a rank "
            "| FSDP tokens/s | efficiency | sent a step | memory a rank |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for ranks in RANKS:
            cells = [f"{ranks:,}"]
            for is_sharded in (False, True):
                row = computed(machine, ranks, is_sharded=is_sharded)
                cells += [
                    f"{row.tokens_per_second:,.0f}",
                    f"{row.efficiency:.0%}",
                    _bytes(row.network_bytes),
                    _bytes(row.memory_bytes),
                ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


# ---- measured -----------------------------------------------------------------------------------

# name: (family, options, rows, length); of 10,000 symbols
CASES: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "LSTM 2 x 200": ("lstm", {"hidden_size": 200, "num_layers": 2}, 20, 35),
    "LSTM 2 x 650": ("lstm", {"hidden_size": 650, "num_layers": 2}, 20, 35),
    "Transformer 6 x 384": (
        "transformer",
        {"model_size": 384, "num_layers": 6, "num_heads": 6, "context": 256},
        16,
        256,
    ),
}
SYMBOLS, WARM_UP = 10_000, 3


def work(name: str, seconds: float, threads: int) -> None:
    """Train for some seconds and print the speed, as one process or a rank of several."""
    import numpy as np
    import torch

    from seriatim.data.batches.corpus import batch_source
    from seriatim.models import configure
    from seriatim.train import distributed
    from seriatim.train.options import TrainingOptions
    from seriatim.train.parallel import make_parallelism
    from seriatim.train.precision import apply_process_settings
    from seriatim.train.trainer import Trainer

    torch.set_num_threads(threads)
    apply_process_settings(torch.device("cpu"))
    ranks = distributed.join() if "RANK" in os.environ else distributed.ALONE
    family, options, rows, length = CASES[name]
    tokens = np.random.default_rng(0).integers(2, SYMBOLS, 2_000_000)
    corpus = _Stream(tokens, np.array([0, len(tokens)]), True)
    torch.manual_seed(0)
    model = build_model(configure(family, options), SYMBOLS, 1)
    source = batch_source(
        corpus, 1, batch_size=rows, length=length, carry=family != "transformer", seed=0
    )
    training = TrainingOptions(precision="float32")
    with make_parallelism(training, ranks).distribute(model) as held:
        trainer = Trainer(held.train(), source, training, 10_000, ranks)
        for _ in range(WARM_UP):
            trainer.update()
        done, began = trainer.num_targets, time.perf_counter()
        while ranks.any(time.perf_counter() - began < seconds)[0]:
            trainer.update()
        taken = time.perf_counter() - began
    if ranks.is_main:
        print(json.dumps({"tokens_per_second": (trainer.num_targets - done) / taken}), flush=True)
    sys.stdout.flush()
    distributed.leave()
    os._exit(0)


@dataclass(frozen=True)
class _Stream:
    tokens: Any
    offsets: Any
    is_stream: bool


def measured(name: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Both ways in turn, and the median ratio of the pairs."""
    one, two = [], []
    for _ in range(rounds):
        two.append(_rate(name, seconds, processes=2))
        one.append(_rate(name, seconds, processes=1))
    return {
        "one_process_two_threads": statistics.median(one),
        "two_processes_one_thread": statistics.median(two),
        "ratio": statistics.median(b / a for a, b in zip(one, two, strict=True)),
        "pairs": [[round(a), round(b)] for a, b in zip(one, two, strict=True)],
    }


def _rate(name: str, seconds: float, processes: int) -> float:
    threads = 2 // processes
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    worker = ["-m", "benchmarks.scaling", "--work", name, f"--seconds={seconds}"]
    done = subprocess.run(
        [*start, *worker, f"--threads={threads}"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rate: float = json.loads(done.stdout.splitlines()[-1])["tokens_per_second"]
    return rate


def main() -> None:
    """The tables, and a last line of JSON."""
    parser = argparse.ArgumentParser(description="Several processes: computed, and measured.")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--work", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work is not None:
        work(asked.work, asked.seconds, asked.threads)
    print(tables())
    found: dict[str, Any] = {}
    if asked.measure:
        print("Measured: two processes on two cores beside one process with two threads, tokens/s")
        for name in asked.only or CASES:
            found[name] = measured(name, asked.seconds, asked.rounds)
            one, two = (
                found[name]["one_process_two_threads"],
                found[name]["two_processes_one_thread"],
            )
            print(f"  {name:20s} {one:9,.0f} {two:9,.0f}   ratio {found[name]['ratio']:.2f}")
    record = {"measured": found, "target_ratio": 0.9, "cores": os.cpu_count()}
    record["computed"] = {
        machine.name: {
            kind: [vars(computed(machine, p, is_sharded=kind == "fsdp")) for p in RANKS]
            for kind in ("ddp", "fsdp")
        }
        for machine in MACHINES
    }
    if asked.write is not None:
        asked.write.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"measured": found}))


if __name__ == "__main__":
    main()
