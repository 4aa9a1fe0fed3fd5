"""The service of the guide: the file that it prints, and its answers."""

import runpy
from pathlib import Path
from typing import Any

import pytest

import seriatim as st

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "examples" / "service" / "app.py"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of app.py, which has loaded a small model."""
    lm = st.LanguageModel(st.GRU(hidden_size=8), symbols="char")
    lines = ["the cat sat on a mat", "a cat", "the mat"]
    lm.fit(lines * 20, valid=lines, test=lines, steps=2).save(tmp_path / "model")
    monkeypatch.setenv("MODEL", str(tmp_path / "model"))
    return runpy.run_path(str(APP))


def test_the_guide_prints_the_file_as_it_is() -> None:
    guide = (ROOT / "docs" / "guide" / "service.md").read_text("utf-8")
    assert f"```py\n{APP.read_text('utf-8')}```" in guide


@pytest.mark.slow
def test_the_functions_answer_in_lists(service: dict[str, Any]) -> None:
    bits = service["score"](["the cat", "tac eht tac"])
    assert len(bits) == 2 and all(b > 0 for b in bits)
    (text,) = service["generate"](["the cat"], length=5)
    assert text.startswith("the cat") and len(text) <= 12


@pytest.mark.slow
def test_the_service_answers_over_http(service: dict[str, Any]) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    client = TestClient(service["make_app"]())
    assert client.get("/health").json()["model"].startswith("gru")
    texts = ["the cat", "a mat"]
    assert client.post("/score", json=texts).json() == pytest.approx(service["score"](texts))
    answer = client.post("/generate?length=5", json=["the"]).json()
    assert answer == service["generate"](["the"], 5)
    assert client.post("/score", json="the cat").status_code == 422
