"""Signals, closed pipes, terminals, two runs at once, threads and forks; in fresh processes."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import seriatim as st
from tests.campaign.commands import command, fresh
from tests.campaign.folders import LINES, original
from tests.campaign.trials import Scenario, Skip, check_sentence

_SMALL = "--model lstm --hidden-size 8 --batch-size 4 --length 16 --quiet".split()  # noqa: SIM905
_ENDLESS = ["--steps", "1000000", "--checkpoint-minutes", "0"]


def _text(place: Path) -> Path:
    path = place / "text.txt"
    path.write_text(
        "\n".join([*LINES, "Gr\u00fc\u00dfe \u2192 \U0001f600"]) + "\n", encoding="utf-8"
    )
    return path


def _signals(rng: random.Random, place: Path) -> str:
    """SIGINT and SIGTERM: no traceback; there is a model, or the run can be resumed."""
    out = place / "m"
    arguments = ["fit", str(_text(place)), *_SMALL, *_ENDLESS, "--out", str(out)]
    number = rng.choice((signal.SIGINT, signal.SIGTERM))
    with fresh(arguments, place) as process:
        deadline = time.monotonic() + 40
        while (
            not (out / "checkpoints" / "checkpoint.json").exists() and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.3))
        process.send_signal(number)
        _, err = process.communicate(timeout=40)
    assert b"Traceback" not in err, err[-600:]
    if process.returncode == 0:  # Ctrl-C ends the training, and the best weights are saved
        st.load(out)
        return f"{number.name}, saved"
    result = command([*arguments[:-2], "--out", str(out), "--resume", "--overwrite"], place, 0.5)
    assert result.code <= 0, result.err
    return f"{number.name}, resumed"


def _pipes(rng: random.Random, place: Path) -> str:
    """The reader of the output goes away: the command ends quietly."""
    model, text = str(original("lstm")[0]), str(_text(place))
    arguments = rng.choice(
        [
            ["generate", model, "--length", "5000"],
            ["surprisal", model, "--text", "the cat " * 2000],
            ["info", model],
            ["look", text],
            ["score", model, text, "--each"],
            ["--help"],
            ["fit", "--help"],
        ]
    )
    result = command(arguments, place, reads=rng.choice((0, 1, 10)))
    assert "Traceback" not in result.err, result.err[-600:]
    assert result.code in (0, 141), f"exit code {result.code}: {result.err[-300:]}"
    return "ended quietly" if result.code == 141 else "was over"


def _terminals(rng: random.Random, place: Path) -> str:
    """Terminals of ASCII, Latin-1 and Windows: what they cannot show is replaced."""
    model, text = str(original("lstm")[0]), str(_text(place))
    arguments = rng.choice(
        [
            ["surprisal", model, "--text", "Gr\u00fc\u00dfe \u2192"],
            ["look", text],
            ["info", model],
            ["generate", model, "\u2192", "--length", "5"],
            ["next", model, "the"],
            ["score", model, text],
            ["fit", text, *_SMALL, "--steps", "2", "--out", str(place / "m")],
            ["look", str(place / "\u2192.txt")],
        ]
    )
    result = command(arguments, place, encoding=rng.choice(("ascii", "latin-1", "cp1252"))).check()
    return "shown" if result.code == 0 else "refused"


def _two_fits(rng: random.Random, place: Path) -> str:
    """Two fits into one folder: one is refused, or the folder holds one of the two models whole."""
    text, out = str(_text(place)), place / "m"
    arguments = [
        "fit",
        text,
        *_SMALL,
        "--steps",
        "100",
        "--checkpoint-minutes",
        "0",
        "--out",
        str(out),
    ]
    first = fresh([*arguments, "--seed", "1"], place)
    time.sleep(rng.choice((0.0, 0.0, 2.0, 4.0)))
    second = fresh([*arguments, "--seed", "2"], place)
    ends = [p.communicate(timeout=120) for p in (first, second)]
    for process, (_, err) in zip((first, second), ends, strict=True):
        assert b"Traceback" not in err, err[-600:]
        if process.returncode:
            check_sentence(err.decode().strip().splitlines()[-1], "seriatim: ")
    codes = sorted((first.returncode, second.returncode))
    assert codes[0] == 0, f"neither fit ended: {[err[-200:] for _, err in ends]}"
    result = command(["info", str(out), "--verify"], place)
    assert result.code == 0, result.err
    return "one refused" if codes[1] else "both ended"


def _threads(rng: random.Random, place: Path) -> str:
    """One model in many threads gives every thread the figures of one."""
    task: Any = st.load(original(rng.choice(("lstm", "markov", "words", "bpe")))[0], device="cpu")
    texts = [rng.choice(LINES) for _ in range(8)]
    expected = [[s.bits for s in task.surprisal(text)] for text in texts]
    results: dict[int, Any] = {}

    def work(i: int) -> None:
        for _ in range(5):
            results[i] = [s.bits for s in task.surprisal(texts[i])]
            task.generate("the", 5, seed=i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, bits in enumerate(expected):
        assert len(results[i]) == len(bits)
        assert all(abs(a - b) < 1e-3 for a, b in zip(results[i], bits, strict=True)), texts[i]
    return "agreed"


_POOL = """
import multiprocessing, sys
import torch, seriatim as st
def bits(text):
    return sum(s.bits for s in model.surprisal(text))
torch.set_num_threads(2)
model = st.load(sys.argv[1], device="cpu")
text = "the cat sat on a mat " * 200
expected = bits(text)
with multiprocessing.get_context("fork").Pool(3) as pool:
    results = pool.map_async(bits, [text] * 6).get(40)
assert all(abs(r - expected) < 1e-3 * expected for r in results), (expected, results)
"""


def _forks(rng: random.Random, place: Path) -> str:
    """A pool forked after a model has computed with two threads."""
    if not hasattr(os, "fork"):
        raise Skip("there are no forks here")
    name = rng.choice(("lstm", "markov", "words", "bpe"))
    done = subprocess.run(
        [sys.executable, "-c", _POOL, str(original(name)[0])],
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-600:]
    return name


SCENARIOS = [
    Scenario("signals", _signals, weight=0.1, patience=150),
    Scenario("closed pipes", _pipes, weight=0.5, patience=150),
    Scenario("terminals", _terminals, weight=0.5, patience=150),
    Scenario("two fits in one folder", _two_fits, weight=0.06, patience=300),
    Scenario("threads", _threads, weight=0.3),
    Scenario("forks", _forks, weight=0.06, patience=150),
]
