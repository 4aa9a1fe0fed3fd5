"""`python -m benchmarks.translation`: encoder-decoders beside nn.Transformer and CTranslate2.

The model is the Transformer of the paper in a small size: 4 + 4 layers of 256, 8 heads, 8,000
symbols shared by source, target and output. Its weights are random, so its output means nothing and
could end anywhere. The work is therefore made equal: every search takes the same number of steps
for every sentence, and never takes the end symbol (ours and the plain one search without an
end, CTranslate2 has its shortest length set to its longest). Scores of given targets show that
the converted weights are the same function.

Parts: `training` beside the loop of the tutorials over nn.Transformer, on the same batches, each
side in its default precision; `plain` beam 4 beside nn.Transformer without a cache; `ctranslate2`
beam 4 beside CTranslate2 in float32 on the converted weights, in batches of the size that it is
fastest with; `step` what a cached step costs at position 10 and at position 100, and what of that
is the attention's own. Prints a line for every part and, as its last line, JSON. See
benchmarks/README.md for the protocol. Takes about a quarter of an hour; a quick look of two
minutes: `--seconds 2 --rounds 2 --sentences 64`.

Shapes: B rows, S source positions, L target positions, D features, V symbols, K beam.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seriatim as st
from benchmarks.training import machine
from seriatim.core import tree
from seriatim.data.batches.pairs import PairBatches, PairBoundaries, PairReader, source_batch
from seriatim.data.pairs import PairCorpus
from seriatim.decode.batched import search_sources
from seriatim.decode.settings import Decoding
from seriatim.layers import attention
from seriatim.models.build import build_model
from seriatim.train.options import TrainingOptions
from seriatim.train.precision import choose_precision, process_settings
from seriatim.train.trainer import Trainer

V, BOUNDARY, K = 8_000, 1, 4
LAYERS, SIZE, HEADS = 4, 256, 8
SHORTEST, LONGEST = 8, 25  # of a sentence, in symbols
STEPS = 20  # of every search
CPU = torch.device("cpu")
Sentences = list[np.ndarray]


@dataclass(frozen=True)
class Given:
    """How much to measure: rounds of pairs, seconds per rate, sentences per search."""

    seconds: float
    rounds: int
    sentences: int


def configuration(dropout: float) -> st.Seq2Seq:
    """The Transformer of the paper in a small size."""
    return st.Seq2Seq.classic(
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        model_size=SIZE,
        num_heads=HEADS,
        feedforward_size=4 * SIZE,
        dropout=dropout,
    )


def our_model() -> Any:
    """A model with random weights, for searching."""
    torch.manual_seed(0)
    return build_model(configuration(0.0), V, BOUNDARY).eval()


def sentences(count: int, seed: int) -> Sentences:
    """Sentences of random symbols, without the boundary."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    return [rng.integers(BOUNDARY + 1, V, n) for n in lengths]


def medians(rounds: list[tuple[float, float]]) -> dict[str, float]:
    """Of rates taken in turn, ours and the peer's, and of their ratios."""
    ratios = [a / b for a, b in rounds]
    return {
        "ours": statistics.median(a for a, _ in rounds),
        "peer": statistics.median(b for _, b in rounds),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


# ---- nn.Transformer as most people use it --------------------------------------------------------


class Plain(nn.Module):
    """Embeddings, sinusoids from a table, nn.Transformer, and the embedding as output layer.

    The same sizes and the same sharing as ours. nn.Transformer has biases in its attention, a
    norm more at the end of each side, and drops weights of the attention and inner features too.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, SIZE)
        nn.init.normal_(self.embed.weight, std=SIZE**-0.5)
        place = torch.arange(512)[:, None]
        wave = torch.exp(torch.arange(0, SIZE, 2) * (-math.log(10000.0) / SIZE))
        table = torch.stack([(place * wave).sin(), (place * wave).cos()], -1).flatten(1)
        self.register_buffer("table", table)
        self.dropout = nn.Dropout(dropout)
        self.transformer = nn.Transformer(
            SIZE, HEADS, LAYERS, LAYERS, 4 * SIZE, dropout, batch_first=True
        )
        self.head = nn.Linear(SIZE, V, bias=False)
        self.head.weight = self.embed.weight

    def embedded(self, x: Tensor) -> Tensor:
        return self.dropout(self.embed(x) * math.sqrt(SIZE) + self.table[: x.shape[1]])

    def encode(self, source: Tensor, padding: Tensor) -> Tensor:
        return self.transformer.encoder(self.embedded(source), src_key_padding_mask=padding)

    def decode(self, x: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        ahead = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).isinf()
        return self.transformer.decoder(
            self.embedded(x),
            memory,
            tgt_mask=ahead,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )

    def forward(self, source: Tensor, padding: Tensor, x: Tensor) -> Tensor:
        return self.head(self.decode(x, self.encode(source, padding), padding))


def plain_training(batches: Callable[[int], Any], seen: list[float]) -> Iterator[None]:
    """The training loop of the tutorials: Adam, label smoothing, clipping, one step per item."""
    torch.manual_seed(0)
    model = Plain(0.1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, betas=(0.9, 0.98))
    step, ignored = 0, -100
    while True:
        batch = batches(step)
        source, padding = batch.source.inputs, is_padding(batch.source)
        targets = batch.targets.masked_fill(is_padding(batch), ignored)
        logits = model(source, padding, batch.inputs)
        loss = F.cross_entropy(
            logits.reshape(-1, V), targets.reshape(-1), ignore_index=ignored, label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        seen[0] += batch.num_targets()
        step += 1
        yield


def is_padding(batch: Any) -> Tensor:
    """(B, L) bool."""
    length = batch.inputs.shape[1]
    if batch.lengths is None:
        return torch.zeros(batch.inputs.shape, dtype=torch.bool)
    return torch.arange(length) >= batch.lengths[:, None]


@torch.inference_mode()
def plain_beam(model: Plain, rows: Sentences) -> Tensor:
    """Beam search without a cache: every prefix is read again at every step.

    Returns:
        (B, STEPS) the best targets.
    """
    batch = source_batch(rows, BOUNDARY)
    padding = is_padding(batch)
    memory = model.encode(batch.inputs, padding).repeat_interleave(K, 0)
    padding = padding[:, : memory.shape[1]].repeat_interleave(K, 0)
    count = len(rows)
    x = torch.full((count * K, 1), BOUNDARY)
    totals = torch.tensor([0.0] + [-math.inf] * (K - 1)).repeat(count, 1)
    for _ in range(STEPS):
        h = model.decode(x, memory, padding)[:, -1]
        scores = totals[..., None] + model.head(h).log_softmax(-1).view(count, K, V)
        totals, place = scores.flatten(1).topk(K)
        row = (place // V + torch.arange(count)[:, None] * K).flatten()
        x = torch.cat([x[row], (place % V).view(-1, 1)], 1)
    return x.view(count, K, -1)[:, 0, 1:]


# ---- ours ----------------------------------------------------------------------------------------


def our_beam(model: Any, rows: Sentences) -> list[Any]:
    """The translator's own search over symbols: sorted by length, in batches, in order again.

    The end is a symbol that no model has, so nothing ends before the last step.
    """
    sizes = np.array([len(row) + 1 for row in rows], np.int64)

    def bind(group: list[int]) -> Any:
        with torch.inference_mode():
            return model.bind(source_batch([rows[i] for i in group], BOUNDARY))

    limits = np.full(len(rows), STEPS, np.int64)
    return search_sources(bind, sizes, limits, Decoding(beam=K, alpha=0.0), end=V)


# ---- the parts -----------------------------------------------------------------------------------


def training(given: Given) -> dict[str, Any]:
    """Target symbols/s of training, each side in its defaults, on the same batches."""
    pairs = PairCorpus.from_tokens(
        (s.tolist(), t.tolist())
        for s, t in zip(sentences(4_000, 1), sentences(4_000, 2), strict=True)
    )
    config, options = configuration(0.1), {"token_budget": 4_096, "steps": 10**6}

    def batches() -> PairBatches:
        boundaries = PairBoundaries(BOUNDARY, BOUNDARY)
        return PairBatches(pairs, boundaries, seed=0, token_budget=options["token_budget"])

    torch.manual_seed(0)
    made = Trainer(
        build_model(config, V, BOUNDARY).train(),
        batches(),
        TrainingOptions(**{**config.recipe, **options}),
        10**6,
    )

    def ours() -> Iterator[None]:
        while True:
            made.update()
            yield

    seen = [0.0]
    theirs, steps, found = plain_training(batches().batch, seen), ours(), []
    for _ in range(given.rounds):
        with process_settings(CPU):
            a = _per_second(steps, lambda: made.num_targets, given.seconds)
        found.append((a, _per_second(theirs, lambda: seen[0], given.seconds)))
    return {
        "what": "target symbols/s",
        **medians(found),
        "target_ratio": 2.0,
        "precision": made.products,
        "why": choose_precision("auto", made.model).why,
        "places_of_a_batch": options["token_budget"],
    }


def _per_second(steps: Iterator[None], count: Callable[[], float], seconds: float) -> float:
    """What `count` grows by, per second, after two steps that are not counted."""
    next(steps), next(steps)
    before, began = count(), time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        next(steps)
    return (count() - before) / spent


def _timed(work: Callable[[], object], count: int) -> float:
    """Sentences/s."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def beside_plain(given: Given) -> dict[str, Any]:
    """Sentences/s of beam 4, and of nn.Transformer without a cache."""
    model, rows = our_model(), sentences(given.sentences, 3)
    torch.manual_seed(0)
    peer = Plain(0.0).eval()
    batch = _fastest(
        [8, 32, 128], lambda size: _in_batches(peer, rows[:128], size), len(rows[:128])
    )
    our_beam(model, rows[:32])
    found = [
        (
            _timed(lambda: our_beam(model, rows), len(rows)),
            _timed(lambda: _in_batches(peer, rows, batch), len(rows)),
        )
        for _ in range(min(3, given.rounds))
    ]
    return {
        "what": f"sentences/s, beam {K}, {STEPS} steps each",
        **medians(found),
        "target_ratio": 5.0,
        "sentences": len(rows),
        "batch_of_the_peer": batch,
    }


def _in_batches(peer: Plain, rows: Sentences, size: int) -> None:
    """Sorted by length, as a careful user would."""
    order = sorted(rows, key=len)
    for i in range(0, len(order), size):
        plain_beam(peer, order[i : i + size])


def _fastest(sizes: list[int], work: Callable[[int], object], count: int) -> int:
    """The size with which the peer is fastest; the first run of each is not counted."""
    found = {}
    for size in sizes:
        _timed(lambda size=size: work(size), count)
        found[size] = _timed(lambda size=size: work(size), count)
    return max(found, key=found.__getitem__)


def beside_ctranslate2(given: Given) -> dict[str, Any]:
    """Sentences/s of beam 4, and of CTranslate2 in float32 on the same weights."""
    try:
        import ctranslate2
    except ImportError:
        return {"left_out": "ctranslate2 is not installed: pip install 'seriatim[ct2]'"}
    from seriatim.export.ctranslate2 import model_to_ctranslate2

    model, rows = our_model(), sentences(given.sentences, 3)
    names = [f"s{i}" for i in range(V)]
    with tempfile.TemporaryDirectory() as place:
        model_to_ctranslate2(
            model, place, source_names=names, target_names=names, source_boundary=BOUNDARY
        )
        peer = ctranslate2.Translator(
            place,
            compute_type="float32",
            inter_threads=1,
            intra_threads=torch.get_num_threads(),
        )
    named = [[names[i] for i in row] for row in rows]

    def theirs(size: int, count: int | None = None) -> None:
        peer.translate_batch(
            named[:count],
            beam_size=K,
            length_penalty=0,
            min_decoding_length=STEPS,
            max_decoding_length=STEPS,
            max_batch_size=size,
            batch_type="tokens",
        )

    batch = _fastest([512, 1024, 2048, 4096, 8192], lambda size: theirs(size, 256), 256)
    our_beam(model, rows[:32])
    found = [
        (
            _timed(lambda: our_beam(model, rows), len(rows)),
            _timed(lambda: theirs(batch), len(rows)),
        )
        for _ in range(given.rounds)
    ]
    return {
        "what": f"sentences/s, beam {K}, {STEPS} steps each",
        **medians(found),
        "target_ratio": 0.5,
        "aim": 1.0,
        "sentences": len(rows),
        "version": ctranslate2.__version__,
        "threads": torch.get_num_threads(),
        "source_symbols_in_a_batch_of_the_peer": batch,
        "greatest_difference_of_a_log_prob": _difference(model, peer, names),
    }


def _difference(model: Any, peer: Any, names: list[str]) -> float:
    """The greatest over 32 given targets: whether the weights are the same function."""
    sources, targets = sentences(32, 4), sentences(32, 5)
    theirs = peer.score_batch(
        *([[names[i] for i in row] for row in side] for side in (sources, targets))
    )
    pairs = PairCorpus.from_tokens(
        (s.tolist(), t.tolist()) for s, t in zip(sources, targets, strict=True)
    )
    with torch.no_grad():
        reader = PairReader(pairs, PairBoundaries(BOUNDARY, BOUNDARY))
        ours = model.log_prob(reader.batch(np.arange(32))).numpy()
    return max(
        float(np.abs(np.array(found.log_probs) - row[: len(found.log_probs)]).max())
        for row, found in zip(ours, theirs, strict=True)
    )


def step(given: Given) -> dict[str, Any]:
    """Milliseconds of a cached step at positions 10 and 100, and what of it self-attention is.

    Rows as in a search: 32 sources, K prefixes each. Steps around a position, 8 of them, in turn
    for both positions. Attention itself looks at all that was said and so must grow; the rest of
    the step, writing the cache included, should not. `selecting` is what beam search adds to a
    step: every row follows another one of its source.
    """
    model, spent = our_model(), [0.0]
    starts: dict[int, Any] = {}
    found: dict[int, list[tuple[float, float, float]]] = {10: [], 100: []}
    with torch.inference_mode():
        bound = model.bind(source_batch(sentences(32, 6), BOUNDARY))
        for position in found:
            said = torch.randint(BOUNDARY + 1, V, (32, position - 5))
            starts[position] = tree.repeat(bound.update(bound.start(32), said), K)
        with _watched_attention(spent):
            for _ in range(max(3, given.rounds * 3)):
                for position, state in starts.items():
                    found[position] += _steps(bound, state, spent)

    def median(of: Callable[[tuple[float, float, float]], float]) -> dict[int, float]:
        return {p: statistics.median(map(of, times)) for p, times in found.items()}

    rest = median(lambda t: t[0] - t[1])
    return {
        "what": f"ms, {32 * K} rows at positions 10 and 100",
        "step": median(lambda t: t[0]),
        "of_it_self_attention": median(lambda t: t[1]),
        "of_it_all_else": rest,
        "selecting": median(lambda t: t[2]),
        "all_else_at_100_to_10": rest[100] / rest[10],
        "target": 1.0,
    }


def _steps(model: Any, state: Any, spent: list[float]) -> list[tuple[float, float, float]]:
    """Milliseconds of 8 steps in a row, of their self-attention, and of selecting their rows."""
    x, found = torch.randint(BOUNDARY + 1, V, (32 * K,)), []
    order = torch.arange(32 * K).view(32, K).flip(1).flatten()
    for _ in range(2):  # they take room for those that follow, a slot of it once in all
        state = model.step(state, x)
    for _ in range(8):
        spent[0], began = 0.0, time.perf_counter()
        state = model.step(state, x)
        ended = time.perf_counter()
        state = tree.select(state, order)
        now = time.perf_counter()
        found.append(((ended - began) * 1e3, spent[0] * 1e3, (now - ended) * 1e3))
    return found


@contextmanager
def _watched_attention(spent: list[float]) -> Iterator[None]:
    """Adds the seconds of every look at what was said to `spent`; looks at the source are not."""
    plain = attention.attend

    def watched(*inputs: Any) -> Tensor:
        began = time.perf_counter()
        found = plain(*inputs)
        spent[0] += time.perf_counter() - began
        return found

    attention.attend = watched
    try:
        yield
    finally:
        attention.attend = plain


# ---- all of it -----------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Given], dict[str, Any]]] = {
    "machine": machine,
    "training": training,
    "plain": beside_plain,
    "ctranslate2": beside_ctranslate2,
    "step": step,
}


def main() -> None:
    """Run all of it, or one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one rate of training")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rates")
    parser.add_argument("--sentences", type=int, default=1000, help="of a search")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part (repeatable)")
    parser.add_argument("--write", type=Path, help="also write the JSON here")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*nested tensors", category=UserWarning)
    given = Given(asked.seconds, asked.rounds, asked.sentences)
    record = {}
    for name in asked.only or PARTS:
        record[name] = PARTS[name](given)
        print(f"{name}: {json.dumps(record[name])}", flush=True)
    if asked.write:
        asked.write.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
