"""Our ARPA files in kaldilm and pyctcdecode, in an environment of their own.

pyctcdecode wants numpy below 2, which the environment of the tests is not; so a small program asks
both there. The environment is made once, in build/arpa-readers.
"""

import json
import math
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import seriatim as st
from seriatim.export import language_model_to_arpa

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "build" / "arpa-readers"
PACKAGES = ("kaldilm==1.15.5", "pyctcdecode==0.5.0", "kenlm==0.3.0")
LINES = [f"the cat sat on the mat {i}" for i in range(9)] + ["a dog sat", "the dog and the cat"] * 9
PROGRAM = """
import json, sys
import kaldilm, kenlm
from pyctcdecode import build_ctcdecoder
from pyctcdecode.language_model import LanguageModel

arpa, words, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
fst = kaldilm.arpa2fst(
    input_arpa=arpa, disambig_symbol="#0", max_order=3, read_symbol_table=words,
)
model = LanguageModel(kenlm.Model(arpa), unigrams=json.loads(sys.argv[4]), alpha=1.0, beta=0.0)
scores = []
for text in texts:
    state, total = model.get_start_state(), 0.0
    names = text.split()
    for i, word in enumerate(names):
        score, state = model.score(state, word, is_last_word=i == len(names) - 1)
        total += score
    scores.append(total)
print(json.dumps({"fst": fst, "scores": scores}))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of the environment."""
    program = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        venv.create(ENVIRONMENT, with_pip=False, clear=True)
        pip = [sys._base_executable, "-m", "pip", "--python", str(program)]  # type: ignore[attr-defined]
        done = subprocess.run([*pip, "install", "--quiet", *PACKAGES], check=False)
        if done.returncode:
            pytest.skip("needs a download: kaldilm and pyctcdecode")
        (ENVIRONMENT / "ready").touch()
    return program


def costs(fst: str) -> dict[tuple[str, str], list[tuple[str, float]]]:
    """The arcs of a transducer as OpenFst prints it: (state, word) to (state, cost)."""
    arcs: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for line in fst.splitlines():
        parts = line.split()
        if len(parts) >= 4:
            cost = float(parts[4]) if len(parts) > 4 else 0.0
            arcs.setdefault((parts[0], parts[2]), []).append((parts[1], cost))
    return arcs


def final_costs(fst: str) -> dict[str, float]:
    rows = [line.split() for line in fst.splitlines()]
    return {row[0]: float(row[1]) if len(row) > 1 else 0.0 for row in rows if len(row) in (1, 2)}


def cost(fst: str, ids: list[int], backoff: int) -> float:
    """The cost in nats of a text in the transducer: the arc of a word, or else of the backoff."""
    arcs, ends = costs(fst), final_costs(fst)
    state, total = fst.split(maxsplit=1)[0], 0.0
    for symbol in ids:
        while (state, str(symbol)) not in arcs:
            ((state, weight),) = arcs[state, str(backoff)]
            total += weight
        ((state, weight),) = arcs[state, str(symbol)]
        total += weight
    while state not in ends:
        ((state, weight),) = arcs[state, str(backoff)]
        total += weight
    return total + ends[state]


def test_kaldilm_and_pyctcdecode_read_our_probabilities(python: Path, tmp_path: Path) -> None:
    lm = st.LanguageModel(st.Markov(order=3), symbols="word", sequences="line")
    lm.fit(LINES, valid=LINES[:3], test=LINES[:3])
    language_model_to_arpa(lm, tmp_path / "words.arpa")
    words = [lm.vocabulary.name(i) for i in range(2, lm.vocabulary.num_symbols)]
    table = ["<eps>", *words, "<unk>", "#0", "<s>", "</s>"]
    rows = "".join(f"{word} {i}\n" for i, word in enumerate(table))
    (tmp_path / "words.txt").write_text(rows, "utf-8")
    texts = ["the cat sat on the mat", "a cat and the dog", "dog dog"]
    arguments = [str(tmp_path / "words.arpa"), str(tmp_path / "words.txt")]
    done = subprocess.run(
        [str(python), "-c", PROGRAM, *arguments, json.dumps(texts), json.dumps(words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for text, score in zip(texts, found["scores"], strict=True):
        nats = lm.surprisal(text).bits * math.log(2)
        assert -score == pytest.approx(nats, abs=1e-3)  # pyctcdecode gives ln p
        ids = [table.index(word) for word in text.split()]
        assert cost(found["fst"], ids, table.index("#0")) == pytest.approx(nats, abs=1e-3)
