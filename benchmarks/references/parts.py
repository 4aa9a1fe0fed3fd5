"""Parts of a reference run: each is run once, kept when it has ended, and gathered at the end."""

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import torch

import seriatim

Job: TypeAlias = Callable[[Path], dict[str, Any]]  # given a folder of its own for checkpoints


class Parts:
    """The parts of one reference."""

    def __init__(self, name: str, work: Path, results: Path) -> None:
        self.name, self.work, self.results = name, work, results

    def stands(self, part: str) -> bool:
        """Whether a part has ended."""
        return self._file(part).exists()

    def run(self, part: str, job: Job) -> None:
        """Run a part unless it has ended before."""
        if self.stands(part):
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
        """The results file: all parts that have ended, and what follows from them."""
        found = {p: json.loads(self._file(p).read_text()) for p in order if self.stands(p)}
        record = {
            "protocol": " ".join(protocol.split()),
            "machine": machine(),
            "versions": {"seriatim": seriatim.__version__, "torch": torch.__version__},
            "parts": found,
            "missing": [p for p in order if p not in found],
        }
        if summary is not None and found:
            record["summary"] = summary(found)
        self.results.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        print(json.dumps(record.get("summary", found), ensure_ascii=False))

    def _file(self, part: str) -> Path:
        return self.work / f"{part}.json"


def machine() -> str:
    """The processor, as the system names it."""
    cpuinfo = Path("/proc/cpuinfo")
    names = []
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
