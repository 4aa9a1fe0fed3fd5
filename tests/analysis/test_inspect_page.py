"""The page of an inspection in a real browser: no messages, and every word is readable."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from seriatim.analysis.inspect.findings import InspectedSide, Passage
from seriatim.analysis.inspect.measure import inspect_passages
from seriatim.report.charts import Point
from seriatim.report.path_plots import path_plot
from seriatim.report.terminal import visible
from tests.report.pages import OVERLAPS

pytest.importorskip("altair", reason="plots are of the extra seriatim[report]")
pytest.importorskip("vl_convert", reason="the page's script is of the extra seriatim[report]")


def passage() -> Passage:
    """A text with brackets and wide letters, and taps of every kind."""
    draw = random.Random(0)
    words = ["(a", "猫)", "dog\n", '"so', 'it"', "is.\n", "<b>"]
    text = " ".join(draw.choice(words) for _ in range(120))
    count = len(text)
    pieces = ["\n", *text[:-1]]
    names = [visible(c) for c in pieces]
    noise = torch.Generator().manual_seed(1)
    states = torch.randn(count, 12, generator=noise).cumsum(0)
    depth = torch.tensor([text[:t].count("(") - text[:t].count(")") for t in range(count)])
    states[:, 3] += 30 * depth
    maps = torch.randn(2, count, count, generator=noise)
    maps = maps.masked_fill(torch.ones(count, count).triu(1) > 0, -torch.inf).softmax(-1)
    taps = {
        "layers.0.cell": states,
        "layers.0.forget": torch.rand(count, 12, generator=noise),
        "layers.0.attention.self": maps,
        "order": torch.randint(4, (count,), generator=noise),
    }
    return Passage(
        read=InspectedSide(pieces, torch.tensor([ord(c) for c in pieces]), names, 1),
        taps=taps,
        targets=[visible(c) for c in text],
        target_pieces=list(text),
        bits=8 * torch.rand(count, generator=noise, dtype=torch.float64),
        alternatives=[[("e", 0.5), ("</script>", 0.25)]] * count,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = inspect_passages([passage()], title="a <model>").report()
    return report.write(tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1100], ids=["phone", "desk"])
def test_a_browser_draws_the_page_without_messages_and_no_word_covers_another(
    chromium: Any, page: Path, width: int
) -> None:
    said: list[str] = []
    opened = chromium.new_page(viewport={"width": width, "height": 900})
    opened.set_default_timeout(120_000)
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url))
    opened.goto(page.as_uri())
    opened.wait_for_function("document.documentElement.dataset.drawn")
    assert said == [page.as_uri()]
    assert opened.locator(".plot svg.marks").count() == opened.locator(".plot").count() > 6
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    boxes = opened.evaluate(OVERLAPS)
    assert boxes["count"] > 300
    assert boxes["outside"] == []
    assert boxes["over"] == []
    opened.close()


def test_a_path_names_the_points_with_room() -> None:
    points = [
        Point("a", 0.0, 0.0),
        Point("b", 1e-3, 0.0),  # on top of the first
        Point("c", 0.5, 0.5),
        Point("d", 1.0, 1.0),  # its name would be outside
    ]
    plot = path_plot(points, "t", "c", x="x", y="y")
    (values,) = plot.spec["datasets"].values()
    assert [value["label"] for value in values] == ["a", "", "c", ""]
    assert [value["name"] for value in values] == ["a", "b", "c", "d"]


def test_a_path_of_one_point_is_in_the_table_but_not_drawn() -> None:
    plot = path_plot([Point("a", 0.0, 0.0)], "t", "c", x="x", y="y")
    assert not plot.spec
    assert plot.rows == [["a", 0.0, 0.0]]
