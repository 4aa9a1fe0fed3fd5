"""Plots: each is valid Vega-Lite, draws its values and nothing else, and has its table."""

import math
import struct
from pathlib import Path
from typing import Any

import pytest

from seriatim.errors import DataError, MissingExtraError
from seriatim.report import plots
from seriatim.report.charts import (
    IntervalEstimate,
    LineSeries,
    Point,
    bar_plot,
    interval_plot,
    line_plot,
    scatter_plot,
)
from seriatim.report.heat_maps import Verdict, heat_map, pairwise_matrix
from seriatim.report.path_plots import path_plot
from seriatim.report.plots import DARK, LIGHT, Plot, recoloured
from seriatim.report.style import series_styles
from seriatim.report.tables import format_cell, table_html

alt = pytest.importorskip("altair", reason="plots are of the extra seriatim[report]")
vl_convert = pytest.importorskip("vl_convert", reason="pictures are of the extra seriatim[report]")

NAN, INF = float("nan"), float("inf")


def a_line(**options: Any) -> Plot:
    curve = LineSeries("a", [1, 2, 4], [3.0, 2.0, 1.0], [2.5, 1.5, 0.5], [3.5, 2.5, 1.5])
    return line_plot([curve, LineSeries("b", [1, 2], [1, 2])], "T", "C.", x="x", y="y", **options)


def every_form() -> list[Plot]:
    singles = [1.0, 1.2]
    return [
        a_line(),
        a_line(x_scale="log", y_scale="log", rules={"a": 1.5}),
        a_line(x_scale="symlog"),
        interval_plot(
            [IntervalEstimate("a", 1.1, 1.0, 1.2, singles), IntervalEstimate("b", 2)],
            "T",
            "C.",
            x="bits",
        ),
        bar_plot({"a": 1.0, "b": 0.5}, "T", "C.", x="weight"),
        scatter_plot([Point("a", 1, 2), Point("b", 2, 3)], "T", "C.", x="x", y="y"),
        path_plot([Point("a", 1, 2), Point("b", 2, 3)], "T", "C.", x="x", y="y"),
        heat_map([[0.1, 0.2], [0.3, None]], ["t", "h"], ["u", "v"], "T", "C."),
        pairwise_matrix(
            {("a", "b"): Verdict(1, 0.5, 1.5, True)}, ["a", "b"], "T", "C.", unit="bits"
        ),
    ]


def size_of(png: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    return width, height


@pytest.mark.parametrize("plot", every_form(), ids=lambda p: p.spec["description"])
def test_every_plot_is_valid_vega_lite(plot: Plot) -> None:
    alt.Chart.from_dict(dict(plot.spec))  # raises where Altair's schema is broken
    alt.Chart.from_dict(plot.picture())


@pytest.mark.parametrize("plot", every_form(), ids=lambda p: p.spec["description"])
def test_every_plot_is_drawn_without_a_warning(
    plot: Plot, capfd: pytest.CaptureFixture[str]
) -> None:
    version = plots.vega_lite_version()
    drawn = vl_convert.vegalite_to_svg(plot.picture(), vl_version=version, show_warnings=True)
    assert drawn.count("<path") > 3
    assert "WARN" not in "".join(capfd.readouterr())


def test_a_picture_is_as_large_as_its_scale_says(tmp_path: Path) -> None:
    for scale in (1, 2):
        a_line().png(tmp_path / f"{scale}.png", scale=scale)
    one, two = (size_of(tmp_path / f"{scale}.png") for scale in (1, 2))
    assert two == (2 * one[0], 2 * one[1])


def test_the_table_beside_a_plot_holds_every_figure() -> None:
    plot = a_line()
    assert plot.columns == ["name", "x", "y", "from", "to"]
    assert plot.rows[2] == ["a", 4, 1.0, 0.5, 1.5]
    assert plot.rows[3] == ["b", 1, 1, None, None]


def test_values_that_are_not_finite_are_not_drawn_but_stay_in_the_table() -> None:
    curve = LineSeries("a", [1, 2, 3, 4], [1.0, NAN, None, INF])
    plot = line_plot([curve], "T", "C.", x="x", y="y")
    assert [r["x"] for r in plot.spec["datasets"]["figures"]] == [1]
    assert len(plot.rows) == 4


def test_values_without_a_position_on_a_logarithmic_axis_are_not_drawn() -> None:
    plot = line_plot(
        [LineSeries("a", [0, 1, 2], [1, 0, 1])], "T", "C.", x="x", y="y", x_scale="log"
    )
    assert [r["x"] for r in plot.spec["datasets"]["figures"]] == [1, 2]
    assert len(
        line_plot([LineSeries("a", [0, 1], [1, 1])], "T", "", x="x", y="y", x_scale="symlog").rows
    )


@pytest.mark.parametrize(
    "plot",
    [
        line_plot([], "T", "C.", x="x", y="y"),
        line_plot([LineSeries("a", [1], [NAN])], "T", "C.", x="x", y="y"),
        interval_plot([], "T", "C.", x="x"),
        bar_plot({}, "T", "C.", x="x"),
        scatter_plot([], "T", "C.", x="x", y="y"),
        heat_map([], [], [], "T", "C."),
        pairwise_matrix({}, ["a"], "T", "C.", unit="bits"),
    ],
)
def test_without_values_there_is_a_sentence_and_no_plot(plot: Plot, tmp_path: Path) -> None:
    assert not plot.spec and plot.caption == "C. There is nothing to show."
    assert "nothing to show" in plot._repr_html_()
    with pytest.raises(DataError, match="the plot 'T' has no figures to draw"):
        plot.png(tmp_path / "plot.png")


def test_colours_belong_to_names_not_to_positions() -> None:
    both = a_line()
    alone = line_plot([LineSeries("b", [1, 2], [1, 2])], "T", "", x="x", y="y", names=["a", "b"])
    assert alone.legend == []  # one name needs no legend
    colour = {entry.name: entry.colour for entry in both.legend}
    line = next(layer for layer in alone.spec["layer"] if layer["mark"]["type"] == "line")
    scale = line["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == colour


def test_fourteen_names_have_distinct_styles() -> None:
    styles = series_styles([str(i) for i in range(14)])
    assert len({(style.colour, tuple(style.dash)) for style in styles}) == 14
    assert len({(style.colour, style.shape) for style in styles}) == 14


def _contrast(a: str, b: str) -> float:
    """WCAG 2.1, 1.4.3: (lighter + 0.05) / (darker + 0.05), of relative luminances."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_enough_contrast_with_its_background(colours: dict[str, str]) -> None:
    for name in ("ink", "muted"):
        assert _contrast(colours[name], colours["paper"]) >= 4.5
    assert _contrast(colours["paper"], colours["blue"]) >= 4.5  # figures on a blue square
    assert _contrast("#111111", colours["orange"]) >= 4.5
    for name in ("blue", "vermilion", "green"):
        assert _contrast(colours[name], colours["paper"]) >= 3


def test_a_heat_map_in_two_colours_meets_at_zero() -> None:
    plot = heat_map([[-1.0, 3.0]], ["a", "b"], ["r"], "T", "C.")
    colour = plot.spec["encoding"]["color"]
    assert colour["condition"] == {"test": "datum.value < 0", "value": LIGHT["blue"]}
    assert colour["value"] == LIGHT["orange"] and plot.caption.endswith("blue, those above orange.")
    assert plot.spec["encoding"]["opacity"]["scale"]["domain"] == [0, 3]
    plot = heat_map([[1.0, 3.0]], ["a", "b"], ["r"], "T", "C.")
    assert plot.spec["encoding"]["color"] == {"value": LIGHT["blue"]} and plot.caption == "C."
    assert plot.spec["encoding"]["opacity"]["scale"]["domain"] == [0, 3]


def test_a_figure_that_is_zero_has_no_minus() -> None:
    assert format_cell(-1e-9, ".4f") == "0.0000" and format_cell(-0.0) == "0.0000"
    assert format_cell(-0.0049, ".2f") == "0.00" and format_cell(-0.005, ".3f") == "-0.005"
    plot = bar_plot({"a": 0.25, "b": -1e-9}, "T", "C.", x="bits", digits=4)
    records = plot.spec["datasets"]["figures"]
    assert [r["figure"] for r in records] == ["0.2500", "0.0000"]
    assert records[1]["value"] == 0  # so that the axis does not begin below 0


def test_short_names_stand_beside_their_bars_and_long_ones_above() -> None:
    short = bar_plot({"a": 1.0, "b": 2.0}, "T", "C.", x="weight", suffix=" %")
    long = bar_plot({"a name of twenty chars": 1.0, "b": 2.0}, "T", "C.", x="weight")
    assert short.spec["height"] == 48 and long.spec["height"] == 88
    assert short.spec["datasets"]["figures"][0]["figure"] == "1.000 %"


def test_bars_without_a_meaning_of_colour_have_one() -> None:
    plot = bar_plot({"a": 1.0, "b": 2.0}, "T", "C.", x="%", has_colours=False)
    assert plot.spec["layer"][0]["encoding"]["color"] == {"value": LIGHT["blue"]}


def test_a_curve_under_another_is_wider_and_the_caption_names_both() -> None:
    curves = [LineSeries(n, [1, 2], [1.0, 1.0]) for n in ("gru", "rnn")]
    curves.append(LineSeries("lstm", [1, 2], [2.0, 3.0]))
    plot = line_plot(curves, "T", "C.", x="x", y="y")
    assert {r["name"] for r in plot.spec["datasets"]["under 1"]} == {"gru"}
    widths = [one["mark"].get("strokeWidth", 0) for one in plot.spec["layer"]]
    assert max(widths) == widths[0] > 2
    assert "the widest at the bottom: gru, rnn." in plot.caption
    apart = line_plot(curves[1:], "T", "C.", x="x", y="y")
    assert apart.caption == "C." and "under 1" not in apart.spec["datasets"]


def test_references_are_drawn_where_they_are_near_and_said_where_they_are_not() -> None:
    curve = LineSeries("a", [1, 2], [2.0, 3.0])
    near = line_plot([curve], "T", "C.", x="x", y="y", references={"unigram": 4.0})
    assert [r["label"] for r in near.spec["datasets"]["references"]] == ["unigram 4.00"]
    far = line_plot([curve], "T", "C.", x="x", y="y", references={"uniform": 40.0})
    assert "references" not in far.spec["datasets"]
    assert far.caption == "C. Off the scale: uniform 40.00."
    estimates = [IntervalEstimate("a", 2.0), IntervalEstimate("b", 3.0)]
    rows = interval_plot(estimates, "T", "C.", x="x", references={"unigram": 3.5, "uniform": 9})
    assert [r["row"] for r in rows.spec["datasets"]["references"]] == [2]
    assert rows.caption == "C. Off the scale: uniform 9.00."


def test_a_curve_is_cut_off_above_a_limit_and_the_caption_says_so() -> None:
    curve = LineSeries("a", [1, 2, 3], [9.0, 3.0, 2.0])
    plot = line_plot([curve], "T", "C.", x="x", y="y", y_most=6.0)
    assert plot.caption == "C. Above 6, curves are cut off."
    assert plot.spec["layer"][0]["mark"]["clip"] is True
    assert plot.rows[0] == ["a", 1, 9.0]


def test_a_long_heat_map_keeps_its_cells_wide_enough_to_read() -> None:
    assert heat_map([[1.0] * 20], ["a"] * 20, ["r"], "T", "").spec["width"] == "container"
    assert heat_map([[1.0] * 90], ["a"] * 90, ["r"], "T", "", cell=14).spec["width"] == 90 * 14


def test_what_a_saves_against_b_is_in_the_row_of_a() -> None:
    pairs = {
        ("a", "b"): Verdict(0.5, 0.4, 0.6, True),
        ("b", "a"): Verdict(-0.5, -0.6, -0.4, True),
    }
    plot = pairwise_matrix(pairs, ["a", "b"], "T", "C.", unit="bits")
    found = {(r["row"], r["column"]): r for r in plot.spec["datasets"]["figures"]}
    assert found[1, 2]["verdict"] == "row is better" and found[1, 2]["figure"] == "+0.500"
    assert found[2, 1]["verdict"] == "row is worse"
    uncertain = {("a", "b"): Verdict(0.5, -0.4, 1.4, False)}
    plot = pairwise_matrix(uncertain, ["a", "b"], "T", "C.", unit="bits")
    assert plot.spec["datasets"]["figures"][0]["verdict"] == "not distinguished"


def test_recolouring_keeps_data_and_quantitative_scales() -> None:
    blue = LIGHT["blue"]
    spec = {
        "mark": {"color": blue},
        "data": {"values": [{"name": blue}]},
        "encoding": {"color": {"type": "quantitative", "scale": {"range": [blue]}}},
    }
    made = recoloured(spec, {blue: "red"})
    assert made["mark"] == {"color": "red"}
    assert made["data"] == spec["data"] and made["encoding"] == spec["encoding"]


def test_a_notebook_gets_a_picture_and_the_table() -> None:
    html = a_line()._repr_html_()
    assert "data:image/svg+xml;base64," in html and "<script" not in html
    assert html.count("<tr>") == 1 + len(a_line().rows)


def test_a_notebook_gets_the_formats_it_requests() -> None:
    plot = a_line()
    assert set(plot._repr_mimebundle_()) == {"text/plain", "text/html"}
    asked = plot._repr_mimebundle_(include=["image/png"])
    assert list(asked) == ["image/png"] and asked["image/png"].startswith("iVBOR")
    (kind,) = plot._repr_mimebundle_(include=["application/vnd.vegalite.v6+json"]) or [""]
    assert kind == f"application/vnd.vegalite.v{alt.SCHEMA_VERSION[1]}+json"
    assert "text/html" not in plot._repr_mimebundle_(exclude=["text/html"])


def test_numbers_have_four_significant_digits() -> None:
    figures = {None: "–", 0.0: "0.0000", 1234567: "1,234,567", 0.12345: "0.1235", 1.75: "1.750"}
    figures |= {123.456: "123.5", 98765.4: "98,765", 1.2e-5: "1.20e-05", math.inf: "∞"}
    assert {value: format_cell(value) for value in figures} == figures


def test_cells_are_escaped() -> None:
    html = table_html(["<b>"], [["<script>alert(1)</script>"], ["a & b"]])
    assert "<script>" not in html and "&lt;script&gt;" in html and "a &amp; b" in html


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", import_module)
    with pytest.raises(MissingExtraError, match=r'pip install "seriatim\[report\]"'):
        a_line()
    assert table_html(["a"], [[1]]).startswith("<table>")
    assert format_cell(1.5) == "1.500"
