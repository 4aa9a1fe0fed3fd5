"""A report: its content, and how a browser shows it in light and dark mode, on a phone, on paper.

The browser is Debian's chromium, driven by playwright; without either its tests are skipped. A
table in the report is looked at as HTML, a plot as the boxes that the browser gave its texts.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from seriatim.data_profile import look
from seriatim.errors import OutputError
from tests.comparison.made_up_results import (
    FAMILIES,
    comparison,
    effective_context,
    not_run,
    robustness,
    with_model,
)

pytest.importorskip("altair", reason="plots are of the extra seriatim[report]")
pytest.importorskip("vl_convert", reason="the page's script is of the extra seriatim[report]")

from seriatim.comparison.page import compare_report
from seriatim.report.charts import LineSeries, Point, bar_plot, line_plot
from seriatim.report.document import Report, Section
from seriatim.report.heat_maps import heat_map
from seriatim.report.path_plots import path_plot
from seriatim.report.plots import DARK, LIGHT
from seriatim.report.tables import Table
from tests.report.pages import LIGHT_PATCHES, OVERLAPS, WIDER_THAN_SHOWN

EVIL = "<script>window.hit=1</script><img src=x onerror='window.hit=2'>.txt"


def whole_report(names: tuple[str, ...] = FAMILIES, *, count: int = 2) -> Report:
    record = with_model(comparison(names), not_run("late", "the budget is too short for one step"))
    contexts = [(name, effective_context(memory=5 + 9 * i)) for i, name in enumerate(names[:count])]
    damaged = [(name, robustness(damage=0.5 + i)) for i, name in enumerate(names[:count])]
    return compare_report(record, contexts=contexts, robustness=damaged)


def inside_report() -> Report:
    """The kinds of plots that a comparison does not use, and texts that look like markup."""
    symbols = list("the␣cat␣sat␣on␣the␣mat␣" * 4)
    values = [[(i * j) % 7 / 7 for i in range(len(symbols))] for j in range(12)]
    points = [Point(f"{i}: {symbols[i]}", (i * 37) % 11, (i * 17) % 13) for i in range(20)]
    long = [f"{EVIL} and a name that is much too long for any legend, {i}" for i in range(9)]
    plots = [
        heat_map(values, symbols, [f"unit {j}" for j in range(12)], "Gates", EVIL, unit="open"),
        path_plot(points, "Path", "C.", x="first", y="second"),
        line_plot(
            [LineSeries(n, [1, 2], [1, i]) for i, n in enumerate(long)], EVIL, EVIL, x=EVIL, y=EVIL
        ),
        bar_plot({n: i for i, n in enumerate(long)}, EVIL, EVIL, x=EVIL),
        line_plot([], "Empty", EVIL, x="x", y="y"),
    ]
    table = Table(EVIL, [EVIL, "b"], [[EVIL, 1.5]], EVIL)
    return Report(EVIL, EVIL, [Section(EVIL, EVIL, plots, [table])] * 3, EVIL)


# ---- what is written ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_recommendation_comes_first_and_every_model_is_named() -> None:
    html = whole_report().html()
    text = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)
    lead = text.index("Take markov: none needs fewer bits")
    assert lead < text.index("<h2")
    for name in (*FAMILIES, "late"):
        assert f">{name}</th>" in text
    assert "the budget is too short for one step" in text


@pytest.mark.slow
def test_a_page_of_six_models_is_under_five_megabytes() -> None:
    assert len(whole_report(count=6).html().encode()) < 5_000_000


def test_every_plot_has_its_table_even_without_scripts() -> None:
    report = whole_report()
    html = report.html()
    figures = re.findall(r"<figure>.*?</figure>", html, flags=re.S)
    assert len(figures) == len(list(report.plots)) > 15
    assert all("<table>" in figure and "<figcaption>" in figure for figure in figures)


def test_the_page_makes_no_request_and_allows_no_other_script() -> None:
    html = whole_report().html()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'") and policy.count("'sha256-") == 2
    head = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert not re.search(r"""(src|href)=["'](?!#)""", head)


@pytest.mark.slow
def test_the_same_figures_make_the_same_page() -> None:
    assert whole_report().html() == whole_report().html()


def test_no_user_text_becomes_markup() -> None:
    html = inside_report().html()
    body = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert "<img" not in body and body.count("<script") == 1
    specs = re.search(r'id="specs">(.*?)</script>', html, flags=re.S)
    assert specs is not None and "<" not in specs[1]
    assert EVIL in json.dumps(json.loads(specs[1]), ensure_ascii=False)


def test_a_report_of_tables_alone_needs_no_script() -> None:
    html = Report("T", "Lead.", [Section("S", "Text.", tables=[Table("t", ["a"], [[1]])])]).html()
    assert "<script" not in html and "<td" not in html and ">1</th>" in html


def test_a_comparison_in_which_nothing_ran_says_why() -> None:
    record = with_model(comparison([]), not_run("lstm", "too short a budget"))
    html = compare_report(record).html()
    assert "too short a budget" in html and "No model was trained" in html


def test_a_comparison_of_one_model_is_a_report() -> None:
    assert "Is the difference real?" not in compare_report(comparison(["gru"], seeds=0)).html()


def test_a_report_that_cannot_be_written_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the report cannot be written to"):
        Report("T", "Lead.").write(tmp_path / "file" / "report.html")


def test_a_notebook_shows_the_page_in_a_frame() -> None:
    html = Report("T", "<b>", [])._repr_html_()
    assert (
        html.startswith("<iframe")
        and "&lt;!DOCTYPE html&gt;" in html
        and "&amp;lt;b&amp;gt;" in html
    )


# ---- in a browser -------------------------------------------------------------------------------


def look_report() -> Report:
    """The page of `look`, of a text with every kind of finding that a small one can have."""
    lines = [f"the cat number {i % 7} sat on the mat, and so did dog {i % 11}" for i in range(300)]
    return look([line + "\n" for line in lines]).page()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    made = {"compare": whole_report(), "inside": inside_report(), "look": look_report()}
    return {name: report.write(folder / f"{name}.html") for name, report in made.items()}


class Opened:
    """A page in the browser, with all its console messages and requests."""

    def __init__(self, browser: Any, path: Path, *, width: int, scheme: str = "light") -> None:
        self.messages: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.messages.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.documentElement.dataset.drawn")
        self.messages.remove(path.as_uri())

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1100], ids=["phone", "desk"])
@pytest.mark.parametrize("name", ["compare", "inside", "look"])
def test_a_browser_draws_every_plot_without_messages_and_every_word_is_readable(
    chromium: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    with Opened(chromium, pages[name], width=width) as opened:
        assert opened.messages == []
        page = opened.page
        places = page.locator(".plot")
        assert places.count() > (1 if name == "look" else 8)
        assert page.locator(".plot svg.marks").count() == places.count()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        boxes = page.evaluate(OVERLAPS)
        assert boxes["count"] > (30 if name == "look" else 100)
        assert boxes["outside"] == [] and boxes["over"] == []
        assert page.evaluate("window.hit") is None


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.slow
def test_the_page_follows_dark_mode_and_prints_light(chromium: Any, pages: dict[str, Path]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    title = "getComputedStyle(document.querySelector('svg.marks .role-axis-title text')).fill"
    with Opened(chromium, pages["compare"], width=390, scheme="dark") as opened:
        page = opened.page
        assert page.evaluate(ground) == rgb(DARK["paper"])
        assert page.evaluate(title) == rgb(DARK["muted"])
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(ground) == rgb(LIGHT["paper"])
        assert page.evaluate(title) == rgb(LIGHT["muted"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compare", "inside", "look"])
def test_a_dark_page_has_no_light_patches(chromium: Any, pages: dict[str, Path], name: str) -> None:
    with Opened(chromium, pages[name], width=390, scheme="dark") as opened:
        patches = opened.page.evaluate(LIGHT_PATCHES)
        assert [p for p in patches if rgb(DARK["ink"]) not in p] == []  # the seventh series


@pytest.mark.slow
def test_what_scrolls_sideways_shows_a_shadow_and_can_be_reached_by_keyboard(
    chromium: Any, pages: dict[str, Path]
) -> None:
    with Opened(chromium, pages["inside"], width=390) as opened:
        wide = opened.page.evaluate(WIDER_THAN_SHOWN)
        assert any(kind == "plot" for kind, _, _ in wide)
        assert any("scroll" in kind for kind, _, _ in wide)
        for kind, shadows, is_reached in wide:
            assert shadows == 4 and is_reached, kind


@pytest.mark.slow
def test_tables_are_unfolded_for_printing_and_folded_again_after(
    chromium: Any, pages: dict[str, Path]
) -> None:
    with Opened(chromium, pages["compare"], width=1100) as opened:
        page, unfolded = opened.page, "document.querySelectorAll('details[open]').length"
        assert page.evaluate(unfolded) == 0
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(unfolded) == page.locator("details.printed").count() > 10
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(unfolded) == 0


@pytest.mark.slow
def test_a_plot_follows_the_width_of_the_window(chromium: Any, pages: dict[str, Path]) -> None:
    with Opened(chromium, pages["compare"], width=1100) as opened:
        page = opened.page
        page.set_viewport_size({"width": 390, "height": 900})
        page.wait_for_function(
            "document.querySelector('#plot-1 svg.marks').getBoundingClientRect().width < 390"
        )
        assert page.evaluate("document.documentElement.scrollWidth") == 390
