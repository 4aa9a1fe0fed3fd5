"""`./run gpu`: what must hold on a GPU, and how much of it each family uses, within eight minutes.

Needs no network and installs nothing: with `SERIATIM_PYTHON=python3 ./run gpu` it runs in an
interpreter that has torch already, and says in a sentence which wheels are missing. Wheels in a
folder (`--wheels FOLDER`) are unpacked for the run and forgotten after it.

Each part of `gpu_parts` is a process with a limit of its own, so that one that crashes or hangs
takes no other with it. What is known so far is written after every measurement, and printed as one
JSON at the end. `--device cpu --seconds 0.2` runs the same code in tiny sizes, whose figures mean
nothing. Nothing but the standard library is imported here.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Seconds of each part; what one does not take, those after it may.
LIMITS = {"machine": 30, "laws": 110, "parity": 40, "training": 150, "decoding": 80, "tests": 60}
REQUIRED = ("torch", "numpy", "safetensors", "pydantic")
OPTIONAL = {
    "cyclopts": "the commands",
    "tokenizers": "BPE symbols",
    "charset_normalizer": "texts in other encodings",
    "pytest": "tests/test_gpu.py",
}
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
NO_GPU = "there is no GPU that torch can use here"
TARGETS = {"recurrent_beside_cudnn": 1.0, "transformer_share_of_bf16_products": 0.5}

OWN_LAYERS = ("cuDNN", "torch")  # torch's recurrent layers, on a GPU and on a CPU

Record = dict[str, Any]


def missing_wheels() -> tuple[list[str], str]:
    """The required packages that are missing, and a sentence about all that are missing."""
    absent = [name for name in (*REQUIRED, *OPTIONAL) if importlib.util.find_spec(name) is None]
    if not absent:
        return [], "every package is here"
    uses = [f"{name} ({OPTIONAL.get(name, 'required')})" for name in absent]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [name for name in absent if name in REQUIRED], (
        f"missing in {sys.executable}: {', '.join(uses)}; to carry them, run `python{version} -m "
        f"pip download --only-binary=:all: -d wheels {' '.join(absent)}` where there is a network, "
        "and here `./run gpu --wheels wheels`, or set PYTHONPATH to a folder that has them"
    )


def unpack(wheels: Path, into: Path) -> None:
    """Unpack every wheel of a folder into one that can be imported from."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)


class Run:
    """The record of a run, written to a file whenever something is added."""

    def __init__(self, path: Path | None, record: Record) -> None:
        self.path, self.record = path, record

    def write(self) -> None:
        """Write what is known so far."""
        if self.path is not None and any(p["results"] for p in self.record["parts"].values()):
            self.path.write_text(json.dumps(self.record, indent=1) + "\n")

    def part(self, name: str, command: list[str], limit: float) -> None:
        """Run one part for at most `limit` seconds, and take its lines of JSON as they come."""
        results: list[Record] = []
        part: Record = {"status": "running", "results": results}
        self.record["parts"][name] = part
        began = time.monotonic()
        piped: Any = {"stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(command, stderr=errors, **piped) as process,
        ):
            timer = threading.Timer(limit, process.kill)
            timer.start()
            for line in process.stdout or ():
                if line.startswith("{"):
                    results.append(json.loads(line))
                    print(f"  {summary(results[-1])}", flush=True)
                    self.write()
            code = process.wait()
            is_late = not timer.is_alive()
            timer.cancel()
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
        part["seconds"] = round(time.monotonic() - began, 1)
        part["status"] = "done"
        if code:
            why = f"stopped at its limit of {limit:.0f} s" if is_late else " ".join(last)
            part["status"] = why or f"ended with code {code}"
            print(f"  {name}: {part['status']}", flush=True)
        self.write()


def summary(result: Record) -> str:
    """One measurement as a line."""
    figures = [f"{key} {_figure(value)}" for key, value in result.items() if key != "name"]
    return f"{result.get('name', '')}: {', '.join(figures)}"


def _figure(value: Any) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1e5
        else (f"{value:,.0f}" if isinstance(value, float) else str(value))
    )


def judged(record: Record) -> Record:
    """What was asked for beside what was seen; None where it was not measured."""
    training = record["parts"].get("training", {}).get("results", [])
    beside = [r["ratio"] for r in training if r.get("peer") in OWN_LAYERS and "ratio" in r]
    shares = [
        r["share_of_bf16_products"]
        for r in training
        if r.get("name") == "transformer" and "share_of_bf16_products" in r
    ]
    seen = {
        "recurrent_beside_cudnn": min(beside, default=None),
        "transformer_share_of_bf16_products": max(shares, default=None),
    }
    return {name: {"target": target, "seen": seen[name]} for name, target in TARGETS.items()}


def failures(record: Record) -> list[str]:
    """What did not hold: broken laws, values that differ, parts that ended early."""
    found = []
    for name, part in record["parts"].items():
        if part["status"] != "done":
            found.append(f"{name}: {part['status']}")
        found += [f"{name}, {r['name']}: {r['broken']}" for r in part["results"] if r.get("broken")]
        found += [f"{name}, {r['name']}: {r['error']}" for r in part["results"] if "error" in r]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; print a line for each measurement, and as the last line JSON."""
    parser = argparse.ArgumentParser(prog="./run gpu", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script")
    parser.add_argument("--seconds", type=float, default=2.0, help="the time of a measurement")
    parser.add_argument("--minutes", type=float, default=8.0, help="the time of everything")
    parser.add_argument("--only", nargs="*", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to use in this run")
    parser.add_argument("--write", type=Path, help=f"default, of a GPU: {RESULTS}")
    given = parser.parse_args(arguments)
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as folder:
        if given.wheels is not None:
            unpack(given.wheels, Path(folder))
            sys.path.insert(0, folder)
            paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        required, sentence = missing_wheels()
        print(f"gpu: {sentence}", flush=True)
        if required:
            return 2
        record = {"device": given.device, "packages": sentence, "parts": {}}
        run = Run(given.write or (RESULTS if given.device == "cuda" else None), record)
        saved = 0.0
        for name in given.only:
            own = LIMITS[name] * given.minutes / 8
            limit = min(own + saved, end - time.monotonic())
            print(f"{name} (at most {limit:.0f} s)", flush=True)
            options = ["--device", given.device, "--seconds", str(given.seconds)]
            began = time.monotonic()
            run.part(name, [sys.executable, "-m", "benchmarks.gpu_parts", name, *options], limit)
            saved = max(0.0, saved + own - (time.monotonic() - began))
            if record["parts"][name]["status"] == NO_GPU:
                return 3
    record["targets"] = judged(record)
    record["failures"] = failures(record)
    run.write()
    print(json.dumps(record))
    return 1 if record["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
