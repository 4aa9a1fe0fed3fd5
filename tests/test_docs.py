"""Every example in README and docs is executed, in order, in a folder with some text.

A block whose first line names a file, such as `# my_models.py`, is that file.
"""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from seriatim.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINES = ["the cat sat on the mat", "once upon a time a dog sat", "Once upon the mat a cat sat"]


def _blocks(page: Path) -> list[tuple[str, str]]:
    found = re.findall(r"^```(python|sh)\n(.*?)^```", page.read_text(), re.M | re.S)
    return [(kind, code) for kind, code in found if "..." not in code]


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if _blocks(p)], ids=lambda p: p.name)
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, times in {"train": 300, "valid": 40, "test": 40, "YOUR": 300}.items():
        text = "\n".join(LINES[i % 3] for i in range(times))
        (tmp_path / f"{name}.txt").write_text(text + "\n")
    days = [f"2025-{1 + t // 28:02d}-{1 + t % 28:02d},{20 + t % 7 * 5}" for t in range(168)]
    (tmp_path / "sales.csv").write_text("\n".join(["date,sales", *days]) + "\n")
    namespace = {"__name__": "example"}  # one for the page: a reader goes on where he was
    for kind, code in _blocks(page):
        # A budget for a reader is too long for a test; everything else runs as it stands.
        code = re.sub(r"minutes=[\d.]+", "steps=3", re.sub(r"--minutes [\d.]+", "--steps 3", code))
        file = re.match(r"# (\w+\.py)\n", code)
        if file:
            (tmp_path / file[1]).write_text(code)
            continue
        if kind == "python":
            exec(compile(code, f"{page.name}", "exec"), namespace)
            continue
        for line in code.splitlines():
            command, *arguments = shlex.split(line, comments=True) or [""]
            if command == "seriatim" and arguments[:1] != ["demo"]:
                assert main(arguments) == 0, line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pages_import_only_from_public_namespaces(page: Path) -> None:
    """`seriatim`, or a package of it with `__all__`; never a module deep inside."""
    package = ROOT / "src"
    for module in re.findall(r"^\s*(?:from|import) (seriatim[\w.]*)", page.read_text(), re.M):
        assert (package / module.replace(".", "/") / "__init__.py").exists(), (
            f"{page.name}: {module}"
        )


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        links = r"""(?:\]\(|src(?:set)?=")(?!https?:)([^)#"]+)"""
        for target in re.findall(links, page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_picture_has_a_dark_variant_and_a_description() -> None:
    for page in PAGES:
        text = page.read_text()
        assert "![" not in text, f"{page.name}: use <picture>, which has a dark variant"
        for picture in re.findall(r"<picture>.*?</picture>", text, re.S):
            assert "prefers-color-scheme: dark" in picture, f"{page.name}: {picture}"
            assert re.search(r'alt="[^"]{40,}"', picture), f"{page.name}: {picture}"


def test_links_to_headings_lead_to_one() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
            linked = page if not target else page.parent / target
            headings = re.findall(r"^#+ (.*)", linked.read_text(), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in anchors, f"{page.name}: {target}#{anchor}"


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_an_example_runs(
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip(), "an example says something"


def test_every_command_and_every_page_can_be_found() -> None:
    commands = (ROOT / "docs/guide/command-line.md").read_text()
    assert [name for name in COMMANDS if not re.search(rf"`{name}[ `]", commands)] == []
    readme, site = (ROOT / "README.md").read_text(), (ROOT / "mkdocs.yml").read_text()
    pages = [p for p in PAGES if p.parent.name in ("guide", "coming-from")]
    names = [p.relative_to(ROOT).as_posix() for p in pages]
    assert [name for name in names if name not in readme or name not in site] == []
