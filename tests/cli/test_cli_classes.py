"""`--classes FILE.py`: families and cells of a user's own on the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from seriatim.cli import main
from seriatim.cli.options import renew_options
from seriatim.models.options import own

CLASSES = str(Path(__file__).parents[1] / "tasks" / "my_models.py")
TEXT = "the cat sat on the mat\nthe dog sat on the cat\n" * 20
FIT = ["--steps", "2", "--batch-size", "4", "--length", "8", "--quiet"]


@pytest.fixture(autouse=True)
def renewed() -> Iterator[None]:
    yield
    own._REGISTERED.clear()
    renew_options()


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text(TEXT)
    return str(tmp_path / "text.txt")


def test_a_family_of_ones_own_is_fitted_saved_and_used(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "m")
    fit = ["fit", text, "--model", "fading", "--size", "4", "--out", out, *FIT]
    assert main([*fit, "--classes", CLASSES]) == 0
    assert main(["info", out, f"--classes={CLASSES}"]) == 0
    assert "size=4" in capsys.readouterr().out
    assert main(["generate", out, "-n", "5", "--classes", CLASSES]) == 0
    own._REGISTERED.clear()
    capsys.readouterr()
    assert main(["generate", out, "-n", "5"]) == 4
    error = capsys.readouterr().err
    assert "your class Fading" in error and "--classes my_models.py" in error


def test_a_cell_of_ones_own_is_named_like_any_option(text: str, tmp_path: Path) -> None:
    out = str(tmp_path / "m")
    fit = ["fit", text, "--model", "latent", "--cell", "Leaky", "--hidden-size", "4", *FIT]
    assert main([*fit, "--out", out, "--classes", CLASSES]) == 0
    assert main(["generate", out, "-n", "5", "--classes", CLASSES]) == 0


@pytest.mark.slow
def test_a_family_of_ones_own_is_compared(text: str, tmp_path: Path) -> None:
    models = "fading:size=4,latent:cell=Leaky,hidden_size=4,markov"
    compare = ["compare", text, "-m", models, *FIT, "--out", str(tmp_path / "c")]
    assert main([*compare, "--classes", CLASSES]) == 0


def test_mistakes_are_refused_in_a_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import nothing_like_this\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "syntax.py").write_text("x = 1\nclass A(\n")
    (tmp_path / "zero.py").write_text("def f():\n    return 1 / 0\n\nf()\n")
    fit = ["fit", text, "--model", "fading", "--out", str(tmp_path / "m"), *FIT]
    for arguments, sentence in {
        (): "no such model 'fading'",
        ("--classes",): "--classes needs a file",
        ("--classes", "none.py"): "--classes none.py: there is no such file",
        ("--classes", str(tmp_path)): "is a folder",
        ("--classes", str(tmp_path / "broken.py")): "line 1: ModuleNotFoundError: No module named",
        ("--classes", str(tmp_path / "syntax.py")): "syntax.py: line 2: SyntaxError: '(' was never",
        ("--classes", str(tmp_path / "zero.py")): "zero.py: line 2, in f: ZeroDivisionError",
        ("--classes", str(tmp_path / "empty.py")): "defines neither a subclass of",
        ("--classes", text): "is not a Python file",
    }.items():
        assert main([*fit, *arguments]) == 2
        assert sentence in capsys.readouterr().err


FAULTY_CELL = """
import torch

import seriatim as st


@st.register
class Faulty(st.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.W = torch.nn.Linear(input_size, hidden_size)

    def forward(self, h, x):
        return self.W(x) + undefined * h
"""


def test_a_fault_in_ones_own_code_is_named_with_file_and_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY_CELL)
    fit = ["fit", text, "--model", "latent", "--cell", "Faulty", "--out", str(tmp_path / "m")]
    assert main([*fit, *FIT, "--classes", str(tmp_path / "faulty.py")]) == 2
    error = capsys.readouterr().err
    assert "faulty.py: line 14, in forward: NameError: name 'undefined'" in error
    assert not (tmp_path / "m").exists()  # nothing was learnt: the same command can be given again


def test_the_help_of_every_command_tells_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--help"]) == 0
    assert "--classes FILE.py" in capsys.readouterr().out
