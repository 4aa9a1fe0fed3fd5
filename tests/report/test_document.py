"""One document, two renderings: a report as text and as a page."""

import re
from html import unescape

from seriatim.report.document import Item, Report, Section
from seriatim.report.plots import Plot
from seriatim.report.tables import Table, format_cell
from seriatim.report.terminal import text_table


def test_a_report_as_text_has_every_part_in_order() -> None:
    table = Table("Losses", ["model", "bits"], [["gru", 2.5], ["a", None]], "Fewer is better.")
    plot = Plot("Curve", "C.", {}, ["x"], [[i] for i in range(20)])
    section = Section("Models", "Which one?", [plot], [table], items=["one"], preformatted="▁█")
    assert Report("Title", "The answer.", [section], "A note.").text(width=40).splitlines() == [
        "Title",
        "",
        "The answer.",
        "",
        "Models",
        "  Which one?",
        "  one",
        "▁█",
        "  Losses",
        "    model   bits",
        "    gru    2.500",
        "    a          –",
        "  Fewer is better.",
        "  Curve",
        "     x",
        *(f"    {i:2}" for i in range(12)),
        "  8 more rows are not shown.",
        "",
        "A note.",
    ]


def test_commands_are_lines_that_can_be_copied() -> None:
    section = Section("S", commands=["fit 'a b' --out <m>", "look x"])
    assert "  fit 'a b' --out <m>\n  look x" in Report("T", "", [section]).text()
    html = Report("T", "", [section]).html()
    (block,) = re.findall(r'<pre class="commands">(.*?)</pre>', html)
    lines = re.findall("<code>(.*?)</code>", block)
    assert [unescape(re.sub("<.*?>", "", line)) for line in lines] == list(section.commands)


def test_an_item_with_a_level_has_its_colour_and_one_without_a_colon() -> None:
    items = [Item("warning", "<b>", "warning"), Item("symbols", "char")]
    html = Report("T", "", [Section("S", items=items)]).html()
    assert '<li class="warning"><b>warning</b> &lt;b&gt;</li>' in html
    assert "<li><b>symbols:</b> char</li>" in html
    assert "symbols: char" in Report("T", "", [Section("S", items=items)]).text()


def test_a_table_under_a_heading_of_its_name_does_not_repeat_it() -> None:
    table = Table("Lengths", ["a"], [[1]])
    assert "<h3>" not in Report("T", "", [Section("Lengths", tables=[table])]).html()
    assert "<h3>Lengths</h3>" in Report("T", "", [Section("Other", tables=[table])]).html()


def test_a_list_and_preformatted_lines_are_escaped_on_the_page() -> None:
    html = Report("T", "", [Section("S", items=["<b>"], preformatted="a < b")]).html()
    assert "<li>&lt;b&gt;</li>" in html
    assert "a &lt; b</pre>" in html


def test_a_table_with_the_title_of_its_section_is_not_titled_twice() -> None:
    text = Report("T", "", [Section("Gates", tables=[Table("Gates", ["a"], [[1]])])]).text()
    assert text == "T\n\nGates\n  a\n  1"


def test_a_column_has_the_format_that_its_table_gives_it() -> None:
    table = Table("", ["r", "p"], [[0.5, 0.00025], [-0.25, None]], formats={"r": "+.2f"})
    assert table.text().splitlines() == ["    r         p", "+0.50  2.50e-04", "-0.25         –"]
    assert ">+0.50</th>" in table.html()
    assert format_cell(float("nan"), ".2f") == "–"


def test_wide_characters_keep_columns_aligned() -> None:
    assert text_table([["a", "b"], ["猫", "1"]]) == "a   b\n猫  1"


def test_a_layer_name_is_broken_at_its_dots_and_a_number_nowhere() -> None:
    html = Table("T", ["layer", "r"], [["layers.0.cell", "r 0.5"]]).html()
    assert "layers.0.<wbr>cell" in html and "r 0.5" in html
