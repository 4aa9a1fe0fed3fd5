"""From text to a queryable n-gram model, and scoring beside `kenlm` in the same run.

    python -m benchmarks.markov --data FOLDER [--write]

The text comes from the .txt files of a folder, with white space normalized, and is repeated to each
size with a new shuffle of its lines every time. Each fit is a whole command, `seriatim fit`, from
text to saved model, in turn with the whole command `lmplz` (KenLM; -S 4G, an ARPA file is written),
if that is on the PATH; without it there is no ratio. Peak memory is that of the largest process,
torch included. `processor` is user and system time together, of all processes.

Scoring takes turns with `kenlm` (A B A B ..), ours first, on lines kept out of training: log10 of
every line from its text, which for us includes giving words their numbers. Medians of rounds.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processor import processor_name

RESULTS = Path(__file__).parent / "results" / "markov.json"


def main() -> None:
    """Run everything; print a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder of .txt files")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e6, 5e6, 20e6])
    parser.add_argument("--score-size", type=float, default=1e6, help="tokens of the scored model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data is needed")
    with tempfile.TemporaryDirectory() as folder:
        lines = read_lines(options.data)
        fits = [
            fit_rounds(lines, int(size), options.order, options.rounds, Path(folder))
            for size in options.sizes
        ]
        scoring = score_rounds(
            lines, int(options.score_size), options.order, options.rounds, Path(folder)
        )
    report = {
        "machine": machine(),
        "order": options.order,
        "rounds": options.rounds,
        "fit": fits,
        "use": scoring,
    }
    show(report)
    if options.write:
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


# ---- text ---------------------------------------------------------------------------------------


def read_lines(folder: Path) -> list[str]:
    """The lines of all .txt files, with one space between words."""
    texts = [p.read_text(encoding="utf-8-sig") for p in sorted(folder.glob("*.txt"))]
    return [" ".join(line.split()) for text in texts for line in text.split("\n")]


def repeated(lines: list[str], num_tokens: int, seed: int = 0) -> Iterator[str]:
    """Shuffles of the lines, one after another, until there are enough tokens."""
    rng = np.random.default_rng(seed)
    while True:
        for i in rng.permutation(len(lines)):
            if num_tokens <= 0:
                return
            num_tokens -= len(lines[i].split())
            yield lines[i]


def write_text(lines: Iterator[str], path: Path) -> None:
    """Write the lines to a file."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


# ---- fitting ------------------------------------------------------------------------------------


def fit_rounds(
    lines: list[str], num_tokens: int, order: int, rounds: int, folder: Path
) -> dict[str, Any]:
    """Whole commands of one size, ours and lmplz in turn: medians."""
    path, out, arpa = folder / f"{num_tokens}.txt", folder / "model", folder / "model.arpa"
    write_text(repeated(lines, num_tokens), path)
    ours = [sys.executable, "-m", "seriatim", "fit", str(path), "--model", "markov"]
    ours += ["--order", str(order), "--symbols", "word", "--sequences", "line"]
    ours += ["--split", "1", "0", "0", "--out", str(out), "--overwrite", "--json"]
    lmplz = shutil.which("lmplz")
    theirs = [str(lmplz), "-o", str(order), "-S", "4G", "--text", str(path), "--arpa", str(arpa)]
    theirs += ["--discount_fallback"]  # for repeated text
    found, peers = [], []
    for _ in range(rounds):
        found.append(timed(ours))
        if lmplz:
            peers.append(timed(theirs))
    record = json.loads((out / "training.json").read_text())
    train = record["data"]["train"]
    size = sum(file.stat().st_size for file in out.iterdir())
    for left_over in (path, arpa):
        left_over.unlink(missing_ok=True)
    seconds, processor, peak = (statistics.median(column) for column in zip(*found, strict=True))
    result = {
        "tokens": train["symbols"],
        "ngrams": record["closed_form"]["ngrams"],
        "seconds": seconds,
        "processor_seconds": processor,
        "tokens_per_second": train["symbols"] / seconds,
        "peak_bytes": peak,
        "folder_bytes": size,
    }
    if peers:
        names = ("lmplz_seconds", "lmplz_processor_seconds", "lmplz_peak_bytes")
        columns = zip(*peers, strict=True)
        result |= {n: statistics.median(c) for n, c in zip(names, columns, strict=True)}
        pairs = zip(found, peers, strict=True)
        result["ratio_to_lmplz"] = statistics.median(p[0] / f[0] for f, p in pairs)
    return result


def timed(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and the bytes of the largest process of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.perf_counter() - began
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0


# ---- scoring and sampling -----------------------------------------------------------------------


def score_rounds(
    lines: list[str], num_tokens: int, order: int, rounds: int, folder: Path
) -> dict[str, Any]:
    """Scoring of lines kept out of training, ours and kenlm's in turn, and sampling."""
    import kenlm

    from seriatim.data.corpus import Corpus
    from seriatim.data.sources import open_source
    from seriatim.data.word_corpus import read_words
    from seriatim.decode.sampling import sample
    from seriatim.export.arpa_files import write_arpa
    from seriatim.metrics import surprisals
    from seriatim.models import Markov
    from seriatim.models.markov import MarkovModel

    kept_out = [line for line in lines[::20] if line]
    training = [line for i, line in enumerate(lines) if i % 20]
    write_text(repeated(training, num_tokens), folder / "train.txt")
    symbols, corpus = read_words(open_source(folder / "train.txt", sequences="line"))
    model = MarkovModel(Markov(order=order), symbols.num_symbols, symbols.boundary)
    model.fit_closed_form(corpus)
    names = [symbols.name(i) for i in range(symbols.num_symbols)]
    write_arpa(folder / "m.arpa", model.table.backoff_model(), names, boundary=symbols.boundary)
    theirs = kenlm.Model(str(folder / "m.arpa"))

    text = "\n".join(kept_out) + "\n"
    encoded = Corpus.from_tokens([symbols.encode(line) for line in kept_out])
    num_scored = encoded.num_scored
    nats, _ = surprisals(model, encoded)  # makes the index
    scores = sum(theirs.score(line) for line in kept_out)
    from_ids, from_text, by_kenlm = [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        surprisals(model, encoded)
        from_ids.append(time.perf_counter() - began)
        began = time.perf_counter()
        surprisals(model, _in_words(symbols, text))
        from_text.append(time.perf_counter() - began)
        began = time.perf_counter()
        for line in kept_out:
            theirs.score(line)
        by_kenlm.append(time.perf_counter() - began)

    def rate(seconds: list[float]) -> float:
        return num_scored / statistics.median(seconds)

    state, sampled = model.start(512), sample(model, model.start(512))
    next(sampled)
    began = time.perf_counter()
    for _ in islice(sampled, 50):
        pass
    del state
    return {
        "model_tokens": corpus.num_tokens,
        "scored": num_scored,
        "log10_difference": abs(-float(nats.sum(dtype=np.float64)) / np.log(10) - scores),
        "tokens_per_second": rate(from_ids),
        "tokens_per_second_from_text": rate(from_text),
        "kenlm_tokens_per_second": rate(by_kenlm),
        "ratio_to_kenlm": statistics.median(k / o for k, o in zip(by_kenlm, from_ids, strict=True)),
        "ratio_to_kenlm_from_text": statistics.median(
            k / o for k, o in zip(by_kenlm, from_text, strict=True)
        ),
        "sampled_words_per_second": 50 * 512 / (time.perf_counter() - began),
    }


def _in_words(symbols: Any, text: str) -> Any:
    """A text of lines as a corpus of known words."""
    from seriatim.data.corpus import Corpus, CorpusStatistics

    ids = symbols.encode(text)
    ends = np.flatnonzero(ids == symbols.boundary)
    offsets = np.concatenate([[0], ends - np.arange(len(ends))])
    figures = CorpusStatistics(num_sequences=len(ends), num_tokens=len(ids) - len(ends))
    return Corpus(np.delete(ids, ends), offsets, False, figures, "")


# ---- report -------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Where this ran, and how busy it was."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def show(report: dict[str, Any]) -> None:
    """The tables."""
    print(
        f"order {report['order']}, {report['rounds']} rounds, load {report['machine']['load']:.1f}"
    )
    print("   tokens  seconds  processor  M tokens/s  peak GB  folder MB    n-grams  times lmplz")
    for fit in report["fit"]:
        ratio = fit.get("ratio_to_lmplz")
        print(
            f"{fit['tokens']:9,} {fit['seconds']:8.2f} {fit['processor_seconds']:10.2f} "
            f"{fit['tokens_per_second'] / 1e6:11.2f} {fit['peak_bytes'] / 1e9:8.2f} "
            f"{fit['folder_bytes'] / 1e6:10.0f} {sum(fit['ngrams']):10,}  "
            + ("no lmplz on the PATH" if ratio is None else f"{ratio:.2f}")
        )
    use = report["use"]
    print(
        f"scoring {use['scored']:,} tokens: {use['tokens_per_second'] / 1e6:.2f} M/s from numbers, "
        f"{use['tokens_per_second_from_text'] / 1e6:.2f} from text, kenlm "
        f"{use['kenlm_tokens_per_second'] / 1e6:.2f} (ratios {use['ratio_to_kenlm']:.2f} and "
        f"{use['ratio_to_kenlm_from_text']:.2f}); sampling "
        f"{use['sampled_words_per_second']:,.0f} words/s in a batch of 512"
    )


if __name__ == "__main__":
    main()
