"""Options with several numbers take blanks and commas between them."""

from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = np.random.default_rng(0).normal(size=60)
    st.Forecaster("naive").fit(values).save(where := tmp_path_factory.mktemp("m") / "m")
    return where


@pytest.mark.parametrize("given", [["0.1,0.9"], ["0.1", "0.9"], ["0.1,", "0.9"], [".1,.9,"]])
def test_commas_and_blanks_part_numbers(
    folder: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not main(["forecast", str(folder), "--horizon", "1", "--csv", "--quantiles", *given])
    header = capsys.readouterr().out.splitlines()[0]
    assert header.split(",")[-2:] == ["0.1", "0.9"]


def test_what_is_no_number_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["forecast", str(folder), "--horizon", "1", "--quantiles", "0.1,half"])
    assert code == 2
    assert "--quantiles 0.1,half: give a number" in capsys.readouterr().err


def test_options_of_models_take_commas_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.csv"
    rows = (f"{v:.3f}\n" for v in np.random.default_rng(0).normal(size=200))
    file.write_text("y\n" + "".join(rows))
    out = tmp_path / "m"
    options = ["--hidden-size", "4", "--steps", "1", "--lags", "1,5,7", "--task", "forecast"]
    assert not main(["fit", str(file), "--model", "lstm", *options, "--out", str(out), "--quiet"])
    assert st.Forecaster.load(out).config.lags == (1, 5, 7)  # type: ignore[attr-defined]
