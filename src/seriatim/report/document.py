"""A report as data: sections of paragraphs, lists, tables and plots, rendered as HTML or as text.

The HTML page is self-contained: it loads nothing. Knows the order of a report; its content comes
from the packages whose results it shows.
"""

import html
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seriatim._version import __version__
from seriatim.errors import OutputError
from seriatim.report.page import figure_block, paragraphs, whole_page
from seriatim.report.plots import Plot
from seriatim.report.tables import Table

_PLOT_ROWS = 12  # rows of a plot's table in a report as text


@dataclass(frozen=True)
class Item:
    """An item of a list that begins with a label.

    Attributes:
        label: what the item is about, or how serious it is.
        text: what is said.
        level: "error", "warning" or "note", which give the item its colour; "" for none.
    """

    label: str
    text: str
    level: Literal["", "error", "warning", "note"] = ""


@dataclass(frozen=True)
class Section:
    """A heading and its content, in the order of text, list, lines, commands, tables, plots.

    Attributes:
        title: the heading.
        text: paragraphs, separated by empty lines.
        plots: the plots; as text, their tables.
        tables: the tables.
        is_grid: whether plots stand side by side where the page is wide enough.
        items: the items of a list.
        preformatted: lines in a font of fixed width, shown as they are.
        commands: what can be typed into a terminal.
    """

    title: str
    text: str = ""
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    is_grid: bool = False
    items: Sequence[str | Item] = ()
    preformatted: str = ""
    commands: Sequence[str] = ()

    @property
    def has_content(self) -> bool:
        """Whether there is anything under the heading."""
        content = (self.text, self.items, self.preformatted, self.commands, self.tables, self.plots)
        return any(content)


@dataclass(frozen=True)
class Report:
    """A title, the answer in plain words, and the sections that explain it.

    Attributes:
        title: the title of the page.
        lead: the answer; it comes first.
        sections: the sections in order.
        note: the footer: how the figures were made.
    """

    title: str
    lead: str
    sections: Sequence[Section] = field(default_factory=tuple)
    note: str = ""

    def html(self) -> str:
        """The whole page, with style, script and figures inside; it makes no request.

        Raises:
            MissingExtraError: if there are plots and vl-convert is not installed.
        """
        plots: dict[str, Plot] = {}
        parts = [
            f"<header><h1>{html.escape(self.title)}</h1>",
            f'<div class="lead">{paragraphs(self.lead)}</div>' if self.lead.strip() else "",
            _contents(self.sections),
            "</header>\n<main>",
            *(_section_html(number, one, plots) for number, one in enumerate(self.sections, 1)),
            f"</main>\n<footer>{paragraphs(self.note)}",
            f"<p>Written by seriatim {html.escape(__version__)}.</p></footer>",
        ]
        return whole_page(self.title, _joined(parts), plots)

    def text(self, *, width: int = 88) -> str:
        """The report as plain text; plots become their tables.

        Args:
            width: the columns of a line; tables and preformatted lines may be wider.
        """
        blocks = [
            self.title,
            _wrapped(self.lead, width),
            *(_section_text(section, width) for section in self.sections),
            _wrapped(self.note, width),
        ]
        return "\n\n".join(block for block in blocks if block)

    def write(self, path: str | Path) -> Path:
        """Write the page to a file and return its path.

        Raises:
            OutputError: if the file cannot be written.
            MissingExtraError: if there are plots and vl-convert is not installed.
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
        """The page in an iframe, so that its style and the notebook's do not mix."""
        return (
            f'<iframe title="{html.escape(self.title)}" srcdoc="{html.escape(self.html())}" '
            'style="width:100%;height:80vh;border:1px solid #888"></iframe>'
        )


# ---- as HTML ------------------------------------------------------------------------------------


def _contents(sections: Sequence[Section]) -> str:
    if len(sections) < 3:
        return ""
    links = "\n".join(
        f'<li><a href="#section-{number}">{html.escape(one.title)}</a></li>'
        for number, one in enumerate(sections, 1)
    )
    return f'<nav aria-label="Contents"><ul>\n{links}\n</ul></nav>'


def _section_html(number: int, section: Section, plots: dict[str, Plot]) -> str:
    """The HTML of a section; its plots are added to `plots` under the ids of their elements."""
    figures = []
    for plot in section.plots:
        identity = f"plot-{len(plots) + 1}"
        plots[identity] = plot
        figures.append(figure_block(plot, identity))
    drawn = "\n".join(figures)
    if section.is_grid and len(figures) > 1:
        drawn = f'<div class="grid">\n{drawn}\n</div>'
    items = "\n".join(_item_html(item) for item in section.items)
    has_levels = any(isinstance(item, Item) and item.level for item in section.items)
    opened = '<ul class="levels">' if has_levels else "<ul>"
    lines = html.escape(section.preformatted)
    commands = "".join(_command_html(command) for command in section.commands)
    parts = [
        f'<section aria-labelledby="section-{number}">',
        f'<h2 id="section-{number}">{html.escape(section.title)}</h2>',
        paragraphs(section.text),
        f"{opened}\n{items}\n</ul>" if items else "",
        f'<pre class="scroll">{lines}</pre>' if lines else "",
        f'<pre class="commands">{commands}</pre>' if commands else "",
        *(table.html(has_title=table.title != section.title) for table in section.tables),
        drawn,
        "</section>",
    ]
    return _joined(parts)


def _item_html(item: str | Item) -> str:
    if isinstance(item, str):
        return f"<li>{html.escape(item)}</li>"
    kind = f' class="{item.level}"' if item.level else ""
    colon = "" if item.level else ":"
    return f"<li{kind}><b>{html.escape(item.label)}{colon}</b> {html.escape(item.text)}</li>"


def _command_html(command: str) -> str:
    """A command on lines of its own; options are not broken at their hyphens."""
    words = [
        f"<span>{html.escape(word)}</span>" if word.startswith("-") else html.escape(word)
        for word in command.split(" ")
    ]
    return f"<code>{' '.join(words)}</code>"


def _joined(parts: Sequence[str]) -> str:
    return "\n".join(part for part in parts if part)


# ---- as text ------------------------------------------------------------------------------------


def _section_text(section: Section, width: int) -> str:
    blocks = [
        section.title,
        _wrapped(section.text, width, indent="  "),
        *(_wrapped(_item_text(item), width, indent="  ", hanging="  ") for item in section.items),
        section.preformatted,
        *(f"  {command}" for command in section.commands),
        *(_table_text(table, section.title, width) for table in section.tables),
        *(_plot_text(plot, width) for plot in section.plots),
    ]
    return _joined(blocks)


def _item_text(item: str | Item) -> str:
    return item if isinstance(item, str) else f"{item.label}: {item.text}"


def _table_text(table: Table, heading: str, width: int) -> str:
    title = "" if table.title in ("", heading) else f"  {table.title}"
    lines = textwrap.indent(table.text(), "  " if not title else "    ")
    return _joined([title, lines, _wrapped(table.note, width, indent="  ")])


def _plot_text(plot: Plot, width: int) -> str:
    more = len(plot.rows) - _PLOT_ROWS
    note = f"{more:,} more rows are not shown." if more > 0 else ""
    return _table_text(Table(plot.title, plot.columns, plot.rows[:_PLOT_ROWS], note), "", width)


def _wrapped(text: str, width: int, *, indent: str = "", hanging: str = "") -> str:
    """Paragraphs as lines of at most `width` columns; all but their first lines have `hanging`."""
    rest = indent + hanging
    return "\n\n".join(
        textwrap.fill(part.strip(), width, initial_indent=indent, subsequent_indent=rest)
        for part in text.split("\n\n")
        if part.strip()
    )
