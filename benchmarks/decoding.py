"""`python -m benchmarks.decoding`: a Transformer's decoding beside CTranslate2 and transformers.

The model has 14.5 M weights, 6 layers of 384 over 10,000 symbols, all random; ours runs in float32,
and with weights rounded to fp16 and int8. The work is equal: every search takes the same number of
steps from one symbol and never ends before. CTranslate2 runs the same weights in float32, and
greedy search must find the same symbols; transformers runs a GPT-2 of this size. Each side has a
process of its own, and they are timed in turn, round by round. Prints a line for every measurement
and, as its last line, JSON. See benchmarks/README.md for the protocol.

Shapes: B rows, V symbols, K beam.
"""

import argparse
import importlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import seriatim as st
from benchmarks.processor import processor_name
from benchmarks.sides import Side
from benchmarks.training_pairs import V, gpt2
from seriatim.core.products import rounded
from seriatim.decode.beam import beam_search_rows
from seriatim.decode.greedy import greedy_search
from seriatim.export.ctranslate2_generator import generator_spec
from seriatim.models.build import build_model

STEPS = 64
PEER = "CTranslate2 float32"
SIZE, LAYERS, HEADS, CONTEXT = 384, 6, 6, 256  # as many heads as `gpt2` has
Search = Callable[[], Any]
CASES: Mapping[str, tuple[int, int]] = {  # rows, beam
    "greedy, alone": (1, 1),
    "greedy, batch 32": (32, 1),
    "beam 5, alone": (1, 5),
}


def our_model() -> Any:
    """The Transformer with random weights."""
    torch.manual_seed(0)
    config = st.Transformer(
        model_size=SIZE, num_layers=LAYERS, num_heads=HEADS, context=CONTEXT, dropout=0.0
    )
    return build_model(config, V, 1).eval()


def our_search(model: Any, rows: int, width: int) -> Search:
    """A search of STEPS symbols for every row."""

    def search() -> list[tuple[int, ...]]:
        with torch.inference_mode():
            state = model.start(rows)
        if width == 1:
            return [h.symbols for h in greedy_search(model, state, max_length=STEPS)]
        found = beam_search_rows(model, state, beam=width, max_length=STEPS, num_best=1)
        return [best[0].symbols for best in found]

    return search


# ---- the peers ----------------------------------------------------------------------------------


def ctranslate2_generator(model: Any, folder: Path) -> Any:
    """The same weights in CTranslate2, in float32."""
    ctranslate2 = importlib.import_module("ctranslate2")
    spec = generator_spec(model)
    spec.register_vocabulary([str(i) for i in range(V)])
    config = spec.config
    config.bos_token = config.eos_token = config.unk_token = "1"
    config.layer_norm_epsilon = model.norm.eps
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir()
    spec.save(str(folder))
    threads = torch.get_num_threads()
    return ctranslate2.Generator(str(folder), compute_type="float32", intra_threads=threads)


def their_search(generator: Any, rows: int, width: int) -> Search:
    """The same search by CTranslate2."""

    def search() -> list[tuple[int, ...]]:
        found = generator.generate_batch(
            [["1"]] * rows,
            beam_size=width,
            length_penalty=0.0,
            min_length=STEPS,
            max_length=STEPS,
            include_prompt_in_result=False,
        )
        return [tuple(result.sequences_ids[0]) for result in found]

    return search


def hugging_face_search(rows: int, width: int) -> Search | None:
    """Greedy and beam search by transformers' GPT-2 of the same size; None: not installed."""
    model = gpt2(SIZE, LAYERS, CONTEXT)
    if model is None:
        return None
    from transformers import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    model.eval()
    prompt = torch.ones(rows, 1, dtype=torch.int64)

    def search() -> Any:
        return model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            num_beams=width,
            min_new_tokens=STEPS,
            max_new_tokens=STEPS,
            pad_token_id=1,
        )

    return search


# ---- measuring ----------------------------------------------------------------------------------


def make_search(side: str, rows: int, width: int, folder: Path) -> Search | None:
    """The search of a side: "ours PRECISION", "CTranslate2 float32" or "transformers float32"."""
    library, precision = side.split()
    if library == "transformers":
        return hugging_face_search(rows, width)
    model = our_model()
    if library == "CTranslate2":
        return their_search(ctranslate2_generator(model, folder / "model"), rows, width)
    return our_search(model if precision == "float32" else rounded(model, precision), rows, width)


def _side(name: str, rows: int, width: int, folder: Path) -> Side:
    arguments = name, rows, width, folder, torch.get_num_threads()
    return Side(_answer, *arguments, is_ours=name.startswith("ours"))


def _answer(
    pipe: Connection, side: str, rows: int, width: int, folder: Path, num_threads: int
) -> None:
    """Send what a search finds, or None if there is no such library; then a rate when asked."""
    torch.set_num_threads(num_threads)
    search = make_search(side, rows, width, folder)
    if search is None:
        pipe.send(None)
        return
    search()
    found = search()
    pipe.send(found if isinstance(found, list) else [])
    while (seconds := pipe.recv()) is not None:
        pipe.send(symbols_per_second(search, rows, seconds))


def symbols_per_second(search: Search, rows: int, seconds: float) -> float:
    """The rate of a search of STEPS symbols for each of `rows` rows."""
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds or count < 1:
        search()
        count += 1
    return count * rows * STEPS / spent


def measured(sides: Mapping[str, Side], seconds: float, rounds: int) -> dict[str, float]:
    """The median rate of every side, in turn, and its ratio to CTranslate2's."""
    found = [{name: side.rate(seconds) for name, side in sides.items()} for _ in range(rounds)]
    rates = {name: statistics.median(f[name] for f in found) for name in sides}
    ratios = {
        f"{name} / {PEER}": statistics.median(f[name] / f[PEER] for f in found)
        for name in sides
        if name != PEER
    }
    return {**rates, **ratios}


def decoding(
    seconds: float, rounds: int, only: str = "", with_hugging_face: bool = True
) -> dict[str, Any]:
    """The rates of every case."""
    names = [*(f"ours {precision}" for precision in ("float32", "fp16", "int8")), PEER]
    names += ["transformers float32"] * with_hugging_face
    results: dict[str, Any] = {}
    for case, (rows, width) in CASES.items():
        if only not in case:
            continue
        with tempfile.TemporaryDirectory() as place:
            sides = {name: _side(name, rows, width, Path(place)) for name in names}
            ours, theirs = sides["ours float32"].ready or [], sides[PEER].ready or []
            agree = sum(a == b for a, b in zip(ours, theirs, strict=True)) / rows
            sides = {name: side for name, side in sides.items() if side.ready is not None}
            found = {"same_as_ctranslate2": agree, **measured(sides, seconds, rounds)}
            for side in sides.values():
                side.close()
        results[case] = found
        print(case, *(f"  {name}: {value:,.3g}" for name, value in found.items()), sep="\n")
    return results


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="the cases whose names hold this")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-hugging-face", action="store_true")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = decoding(given.seconds, given.rounds, given.only, not given.no_hugging_face)
    print(json.dumps({"processor": processor_name(), "threads": torch.get_num_threads(), **found}))


if __name__ == "__main__":
    main()
