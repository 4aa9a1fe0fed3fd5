"""A report: sections of words, tables and plots, as one page that needs nothing but itself.

Knows the order of a report; what is in it comes from the packages whose results it shows.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seriatim._version import __version__
from seriatim.errors import OutputError
from seriatim.report.page import figure_block, paragraphs, whole_page
from seriatim.report.plots import Plot
from seriatim.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A heading, what is said under it, and what is shown.

    Attributes:
        title: the heading.
        text: plain words; empty lines part paragraphs.
        plots: shown after the tables.
        tables: shown after the text.
        is_grid: plots beside each other where the page is wide enough.
    """

    title: str
    text: str = ""
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    is_grid: bool = False


@dataclass(frozen=True)
class Report:
    """A title, the answer in plain words, and the sections that show why.

    Attributes:
        title: of the page.
        lead: the answer, first.
        sections: in order.
        note: at the end: what it was made of.
    """

    title: str
    lead: str
    sections: Sequence[Section] = field(default_factory=tuple)
    note: str = ""

    def html(self) -> str:
        """The whole page: style, script and figures inside, no request to anywhere.

        Raises:
            MissingExtraError: there are plots, and vl-convert is not installed.
        """
        plots: dict[str, Plot] = {}
        parts = [
            f"<header><h1>{html.escape(self.title)}</h1>",
            f'<div class="lead">{paragraphs(self.lead)}</div>' if self.lead.strip() else "",
            _contents(self.sections),
            "</header>\n<main>",
            *(_section(number, one, plots) for number, one in enumerate(self.sections, 1)),
            f"</main>\n<footer>{paragraphs(self.note)}",
            f"<p>Written by seriatim {html.escape(__version__)}.</p></footer>",
        ]
        return whole_page(self.title, "\n".join(part for part in parts if part), plots)

    def write(self, path: str | Path) -> Path:
        """Write the page to a file; returns its path.

        Raises:
            OutputError: it cannot be written there.
            MissingExtraError: there are plots, and vl-convert is not installed.
        """
        path, page = Path(path), self.html()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"the report cannot be written to {path}: {error.strerror}") from None
        return path

    @property
    def plots(self) -> Iterator[Plot]:
        """Every plot, in order."""
        return (plot for section in self.sections for plot in section.plots)

    def _repr_html_(self) -> str:
        """The page in a frame of its own: in a notebook neither's style reaches the other."""
        return (
            f'<iframe title="{html.escape(self.title)}" srcdoc="{html.escape(self.html())}" '
            'style="width:100%;height:80vh;border:1px solid #888"></iframe>'
        )


def _contents(sections: Sequence[Section]) -> str:
    if len(sections) < 3:
        return ""
    links = "\n".join(
        f'<li><a href="#section-{number}">{html.escape(one.title)}</a></li>'
        for number, one in enumerate(sections, 1)
    )
    return f'<nav aria-label="Contents"><ul>\n{links}\n</ul></nav>'


def _section(number: int, section: Section, plots: dict[str, Plot]) -> str:
    """A section's HTML; its plots are entered into `plots` under the names of their places."""
    figures = []
    for plot in section.plots:
        identity = f"plot-{len(plots) + 1}"
        plots[identity] = plot
        figures.append(figure_block(plot, identity))
    shown = "\n".join(figures)
    if section.is_grid and len(figures) > 1:
        shown = f'<div class="grid">\n{shown}\n</div>'
    parts = [
        f'<section aria-labelledby="section-{number}">',
        f'<h2 id="section-{number}">{html.escape(section.title)}</h2>',
        paragraphs(section.text),
        *(table.html() for table in section.tables),
        shown,
        "</section>",
    ]
    return "\n".join(part for part in parts if part)
