"""`./run reference NAME`: reproduce a published experiment and record the results.

A reference is a list of parts. Each finished part is stored in the work folder, so a run may be
interrupted at any moment and started again.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from benchmarks.references.figures import report
from benchmarks.references.parts import Parts

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = {
    "tinyshakespeare": "six families on characters, and the best recipe of the same cost",
    "music": "JSB chorales and Nottingham with RNN, LSTM and GRU",
    "copying": "copy memory, all families",
    "wikitext2": "the small word-level LSTM of Zaremba et al. 2014",
    "pronunciation": "SIGMORPHON 2021, the ten medium languages",
    "enja": "English to Japanese: Transformer, LSTM with attention and without",
    "scan": "SCAN, simple and length split",
    "names": "the language of a surname",
    "hdfs": "anomalies among sessions of events, by their surprisal, all families",
    "adding": "the adding problem, lengths 200 and 600",
    "classical": "linear models of numbers on the series of textbooks; a table, 1 if one is off",
    "ett": "ETTh1 and ETTh2, errors far ahead and wQL of a day; a table, 1 if one is off",
    "ett_networks": "the same by LSTM and Transformer, three seeds each",
}


def main() -> int:
    """Run one reference, or some of its parts."""
    parser = argparse.ArgumentParser(
        prog="./run reference", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument(
        "name", choices=list(REFERENCES), help="; ".join(f"{k}: {v}" for k, v in REFERENCES.items())
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", nargs="*", help="parts to run [all that are missing]")
    parser.add_argument("--threads", type=int, help="processor threads [all cores]")
    parser.add_argument(
        "--gather",
        action="store_true",
        help="write the results file from the finished parts; run nothing",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the parts and which of them are finished"
    )
    given = parser.parse_args()
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    module = importlib.import_module(f"benchmarks.references.{given.name}")
    if hasattr(module, "figures"):  # seconds: nothing is stored
        return report(module.figures(given.data))
    parts = Parts(
        given.name, _work() / given.name, ROOT / "benchmarks" / "results" / f"{given.name}.json"
    )
    jobs = module.jobs(given.data)
    for name in given.only or []:
        if name not in jobs:
            parser.error(f"{given.name} has no part {name!r}; it has {', '.join(jobs)}")
    if given.list:
        for name in jobs:
            print(f"{name}: {'done' if parts.is_done(name) else 'missing'}")
        return 0
    for name, job in jobs.items():
        if not given.gather and (not given.only or name in given.only):
            parts.run(name, job)
    parts.write(module.__doc__ or "", getattr(module, "summary", None), jobs)
    return 0


def _work() -> Path:
    cache = os.environ.get("SERIATIM_CACHE") or Path.home() / ".cache" / "seriatim"
    return Path(cache) / "references"


if __name__ == "__main__":
    sys.exit(main())
