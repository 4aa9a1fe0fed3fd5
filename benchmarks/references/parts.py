"""Parts of a reference run: each runs once, is stored when finished, and all are gathered."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import torch

import seriatim
from benchmarks.processor import processor_name

Job: TypeAlias = Callable[[Path], dict[str, Any]]  # takes a folder of its own


class Parts:
    """The parts of one reference."""

    def __init__(self, name: str, work: Path, results: Path) -> None:
        self.name, self.work, self.results = name, work, results

    def is_done(self, part: str) -> bool:
        """Whether a part has finished."""
        return self._file(part).exists()

    def run(self, part: str, job: Job) -> None:
        """Run a part unless it has already finished."""
        if self.is_done(part):
            return
        folder = self.work / part
        folder.mkdir(parents=True, exist_ok=True)
        began, worked = time.perf_counter(), time.process_time()
        print(f"{self.name}: {part}", file=sys.stderr, flush=True)
        record = job(folder)
        record["seconds"] = round(time.perf_counter() - began, 1)
        record["processor_seconds"] = round(time.process_time() - worked, 1)  # of all threads
        record["threads"] = torch.get_num_threads()
        temporary = self._file(part).with_suffix(".new")
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False))
        temporary.rename(self._file(part))
        print(f"{self.name}: {part}: {json.dumps(record)}", file=sys.stderr, flush=True)

    def write(
        self,
        protocol: str,
        summary: Callable[[dict[str, Any]], dict[str, Any]] | None,
        order: Iterable[str],
    ) -> None:
        """Write the results file: all finished parts, and a summary of them."""
        done = {p: json.loads(self._file(p).read_text()) for p in order if self.is_done(p)}
        record = {
            "protocol": " ".join(protocol.split()),
            "machine": machine(),
            "versions": {"seriatim": seriatim.__version__, "torch": torch.__version__},
            "parts": done,
            "missing": [p for p in order if p not in done],
        }
        if summary is not None and done:
            record["summary"] = summary(done)
        self.results.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        print(json.dumps(record.get("summary", done), ensure_ascii=False))

    def _file(self, part: str) -> Path:
        return self.work / f"{part}.json"


def machine() -> str:
    """The processor, as the operating system names it."""
    return f"{os.cpu_count()} x {processor_name()}"
