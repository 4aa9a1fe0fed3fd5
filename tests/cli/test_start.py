"""A command imports what it needs and no more, so that it starts at once."""

import subprocess
import sys
from pathlib import Path

import pytest

import seriatim as st

HEAVY = ("torch", "numpy", "pydantic", "tokenizers", "pyarrow", "altair")
# Nothing that scores or samples from a language model trains, explains, draws or decodes pairs.
UNUSED = (
    "torch._dynamo",
    "seriatim.analysis.context.measure",
    "seriatim.analysis.inspect.trace",
    "seriatim.laws.check",
    "seriatim.models.encoder_decoder",
    "seriatim.models.transformer",
    "seriatim.tasks.labeller",
    "seriatim.tasks.translator",
    "seriatim.train.loop",
    "seriatim.train.checkpoint.store",
    "seriatim.comparison",
    "seriatim.export",
    "altair",
    "pyarrow",
)


def _imported(command: list[str], names: tuple[str, ...]) -> list[str]:
    """Which of these modules a command has imported when it is done."""
    code = (
        "import sys; from seriatim.cli import main; code = main(sys.argv[2:]); "
        "print(*[n for n in sys.argv[1].split(',') if n in sys.modules], file=sys.stderr); "
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(names), *command],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stderr.splitlines()[-1].split() if done.stderr.strip() else []


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["-h"]])
def test_an_overview_needs_no_parser(command: list[str]) -> None:
    assert _imported(command, (*HEAVY, "cyclopts", "rich")) == []


@pytest.mark.parametrize("command", ["fit", "compare", "score", "generate", "label", "look"])
def test_help_reads_options_and_imports_nothing_heavy(command: str) -> None:
    assert _imported([command, "--help"], HEAVY) == []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    text = ["the cat sat on the mat"] * 40
    lm = st.LanguageModel(st.LSTM(hidden_size=4, embedding_size=4), sequences="line")
    lm.fit(text, valid=text, steps=1, score=False).save(folder / "model")
    (folder / "text.txt").write_text("the cat sat\n" * 9)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["score", "model", "text.txt", "--json"],
        ["generate", "model", "the", "-n", "5"],
        ["next", "model", "the"],
    ],
)
def test_using_a_model_imports_neither_training_nor_analyses(
    model: Path, command: list[str]
) -> None:
    paths = [str(model / part) if (model / part).exists() else part for part in command]
    assert _imported(paths, UNUSED) == []


_ENDS = """
import atexit, gc, sys, threading, weakref
from seriatim.cli import run_and_exit

class Folder: pass
folder = Folder()
weakref.finalize(folder, print, "removed", file=sys.stderr)
atexit.register(lambda: print("collected" if gc.isenabled() else "not collected", file=sys.stderr))
if sys.argv[1] == "thread":
    threading.Timer(0.3, print, ["joined"], {"file": sys.stderr}).start()
sys.argv[1:] = sys.argv[2:]
run_and_exit()
"""


@pytest.mark.parametrize("kind", ["alone", "thread"])
def test_a_process_ends_at_once_and_leaves_nothing_undone(model: Path, kind: str) -> None:
    command = ["generate", str(model / "model"), "the", "-n", "3000"]
    done = subprocess.run(
        [sys.executable, "-c", _ENDS, kind, *command], capture_output=True, text=True, check=True
    )
    said = done.stderr.splitlines()[-3:] if kind == "thread" else done.stderr.splitlines()[-2:]
    assert sorted(said) == ["collected", *["joined"] * (kind == "thread"), "removed"]
    lm = st.load(model / "model")
    assert isinstance(lm, st.LanguageModel)
    assert done.stdout == lm.generate("the", 3000) + "\n"


def test_the_exit_code_is_that_of_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "seriatim", "info", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4 and done.stderr.startswith("seriatim: ")
