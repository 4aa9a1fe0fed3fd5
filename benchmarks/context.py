"""The time it takes to measure an effective context: contexts 1 to 512 on 100,000 symbols.

    python -m benchmarks.context --write benchmarks/results/context.json

The models are not trained, since that does not change the work. The symbols are random, of 66
kinds. Each model is measured once per round, in turn, and the table has medians. Processor time is
given beside wall time, for machines that are shared.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import seriatim as st
from benchmarks.references.parts import machine
from seriatim.analysis.context.measure import effective_context
from seriatim.analysis.robustness.measure import measure_robustness
from seriatim.data.corpus import Corpus
from seriatim.models.build import build_model
from seriatim.train.precision import apply_process_settings

SYMBOLS, KINDS = 100_000, 66
TARGET = 60.0  # seconds, on two cores
MODELS = {
    "LSTM 256": st.LSTM(hidden_size=256),
    "Transformer 4 x 128": st.Transformer(model_size=128, num_layers=4),
    "Markov, order 5": st.Markov(order=5),
}


def main() -> None:
    """Measure, print a table, and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    apply_process_settings(torch.device("cpu"))
    ids = np.random.default_rng(0).integers(0, KINDS, args.symbols)
    corpus = Corpus.from_tokens([ids], is_stream=True)
    torch.manual_seed(0)
    models = {name: build_model(config, KINDS, 1).eval() for name, config in MODELS.items()}
    models["Markov, order 5"].fit_closed_form(corpus)
    seconds: dict[str, list[tuple[float, float]]] = {}
    for _ in range(args.rounds):
        for name, model in models.items():
            for what, measure in (
                ("context", effective_context),
                ("robustness", measure_robustness),
            ):
                wall, processor = time.perf_counter(), time.process_time()
                measure(model, corpus)
                taken = time.perf_counter() - wall, time.process_time() - processor
                seconds.setdefault(f"{what}, {name}", []).append(taken)
    record = {
        "machine": machine(),
        "symbols": args.symbols,
        "threads": torch.get_num_threads(),
        "rounds": args.rounds,
        "target_seconds": TARGET,
        "seconds": {k: statistics.median(w for w, _ in v) for k, v in seconds.items()},
        "processor_seconds": {k: statistics.median(p for _, p in v) for k, v in seconds.items()},
    }
    for name, wall in record["seconds"].items():
        print(f"{name:34s} {wall:7.1f} s  {record['processor_seconds'][name]:7.1f} s of processor")
    if args.write:
        args.write.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
