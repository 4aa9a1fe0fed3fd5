"""A full disk: every writer on a small file system, with what fits at a random instant."""

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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

_WRITER_KB = {  # about what each writes, so that the disk is full somewhere inside
    "save": 60, "overwrite": 60, "arpa": 40, "counts": 2000, "counting": 20_000,
    "fit": 400, "fit, full cache": 60, "compare": 300, "inspect": 600, "report": 1500,
}  # fmt: skip


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


def _in_python(name: str, disk: Path) -> None:
    """Call a writer of the Python interface."""
    if name in ("save", "overwrite"):
        task: Any = st.load(original("lstm")[0], device="cpu")
        task.save(disk / "m", overwrite=name == "overwrite")
    elif name == "arpa":
        words: Any = st.load(original("words")[0])
        language_model_to_arpa(words, disk / "m.arpa")
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


def _trial(name: str) -> Callable[[random.Random, Path], str]:
    def trial(rng: random.Random, place: Path) -> str:
        text = place / "text.txt"
        text.write_text("\n".join(LINES) + "\n")
        source, _ = original("lstm")
        with _small_disk(place, max(4, int(_WRITER_KB[name] * rng.uniform(0.05, 1.3)))) as disk:
            if name == "overwrite":
                copied = subprocess.run(
                    ["cp", "-r", str(source), str(disk / "m")], capture_output=True, check=False
                )
                if copied.returncode:
                    return "too small for the old model"
            if name == "fit, full cache":
                (place / "cache").symlink_to(disk)
            if name in ("save", "overwrite", "arpa", "counts", "counting"):
                try:
                    _in_python(name, disk)
                except OutputError as error:
                    check_sentence(str(error), str(disk))
                else:
                    return "fitted in"
            else:
                arguments = _arguments(name, disk if "cache" not in name else place, text)
                result = command(arguments, place).check()
                if result.code == 0:
                    return "fitted in"
                assert result.code in (5, 6), f"exit code {result.code}: {result.err[-300:]}"
            if name == "overwrite":
                st.load(disk / "m")
            elif (disk / "m" / "config.json").exists():
                raise AssertionError("a half model is left")
            hidden = [p.name for p in disk.iterdir() if p.name.startswith(".")]
            assert not hidden, f"left-overs: {hidden}"
        return "refused"

    return trial


SCENARIOS = [
    Scenario(f"full disk, {name}", _trial(name), weight=0.1, patience=120) for name in _WRITER_KB
]
