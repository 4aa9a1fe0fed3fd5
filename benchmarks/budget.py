"""`python -m benchmarks.budget`: what comes of a number of seconds, by default and by hand.

For each text, budget and family: the model that `seriatim fit --minutes` makes by default; the best
and the median of a grid of settings given by hand to the same command (`--grid`); a plain PyTorch
loop with a small batch (8 x 64); and a Transformer in the shape and with the recipe of nanoGPT's
small run (4 layers, 4 heads, width 128, context 64, batch 12). Every one is a process of its own
and gets the same wall seconds, from its start to its last update (ours: to the saved and scored
model). All are scored afterwards on the same validation text, all of it, in bits per character
(events: bits per event, the ends of sessions included).

A cell that is finished is kept in the result file, so a long grid can be run in pieces: the same
command goes on where it stopped, and `--minutes-left` ends it in time. Run it on a quiet machine.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.processor import processor_name

ROOT = Path(__file__).parents[1]
DATA = ROOT.parents[0] / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "budget.json"
FAMILIES = ("lstm", "gru", "rnn", "autoregressive", "transformer")
TEXTS = ("tinyshakespeare", "novels", "events")
PEERS = ("plain-lstm", "plain-gru", "nanogpt-like")
_TAIL = 5_000  # characters of each novel that are for validation
_PIECE = 256  # symbols of a row in which peers are scored

Cell = dict[str, Any]


# ---- the grid ------------------------------------------------------------------------------------


def grid(family: str) -> Iterator[dict[str, Any]]:
    """Twelve settings of a family, as a careful person would try them by hand."""
    if family == "transformer":
        models = [
            {"model_size": size, "num_layers": layers, "num_heads": 4, "context": 64}
            for size, layers in ((128, 2), (128, 4), (256, 4))
        ]
        rates = (1e-3, 3e-3)
    elif family == "autoregressive":
        models = [{"window": w, "hidden_size": h} for w, h in ((8, 128), (8, 512), (12, 1024))]
        rates = (1e-3, 4e-3)
    else:
        models = [{"hidden_size": size} for size in (128, 256, 512)]
        rates = (1e-3, 4e-3) if family == "rnn" else (2e-3, 7e-3)
    for model, rows, rate in product(models, (8, 32), rates):
        options = {"batch_size": rows, "length": 64, "learning_rate": rate, "warmup": 50}
        yield {**model, **options}


# ---- texts ---------------------------------------------------------------------------------------


def prepare(name: str, data: Path, place: Path) -> dict[str, str]:
    """Training and validation text as files; returns their paths and how they are read."""
    place.mkdir(parents=True, exist_ok=True)
    train, valid = place / f"{name}-train.txt", place / f"{name}-valid.txt"
    if name == "tinyshakespeare":
        text = (data / name / "input.txt").read_text(encoding="utf-8")
        parts = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    elif name == "novels":
        files = sorted((data / name).glob("*_*.txt"))
        texts = [f.read_text(encoding="utf-8-sig").replace("\r\n", "\n") for f in files]
        parts = "".join(t[:-_TAIL] for t in texts), "".join(t[-_TAIL:] for t in texts)
    else:
        lines = (data / "deeplog-hdfs" / "hdfs_train").read_text().splitlines()
        lines = [" ".join(line.split()) + "\n" for line in lines]
        cut = int(0.9 * len(lines))
        parts = "".join(lines[:cut]), "".join(lines[cut:])
    train.write_text(parts[0], encoding="utf-8")
    valid.write_text(parts[1], encoding="utf-8")
    return {"name": name, "train": str(train), "valid": str(valid)}


def symbols_of(text: dict[str, str], part: str) -> list[str]:
    """The symbols that the peers read: characters, or events and the ends of their lines."""
    content = Path(text[part]).read_text(encoding="utf-8")
    return (
        content.replace("\n", " \n ").rstrip(" ").split(" ")
        if text["name"] == "events"
        else list(content)
    )


# ---- ours ----------------------------------------------------------------------------------------


def our_cell(text: dict[str, str], seconds: float, family: str, options: Cell) -> Cell:
    """The whole command, timed from outside; the model is scored afterwards."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "model"
        command = [sys.executable, "-m", "seriatim", "fit", text["train"], "--valid", text["valid"]]
        command += ["--model", family, "--out", str(out), "--quiet"]
        if family != "markov":
            command += ["--minutes", str(seconds / 60)]
        if text["name"] == "events":
            command += ["--sequences", "line"]
        if options:
            command += ["--symbols", "word" if text["name"] == "events" else "char"]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - began
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1:], "wall": wall}
        record = json.loads((out / "training.json").read_text())
        score = _scored(out, text)
    fit = record.get("fit") or {}
    choice = record.get("choice") or {}
    return {
        "bits": score,
        "wall": wall,
        "steps": fit.get("steps_done"),
        "chosen": choice.get("sentence"),
        "symbols": record["vocabulary"]["kind"],
    }


def _scored(folder: Path, text: dict[str, str]) -> float:
    """Bits per character, or per event, of the whole validation text, in a process of its own."""
    code = (
        "import json, sys, seriatim as st; lm = st.load(sys.argv[1]); s = lm.score(sys.argv[2]); "
        "print(json.dumps([s.bits_per_character, s.bits_per_symbol]))"
    )
    command = [sys.executable, "-c", code, str(folder), text["valid"]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    per_character, per_symbol = json.loads(done.stdout.splitlines()[-1])
    return float(per_symbol if text["name"] == "events" else per_character)


# ---- peers ---------------------------------------------------------------------------------------


def peer_cell(text: dict[str, str], seconds: float, peer: str) -> Cell:
    """A peer in a process of its own, which counts the seconds from here."""
    asked = json.dumps({"text": text, "seconds": seconds, "peer": peer, "began": time.time()})
    command = [sys.executable, "-m", "benchmarks.budget", "--peer", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_peer(asked: Cell) -> Cell:
    """Train a peer until its time is over, then score it."""
    import numpy as np
    import torch

    from benchmarks import plain

    text, peer, deadline = asked["text"], asked["peer"], asked["began"] + asked["seconds"]
    train = symbols_of(text, "train")
    ids = {symbol: i for i, symbol in enumerate(sorted(set(train)))}
    tokens = np.array([ids[symbol] for symbol in train], np.int64)
    torch.manual_seed(0)
    if peer == "nanogpt-like":
        model: Any = plain.Transformer(len(ids) + 1, 128, 4, 4, 64)
        steps = _nanogpt_steps(model, tokens, asked["began"], asked["seconds"])
    else:
        model = plain.Recurrent(peer.removeprefix("plain-").upper(), len(ids) + 1, 256, 1)
        steps = plain.training_steps(model, tokens, 8, 64, rate=2e-3)
    count = 0
    for _ in steps:
        count += 1
        if time.time() >= deadline:
            break
    wall = time.time() - asked["began"]
    unknown = len(ids)
    valid = [ids.get(symbol, unknown) for symbol in symbols_of(text, "valid")]
    return {"bits": _peer_bits(model, valid), "wall": wall, "steps": count}


def _nanogpt_steps(model: Any, tokens: Any, began: float, seconds: float) -> Iterator[None]:
    """nanoGPT's loop: rate 1e-3 with 100 steps of warm-up, then a cosine to a tenth, clip 1."""
    import torch
    import torch.nn.functional as F

    data = torch.from_numpy(tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    model.train()
    step = 0
    while True:
        passed = min(1.0, (time.time() - began) / seconds)
        rate = 1e-4 + 0.9e-3 * 0.5 * (1 + math.cos(math.pi * passed))
        for group in optimizer.param_groups:
            group["lr"] = min(rate, 1e-3 * (step + 1) / 100)
        starts = torch.randint(len(data) - 65, (12,))
        x = torch.stack([data[i : i + 64] for i in starts])
        y = torch.stack([data[i + 1 : i + 65] for i in starts])
        logits, _ = model(x)
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        yield


def _peer_bits(model: Any, valid: list[int]) -> float:
    """Bits per symbol: carried through the whole text, or the second half of windows of 64."""
    import torch
    import torch.nn.functional as F

    model.eval()
    data, nats = torch.tensor(valid)[None], 0.0
    context = getattr(model, "context", None)
    with torch.no_grad():
        if context is None:
            hidden = None
            for i in range(0, data.shape[1] - 1, _PIECE):
                x = data[:, i : i + _PIECE][:, : data.shape[1] - 1 - i]
                y = data[:, i + 1 : i + 1 + x.shape[1]]
                logits, hidden = model(x, hidden)
                nats += float(F.cross_entropy(logits[0], y[0], reduction="sum"))
            return nats / (data.shape[1] - 1) / math.log(2)
        half, count = context // 2, 0
        starts = torch.arange(0, data.shape[1] - context - 1, half)
        for group in starts.split(64):
            x = torch.stack([data[0, i : i + context] for i in group])
            y = torch.stack([data[0, i + 1 : i + 1 + context] for i in group])
            logits, _ = model(x)
            nats += float(
                F.cross_entropy(
                    logits[:, half:].flatten(0, 1), y[:, half:].flatten(), reduction="sum"
                )
            )
            count += y[:, half:].numel()
        return nats / count / math.log(2)


# ---- the table -----------------------------------------------------------------------------------


def cells(asked: argparse.Namespace) -> Iterator[tuple[str, str, float, str, Cell]]:
    """What is to be measured, cheap and telling cells first: (key, text, seconds, who, options)."""
    budgets, texts, families = asked.budgets, asked.data, asked.families
    for seconds, text in product(budgets, texts):
        for who in (*families, "markov", *(PEERS if asked.peers else ())):
            yield f"{text}/{seconds:g}/{who}", text, seconds, who, {}
    if asked.grid:
        for seconds, text, family in product(budgets, texts, families):
            for i, options in enumerate(list(grid(family))[: asked.grid]):
                yield f"{text}/{seconds:g}/{family}/grid {i}", text, seconds, family, options


def table(found: Mapping[str, Cell], asked: argparse.Namespace) -> str:
    """What was found, for people."""
    lines = []
    for text, seconds in product(asked.data, asked.budgets):
        start = f"{text}/{seconds:g}/"
        unit = "bits per event" if text == "events" else "bits per character"
        lines.append(f"{text}, {seconds:g} s ({unit}; wall seconds)")
        for family in (*asked.families, "markov"):
            ours = found.get(start + family)
            if ours is None or "bits" not in ours:
                continue
            tried = [
                (cell["bits"], key.rsplit(" ", 1)[1])
                for key, cell in found.items()
                if key.startswith(f"{start}{family}/grid ") and "bits" in cell
            ]
            line = f"  {family:16}{ours['bits']:7.3f}  {ours['wall']:6.1f} s"
            if tried:
                best, which = min(tried)
                median = statistics.median(bits for bits, _ in tried)
                line += (
                    f"   grid of {len(tried)}: best {best:.3f} (setting {which}), median "
                    f"{median:.3f}; ours {ours['bits'] / best - 1:+.1%}"
                )
            lines.append(line)
        for peer in PEERS:
            if (cell := found.get(start + peer)) is not None:
                lines.append(f"  {peer:16}{cell['bits']:7.3f}  {cell['wall']:6.1f} s")
    return "\n".join(lines)


def read_cells(path: Path) -> dict[str, Cell]:
    """The finished cells of this machine."""
    if not path.exists():
        return {}
    record = json.loads(path.read_text())
    if record["machine"] != processor_name():
        raise SystemExit(f"{path} was measured on {record['machine']}: give another --write")
    cells: dict[str, Cell] = record["cells"]
    return cells


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = lambda t: [float(x) for x in t.split(",")]  # noqa: E731
    names = lambda t: t.split(",")  # noqa: E731
    parser.add_argument("--budgets", type=numbers, default=[20.0, 60.0], help="seconds, 20,60")
    parser.add_argument("--data", type=names, default=list(TEXTS), help=",".join(TEXTS))
    parser.add_argument("--families", type=names, default=list(FAMILIES), help=",".join(FAMILIES))
    parser.add_argument(
        "--grid", type=int, nargs="?", const=12, default=0, help="settings of the grid: 12 or fewer"
    )
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--minutes-left", type=float, help="begin no cell that ends after these")
    parser.add_argument("--folder", type=Path, default=DATA, help="the folder of the corpora")
    parser.add_argument("--write", type=Path, default=RESULTS, help="where cells are kept")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peer:
        print(json.dumps(run_peer(json.loads(asked.peer))))
        return
    began = time.monotonic()
    found = read_cells(asked.write)
    place = Path(tempfile.gettempdir()) / f"seriatim-budget-{os.getpid()}"
    texts = {name: prepare(name, asked.folder, place) for name in asked.data}
    for key, text, seconds, who, options in cells(asked):
        if key in found:
            continue
        passed = time.monotonic() - began
        if asked.minutes_left and passed + seconds + 15 > 60 * asked.minutes_left:
            continue
        if who in PEERS:
            found[key] = peer_cell(texts[text], seconds, who)
        else:
            found[key] = {**our_cell(texts[text], seconds, who, options), "options": options}
        print(f"{key}: {json.dumps(found[key])}", flush=True)
        asked.write.parent.mkdir(parents=True, exist_ok=True)
        record = {"machine": processor_name(), "cells": found}
        asked.write.write_text(json.dumps(record, indent=1) + "\n")
    print(table(found, asked))


if __name__ == "__main__":
    main()
