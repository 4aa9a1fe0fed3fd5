"""What a user installs: the wheel, in an environment of its own, far from the repository."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import seriatim as st

pytest.importorskip("hatchling")
pytest.importorskip("twine")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEXT = ["the cat sat on the mat", "once upon a time a dog sat", "Once upon the mat a cat sat"]


def run(command: list[str], cwd: Path, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CI"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], ROOT)
    return folder


@pytest.fixture(scope="module")
def program(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `seriatim` that the wheel installs, in a new environment.

    What it depends on is taken from the environment of the tests, which would take minutes to
    install anew; seriatim itself is not: a path in a .pth file does not open that folder's own
    .pth files, and an editable installation is one of these.
    """
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False)
    bin_folder = place / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = packages.glob("*.whl")
    pip = [sys._base_executable, "-m", "pip", "--python", str(bin_folder / "python")]  # type: ignore[attr-defined]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], place)
    (site,) = place.rglob("site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", "utf-8")
    return bin_folder / "seriatim"


def test_the_packages_hold_the_program_and_nothing_of_the_workshop(packages: Path) -> None:
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, packages.iterdir())], ROOT)
    (wheel,) = packages.glob("*.whl")
    assert wheel.name == f"seriatim-{st.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert "seriatim/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"seriatim"}
    assert wheel.stat().st_size < 2_000_000
    (source,) = packages.glob("*.tar.gz")
    assert source.stat().st_size < 5_000_000


def test_the_commands_of_the_readme_run_in_an_empty_folder(program: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        text = "\n".join(f"{TEXT[i % 3]} {i}" for i in range(300)) + "\n"
        (tmp_path / f"{name}.txt").write_text(text, "utf-8")
    days = [np.datetime64("2026-01-01") + i for i in range(120)]
    sales = [f"{day},{'' if i % 17 == 5 else 20 + 5 * (i % 7)}" for i, day in enumerate(days)]
    (tmp_path / "sales.csv").write_text("\n".join(["ds,y", *sales]) + "\n", "utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, re.M | re.S)
    commands = [line for block in blocks for line in block.splitlines()]
    ran = 0
    for line in commands:
        name, *arguments = shlex.split(re.sub(r"--minutes [\d.]+", "--steps 3", line)) or [""]
        if name == "seriatim" and arguments[0] in {"look", "fit", "generate", "score", "forecast"}:
            run([str(program), *arguments], tmp_path)
            ran += 1
    assert ran >= 7
    where = "import seriatim; print(seriatim.__file__)"
    assert str(ROOT) not in run([str(program.parent / "python"), "-c", where], tmp_path)
    assert run([str(program), "--version"], tmp_path).strip().endswith(st.__version__)


def test_the_snippets_of_the_pages_run_from_the_wheel(program: Path, tmp_path: Path) -> None:
    pages = ["README.md", "export.md", "service.md", "kenlm.md", "torch.md", "huggingface.md"]
    wanted = " or ".join(f"run[{page}]" for page in pages)
    test = f"{ROOT / 'tests' / 'test_docs.py'}::test_the_examples_of_a_page_run"
    where = "import pytest, seriatim, sys; print(seriatim.__file__); sys.exit(pytest.main())"
    python = str(program.parent / "python")
    options = [test, "-k", wanted, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    said = run([python, "-c", where, *options], tmp_path, OMP_NUM_THREADS="1")
    assert str(ROOT) not in said.partition("\n")[0]
    assert f"{len(pages)} passed" in said


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_of_few_characters_gets_what_it_can_show(
    encoding: str, program: Path, tmp_path: Path
) -> None:
    text = "\n".join(f"{TEXT[i % 3]} naïve Ω {i}" for i in range(300)) + "\n"
    (tmp_path / "train.txt").write_text(text, "utf-8")
    for command in (
        ["look", "train.txt"],
        ["fit", "train.txt", "--model", "gru", "--steps", "3", "--out", "model"],
        ["generate", "model", "naïve Ω", "-n", "20"],
        ["surprisal", "model", "--text", "naïve Ω"],
        ["info", "model"],
        ["fit", "--help"],
    ):
        process = subprocess.run(
            [str(program), *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            capture_output=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr.decode(encoding, "replace")
        process.stdout.decode(encoding)
        assert b"Traceback" not in process.stderr
