"""`seriatim demo` on a user's text, for a few seconds."""

import json
from pathlib import Path

import numpy as np
import pytest

from seriatim.cli import main


@pytest.fixture
def text(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    words = ["def", "return", "self", "value", "if", "else"]
    path = tmp_path / "text.py"
    path.write_text("\n".join(" ".join(rng.choice(words, 8)) for _ in range(2500)) + "\n")
    return path


@pytest.mark.slow
def test_the_demo_prints_a_table_samples_and_the_path_of_its_report(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    out = tmp_path / "out"
    assert main(["demo", str(text), "-m", "0.05", "--threads", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"Text: {text}. Symbols: bytes. Every family is trained on the same text."
    assert " ".join(printed[2].split()) == (
        "family parameters state seconds tokens/s bits per character perplexity"
    )
    assert printed[3].split()[0] == "markov"
    assert any(line.startswith("--- markov ---") for line in printed)
    report = out / "report.html"
    assert printed[-1] == f"The comparison as a page with pictures: {report}"
    assert "<!doctype html>" in report.read_text().lower()[:20]
    record = json.loads((out / "compare.json").read_text())
    assert [m["name"] for m in record["models"]] == [
        "markov",
        "autoregressive",
        "rnn",
        "lstm",
        "gru",
        "transformer",
    ]
