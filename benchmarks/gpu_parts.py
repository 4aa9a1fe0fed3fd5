"""The parts of `./run gpu`, each run as `python -m benchmarks.gpu_parts PART`: a JSON a line.

Operations of training are 6 for each weight of a product and token, those of decoding 2; both are
given as a share of the rate of bfloat16 products, measured in the same process. Peers are timed in
turn with ours: torch's own recurrent layers, which are cuDNN's on a GPU, and a Transformer as
tutorials write it, as it is and through `torch.compile`.
"""

import argparse
import copy
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import seriatim as st
from benchmarks import plain
from benchmarks.gpu import NO_GPU
from seriatim.core.batch import Batch
from seriatim.data.batches.corpus import batch_source
from seriatim.data.corpus import Corpus
from seriatim.decode.greedy import greedy_search
from seriatim.models import ModelConfig
from seriatim.models.build import build_model
from seriatim.train.options import TrainingOptions
from seriatim.train.precision import autocast, choose_precision, process_settings
from seriatim.train.trainer import Trainer

Record = dict[str, Any]
Step = Callable[[], object]

SMALL: dict[str, ModelConfig] = {
    "autoregressive": st.Autoregressive(window=3, embedding_size=4, hidden_size=6),
    "rnn": st.RNN(hidden_size=5, num_layers=2),
    "lstm": st.LSTM(hidden_size=5, num_layers=2),
    "gru": st.GRU(hidden_size=5, num_layers=2),
    "gru, reset before": st.GRU(hidden_size=5, reset="before"),
    "transformer": st.Transformer(model_size=8, num_layers=2, num_heads=2, context=4),
    "transformer, wide context": st.Transformer(model_size=8, num_heads=2, context=99),
}
_FLOAT32 = 1e-4  # the greatest relative error of values, and of gradients, in float32
_BF16 = 0.05


class Sizes:
    """The models and batches that are measured: those of the targets, or tiny ones on a CPU."""

    def __init__(self, device: torch.device) -> None:
        is_tiny = device.type == "cpu"
        self.num_symbols = 100 if is_tiny else 10_000
        self.rows, self.length = (2, 16) if is_tiny else (64, 256)
        self.product = 256 if is_tiny else 8192
        self.decoded, self.decoded_rows = (4, 2) if is_tiny else (64, 64)
        D, N, heads, T = (32, 2, 2, 512) if is_tiny else (768, 12, 12, 512)
        H = 32 if is_tiny else 1024
        V = self.num_symbols
        self.ours: dict[str, ModelConfig] = {
            "lstm": st.LSTM(hidden_size=H, num_layers=2),
            "gru": st.GRU(hidden_size=H, num_layers=2),
            "rnn": st.RNN(hidden_size=H, num_layers=2),
            "autoregressive": st.Autoregressive(window=8, embedding_size=H // 4, hidden_size=2 * H),
            "transformer": st.Transformer(model_size=D, num_layers=N, num_heads=heads, context=T),
        }
        self.peers: dict[str, Callable[[], nn.Module]] = {
            "lstm": lambda: plain.Recurrent("LSTM", V, H, 2),
            "gru": lambda: plain.Recurrent("GRU", V, H, 2),
            "rnn": lambda: plain.Recurrent("RNN", V, H, 2),
            "transformer": lambda: plain.Transformer(V, D, N, heads, T),
        }


# ---- clocks --------------------------------------------------------------------------------------


def seconds_of(step: Step, device: torch.device, seconds: float) -> float:
    """The median seconds of a call, each synchronized, after two that warm up."""
    times: list[float] = []
    end = float("inf")
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
        if len(times) == 2:
            end = time.perf_counter() + seconds
    return statistics.median(times[2:])


def product_rate(
    device: torch.device, size: int, seconds: float, dtype: torch.dtype = torch.bfloat16
) -> float:
    """Operations per second of a product of size x size matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, device, seconds)


def in_products(model: nn.Module) -> int:
    """The weights that enter a product for every token; an embedding is looked up."""
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    tied = sum(id(p) in embedded for m in model.modules() for p in [getattr(m, "weight", None)])
    looked_up = embedded if tied == len(embedded) else set()
    return sum(p.numel() for p in model.parameters() if p.ndim >= 2 and id(p) not in looked_up)


# ---- parts ---------------------------------------------------------------------------------------


def machine(device: torch.device, seconds: float) -> Iterator[Record]:
    """What is measured on, and its limits."""
    size, is_cuda = Sizes(device).product, device.type == "cuda"
    yield {
        "name": "machine",
        "device": torch.cuda.get_device_name(device) if is_cuda else platform.processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if is_cuda else None,
    }
    yield {
        "name": "products",
        "bf16_operations_per_second": product_rate(device, size, seconds / 2),
        "float32_operations_per_second": product_rate(device, size, seconds / 2, torch.float32),
    }
    a = torch.ones(2**20 if not is_cuda else 2**28, device=device)
    b = torch.empty_like(a)
    copied = 2 * a.nbytes / seconds_of(lambda: b.copy_(a), device, seconds / 4)
    yield {"name": "copying", "bytes_per_second": copied}


def laws(device: torch.device, seconds: float) -> Iterator[Record]:
    """The twenty laws, in float32 and in float64."""
    for dtype in (torch.float32, torch.float64):
        for name, config in SMALL.items():
            model = small_model(config).to(device)
            report = st.check_model(model, seconds=seconds / 4, dtype=dtype)
            broken = [f"law {r.number}: {r.note}" for r in report.results if r.holds is False]
            held = sum(r.holds is True for r in report.results)
            yield {"name": f"{name}, {str(dtype)[6:]}", "laws_held": held, "broken": broken}


def parity(device: torch.device, seconds: float) -> Iterator[Record]:
    """Values and gradients beside the CPU's in float64: in float32, and with bfloat16 products."""
    del seconds
    for name, config in SMALL.items():
        exact_values, exact_gradients = values_of(small_model(config).double(), "float32")
        for products, most in (("float32", _FLOAT32), ("bf16", _BF16)):
            values, gradients = values_of(small_model(config).to(device), products)
            errors = [relative(a, b) for a, b in zip(gradients, exact_gradients, strict=True)]
            error = relative(values, exact_values)
            worst = max(errors)
            broken = [] if max(error, worst) <= most else [f"an error of more than {most:g}"]
            found = {"error_of_values": error, "error_of_gradients": worst, "broken": broken}
            yield {"name": f"{name}, {products}", **found}


def small_model(config: ModelConfig) -> st.SequenceModel:
    """A small model whose weights are large enough to expose a fault."""
    torch.manual_seed(0)
    model = build_model(config, 4, 1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def values_of(model: st.SequenceModel, products: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """ln p of a ragged batch, and the gradients of its sum, on the CPU in float64."""
    model = copy.deepcopy(model).train()
    x = torch.randint(4, (3, 9), generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([torch.ones(3, 1, dtype=torch.int64), x[:, :-1]], 1)
    batch = Batch(inputs, x, torch.tensor([9, 4, 1])).to(model.device)
    with autocast(products, model.device):
        nats = model.log_prob(batch)
    nats.sum().backward()
    gradients = [p.grad.double().cpu() for p in model.parameters() if p.grad is not None]
    return nats.detach().double().cpu(), gradients


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """|a - b| / |b|, of norms."""
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def training(device: torch.device, seconds: float) -> Iterator[Record]:
    """Tokens/s of every family, as a share of bfloat16 products, and beside its peers."""
    sizes = Sizes(device)
    limit = product_rate(device, sizes.product, seconds / 2)
    rows = sizes.rows * sizes.length
    for name, config in sizes.ours.items():
        rate = 0.0
        with measured(name) as result:
            step, model, precision = our_step(config, sizes, device)
            with process_settings(device):
                rate = rows / seconds_of(step, device, seconds)
            result["precision"] = precision
            result["tokens_per_second"] = rate
            result["share_of_bf16_products"] = 6 * in_products(model) * rate / limit
            del step, model
        yield result
        for peer, compiled in peers_of(name, device):
            with measured(name) as result:
                beside = sizes.peers[name]().to(device)
                called = torch.compile(beside) if compiled else beside
                other = rows / seconds_of(peer_step(called, sizes, device), device, seconds)
                result |= {"peer": peer, "peer_tokens_per_second": other, "ratio": rate / other}
            yield result


def peers_of(name: str, device: torch.device) -> list[tuple[str, bool]]:
    """The peers of a family: a name, and whether it is compiled."""
    if name == "transformer":
        return [("plain PyTorch", False), ("plain PyTorch, torch.compile", True)]
    own = "cuDNN" if device.type == "cuda" else "torch"
    return [] if name == "autoregressive" else [(own, False)]


def our_step(
    config: ModelConfig, sizes: Sizes, device: torch.device
) -> tuple[Step, nn.Module, str]:
    """One update by the library's own trainer, the model, and its precision in words."""
    torch.manual_seed(0)
    V = sizes.num_symbols
    model = build_model(config, V, 1).to(device).train()
    choice = choose_precision("auto", model)
    source = batch_source(
        Corpus.from_tokens([symbols(V).numpy()], is_stream=True),
        1,
        batch_size=sizes.rows,
        length=sizes.length,
        carry=model.reach is None,
        seed=0,
    )
    options = TrainingOptions(
        batch_size=sizes.rows, length=sizes.length, steps=10**6, precision=choice.products
    )
    return Trainer(model, source, options, 10**6).update, model, choice.why


def peer_step(model: Any, sizes: Sizes, device: torch.device) -> Step:
    """One update as tutorials write it, with bfloat16 products on a GPU."""
    data = symbols(sizes.num_symbols).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    L, B = sizes.length, sizes.rows
    offsets = torch.arange(L, device=device)

    def step() -> None:
        starts = torch.randint(len(data) - L - 1, (B, 1), device=device)
        x, y = data[starts + offsets], data[starts + offsets + 1]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits, _ = model(x)
        loss = F.cross_entropy(logits.float().flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def symbols(num_symbols: int) -> torch.Tensor:
    """Symbols with some structure (a random walk), so that no kernel sees a constant."""
    steps = torch.randint(-3, 4, (400_000,), generator=torch.Generator().manual_seed(0))
    return steps.cumsum(0) % num_symbols


def decoding(device: torch.device, seconds: float) -> Iterator[Record]:
    """Greedy tokens/s of every family, alone and in a batch, as a share of bfloat16 products."""
    sizes = Sizes(device)
    limit = product_rate(device, sizes.product, seconds / 2)
    for name, config in sizes.ours.items():
        torch.manual_seed(0)
        model = build_model(config, sizes.num_symbols, 1).to(device).eval()
        for rows in (1, sizes.decoded_rows):
            with measured(f"{name}, {rows} in a batch") as result, torch.inference_mode():

                def step(rows: int = rows, model: st.SequenceModel = model) -> None:
                    greedy_search(model, model.start(rows), max_length=sizes.decoded)

                rate = rows * sizes.decoded / seconds_of(step, device, seconds / 2)
                result["tokens_per_second"] = rate
                result["share_of_bf16_products"] = 2 * in_products(model) * rate / limit
            yield result
        if name in ("lstm", "transformer"):
            with measured(name) as result:
                other = next_rate(sizes.peers[name]().to(device), sizes.decoded, device, seconds)
                result |= {"peer": "plain PyTorch, alone", "peer_tokens_per_second": other}
            yield result


def next_rate(model: nn.Module, count: int, device: torch.device, seconds: float) -> float:
    """Symbols/s of a tutorial's loop of generation."""

    def step() -> None:
        generated = plain.generating(model)
        for _ in range(count):
            next(generated)

    return count / seconds_of(step, device, seconds / 2)


def tests(device: torch.device, seconds: float) -> Iterator[Record]:
    """tests/test_gpu.py, where pytest is installed; the laws are a part of their own."""
    del device, seconds
    if importlib.util.find_spec("pytest") is None:
        yield {"name": "tests/test_gpu.py", "outcome": "not run: pytest is missing"}
        return
    # Without our configuration, which names plugins that may not be there.
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    options += ["-k", "not laws"]
    command = [sys.executable, "-m", "pytest", "tests/test_gpu.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    broken = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not broken:
        broken = lines[-1:] or done.stderr.strip().splitlines()[-1:]
    yield {"name": "tests/test_gpu.py", "outcome": lines[-1] if lines else "", "broken": broken}


class measured:  # noqa: N801 - a context manager
    """A result that holds its error where the measurement fails, so that others go on."""

    def __init__(self, name: str) -> None:
        self.result: Record = {"name": name}

    def __enter__(self) -> Record:
        return self.result

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, Exception):
            return False
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        self.result["error"] = f"{type(error).__name__}: {first[:300]}"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True


PARTS = {f.__name__: f for f in (machine, laws, parity, training, decoding, tests)}


def main() -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 3
    for result in PARTS[given.part](device, given.seconds):
        print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
