"""A report: sections of words, tables and plots, as one page that needs nothing but itself.

Knows the order of a report; what is in it comes from the producers beside it
(`figures_compare`, `figures_memory`).
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seriatim._version import __version__
from seriatim.analysis.context.page import Named, context_plots, context_table, robustness_plots
from seriatim.comparison.page import (
    bits_plot,
    circumstances,
    conditions,
    cost_plots,
    cost_table,
    data_name,
    learning_plots,
    mixture_plots,
    mixture_sentence,
    model_names,
    not_run_table,
    pair_plots,
    quality_table,
    state_plot,
)
from seriatim.errors import OutputError
from seriatim.report.page import Table, figure_block, paragraphs, table_block, whole_page
from seriatim.report.plots import Plot

_WHICH = """\
Two statements, kept apart. One model beats another on text like this: the test text's blocks are \
drawn again, the models stay. One family beats another under this budget: seeds are drawn again \
too; it is said only where every family was trained with several seeds."""


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
        *(table_block(table) for table in section.tables),
        shown,
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def compare_report(
    comparison: Mapping[str, Any], *, contexts: Named = (), robustness: Named = ()
) -> Report:
    """The report of a comparison: the recommendation in plain words, and what it rests on.

    Args:
        comparison: what `seriatim compare --json` prints.
        contexts: (name of a model, what `seriatim context --json` prints for it).
        robustness: the same of `seriatim robustness --json`.

    Raises:
        MissingExtraError: Altair is not installed.
    """
    names = model_names(comparison)
    sections = [
        *_quality(comparison),
        *_costs(comparison),
        *_memory(contexts, names),
        *_perturbations(robustness, names),
    ]
    recommendation = comparison.get("recommendation") or {}
    lead = recommendation.get("sentence") or "No model ran: the reasons are in the table."
    return Report(
        f"Which model for {data_name(comparison)}", lead, sections, circumstances(comparison)
    )


def _quality(comparison: Mapping[str, Any]) -> list[Section]:
    not_run = not_run_table(comparison)
    tables = [quality_table(comparison), *([not_run] if not_run else [])]
    plots = [bits_plot(comparison)]
    made = [Section("The models side by side", conditions(comparison), plots, tables)]
    pairs = pair_plots(comparison)
    if pairs:
        made.append(Section("Is the difference real?", _WHICH, pairs))
    learning = [plot for plot in learning_plots(comparison) if plot.spec]
    if learning:
        text = "Bits on the validation part while the models were trained."
        made.append(Section("Would more training help?", text, learning))
    if comparison.get("mixture"):
        text, plots = mixture_sentence(comparison), mixture_plots(comparison)
        made.append(Section("The best mixture of all", text, plots))
    return made


def _costs(comparison: Mapping[str, Any]) -> list[Section]:
    plots = [p for p in (state_plot(comparison), *cost_plots(comparison)) if p.spec]
    text = "Quality beside size, work and speed. Operations per symbol stand for energy."
    tables = [cost_table(comparison)]
    return [Section("What it costs", text, plots, tables, is_grid=True)] if plots else []


def _memory(contexts: Named, names: Sequence[str]) -> list[Section]:
    plots = context_plots(contexts, names=names)
    if not plots:
        return []
    text = "Each model scored the same elements, and was allowed to see only so many before them."
    return [Section("How far back", text, plots, [context_table(contexts)], is_grid=True)]


def _perturbations(robustness: Named, names: Sequence[str]) -> list[Section]:
    plots = robustness_plots(robustness, names=names)
    text = "Sequences are cut, lose elements, or have them exchanged; what is intact is scored."
    return [Section("When sequences are damaged", text, plots, is_grid=True)] if plots else []
