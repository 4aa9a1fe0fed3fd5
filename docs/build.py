"""The documentation site: `./run docs`, in build/site.

The pages are those of the repository, where they are read as they lie: README is the index, and
links between pages, pictures and code lead where they lead there. What a site needs besides is
made here: an index for each folder that is linked, a page for each file of code that is linked, and
the reference of the public names from their docstrings.
"""

import argparse
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
# In the order of the house; the packages whose public names users need.
PACKAGES = (
    *("seriatim", "seriatim.core", "seriatim.data", "seriatim.layers", "seriatim.models"),
    *("seriatim.train", "seriatim.decode", "seriatim.metrics", "seriatim.laws"),
    *("seriatim.analysis", "seriatim.data_profile", "seriatim.tasks", "seriatim.comparison"),
    "seriatim.export",
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")
SOURCE = re.compile(r'(src(?:set)?=")(?!https?:)([^"]+)')
CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.M | re.S)
LANGUAGES = {".py": "python", ".js": "javascript", ".html": "html", ".toml": "toml"}


def main() -> int:
    """Write the pages, then build the site; warnings are errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the site goes")
    build = parser.parse_args().build.resolve()
    shutil.rmtree(build / "pages", ignore_errors=True)
    Site(build / "pages").write()
    # zensical reads and writes below its configuration.
    (build / "mkdocs.yml").write_text(configuration(), "utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(
        command, cwd=build, capture_output=True, text=True, encoding="utf-8", check=False
    )
    print(done.stdout + done.stderr)
    return done.returncode


def configuration() -> str:
    """mkdocs.yml with the paths of this clone; guides that it does not list follow the others."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8").replace("[src]", f"[{ROOT / 'src'}]")
    guides = sorted((ROOT / "docs" / "guide").glob("*.md"))
    rows = [
        f"      - '{title_of(guide)}': docs/guide/{guide.name}\n"
        for guide in guides
        if f"docs/guide/{guide.name}\n" not in text
    ]
    return text.replace("  - Coming from:\n", "".join(rows) + "  - Coming from:\n")


class Site:
    """The pages of the site, in the places that they have in the repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: list[Path] = []  # linked, and not yet written
        self.written: set[Path] = set()

    def write(self) -> None:
        """Write every page, and what pages link to."""
        pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
        pages.append(ROOT / "benchmarks" / "README.md")
        self.waiting = [*pages, *sorted((ROOT / "docs").rglob("*.md"))]
        for picture in [*(ROOT / "docs").rglob("*.svg"), *(ROOT / "docs").rglob("*.png")]:
            copy = self.folder / picture.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, copy)
        while self.waiting:
            path = self.waiting.pop()
            if path not in self.written:
                self.written.add(path)
                self._write(path)
        self._write_gallery()
        self._write_reference()

    def _write(self, path: Path) -> None:
        if path.is_dir():
            text = self._index(path)
        elif path.suffix == ".md":
            text = path.read_text("utf-8")
        else:
            fence = LANGUAGES.get(path.suffix, "text")
            text = f"# {path.name}\n\n```{fence}\n{path.read_text('utf-8')}```\n"
        parts = CODE.split(text)  # code lies at the odd places
        parts[::2] = [LINK.sub(lambda found: self._link(path, found), part) for part in parts[::2]]
        self._save(place_of(path), "".join(parts))

    def _save(self, place: PurePosixPath, text: str) -> None:
        file = self.folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def _link(self, page: Path, found: re.Match[str]) -> str:
        """A link as the site needs it; what it leads to is written too."""
        base = page if page.is_dir() else page.parent
        target = (base / found[1]).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            raise SystemExit(f"{page.relative_to(ROOT)}: {found[1]} leads nowhere")
        if target.suffix not in (".svg", ".png"):
            self.waiting.append(target)
        here = place_of(page).parent
        there = os.path.relpath(place_of(target), here).replace(os.sep, "/")
        return f"]({there}{found[2] or ''})"

    def _index(self, folder: Path) -> str:
        """A list of the pages or the code in a folder."""
        files = sorted(p for p in folder.iterdir() if p.suffix in (".md", ".py"))
        inner = sorted(p / "README.md" for p in folder.iterdir() if (p / "README.md").exists())
        rows = [f"- [{title_of(p)}]({p.relative_to(folder).as_posix()})" for p in [*files, *inner]]
        return f"# {folder.name.capitalize()}\n\n" + "\n".join(rows) + "\n"

    def _write_gallery(self) -> None:
        """Every picture of the pages, with its description."""
        parts = ["# Gallery\n"]
        for page in sorted(p for p in self.written if p.suffix == ".md"):
            for picture in re.findall(r"<picture>.*?</picture>", page.read_text("utf-8"), re.S):
                moved = SOURCE.sub(
                    lambda found, base=page.parent: found[1] + _from_root(base / found[2]), picture
                )
                parts.append(f"{moved}\n\nFrom [{title_of(page)}]({place_of(page)}).\n")
        self._save(PurePosixPath("gallery.md"), "\n".join(parts))

    def _write_reference(self) -> None:
        """A page for each package, with the docstrings of its public names."""
        sys.path.insert(0, str(ROOT / "src"))
        rows = []
        for package in PACKAGES:
            module = importlib.import_module(package)
            summary = (module.__doc__ or "").strip().partition("\n")[0]
            rows.append(f"- [`{package}`]({package}.md): {summary}")
            names = [name for name in module.__all__ if not name.startswith("_")]
            parts = [f"# {package}\n\n{summary}\n"]
            for name in names:
                path = path_of(getattr(module, name))
                if path is not None:
                    parts.append(f"::: {path}\n    options:\n      heading: {name}\n")
            self._save(PurePosixPath(f"reference/{package}.md"), "\n".join(parts))
        text = (
            "# Reference\n\nThe public names, from their docstrings.\n\n" + "\n".join(rows) + "\n"
        )
        self._save(PurePosixPath("reference/index.md"), text)


def _from_root(path: Path) -> str:
    return Path(os.path.normpath(path)).relative_to(ROOT).as_posix()


def place_of(path: Path) -> PurePosixPath:
    """Where the page of a file or folder of the repository lies in the site."""
    relative = PurePosixPath(path.relative_to(ROOT).as_posix())
    if path.is_dir():
        return relative / "index.md"
    if relative.name == "README.md" and len(relative.parts) == 1:
        return PurePosixPath("index.md")
    return relative if path.suffix in (".md", ".svg", ".png") else PurePosixPath(f"{relative}.md")


def title_of(path: Path) -> str:
    """The first heading of a page; the name of a file of code."""
    if path.suffix != ".md":
        return path.name
    found = re.search(r"^# (.*)", path.read_text("utf-8"), re.M)
    return found[1] if found else path.stem


def path_of(thing: object) -> str | None:
    """Where a public name is defined; None: it has no docstring of its own, as constants."""
    if inspect.ismodule(thing):
        return None
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{name}" if module and name and module.startswith("seriatim") else None


if __name__ == "__main__":
    sys.exit(main())
