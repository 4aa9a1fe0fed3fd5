"""SIGKILL at random instants: in fit, counting, saving and comparing, and what is left then."""

import json
import os
import random
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

import seriatim as st
from seriatim.models.ngram.on_disk import count_on_disk
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_corpus
from tests.campaign.commands import Result, command, fork, kill_instant
from tests.campaign.folders import LINES, original
from tests.campaign.trials import Scenario

_FIT = "--model lstm --hidden-size 8 --steps 60 --batch-size 4 --length 16 --evaluate-every 20 --threads 1 --quiet --checkpoint-minutes 0".split()  # noqa: SIM905, E501
_COMPARE = "--models markov:order=2,rnn:hidden_size=4 --parameters 300 --steps 10 --threads 1 --quiet --checkpoint-minutes 0".split()  # noqa: SIM905, E501
_MOST_KILLS = 3


def _text(place: Path) -> str:
    path = place / "text.txt"
    path.write_text("\n".join(LINES) + "\n")
    return str(path)


@cache
def _whole_fit() -> tuple[bytes, Any, float]:
    """The weights, the scores and the seconds of a run that is not killed."""
    place = Path(mkdtemp(prefix="campaign-"))
    result = command(["fit", _text(place), *_FIT, "--out", str(place / "m")], place)
    assert result.code == 0, result.err
    weights = (place / "m" / "weights.safetensors").read_bytes()
    scores = _scores(place / "m")
    shutil.rmtree(place)
    return weights, scores, result.seconds


def _scores(folder: Path) -> Any:
    scores = json.loads((folder / "training.json").read_text())["scores"]
    return {
        part: {name: value for name, value in score.items() if "second" not in name}
        for part, score in scores.items()
    }


def _fit(rng: random.Random, place: Path) -> str:
    weights, scores, seconds = _whole_fit()
    out, text = place / "m", _text(place)
    arguments = ["fit", text, *_FIT, "--out", str(out)]
    kills = 0
    result = command(arguments, place, kill_instant(rng, seconds))
    while result.code < 0:
        kills += 1
        limit = kill_instant(rng, seconds) if kills < _MOST_KILLS else None
        result = command([*arguments, "--resume"], place, limit)
    assert result.code == 0, result.err[-300:]
    assert (out / "weights.safetensors").read_bytes() == weights, "other weights"
    assert _scores(out) == scores, "other scores"
    assert sorted(p.name for p in place.iterdir() if p.name.startswith(".")) == [], "left-overs"
    left = {p.name for p in out.iterdir()} - {"config.json", "symbols.json", "weights.safetensors"}
    assert left <= {"training.json", "log.jsonl", "loss.png"}, f"left-overs: {left}"
    return f"killed {kills} times"


def _count(rng: random.Random, place: Path) -> str:
    generator = np.random.default_rng(rng.randrange(2**32))
    tokens = generator.integers(1, 50, 400_000)
    corpus = PaddedCorpus(tokens, np.array([0, len(tokens)]), boundary=0, is_stream=True)
    folder = place / "runs"

    def count() -> int:
        count_on_disk(corpus, folder, order=3, num_symbols=50, memory=14_000_000)
        return 0

    kills, seconds = 0, 1.0
    result = fork(count, place, kill_instant(rng, seconds))
    while result.code < 0:
        kills += 1
        result = fork(count, place, kill_instant(rng, seconds) if kills < _MOST_KILLS else None)
    assert result.code == 0, result.err[-300:]
    counts = count_on_disk(corpus, folder, order=3, num_symbols=50, memory=14_000_000)
    expected = count_corpus(corpus, order=3, num_symbols=50)
    for name in ("starts", "key", "suffix", "count", "first", "num_first"):
        assert np.array_equal(getattr(counts, name), getattr(expected, name)), name
    return f"killed {kills} times"


def _save(rng: random.Random, place: Path) -> str:
    """A model is overwritten again and again: afterwards one of the two is there, whole."""
    paths = [original(name)[0] for name in ("lstm", "markov")]
    tasks = [st.load(path, device="cpu") for path in paths]
    out = place / "m"
    shutil.copytree(paths[0], out)

    def save() -> int:
        for i in range(1000):
            tasks[(i + 1) % 2].save(out, overwrite=True)
        return 0

    assert fork(save, place, rng.uniform(0.0, 0.2)).code < 0
    if not out.exists():  # between two renamings; the message says where the model is
        result = command(["info", str(out)], place)
        aside = [p for p in place.iterdir() if p.name.startswith(".m.old.")]
        assert len(aside) == 1, aside
        assert str(aside[0] / "model") in result.err, result.err
        os.rename(aside[0] / "model", out)
        st.load(out)
        return "moved aside"
    st.load(out)
    return "whole"


@cache
def _whole_comparison() -> tuple[Any, float]:
    place = Path(mkdtemp(prefix="campaign-"))
    result = command(["compare", _text(place), *_COMPARE, "--out", str(place / "c")], place)
    assert result.code == 0, result.err
    figures = _figures(place / "c")
    shutil.rmtree(place)
    return figures, result.seconds


def _figures(folder: Path) -> Any:
    """The weights of a comparison's models and the bits of each symbol."""
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in (".safetensors", ".npy")]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def _compare(rng: random.Random, place: Path) -> str:
    figures, seconds = _whole_comparison()
    arguments = ["compare", _text(place), *_COMPARE, "--out", str(place / "c")]
    kills = 0
    result: Result = command(arguments, place, kill_instant(rng, seconds))
    while result.code < 0:
        kills += 1
        limit = kill_instant(rng, seconds) if kills < _MOST_KILLS else None
        result = command([*arguments, "--resume"], place, limit)
    assert result.code == 0, result.err[-300:]
    assert _figures(place / "c") == figures, "other figures"
    return f"killed {kills} times"


SCENARIOS = [
    Scenario("killed fit", _fit, weight=0.3, patience=300),
    Scenario("killed counting", _count, weight=0.3, patience=300),
    Scenario("killed save", _save),
    Scenario("killed compare", _compare, weight=0.2, patience=600),
]
