"""Nasty strings through the symbol kinds and the commands: what goes in comes out."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import seriatim as st
from seriatim.data.vocab.fit import fit_vocabulary, vocabulary_from_json
from tests.campaign.commands import command
from tests.campaign.folders import original
from tests.campaign.trials import Scenario, attempt

_LIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "blns" / "blns.json"
OWN = [
    "", " ", "\t", "\0", "\x1b[31mred\x1b[0m", "\r", "a\rb", "\u2028", "\u0085", "\x0c", "\ufeff",
    "\ufeffa\ufeff", "e\u0301", "\u00e9", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u202eabc",
    "\u200b", "\ufffd", "\uffff", "\U0010ffff", "<s>", "</s>", "<unk>", "<end>", "<s> <unk> </s>",
    "--help", "-", "--", "-1", "NaN", "null", "None", "true", "[]", "{}", '"', "'", "''\"\"", "\\",
    "\\n", "%s%n", "{0}", "$HOME", "`id`", "$(id)", "; rm", "../..", "/dev/null", "CON", "a" * 5000,
    " a", "a ", "a  b", "\u4e00" * 50,
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "1" * 400, "1e999",
    "ngram 1=1", "\\data\\", "\\end\\", "text", "source\ttarget", "# text", "-DOCSTART- -X- O",
]  # fmt: skip
_KINDS = ("byte", "char", "word", "bpe:300")


@cache
def _strings() -> list[str]:
    return OWN + (json.loads(_LIST.read_text(encoding="utf-8")) if _LIST.exists() else [])


def _one(rng: random.Random) -> str:
    return _strings()[rng.randrange(1 << 30) % len(_strings())]


def _symbols(rng: random.Random, place: Path) -> str:
    """A vocabulary of some strings restores each of them, and a saved one equals it."""
    texts = [_one(rng) for _ in range(4)]
    kind, sequences = rng.choice(_KINDS), rng.choice(("line", "document", "stream"))
    lines = st.open_source([*texts, "the cat\n"], sequences=sequences)  # type: ignore[arg-type]

    def use() -> None:
        vocabulary: Any = fit_vocabulary(kind, lines.texts(), sequences=sequences)

        again = vocabulary_from_json(json.loads(json.dumps(vocabulary.to_json())))
        for text in lines.texts():
            ids = vocabulary.encode(text)
            assert (ids == again.encode(text)).all(), text
            back = vocabulary.decode(ids)
            is_same = back.split() == text.split() if kind == "word" else back == text
            assert is_same, f"{text!r} became {back!r}"

    return attempt(use)


def _fit(rng: random.Random, place: Path) -> str:
    """A model of the strings is fitted, saved, loaded and scores the same."""
    texts = [_one(rng) for _ in range(6)] + ["the cat sat", "a dog", "on the mat"] * 4
    kind = rng.choice(_KINDS)

    def use() -> None:
        source = st.open_source(texts, sequences="line")
        lm = st.LanguageModel(st.Markov(order=2), symbols=kind).fit(
            source, valid=source, test=source
        )
        lm.save(place / "m")
        again: Any = st.load(place / "m")
        assert again.score(source).nats == lm.score(source).nats
        text = _one(rng).replace("\n", " ")
        attempt(lambda: lm.surprisal(text))
        attempt(lambda: lm.generate(text, 5, seed=1))
        attempt(lambda: lm.next(text))

    return attempt(use)


def _commands(rng: random.Random, place: Path) -> str:
    """A string as a prompt, a text, a file's name and an option's value."""
    text = _one(rng).replace("\0", "")
    model = str(original(rng.choice(("lstm", "words", "bpe", "markov")))[0])
    file = place / "text.txt"
    file.write_text(text + "\n", encoding="utf-8", errors="replace")
    translator, labeller = (str(original(name)[0]) for name in ("translator", "labeller"))
    arguments = rng.choice(
        [
            ["generate", model, text, "--length", "5"],
            ["next", model, text],
            ["surprisal", model, "--text", text],
            ["surprisal", model, "--text", text, "--json"],
            ["score", model, str(file)],
            ["score", model, text],
            ["look", str(file)],
            ["look", text],
            ["info", text],
            ["label", labeller, str(file)],
            ["translate", translator, str(file)],
            ["fit", str(file), "--model", text, "--out", str(place / "m")],
            ["fit", str(file), "--model", "markov", "--symbols", text, "--out", str(place / "m")],
            ["context", model, str(file)],
            ["evaluate", str(file), str(file)],
            [text],
        ]
    )
    result = command(arguments, place).check()
    return "read" if result.code == 0 else "refused"


SCENARIOS = [
    Scenario("nasty strings, symbols", _symbols, weight=3.0),
    Scenario("nasty strings, models", _fit),
    Scenario("nasty strings, commands", _commands),
]
