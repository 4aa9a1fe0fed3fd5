"""Two sides of a training benchmark in turn, each in a process of its own: ours and a peer's.

Knows the models that `benchmarks.training` trains and how their rates are taken; not which rows a
table has.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

import seriatim as st
from benchmarks import plain
from benchmarks.run import rate, tokens
from benchmarks.sides import Side
from seriatim.data.batches.corpus import batch_source
from seriatim.data.corpus import Corpus
from seriatim.models.build import build_model
from seriatim.train.options import TrainingOptions
from seriatim.train.precision import process_settings
from seriatim.train.trainer import Trainer

V = 10_000
CPU = torch.device("cpu")
Steps = Iterator[Any]


@dataclass(frozen=True)
class Protocol:
    """How long to measure: rounds of paired rates, and the seconds of each rate."""

    seconds: float
    rounds: int
    rau: str | None
    models: list[str] | None = None  # of "recurrent"; None: all


def products(dtype: torch.dtype, seconds: float, size: int = 1024) -> float:
    """GFLOP/s of a product of size x size matrices."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))

    def steps() -> Steps:
        while True:
            yield a @ b

    return rate(steps(), seconds) * 2 * size**3 / 1e9


def trainer(config: Any, rows: int, length: int, num_symbols: int = V, **options: Any) -> Trainer:
    """A trainer of random symbols."""
    torch.manual_seed(0)
    model = build_model(config, num_symbols, 1).train()
    corpus = Corpus.from_tokens([tokens(num_symbols)], is_stream=True)
    source = batch_source(
        corpus,
        1,
        batch_size=rows,
        length=length,
        carry=model.reach is None,
        seed=0,
        token_budget=None,
    )
    asked = TrainingOptions(batch_size=rows, length=length, steps=10**6, **options)
    return Trainer(model, source, asked, 10**6)


def our_steps(made: Trainer) -> Steps:
    """The training loop's own steps."""
    while True:
        made.update()
        yield


@dataclass(frozen=True)
class Work:
    """A model and its batches, for both sides.

    Attributes:
        family: "Transformer", whose peer is GPT-2 of transformers in its defaults, "LSTM" or "GRU",
            whose peer is `benchmarks.plain`.
        size: features of a layer.
        layers: their number.
        rows, length: the shape of a batch.
    """

    family: str
    size: int
    layers: int
    rows: int
    length: int

    def ours(self) -> Trainer:
        """Our trainer."""
        config: Any
        if self.family == "Transformer":
            config = st.Transformer(
                model_size=self.size,
                num_layers=self.layers,
                num_heads=6,
                context=self.length,
                dropout=0.1,
            )
        else:
            config = getattr(st, self.family)(hidden_size=self.size, num_layers=self.layers)
        return trainer(config, self.rows, self.length)

    def peer(self) -> Steps:
        """The peer's steps."""
        if self.family == "Transformer":
            return _gpt2(self.rows, self.length, self.size, self.layers)
        model = plain.Recurrent(self.family, V, self.size, self.layers)
        return plain.training_steps(model, tokens(V), self.rows, self.length)


@dataclass(frozen=True)
class Made:
    """What a side says of itself: the precision of products, and the weights in matrices."""

    products: str
    num_weights: int


def _answer(pipe: Connection, work: Work, is_ours: bool, num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    steps, made = None, None
    if is_ours:
        ours = work.ours()
        steps = our_steps(ours)
        made = Made(ours.products, sum(p.numel() for p in ours.parameters if p.ndim == 2))
    else:
        steps = work.peer()
    with process_settings(CPU) if is_ours else nullcontext():
        next(steps)
        pipe.send(made)
        while (asked := pipe.recv()) is not None:
            if asked == "profile":
                next(steps)  # the first step after a pause finds nothing in the cache
                pipe.send(profile(lambda: next(steps)))
            else:
                pipe.send(rate(steps, asked))


def paired(work: Work, protocol: Protocol) -> dict[str, Any]:
    """The median tokens/s of both, in turn, and the bf16 product rate of the same rounds."""
    threads = torch.get_num_threads()
    ours, peer = (Side(_answer, work, our, threads, is_ours=our) for our in (True, False))
    per_step, found = work.rows * work.length, []
    for _ in range(protocol.rounds):
        a = ours.rate(protocol.seconds) * per_step
        b = peer.rate(protocol.seconds) * per_step
        found.append((a, b, a / b, products(torch.bfloat16, 0.2)))
    where = ours.ask("profile")
    for side in (ours, peer):
        side.close()
    a, b, ratio, peak = (statistics.median(column) for column in zip(*found, strict=True))
    return {
        "ours": a,
        "peer": b,
        "ratio": ratio,
        "least": min(f[2] for f in found),
        "most": max(f[2] for f in found),
        "bf16_product_gflops": peak,
        "precision": ours.ready.products,
        "num_weights": ours.ready.num_weights,
        "profile": where,
    }


def profile(step: Callable[[], object], most: int = 12) -> list[dict[str, Any]]:
    """Where the time of a step goes, by operation."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    with profiler(activities=[ProfilerActivity.CPU]) as found:
        step()
    events = sorted(found.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    return [
        {
            "operation": e.key,
            "share": round(e.self_cpu_time_total / total, 4),
            "ms": round(e.self_cpu_time_total / 1000, 2),
            "calls": e.count,
        }
        for e in events[:most]
    ]


def _gpt2(rows: int, length: int, size: int, layers: int) -> Steps:
    model = gpt2(size, layers, length)
    if model is not None:
        return _gpt2_steps(model.train(), rows, length)
    print("transformers is not installed: a plain Transformer stands in for its GPT-2")
    stand_in = plain.Transformer(V, size, layers, 6, length)
    return plain.training_steps(stand_in, tokens(V), rows, length)


def gpt2(size: int, layers: int, length: int) -> Any | None:
    """GPT-2 of transformers over V symbols, with 6 heads; None: it is not installed."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        return None
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=V,
        n_positions=length,
        n_embd=size,
        n_layer=layers,
        n_head=6,
        bos_token_id=1,
        eos_token_id=1,
    )
    return GPT2LMHeadModel(config)


def _gpt2_steps(model: Any, rows: int, length: int) -> Steps:
    data = torch.from_numpy(tokens(V))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    while True:
        starts = torch.randint(len(data) - length, (rows,))
        x = torch.stack([data[i : i + length] for i in starts])
        loss = model(input_ids=x, labels=x).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        yield
