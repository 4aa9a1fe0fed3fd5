"""The folder of a comparison: what is saved, what can be resumed, what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seriatim.comparison.record import BudgetRecord, InferenceCost, NotRun, RunRecord
from seriatim.comparison.store import (
    PLAN,
    ComparisonFolder,
    ComparisonPlan,
    EntrantPlan,
    TrainedRun,
    read_result,
    slug,
)
from seriatim.errors import ConfigError, DataError, ModelError, OutputError
from tests.comparison.made_up_results import comparison, history, not_run, with_model


def entrant(hidden_size: int) -> EntrantPlan:
    return EntrantPlan(config={"hidden_size": hidden_size}, symbols=None, training={}, preset=None)


def budget(kind: str, amount: float) -> BudgetRecord:
    return BudgetRecord(
        kind=kind, amount=amount, parameters=None, sentence=f"{amount:g} {kind} each"
    )


PLANNED = ComparisonPlan(
    data={"train": "1", "test": "2"},
    budget=budget("minutes", 2),
    training={},
    symbols={"char": "abc"},
    seed=0,
    models={"lstm": entrant(8)},
)


def begun(out: Path) -> ComparisonFolder:
    folder = ComparisonFolder(out)
    folder.begin(PLANNED)
    return folder


def some_run() -> TrainedRun:
    record = RunRecord(
        name="lstm",
        seed=0,
        family="lstm",
        symbols="char",
        config={"hidden_size": 8},
        is_counted=False,
        parameters=100,
        bytes=400,
        reach=None,
        train_seconds=3.0,
        train_symbols=1000,
        train_symbols_per_second=333.0,
        score_symbols_per_second=1000.0,
        history=history(2.0),
        notes=("a note",),
        bits_per_symbol=1.5,
        bits_per_character=None,
        valid_nats=1.0,
        cost=InferenceCost(
            state_bytes=((1, 64), (512, 64)),
            generate_symbols_per_second=10.0,
            operations_per_symbol=200.0,
        ),
        folder=None,
        other_seconds=0.5,
    )
    nats = np.arange(3, dtype=np.float32)
    return TrainedRun(record, nats, nats + 1)


def test_a_finished_run_is_loaded_and_no_other(tmp_path: Path) -> None:
    folder = begun(tmp_path / "c")
    folder.save(some_run())
    run = ComparisonFolder(tmp_path / "c", resume=True).load("lstm", 0)
    assert isinstance(run, TrainedRun)
    assert run.record == some_run().record
    assert run.valid.tolist() == [0, 1, 2] and run.test.tolist() == [1, 2, 3]
    assert folder.load("lstm", 1) is None and folder.load("gru", 0) is None


def test_the_reason_why_a_model_was_not_run_is_saved(tmp_path: Path) -> None:
    folder = begun(tmp_path / "c")
    folder.save(not_run("lstm", "too large"))
    run = folder.load("lstm", 0)
    assert isinstance(run, NotRun) and run.reason == "too large"


def test_a_comparison_is_replaced_or_resumed_only_on_request(tmp_path: Path) -> None:
    out = tmp_path / "c"
    begun(out).save(some_run())
    with pytest.raises(OutputError, match="holds a comparison: continue it with --resume"):
        ComparisonFolder(out)
    assert ComparisonFolder(out, resume=True).load("lstm", 0) is not None
    assert ComparisonFolder(out, overwrite=True).load("lstm", 0) is None


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is not the folder of a comparison"):
            ComparisonFolder(tmp_path, overwrite=overwrite)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_empty_folder_and_a_missing_one_can_be_begun(tmp_path: Path) -> None:
    begun(tmp_path)
    ComparisonFolder(tmp_path / "new", resume=True).begin(PLANNED)
    assert (tmp_path / "new" / PLAN).is_file()


def test_models_may_be_added(tmp_path: Path) -> None:
    begun(tmp_path / "c")
    more = replace(PLANNED, models={"gru": entrant(8)})
    ComparisonFolder(tmp_path / "c", resume=True).begin(more)
    assert set(json.loads((tmp_path / "c" / PLAN).read_text())["models"]) == {"lstm", "gru"}


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"data": {"train": "9", "test": "2"}}, DataError, "begun with other data"),
        (
            {"budget": budget("tokens", 9)},
            ConfigError,
            'begun with the budget "2 minutes each", not "9 tokens each"',
        ),
        ({"training": {"batch_size": 2}}, ConfigError, "begun with the training options"),
        ({"symbols": {"byte": "x"}}, ConfigError, "begun with the symbols"),
        ({"seed": 7}, ConfigError, "begun with the first seed 0, not 7"),
        ({"models": {"lstm": entrant(9)}}, ConfigError, "another model lstm: hidden_size 8, not 9"),
    ],
)
def test_a_comparison_is_not_resumed_with_anything_changed(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    begun(tmp_path / "c")
    with pytest.raises(error, match=words):
        ComparisonFolder(tmp_path / "c", resume=True).begin(replace(PLANNED, **changed))


def test_a_folder_of_another_version_is_not_resumed(tmp_path: Path) -> None:
    begun(tmp_path / "c")
    (tmp_path / "c" / PLAN).write_text('{"format": 1}')
    with pytest.raises(OutputError, match="written by another version of seriatim"):
        ComparisonFolder(tmp_path / "c", resume=True).begin(PLANNED)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = begun(tmp_path / "c")
    folder.save(some_run())
    array = tmp_path / "c" / "runs" / "lstm.0.test.npy"
    array.write_bytes(array.read_bytes()[:20])
    with pytest.raises(ModelError, match="without its arrays"):
        folder.load("lstm", 0)
    path = tmp_path / "c" / "runs" / "lstm.0.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": "none"'))
    with pytest.raises(ModelError, match=r"lstm\.0\.json is damaged: seed"):
        folder.load("lstm", 0)
    path.write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        folder.load("lstm", 0)
    (tmp_path / "c" / PLAN).write_text("[]")
    with pytest.raises(ModelError, match="is damaged: it does not hold a JSON object"):
        ComparisonFolder(tmp_path / "c", resume=True).begin(PLANNED)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = begun(tmp_path / "c")
    record = with_model(comparison(), not_run("late", "too small"))
    folder.save_result(record)
    assert read_result(tmp_path / "c") == record


def test_names_become_folders_that_every_file_system_accepts(tmp_path: Path) -> None:
    assert slug("transformer:num_layers=2,context=64") == "transformer-num_layers=2-context=64"
    folder = ComparisonFolder(tmp_path)
    assert folder.model("a b", 0, 0).name == "a-b"
    assert folder.model("a b", 4, 0).name == "a-b.4"
