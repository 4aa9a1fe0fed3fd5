"""Whole commands beside the whole commands of other tools, in pairs on one machine.

    python -m benchmarks.lived --text FOLDER [--rows NAME ...] [--rounds 3] [--write]

Each row is what a person types: a process from its start to its end, with imports, reading and
saving. Ours and the peer's run in turn (A B A B ...), ours first; the table has the medians, and
the median of the ratios of the pairs. Memory is that of all processes of a command. Rates that no
single command shows (decoding and training beside another library on the same weights or batches)
come from `benchmarks.decoding` and `benchmarks.training`, which make the work equal and say how.

The text is made of the .txt files of a folder (white space normalized), repeated in new shuffles of
its lines up to each size. The peers are `lmplz` and `build_binary` of KenLM, where they are on the
PATH; a row whose peer is missing is left out and says so. The results file keeps one record for
each kind of processor.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from benchmarks.processor import processor_facts, processor_name
from seriatim.cli import THREAD_SETTINGS

Json: TypeAlias = dict[str, Any]
RESULTS = Path(__file__).parent / "results" / "lived.json"
SERIATIM = [sys.executable, "-m", "seriatim"]
KENLM_SCORE = """
import sys, kenlm
model = kenlm.Model(sys.argv[1])
print(sum(model.score(line) for line in open(sys.argv[2], encoding="utf-8")))
"""


@dataclass(frozen=True)
class Usage:
    """What one process took."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Result:
    """A row of the table; `unit` says whether more or less is better.

    Attributes:
        name: what was done.
        unit: "s" (less is better), or a rate such as "tokens/s".
        ours, peer: medians, in the unit.
        ratio: the median over the pairs of how many times better ours was.
        least, most: the extremes of that ratio.
        target: the ratio that is aimed at.
        beside: the peer's name.
        ours_bytes, peer_bytes: medians of the peak memory, where it was measured.
        note: whatever a reader must know.
    """

    name: str
    unit: str
    ours: float
    peer: float
    ratio: float
    least: float | None = None
    most: float | None = None
    target: float = 1.0
    beside: str = ""
    ours_bytes: int | None = None
    peer_bytes: int | None = None
    note: str = ""


@dataclass
class Bench:
    """What every row needs: the texts, how many rounds, and a place for files."""

    lines: list[str]
    rounds: int
    folder: Path
    texts: dict[int, Path] = field(default_factory=dict)

    def text(self, num_words: int, seed: int = 0) -> Path:
        """A file with so many words, written once."""
        from benchmarks.markov import repeated, write_text

        if num_words not in self.texts:
            self.texts[num_words] = self.folder / f"{num_words}.txt"
            write_text(repeated(self.lines, num_words, seed), self.texts[num_words])
        return self.texts[num_words]


class MissingPeerError(Exception):
    """The peer of a row is not on this machine."""


def main() -> None:
    """Measure the rows asked for; print a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="a folder of .txt files, for the rows of n-grams")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(_lines(options.text), options.rounds, Path(folder))
        results = {}
        for name in options.rows:
            try:
                for result in ROWS[name](bench):
                    print(_shown(result), flush=True)
                    results[result.name] = asdict(result)
            except MissingPeerError as error:
                print(f"{name}: left out: {error}", flush=True)
    if options.write:
        _write(results)
    print(json.dumps({"machine": _machine(), "rows": results}))


# ---- n-grams -------------------------------------------------------------------------------------


def fit_ngrams(num_words: int, target: float) -> Callable[[Bench], Iterator[Result]]:
    """Text to saved model: `seriatim fit` beside `lmplz`, order 5."""

    def row(bench: Bench) -> Iterator[Result]:
        lmplz = _program("lmplz")
        text = bench.text(num_words)
        model, arpa = bench.folder / "model", bench.folder / "model.arpa"
        fit = ["fit", str(text), "--model", "markov", "--order", "5", "--symbols", "word"]
        fit += ["--sequences", "line", "--split", "1", "0", "0", "--out", str(model)]

        def ours() -> Usage:
            shutil.rmtree(model, ignore_errors=True)
            return _run([*SERIATIM, *fit])

        def peer() -> Usage:
            arpa.unlink(missing_ok=True)
            command = [lmplz, "-o", "5", "-S", "4G", "--text", str(text), "--arpa", str(arpa)]
            return _run([*command, "--discount_fallback"])  # for repeated text

        name = f"fit an n-gram of order 5, {num_words / 1e6:g} M words, text to saved model"
        yield _pairs(name, ours, peer, bench.rounds, target, "lmplz")

    return row


def first_score(bench: Bench) -> Iterator[Result]:
    """The first score of a saved n-gram model in a new process, beside `kenlm` from Python."""
    build, lmplz = _program("build_binary"), _program("lmplz")
    train, test = bench.text(6_100_000), bench.text(1_000_000, seed=1)
    model, arpa, binary = (bench.folder / n for n in ("score-model", "s.arpa", "s.binary"))
    fit = ["fit", str(train), "--model", "markov", "--order", "5", "--symbols", "word"]
    _run([*SERIATIM, *fit, "--sequences", "line", "--split", "1", "0", "0", "--out", str(model)])
    _run([lmplz, "-o", "5", "-S", "4G", "--text", str(train), "--arpa", str(arpa)])
    _run([build, "probing", str(arpa), str(binary)])
    arpa.unlink()
    score = [*SERIATIM, "score", str(model), str(test), "--json"]
    theirs = [sys.executable, "-c", KENLM_SCORE, str(binary), str(test)]
    yield _pairs(
        "first score of a saved n-gram of 6.1 M words, 1 M words, whole command",
        lambda: _run(score),
        lambda: _run(theirs),
        bench.rounds,
        1.0,
        "kenlm from Python, probing",
    )


# ---- start ---------------------------------------------------------------------------------------


def small_score(bench: Bench) -> Iterator[Result]:
    """`seriatim score` of a small model and text, beside `import torch` alone."""
    text, model = bench.folder / "small.txt", bench.folder / "small"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 200, encoding="utf-8")
    fit = ["fit", str(text), "--model", "lstm", "--hidden-size", "32", "--symbols", "char"]
    _run([*SERIATIM, *fit, "--steps", "20", "--out", str(model)])
    yield _pairs(
        "score a small model and text, processor time",
        lambda: _run([*SERIATIM, "score", str(model), str(text)]),
        lambda: _run([sys.executable, "-c", "import torch"]),
        max(5, bench.rounds),
        0.8,
        "import torch",
        by="processor_seconds",
    )


def fit_help(bench: Bench) -> Iterator[Result]:
    """`seriatim fit --help`, beside a Python that does nothing."""
    yield _pairs(
        "seriatim fit --help",
        lambda: _run([*SERIATIM, "fit", "--help"]),
        lambda: _run([sys.executable, "-c", "pass"]),
        max(5, bench.rounds),
        0.037,  # 0.3 s
        "python -c pass",
    )


# ---- rates from the other benchmarks -------------------------------------------------------------


def decoding(case: str, targets: dict[str, float]) -> Callable[[Bench], Iterator[Result]]:
    """Symbols per second of a search beside CTranslate2 in float32 on the same weights."""

    def row(bench: Bench) -> Iterator[Result]:
        command = [sys.executable, "-m", "benchmarks.decoding", "--seconds", "2", "--only", case]
        rates = _json_of([*command, "--rounds", str(bench.rounds)])[case]
        for side, target in targets.items():
            peer = "CTranslate2 float32"
            yield Result(
                f"{case}, Transformer of 14.5 M weights, {side}",
                "symbols/s",
                rates[f"ours {side}"],
                rates[peer],
                rates[f"ours {side} / {peer}"],
                target=target,
                beside=peer,
                note=f"transformers: {rates.get('transformers float32', 0):.0f} symbols/s",
            )

    return row


def training(part: str, targets: dict[str, float]) -> Callable[[Bench], Iterator[Result]]:
    """Symbols per second of training beside plain PyTorch, or GPT-2 of transformers."""

    def row(bench: Bench) -> Iterator[Result]:
        command = [sys.executable, "-m", "benchmarks.training", "--only", part, "--seconds", "3"]
        found = _json_of([*command, "--rounds", str(bench.rounds)])[part]
        models = {"Transformer 6 x 384": found} if "ours" in found else found
        for name, target in targets.items():
            one = models[name]
            yield Result(
                f"training, {name}, {one['precision']}",
                "symbols/s",
                one["ours"],
                one["peer"],
                one["ratio"],
                one["least"],
                one["most"],
                target,
                "GPT-2 of transformers" if part == "transformer" else "plain PyTorch",
            )

    return row


def streaming(bench: Bench) -> Iterator[Result]:
    """One LSTM of 256, alone, beside its two products alone: the machine's own limit."""
    command = [sys.executable, "-m", "benchmarks.training", "--only", "streaming"]
    found = _json_of([*command, "--seconds", "3", "--rounds", str(bench.rounds)])["streaming"]
    ours, limit = found["symbols_per_second"], found["limit"]["two_products_per_second"]
    yield Result(
        "streaming an LSTM of 256, alone",
        "symbols/s",
        ours,
        limit,
        ours / limit,
        target=0.51,
        beside="its two products alone",
    )


def _json_of(command: list[str]) -> Json:
    """The last line that a benchmark prints, with threads set as the commands set them."""
    environment = {**os.environ, **THREAD_SETTINGS}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: Json = json.loads(done.stdout.splitlines()[-1])
    return found


# ---- measuring -----------------------------------------------------------------------------------


def _run(command: list[str]) -> Usage:
    """Run a process to its end and account for it and its children alone."""
    began = time.perf_counter()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    memory = _PeakMemory(child.pid)
    assert child.stderr is not None
    complaint = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    peak = memory.stop()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}\n{complaint.decode(errors='replace')}")
    return Usage(seconds, usage.ru_utime + usage.ru_stime, peak)


class _PeakMemory(threading.Thread):
    """The most memory that a process and its descendants had together, seen ten times a second.

    The system's own peak is that of the largest process. Pages that several share count once (Pss).
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self._ended = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, sum(map(_resident_bytes, _tree(self.pid))))

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.peak


def _tree(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                yield from _tree(int(child))


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(found[1]) * 1024 if found else 0
    return 0


def _pairs(
    name: str,
    ours: Callable[[], Usage],
    peer: Callable[[], Usage],
    rounds: int,
    target: float,
    beside: str,
    by: Literal["seconds", "processor_seconds"] = "seconds",
) -> Result:
    """Both in turn; the first pair warms the disk's cache and is not counted."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    times = [(getattr(a, by), getattr(b, by)) for a, b in pairs]
    ratios = [b / a for a, b in times]
    return Result(
        name,
        "s",
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        target,
        beside,
        int(statistics.median(a.peak_bytes for a, _ in pairs)),
        int(statistics.median(b.peak_bytes for _, b in pairs)),
    )


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise MissingPeerError(f"{name} is not on the PATH: build KenLM and put it there")
    return path


def _lines(folder: Path | None) -> list[str]:
    from benchmarks.markov import read_lines

    return [] if folder is None else read_lines(folder)


# ---- output --------------------------------------------------------------------------------------


def _shown(result: Result) -> str:
    met = "met" if result.ratio >= result.target else "missed"
    memory = spread = ""
    if result.least is not None and result.most is not None:
        spread = f" ({result.least:.2f} to {result.most:.2f})"
    if result.ours_bytes and result.peer_bytes:
        memory = f", {result.ours_bytes / 1e9:.2f} beside {result.peer_bytes / 1e9:.2f} GB"
    return (
        f"{result.name}: {result.ours:.4g} {result.unit}; {result.beside} {result.peer:.4g}"
        f"{memory}; ratio {result.ratio:.2f}{spread}, "
        f"target {result.target:g}: {met}"
    )


def _machine() -> dict[str, object]:
    facts = processor_facts()
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "has_avx512_bf16": "avx512_bf16" in facts,
        "has_amx": "amx_bf16" in facts,
        "python": platform.python_version(),
    }


def _write(results: dict[str, dict[str, object]]) -> None:
    """Rows measured now replace those of the same processor; other processors' stay."""
    machine = _machine()
    key = f"{machine['processor']}{', AMX' if machine['has_amx'] else ''}, {machine['cores']} cores"
    record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    rows = {**record.get(key, {}).get("rows", {}), **results}
    record[key] = {"machine": machine, "rows": rows}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


ROWS: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "fit-6M": fit_ngrams(6_100_000, 2.0),
    "fit-23M": fit_ngrams(23_500_000, 3.0),
    "first-score": first_score,
    "greedy": decoding("greedy, alone", {"float32": 1.2, "fp16": 2.0, "int8": 2.0}),
    "batch": decoding("greedy, batch 32", {"float32": 1.2, "int8": 1.2}),
    "beam": decoding("beam 5, alone", {"float32": 1.0, "int8": 1.0}),
    "transformer": training("transformer", {"Transformer 6 x 384": 3.5}),
    "recurrent": training(
        "recurrent",
        {"LSTM 2 x 650": 2.2, "LSTM 2 x 200": 2.2, "GRU 2 x 650": 2.2, "GRU 2 x 200": 2.2},
    ),
    "streaming": streaming,
    "small-score": small_score,
    "fit-help": fit_help,
}

if __name__ == "__main__":
    main()
