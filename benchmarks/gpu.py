"""`./run gpu`: how much of a GPU each family uses; runs after the tests that need a GPU.

Training tokens/s of every family, counted as 6 operations per weight and token, beside the rate of
a 4,096 x 4,096 bfloat16 product measured in the same run; medians over rounds. `--device cpu` tries
the script without a GPU, in which case the figures mean nothing.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import seriatim as st
from benchmarks.run import tokens
from seriatim.data.batches.corpus import batch_source
from seriatim.data.corpus import Corpus
from seriatim.models import ModelConfig
from seriatim.models.build import build_model
from seriatim.train.options import TrainingOptions
from seriatim.train.precision import choose_precision, process_settings
from seriatim.train.trainer import Trainer

V = 10_000
CONFIGS: dict[str, ModelConfig] = {
    "autoregressive": st.Autoregressive(window=8, embedding_size=256, hidden_size=2048),
    "rnn": st.RNN(hidden_size=1024, num_layers=2),
    "lstm": st.LSTM(hidden_size=1024, num_layers=2),
    "gru": st.GRU(hidden_size=1024, num_layers=2),
    "transformer": st.Transformer(model_size=768, num_layers=12, num_heads=12, context=512),
}


def _seconds(step: Any, device: torch.device, repeats: int) -> float:
    """The median seconds of repeated calls, each synchronized."""
    found = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[2:])


def _product_rate(device: torch.device, size: int, repeats: int) -> float:
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, device, repeats)


def measure(
    config: ModelConfig, device: torch.device, rows: int, length: int, repeats: int
) -> dict[str, Any]:
    """Tokens/s of training, and the equivalent operations per second."""
    torch.manual_seed(0)
    model = build_model(config, V, 1).to(device).train()
    choice = choose_precision("auto", model)
    corpus = Corpus.from_tokens([tokens(V)], is_stream=True)
    carry = model.reach is None
    source = batch_source(corpus, 1, batch_size=rows, length=length, carry=carry, seed=0)
    options = TrainingOptions(
        batch_size=rows, length=length, steps=10**6, precision=choice.products
    )
    trainer = Trainer(model, source, options, 10**6)
    with process_settings(device):
        seconds = _seconds(trainer.update, device, repeats)
    weights = sum(p.numel() for p in model.parameters() if p.ndim >= 2)
    per_second = source.targets_per_step / seconds
    return {
        "precision": choice.why,
        "tokens_per_second": per_second,
        "operations_per_second": 6 * weights * per_second,
    }


def main() -> None:
    """Measure every family; print a table and JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch can use here: nothing was measured")
        return
    size = 4096 if device.type == "cuda" else 512
    limit = _product_rate(device, size, given.repeats)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    record: dict[str, Any] = {"device": name, "bf16_product_operations_per_second": limit}
    for family in given.only:
        found = measure(CONFIGS[family], device, given.rows, given.length, given.repeats)
        found["share_of_bf16_products"] = found["operations_per_second"] / limit
        record[family] = found
        print(
            f"{family:15s} {found['tokens_per_second']:12,.0f} tokens/s  "
            f"{found['share_of_bf16_products']:.1%} of bf16 products"
        )
    if given.write:
        given.write.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
