"""Altered model folders: loaded, described, scored with, and generated from."""

import json
import math
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import seriatim as st
from seriatim.tasks import storage
from tests.campaign.alterations import alter_json, alter_tensors, damage
from tests.campaign.trials import Scenario, attempt

_WORDS = ("the", "cat", "sat", "on", "a", "mat", "dog", "ran", "red", "house")
LINES = [" ".join(random.Random(i).choices(_WORDS, k=5)) for i in range(120)]
PAIRS = [(line, line[::-1]) for line in LINES]
LABELLED = [(line, line.split()[0]) for line in LINES]
_SOURCE = st.open_source(LINES, sequences="line")
MODELS: dict[str, Callable[[], Any]] = {
    "markov": lambda: st.LanguageModel(st.Markov(order=3)).fit(_SOURCE),
    "words": lambda: st.LanguageModel(st.Markov(order=2), symbols="word").fit(_SOURCE),
    "lstm": lambda: st.LanguageModel(st.LSTM(hidden_size=8)).fit(_SOURCE, steps=2),
    "bpe": lambda: st.LanguageModel(
        st.Transformer(model_size=8, num_layers=1, num_heads=2, context=8), symbols="bpe:290",
    ).fit(_SOURCE, steps=2),
    "translator": lambda: st.Translator(
        st.Seq2Seq(model_size=8, encoder_layers=1, decoder_layers=1, num_heads=2)
    ).fit(st.open_pairs(PAIRS), steps=2),
    "labeller": lambda: st.Labeller(st.EncoderConfig()).fit(st.open_labelled(LABELLED), steps=2),
}  # fmt: skip


@cache
def original(name: str) -> tuple[Path, float]:
    """A model folder, and its score; made once, since a seed damages the same bytes only then."""
    folder = Path(gettempdir(), f"seriatim-{st.__version__}-campaign", name)
    if not folder.exists():
        MODELS[name]().save(folder)
    return folder, use(st.load(folder, device="cpu"))


def use(task: Any) -> float:
    """Use a model in the ways of its task, and return its score."""
    task.describe()
    json.dumps(task.info())
    if isinstance(task, st.LanguageModel):
        task.generate("the", 5, seed=1)
        return float(task.score(st.open_source(LINES[:10], sequences="line")).nats)
    if isinstance(task, st.Translator):
        task.translate(["the cat"])
        return float(task.score(st.open_pairs(PAIRS[:10])).nats)
    task.label(["the cat"])
    return float(task.score(st.open_labelled(LABELLED[:10])).nats)


def alter_folder(folder: Path, rng: random.Random) -> bool:
    """Alter a file of a folder; whether its checksums were made to agree with it."""
    file = rng.choice(sorted(folder.iterdir()))
    kind = rng.randrange(10)
    if kind == 0:
        file.unlink()
        return False
    if kind < 4:
        file.write_bytes(damage(file.read_bytes(), rng))
    elif file.suffix == ".json":
        alter_json(file, rng)
    else:
        alter_tensors(file, rng)
    is_sealed = rng.random() < 0.6
    if is_sealed:
        seal(folder)
    return is_sealed


def seal(folder: Path) -> None:
    """Make the checksums of a folder agree with its files, if its config.json can be read."""
    config = folder / "config.json"
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        for name in content["files"]:
            content["files"][name] = vars(storage._seal(folder / name))
        content["checksum"] = storage._checksum(content)
        config.write_text(json.dumps(content), encoding="utf-8")
    except (ValueError, TypeError, KeyError, OSError, RecursionError, AttributeError):
        return


def _trial(name: str) -> Callable[[random.Random, Path], str]:
    def trial(rng: random.Random, place: Path) -> str:
        path, score = original(name)
        folder = place / "model"
        shutil.copytree(path, folder)
        is_sealed = alter_folder(folder, rng)
        tasks: list[Any] = []
        scores: list[float] = []
        result = attempt(lambda: tasks.append(st.load(folder, device="cpu")), str(folder))
        if result == "refused":
            return result
        result = attempt(lambda: scores.append(use(tasks[0])))
        if not is_sealed:
            assert math.isclose(scores[0], score, rel_tol=1e-5), f"{score} became {scores[0]}"
        return result

    return trial


SCENARIOS = [Scenario(f"altered folder, {name}", _trial(name)) for name in MODELS]
