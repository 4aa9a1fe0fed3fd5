"""What all tasks share: fitting, resuming, scoring, saving, loading, and damaged folders."""

import inspect
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seriatim as st
from seriatim.errors import ModelError, SeriatimError
from seriatim.tasks.base import AnyTask
from seriatim.tasks.registry import TASKS, load, task_class

LINES = ["abcab", "bcabc", "cabca", "abc"] * 12
DATA: dict[str, Any] = {
    "language": LINES,
    "translation": [(line, line[::-1]) for line in LINES],
    "labelling": [(line, line[0]) for line in LINES],
    "forecasting": [[float((t * 7 + i) % 5) for t in range(60)] for i in range(4)],
}


def make(name: str) -> AnyTask:
    if name == "language":
        return st.LanguageModel(st.GRU(hidden_size=4), sequences="line", device="cpu")
    if name == "translation":
        config = st.Seq2Seq(
            encoder="gru", decoder="gru", model_size=4, encoder_layers=1, decoder_layers=1
        )
        return st.Translator(config, symbols="char", device="cpu")
    if name == "forecasting":
        return st.Forecaster(st.GRU(hidden_size=4), device="cpu")
    return st.Labeller(st.EncoderConfig(encoder="gru", model_size=4), device="cpu")


@pytest.fixture(scope="module", params=list(TASKS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "model"
    make(request.param).fit(DATA[request.param], steps=2).save(path)
    return path


def test_every_task_is_fitted_by_the_same_function() -> None:
    assert {inspect.signature(task.fit) for task in map(task_class, TASKS)} == {
        inspect.signature(st.LanguageModel.fit)
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_run_that_is_cut_short_is_resumed_to_the_same_weights(name: str, tmp_path: Path) -> None:
    options = {"batch_size": 8, "precision": "float32", "evaluate_every": 1}

    def fit(folder: Path, *, resume: bool = False, stop_at: int | None = None) -> AnyTask:
        steps: list[int] = []
        callbacks = st.Callbacks(
            progress=lambda p: steps.append(p.step),
            should_stop=lambda: stop_at is not None and steps[-1] >= stop_at,
        )
        return make(name).fit(
            DATA[name],
            steps=6,
            seed=3,
            options=options,
            callbacks=callbacks,
            checkpoints=folder,
            resume=resume,
        )

    whole, cut = fit(tmp_path / "a"), fit(tmp_path / "b", stop_at=3)
    assert cut.training.is_cut_short
    again = fit(tmp_path / "b", resume=True)
    assert again.training.fit is not None and again.training.fit.resumed_at == (3,)
    assert again._fingerprint() == whole._fingerprint()


@pytest.mark.parametrize("name", TASKS)
def test_a_fitted_task_is_trained_further_from_its_weights(name: str) -> None:
    task = make(name).fit(DATA[name], steps=1)
    model, vocabulary = task.model, task._documents()
    task.fit(DATA[name], steps=1)
    assert task.model is model
    assert task._documents() == vocabulary


def test_what_is_loaded_has_the_record_and_the_scores_of_what_was_saved(folder: Path) -> None:
    task = load(folder)
    assert task.training.fit is not None and task.training.fit.steps_done == 2
    # What follows the series is the test of a forecast, so none is held out.
    parts = {"valid"} if task.name == "forecasting" else {"valid", "test"}
    assert set(task.training.scores) == parts
    again = task.score(DATA[task.name]).to_json()
    assert all(again.keys() == score.to_json().keys() for score in task.training.scores.values())
    assert json.loads((folder / "training.json").read_text()) == task.training.to_json()


def fields_of(value: Any) -> list[tuple[Any, Any]]:
    """Every position inside a JSON value, as (container, key)."""
    places: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        places.append((value, key))
        if isinstance(inner, dict | list):
            places += fields_of(inner)
    return places


def deeply_nested() -> Any:
    value: Any = 1
    for _ in range(500):
        value = [value]
    return value


CHANGES: list[Callable[[], Any]] = [
    lambda: None,
    lambda: "x",
    lambda: -1,
    lambda: 10**12,
    lambda: 10**30,
    lambda: 1.5,
    lambda: True,
    list,
    dict,
    deeply_nested,
]


def refusal(folder: Path) -> str:
    """The sentence in which a folder is refused; "" if it is loaded."""
    try:
        load(folder, verify=False)
    except ModelError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config", "training", "vocabulary"])
def test_a_folder_with_altered_values_loads_or_is_refused_in_one_sentence(
    name: str, folder: Path
) -> None:
    """Any value of another type or size, or a missing key, is refused in a sentence, quickly."""
    config = folder / "config.json"
    is_of_series = json.loads(config.read_text())["task"] == "forecasting"
    own = "series" if is_of_series else "symbols"
    name = own if name == "vocabulary" else name
    file, rng = folder / f"{name}.json", random.Random(0)
    originals = {path: path.read_text() for path in (file, config)}
    try:
        for _ in range(40):
            value = json.loads(originals[file])
            container, key = rng.choice(fields_of(value))
            if rng.random() < 0.2:
                del container[key]
            else:
                container[key] = rng.choice(CHANGES)()
            file.write_text(json.dumps(value))
            if file != config:  # so that the altered file has the size that is declared
                head = json.loads(originals[config])
                head["files"][file.name]["bytes"] = file.stat().st_size
                config.write_text(json.dumps(head))
            assert "\n" not in refusal(folder)
    finally:
        for path, text in originals.items():
            path.write_text(text)


def test_json_nested_without_end_is_refused(folder: Path) -> None:
    file = folder / "config.json"
    original = file.read_text()
    try:
        file.write_text("[" * 100_000)
        with pytest.raises(ModelError, match="nested too deeply"):
            load(folder)
    finally:
        file.write_text(original)


def test_options_of_another_task_are_refused_by_name(folder: Path) -> None:
    from seriatim.tasks.options import DataFiles

    task = load(folder)
    wrong = {"column": "a"} if task.reads != "text" else {"source_column": "a"}
    with pytest.raises(SeriatimError, match=r"column is not an option of a"):
        task.open_files(DataFiles(data=folder, **wrong))
