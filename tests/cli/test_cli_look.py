"""`seriatim look` on the command line: text, JSON, a page, and one sentence for a failure."""

import json
from pathlib import Path

import pytest

from seriatim.cli import main
from tests.data_profile.test_profile_findings import prose


def test_it_prints_findings_and_the_command_to_run_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("\ufeff" + prose(200))
    assert main(["look", str(tmp_path / "a.txt")]) == 0
    output = capsys.readouterr().out
    assert "plain text" in output and "byte-order mark" in output
    assert output.index("Run next") < output.index(f"seriatim fit {tmp_path / 'a.txt'}")
    assert all(len(line) <= 120 for line in output.splitlines() if "seriatim " not in line)


def test_json_is_one_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, first in (("a", 0), ("b", 150)):
        (tmp_path / f"{name}.txt").write_text(prose(200, first))
    assert main(["look", str(tmp_path / "a.txt"), "--test", str(tmp_path / "b.txt"), "--json"]) == 0
    out = capsys.readouterr()
    record = json.loads(out.out)
    assert out.err == ""
    assert record["leaks"]["test"]["is_given"] is True
    assert record["leaks"]["test"]["in_train"] > 0
    assert {"parts", "predictability", "findings", "advice", "sequences"} <= record.keys()


def test_the_page_has_the_same_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    (tmp_path / "a.txt").write_text("\ufeff" + prose(200))
    out = tmp_path / "look.html"
    assert main(["look", str(tmp_path / "a.txt"), "--out", str(out)]) == 0
    assert f"the report is in {out}" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert "byte-order mark" in page and "seriatim fit" in page
    assert page.count('<h2 id="section-') == 6


@pytest.mark.parametrize(
    ("name", "data", "code", "message"),
    [
        ("empty.txt", b"", 3, "is empty"),
        ("missing.txt", None, 3, "there is no file"),
        ("a.zip", b"PK\x03\x04" + bytes(30), 3, "zip file"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    data: bytes | None,
    code: int,
    message: str,
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert main(["look", str(tmp_path / name)]) == code
    output = capsys.readouterr().err
    assert message in output
    assert "Traceback" not in output and len(output.splitlines()) == 1


def test_an_option_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text(prose(60))
    for option in (["--column", "x"], ["--encoding", "latin-9000"], ["--format", "docx"]):
        assert main(["look", str(tmp_path / "a.txt"), *option]) == 2
        assert option[1] in capsys.readouterr().err
