"""The documentation site builds without a warning, and everything in it leads somewhere."""

import html.parser
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("zensical")
pytest.importorskip("mkdocstrings")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


class Links(html.parser.HTMLParser):
    """What a page links to, and the names of its places."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()
        self.text: list[str] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "srcset") and value:
                self.targets.append(value)
            if name in ("id", "name") and value:
                self.names.add(value)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), "--build", str(folder)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "griffe:" not in done.stdout
    return folder / "site"


def test_every_link_and_picture_leads_somewhere(site: Path) -> None:
    pages = {page: Links(page) for page in site.rglob("*.html")}
    assert len(pages) > 60
    lost = []
    for page, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            file = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
            file = file / "index.html" if file.is_dir() else file
            is_there = file.exists() and (
                not parts.fragment
                or file not in pages
                or unquote(parts.fragment) in pages[file].names
            )
            if not is_there:
                lost.append(f"{page.relative_to(site)}: {target}")
    assert lost == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img)[^>]*>", page.read_text("utf-8")):
            assert not re.search(r'(?:src|href)="?https?:', tag) or 'rel="canonical"' in tag, tag


def test_the_site_has_what_a_reader_looks_for(site: Path) -> None:
    index = "".join(Links(site / "index.html").text)
    assert "one toolkit for every classic sequence model" in index
    reference = site / "reference" / "seriatim.html"
    names = Links(reference).names
    assert "seriatim.tasks.language_model.LanguageModel.generate" in names
    assert "seriatim.models.options.recurrent.LSTM" in names
    gallery = (site / "gallery.html").read_text("utf-8")
    assert gallery.count("<picture>") >= 3
    decisions = (site / "docs" / "decisions" / "index.html").read_text("utf-8")
    assert decisions.count("2026-11-") >= len(list((ROOT / "docs" / "decisions").glob("*.md")))
    assert "kenlm" in (site / "docs/coming-from/kenlm.html").read_text("utf-8").lower()
