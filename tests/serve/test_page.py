"""The page in Chromium: it writes, compares, looks inside, translates and streams, offline and by
keyboard, on a telephone and on a desk, by day and by night."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.report.pages import LIGHT_PATCHES
from tests.serve.running import all_models, language_model, serving

pytestmark = pytest.mark.slow
SIZES = [(390, 844), (1200, 900)]
WIDER = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""
UNNAMED = """() => [...document.querySelectorAll(
    "button, input, select, textarea, [role=button], [role=img], [role=group], [role=tabpanel]")]
  .filter((one) => one.offsetParent !== null)
  .filter((one) => !(one.getAttribute("aria-label") || one.getAttribute("aria-labelledby")
    || one.textContent.trim() || (one.labels && one.labels.length)))
  .map((one) => one.outerHTML)"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(all_models()) as client:
        yield str(client.base_url)


@pytest.fixture(params=SIZES, ids=lambda size: str(size[0]))
def page(request: Any, chromium: Any, address: str) -> Iterator[Any]:
    width, height = request.param
    yield from _opened(chromium, address, width, height, "light")


def _opened(chromium: Any, address: str, width: int, height: int, scheme: str) -> Iterator[Any]:
    """The page, on which nothing may be refused, fail, or come from elsewhere."""
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else 0)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda r: (
            problems.append(r.url)
            if not r.url.startswith((address, address.replace("http", "ws")))
            else 0
        ),
    )
    page.goto(address)
    page.locator("#models", has_text="lstm").wait_for()
    yield page
    assert problems == []
    page.close()


def _shot(page: Any, name: str) -> None:
    """A picture for people, where SERIATIM_SHOTS names a folder."""
    folder = os.environ.get("SERIATIM_SHOTS")
    if folder:
        width = page.viewport_size["width"]
        page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)


def _hold_layout(page: Any) -> None:
    assert page.evaluate(WIDER) <= 0
    assert page.evaluate(UNNAMED) == []


def _write(page: Any, model: str = "lstm", prompt: str = "the cat", length: int = 20) -> None:
    page.select_option("#write select[name=model]", model)
    page.fill("#write textarea", prompt)
    page.fill("#write input[name=length]", str(length))
    page.click("#write button.primary")
    page.locator("#status", has_text="Done").wait_for()


@pytest.mark.parametrize("model", ["lstm", "markov", "transformer", "stream"])
def test_it_writes_what_python_writes_with_the_surprisal_of_each_symbol(
    page: Any, model: str
) -> None:
    _write(page, model)
    shown = page.locator("#write .symbol").all()
    text = page.evaluate(
        "[...document.querySelectorAll('#write .symbol')].map((s) => s.querySelector('.end') "
        "? '' : s.textContent.replace('↵', '')).join('')"
    )
    assert text == all_models()[model].generate("the cat", 20, seed=1)
    assert " bits" in shown[1].get_attribute("aria-label")
    levels = page.evaluate(
        "[...document.querySelectorAll('#write .symbol')].map((s) => s.className)"
    )
    assert len({name.split()[1] for name in levels}) > 1
    _hold_layout(page)
    _shot(page, f"write-{model}")


def test_an_alternative_takes_the_place_of_a_symbol_by_keyboard(page: Any) -> None:
    _write(page)
    page.locator("#write .symbol").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    first = page.locator("#write .alternatives button").first
    name = first.evaluate("(b) => b.firstChild.textContent")
    _shot(page, "alternatives")
    page.locator("#status").evaluate("(s) => { s.textContent = '' }")
    first.focus()
    page.keyboard.press("Enter")
    page.locator("#status", has_text="Done").wait_for()
    assert page.input_value("#write textarea") == "the" + name.replace("␣", " ")
    _hold_layout(page)


def test_tabs_are_moved_over_by_arrow_keys(page: Any) -> None:
    page.locator("#tab-write").focus()
    for name in ("compare", "inside", "translate", "events", "write"):
        page.keyboard.press("ArrowRight")
        assert page.locator(f"#{name}").is_visible()
        assert page.locator("[role=tabpanel]:visible").count() == 1
        assert page.evaluate("document.activeElement.id") == f"tab-{name}"


def test_two_models_stand_side_by_side(page: Any) -> None:
    page.click("#tab-compare")
    page.fill("#compare textarea", "the cat sat on the mat")
    page.click("#compare button.primary")
    page.wait_for_selector("#compare article:nth-child(2)")
    titles = page.locator("#compare h2").all_text_contents()
    assert titles == ["lstm", "markov"]
    table = language_model("lstm").surprisal(["the cat sat on the mat"])
    assert f"{table.bits:.1f} bits in all" in page.locator("#compare article").first.inner_text()
    assert page.locator("#compare article").first.locator(".symbol").count() == len(table)
    _hold_layout(page)
    _shot(page, "compare")


@pytest.mark.parametrize(("model", "tap"), [("lstm", "forget"), ("transformer", "attention")])
def test_gates_and_attention_are_drawn_over_the_text(page: Any, model: str, tap: str) -> None:
    page.click("#tab-inside")
    page.fill("#inside textarea", "the cat sat on the mat")
    page.select_option("#inside select[name=model]", model)
    page.click("#inside button.primary")
    page.wait_for_selector("#inside canvas:visible")
    assert tap in page.input_value("#inside select[name=tap]")
    colours = page.evaluate(
        "[...document.querySelectorAll('#inside .symbol')].map((s) => s.style.backgroundColor)"
    )
    assert len(set(colours)) > 1
    page.select_option("#inside select[name=part]", "1")
    page.locator("#inside .symbol").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    _hold_layout(page)
    _shot(page, f"inside-{model}")


def test_a_translation_comes_with_its_alignment(page: Any) -> None:
    page.click("#tab-translate")
    page.fill("#translate textarea", "abcab")
    page.click("#translate button.primary")
    page.wait_for_selector("#translate table.alignment")
    expected = all_models()["translator"].translate(["abcab"], alignment=True)[0]
    assert page.locator("#translate .result").inner_text() == expected.text
    rows = page.locator("#translate tbody tr").count()
    assert rows == len(expected.alignment.target)
    _hold_layout(page)
    _shot(page, "translate")


def test_events_stream_with_their_verdicts(page: Any) -> None:
    page.click("#tab-events")
    page.select_option("#events select[name=model]", "events")
    page.fill("#events textarea", "open door\nwalk\nopen door\nclose door\nclose door")
    page.fill("#events input[name=pause]", "0")
    page.click("#events button.primary")
    page.locator("#status", has_text="events").wait_for()
    stream = all_models()["events"].stream()
    bits = [stream.push(e) for e in ("open door", "walk", "open door", "close door", "close door")]
    shown = page.locator("#events tbody tr td:nth-child(3)").all_text_contents()
    assert shown == [f"{b:.2f}" for b in reversed(bits)]
    assert page.locator("#events .anomaly").count() >= 1
    assert page.locator("#events .chart span").count() == 5
    _hold_layout(page)
    _shot(page, "events")


@pytest.mark.parametrize("width", [390, 1200])
def test_by_night_nothing_is_bright(chromium: Any, address: str, width: int) -> None:
    for page in _opened(chromium, address, width, 900, "dark"):
        _write(page)
        assert page.evaluate(LIGHT_PATCHES) == []
        _shot(page, "dark-write")
        for name in ("compare", "inside", "translate", "events"):
            page.click(f"#tab-{name}")
            assert page.evaluate(LIGHT_PATCHES) == []


def test_a_key_is_asked_for_and_used(chromium: Any) -> None:
    key = "correct-horse-battery"
    with serving({"lm": language_model("lstm")}, keys=[key]) as client:
        page = chromium.new_page()
        page.goto(str(client.base_url))
        page.wait_for_selector("#key-form:visible")
        page.fill("#key", key)
        page.keyboard.press("Enter")
        page.locator("#models", has_text="lm").wait_for()
        assert page.locator("#tab-compare").is_hidden()
        _write(page, "lm")
        page.click("#tab-events")
        page.fill("#events textarea", "t\nh\ne")
        page.fill("#events input[name=pause]", "0")
        page.click("#events button.primary")
        page.locator("#status", has_text="3 events").wait_for()
        page.close()


def test_every_file_of_the_page_is_served_with_its_type(address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False) as client:
        index = client.get("/").text
        assert "<style" not in index and "style=" not in index and " on" + "click" not in index
        for name, kind in [
            ("main.js", "text/javascript"),
            ("style.css", "text/css"),
            ("icon.svg", "image/svg+xml"),
            ("write.js", "text/javascript"),
        ]:
            answer = client.get(f"/page/{name}")
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kind)
