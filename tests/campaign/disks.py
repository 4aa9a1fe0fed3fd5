"""A full disk: every writer on a small file system, with what fits at a random instant."""

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import seriatim as st
from seriatim.errors import OutputError
from seriatim.export.arpa import language_model_to_arpa
from seriatim.models.ngram.on_disk import count_on_disk, save_counts
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_corpus
from tests.campaign.commands import command
from tests.campaign.folders import LINES, original
from tests.campaign.trials import Scenario, Skip, check_sentence

_WRITERS = (
    "save", "overwrite", "arpa", "counts", "counting", "fit", "fit, full cache", "compare",
    "inspect", "report",
)  # fmt: skip


@contextmanager
def _small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    disk = place / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        raise Skip("a small file system needs root and mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _corpus() -> PaddedCorpus:
    tokens = np.random.default_rng(1).integers(1, 50, 200_000)
    return PaddedCorpus(tokens, np.array([0, len(tokens)]), boundary=0, is_stream=True)


@cache
def _words() -> Any:
    source = st.open_source(LINES, sequences="line")
    return st.LanguageModel(st.Markov(order=4), symbols="word").fit(source)


def _in_python(name: str, disk: Path) -> None:
    """Call a writer of the Python interface."""
    if name in ("save", "overwrite"):
        task: Any = st.load(original("lstm")[0], device="cpu")
        task.save(disk / "m", overwrite=name == "overwrite")
    elif name == "arpa":
        language_model_to_arpa(_words(), disk / "m.arpa")
    elif name == "counts":
        save_counts(count_corpus(_corpus(), order=2, num_symbols=50), disk / "counts")
    else:
        count_on_disk(_corpus(), disk / "runs", order=3, num_symbols=50, memory=14_000_000)


def _arguments(name: str, disk: Path, text: Path) -> list[str]:
    model = str(original("lstm")[0])
    small = "--steps 10 --batch-size 4 --length 16 --quiet --checkpoint-minutes 0".split()  # noqa: SIM905
    if name.startswith("fit"):
        return [
            "fit",
            str(text),
            "--model",
            "lstm",
            "--hidden-size",
            "24",
            *small,
            "--out",
            str(disk / "m"),
        ]
    if name == "compare":
        return [
            "compare",
            str(text),
            "--models",
            "markov,rnn",
            "--parameters",
            "400",
            *small,
            "--out",
            str(disk / "c"),
        ]
    if name == "inspect":
        return ["inspect", model, str(text), "--out", str(disk / "i")]
    return ["look", str(text), "--out", str(disk / "page.html")]


@cache
def _needed_kb(name: str) -> int:
    """What a writer fills of an empty disk in the end."""
    with TemporaryDirectory() as folder, _small_disk(Path(folder), 200_000) as disk:
        place = Path(folder)
        _write(name, disk, place)
        return sum(p.stat().st_size for p in disk.rglob("*") if p.is_file()) // 1024 + 2


def _write(name: str, disk: Path, place: Path) -> str:
    """Write to the disk; how the writer survived."""
    text = place / "text.txt"
    text.write_text("\n".join(LINES) + "\n")
    if name == "overwrite":
        copy = ["cp", "-r", str(original("lstm")[0]), str(disk / "m")]
        if subprocess.run(copy, capture_output=True, check=False).returncode:
            return "too small for the old model"
    if name == "fit, full cache":
        (place / "cache").symlink_to(disk)
    if name in ("save", "overwrite", "arpa", "counts", "counting"):
        try:
            _in_python(name, disk)
        except OutputError as error:
            check_sentence(str(error), str(disk))
            return "refused"
        return "fitted in"
    arguments = _arguments(name, disk if "cache" not in name else place, text)
    result = command(arguments, place).check()
    assert result.code in (0, 5, 6), f"exit code {result.code}: {result.err[-300:]}"
    return "refused" if result.code else "fitted in"


def _trial(name: str) -> Callable[[random.Random, Path], str]:
    def trial(rng: random.Random, place: Path) -> str:
        low, high = (0.9, 2.3) if name == "overwrite" else (0.05, 1.2)
        size = max(4, int(_needed_kb(name) * rng.uniform(low, high)))
        with _small_disk(place, size) as disk:
            result = _write(name, disk, place)
            if name == "overwrite" and result != "too small for the old model":
                st.load(disk / "m")
            elif result == "refused" and (disk / "m" / "config.json").exists():
                st.load(disk / "m")
                raise AssertionError("it was refused, and a model is there")
            hidden = [p.name for p in disk.rglob(".*")]
            assert not hidden, f"left-overs: {hidden}"
        return result

    return trial


SCENARIOS = [
    Scenario(f"full disk, {name}", _trial(name), weight=0.1, patience=120) for name in _WRITERS
]
