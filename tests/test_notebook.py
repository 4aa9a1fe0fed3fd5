"""The notebook of ten minutes runs from its first cell to its last."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "ten_minutes.ipynb"


def cells() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return found


@pytest.mark.slow
def test_every_cell_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(cells()):
        if cell["cell_type"] != "code":
            continue
        # A budget for a reader is too long for a test; everything else runs as it stands.
        code = re.sub(r"minutes=[\d.]+", "steps=3", "".join(cell["source"]))  # type: ignore[arg-type]
        exec(compile(code, f"cell {number}", "exec"), namespace)
        said = capsys.readouterr().out
        assert bool(said) == bool(cell["outputs"]), f"cell {number}: {code}"
    assert (tmp_path / "model.onnx").exists()


def test_it_is_saved_as_it_ran_without_the_paths_of_a_machine() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    text = NOTEBOOK.read_text("utf-8")
    assert not re.search(r"/(?:root|home|work|tmp|Users)/", text)
    assert "Error" not in "".join(json.dumps(cell["outputs"]) for cell in code).replace(
        "Error(", ""
    )


def test_its_links_lead_somewhere() -> None:
    text = "".join("".join(cell["source"]) for cell in cells() if cell["cell_type"] == "markdown")  # type: ignore[arg-type]
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert targets
    for target in targets:
        assert (NOTEBOOK.parent / target).exists(), target
