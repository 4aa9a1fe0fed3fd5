"""The commands of series: fit, forecast, backtest, impute, threshold and detect."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from seriatim.cli import main


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two series with a season of seven days, and gaps."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = ["unique_id,ds,y"]
    for name in ("north", "south"):
        level = rng.normal(0, 1, 160).cumsum() + 50
        for t, value in enumerate(level + 10 * (np.arange(160) % 7 > 4)):
            shown = "" if t in (40, 41) else f"{value:.3f}"
            rows.append(f"{name},{np.datetime64('2025-01-01') + t},{shown}")
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def _fit(*more: str) -> None:
    options = ["--model", "ar", "--order", "7", "--out", "model", "--quiet", *more]
    assert main(["fit", "sales.csv", *options]) == 0


def test_from_a_table_with_gaps_to_a_picture(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fit("--season-length", "7")
    assert "try: seriatim forecast model" in capsys.readouterr().out
    command = ["forecast", "model", "--horizon", "5", "--level", "80", "--out", "f.csv"]
    assert main([*command, "--page", "page.html"]) == 0
    assert "all 10 rows are in f.csv" in capsys.readouterr().out
    rows = list(csv.DictReader(Path("f.csv").read_text().splitlines()))
    assert list(rows[0]) == ["unique_id", "ds", "mean", "lo-80", "hi-80"]
    assert [row["ds"] for row in rows[:2]] == ["2025-06-10", "2025-06-11"]
    page = Path("page.html").read_text()
    assert "80 % band" in page and "south: the next 5 moments" in page


def test_json_is_one_value_and_nothing_else(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fit("--json")
    assert json.loads(capsys.readouterr().out)["task"] == "forecasting"
    assert main(["forecast", "model", "--horizon", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 4 and rows[0]["0.1"] < rows[0]["0.5"] < rows[0]["0.9"]
    assert main(["score", "model", "sales.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_values"] == 316


def test_new_values_are_kept_in_the_folder(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fit()
    days = [str(np.datetime64("2025-06-10") + t) for t in range(3)]
    Path("new.csv").write_text("unique_id,ds,y\n" + "".join(f"north,{d},60\n" for d in days))
    assert main(["forecast", "model", "new.csv", "--update", "--horizon", "1", "--csv"]) == 0
    first = list(csv.DictReader(capsys.readouterr().out.splitlines()[-3:]))
    assert first[0]["ds"] == "2025-06-13"
    assert main(["forecast", "model", "--horizon", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["ds"] == "2025-06-13"
    assert main(["forecast", "model", "new.csv", "--update", "--horizon", "1"]) == 3
    assert "give what comes after that" in capsys.readouterr().err


def test_a_backtest_compares_families_and_fitted_models(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fit()
    capsys.readouterr()
    models = "naive,ar:order=1,ar:order=7,model"
    command = [
        "backtest",
        "sales.csv",
        "--horizon",
        "7",
        "--season-length",
        "7",
        "--models",
        models,
    ]
    assert main([*command, "--origins", "3", "--json", "--out", "all.csv"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {m["name"] for m in found["models"]} == {"naive", "ar:order=1", "ar:order=7", "model"}
    first = found["models"][0]
    assert {"wql", "mase", "crps", "nats_per_value", "coverage", "seconds_to_fit"} <= first.keys()
    losses = [m["wql"] for m in found["models"]]
    assert losses == sorted(losses)
    known = next(m for m in found["models"] if m["name"] == "model")
    assert "beyond the first origin" in known["notes"][0]
    rows = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    assert len(rows) == 4 * 2 * 3 * 7 and rows[0].keys() >= {"model", "cutoff", "y", "mean"}


def test_the_page_of_a_backtest_has_residuals_and_calibration(table: Path) -> None:
    command = ["backtest", "sales.csv", "--horizon", "5", "--models", "naive,ar:order=2", "--quiet"]
    assert main([*command, "--origins", "4", "--page", "page.html"]) == 0
    page = Path("page.html").read_text()
    for title in ("Residuals of", "Values below each quantile", "Error by the step ahead"):
        assert title in page


def test_gaps_are_filled_and_odd_values_found(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fit()
    assert main(["impute", "model", "sales.csv", "--only-missing", "--json"]) == 0
    filled = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["ds"] for row in filled[:2]] == ["2025-02-10", "2025-02-11"]
    assert main(["threshold", "model", "sales.csv", "--false-alarms", "0.01"]) == 0
    assert "normal events above it" in capsys.readouterr().out
    odd = table.read_text().replace("south,2025-05-01,", "south,2025-05-01,9")
    Path("odd.csv").write_text(odd)
    assert main(["detect", "model", "odd.csv", "--anomalies", "--json"]) == 0
    south = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "2025-05-01" in {e["time"] for e in south["events"] if e["verdict"] == "anomaly"}


@pytest.mark.parametrize(
    ("command", "message", "code"),
    [
        ("forecast model --horizon 0", "--horizon 0: give 1 or more", 2),
        ("forecast model --horizon 3 --quantiles 1.2", "quantile 1.2: give one between 0 and 1", 2),
        ("forecast model --horizon 3 --out f.txt", "ends in .csv or .json", 2),
        ("forecast model", "forecast needs --horizon", 2),
        ("generate model", "is a forecaster; generate needs a language model", 4),
        ("inspect model --text abc", "is a forecaster, which reads a file of series", 2),
        ("compare sales.csv", "seriatim backtest sales.csv --horizon", 2),
        ("backtest sales.csv --horizon 3 --models ar,arma", "no such model 'arma'", 2),
        ("backtest sales.csv --horizon 3 --models markov", "markov is a model of symbols", 2),
        ("backtest sales.csv --horizon 900", "give a smaller horizon, at most 159", 3),
        ("fit sales.csv --task forecast --model markov --out m", "has no model of numbers", 2),
        (
            "fit sales.csv --target-column yy --out m --task forecast",
            "sales.csv has no column 'yy'",
            2,
        ),
        ("forcast model", "did you mean forecast?", 2),
    ],
)
def test_a_mistake_gets_one_sentence(
    command: str, message: str, code: int, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if " model" in command:
        _fit()
    assert main(command.split()) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("seriatim: ") and message in error


def test_a_table_of_series_is_recognized(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "sales.csv", "--out", "m"]) == 0
    captured = capsys.readouterr()
    assert "holds series of numbers: this fits a forecaster" in captured.err
    assert "2 series" in captured.out
