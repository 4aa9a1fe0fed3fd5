"""The folder of a comparison: what stands there, what may go on, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seriatim.comparison.store import PLAN, ComparisonFolder, TrainedRun, not_run, slug
from seriatim.errors import ConfigError, DataError, ModelError, OutputError

PLANNED: dict[str, Any] = {
    "data": {"train": "1", "test": "2"},
    "budget": {"kind": "minutes", "amount": 2},
    "training": {},
    "symbols": {"char": "abc"},
    "seed": 0,
    "models": {"lstm": {"config": {"hidden_size": 8}}},
}


def begun(out: Path) -> ComparisonFolder:
    place = ComparisonFolder(out)
    place.begin(PLANNED)
    return place


def some_run() -> TrainedRun:
    nats = np.arange(3, dtype=np.float32)
    return TrainedRun({"status": "ok", "bits": 1.5}, nats, nats + 1)


def test_a_finished_run_is_found_again_and_no_other(tmp_path: Path) -> None:
    place = begun(tmp_path / "c")
    place.keep("lstm", 0, some_run())
    found = ComparisonFolder(tmp_path / "c", resume=True).found("lstm", 0)
    assert found is not None and found.is_ok
    assert found.record["bits"] == 1.5
    assert found.valid.tolist() == [0, 1, 2] and found.test.tolist() == [1, 2, 3]
    assert place.found("lstm", 1) is None and place.found("gru", 0) is None


def test_why_a_model_was_not_run_is_kept(tmp_path: Path) -> None:
    place = begun(tmp_path / "c")
    place.keep("lstm", 0, not_run({"name": "lstm"}, "too large"))
    found = place.found("lstm", 0)
    assert found is not None and not found.is_ok and found.record["reason"] == "too large"


def test_a_comparison_is_replaced_or_gone_on_with_only_when_that_is_said(tmp_path: Path) -> None:
    out = tmp_path / "c"
    begun(out).keep("lstm", 0, some_run())
    with pytest.raises(OutputError, match=r"holds a comparison: go on with it \(--resume\)"):
        ComparisonFolder(out)
    assert ComparisonFolder(out, resume=True).found("lstm", 0) is not None
    assert ComparisonFolder(out, overwrite=True).found("lstm", 0) is None


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds no comparison: choose another place"):
            ComparisonFolder(tmp_path, overwrite=overwrite)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_empty_folder_and_one_that_is_not_there_can_be_begun(tmp_path: Path) -> None:
    begun(tmp_path)
    assert ComparisonFolder(tmp_path / "new", resume=True).goes_on is False


def test_models_may_come_on_top_of_those_that_stand_there(tmp_path: Path) -> None:
    begun(tmp_path / "c")
    more = {**PLANNED, "models": {"gru": {"config": {}}}}
    ComparisonFolder(tmp_path / "c", resume=True).begin(more)
    assert set(json.loads((tmp_path / "c" / PLAN).read_text())["models"]) == {"lstm", "gru"}


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"data": {"train": "9", "test": "2"}}, DataError, "begun with other data"),
        ({"budget": {"kind": "tokens", "amount": 9}}, ConfigError, "begun with the budget"),
        ({"training": {"batch_size": 2}}, ConfigError, "begun with the training options"),
        ({"symbols": {"byte": "x"}}, ConfigError, "begun with the symbols"),
        ({"seed": 7}, ConfigError, "begun with the first seed 0, and now they are 7"),
        (
            {"models": {"lstm": {"config": {"hidden_size": 9}}}},
            ConfigError,
            "begun with another model lstm",
        ),
    ],
)
def test_a_comparison_does_not_go_on_with_anything_changed(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    begun(tmp_path / "c")
    with pytest.raises(error, match=words):
        ComparisonFolder(tmp_path / "c", resume=True).begin({**PLANNED, **changed})


def test_damaged_files_are_named(tmp_path: Path) -> None:
    place = begun(tmp_path / "c")
    place.keep("lstm", 0, some_run())
    array = tmp_path / "c" / "runs" / "lstm.0.test.npy"
    array.write_bytes(array.read_bytes()[:20])
    with pytest.raises(ModelError, match="without its arrays"):
        place.found("lstm", 0)
    (tmp_path / "c" / "runs" / "lstm.0.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        place.found("lstm", 0)
    (tmp_path / "c" / PLAN).write_text("[]")
    with pytest.raises(ModelError, match="holds no JSON object"):
        ComparisonFolder(tmp_path / "c", resume=True).begin(PLANNED)


def test_names_become_folders_that_every_file_system_takes(tmp_path: Path) -> None:
    assert slug("transformer:num_layers=2,context=64") == "transformer-num_layers=2-context=64"
    place = ComparisonFolder(tmp_path)
    assert place.model("a b", 0, 0).name == "a-b"
    assert place.model("a b", 4, 0).name == "a-b.4"
