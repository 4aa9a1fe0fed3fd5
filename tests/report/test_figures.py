"""The plots and tables of comparisons, effective contexts and robustness show the right numbers."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from seriatim.cli import main
from tests.comparison.results_made_up import comparison, effective_context, not_run, robustness

pytest.importorskip("altair", reason="plots are of the extra seriatim[report]")
pytest.importorskip("vl_convert", reason="the page's script is of the extra seriatim[report]")

from seriatim.analysis.context.page import (
    context_plots,
    context_table,
    gradient_plots,
    robustness_plots,
)
from seriatim.comparison.page import (
    bits_plot,
    circumstances,
    compare_plots,
    conditions,
    cost_table,
    data_name,
    learning_plots,
    not_run_table,
    pair_plots,
    quality_table,
)
from seriatim.report.plots import Plot


def drawn(plot: Plot, name: str | None = None) -> list[dict[str, Any]]:
    return [r for r in plot.spec["datasets"]["figures"] if name is None or r["name"] == name]


def test_models_are_in_the_order_of_their_bits_and_those_not_run_come_last() -> None:
    result = comparison(["a", "b", "c"])
    result["models"].reverse()
    result["models"].insert(0, not_run("late", "too short"))
    assert [row[0] for row in quality_table(result).rows] == ["a", "b", "c", "late"]
    assert quality_table(result).rows[3][2] == "not run"
    assert [r["name"] for r in drawn(bits_plot(result))] == ["a", "b", "c"]
    table = not_run_table(result)
    assert table is not None and table.rows == [["late", "too short"]]


def test_a_model_keeps_its_colour_whatever_its_rank() -> None:
    result = comparison(["a", "b", "c"])
    before = {k.name: k.colour for k in learning_plots(result)[0].keys}
    result["models"][2]["bits"] = 0.1
    assert {k.name: k.colour for k in learning_plots(result)[0].keys} == before
    beside = context_plots(
        [("b", effective_context()), ("c", effective_context())], names=["a", "b", "c"]
    )[0]
    assert {k.name: k.colour for k in beside.keys}.items() <= before.items()


def test_bits_per_symbol_are_the_unit_where_symbols_do_not_spell_the_text() -> None:
    result = comparison(["a", "b"])
    result["metric"] = "bits per symbol"
    for model in result["models"]:
        model["bits_per_character"] = None
    assert quality_table(result).columns[1] == "bits per symbol"
    assert all("bits per symbol" in p.columns for p in (bits_plot(result),))
    assert pair_plots(result)[0].caption.startswith("Bits per symbol")


def test_learning_curves_have_the_units_of_the_comparison() -> None:
    result = comparison(["counted", "words"])
    model = result["models"][1]
    model["bits"], model["bits_per_symbol"] = 2.0, 10.0  # five characters a word
    model["history"] = [
        {"step": 0, "seconds": 0.5, "epoch": 0.0, "train": None, "valid": 17.0},
        {"step": 9, "seconds": 3.0, "epoch": 0.4, "train": 12.0, "valid": 11.0},
    ]
    by_time, by_passes = learning_plots(result)
    assert [(r["x"], r["y"]) for r in drawn(by_time, "words")] == [(3.0, pytest.approx(2.2))]
    assert [(r["x"], r["y"]) for r in drawn(by_passes, "words")] == [(0.4, pytest.approx(2.2))]
    assert [(r["x"], r["y"]) for r in drawn(by_time, "counted")] == [(2.0, 1.75)]


def test_without_seeds_there_is_no_plot_of_families() -> None:
    assert len(pair_plots(comparison(seeds=3))) == 2
    assert len(pair_plots(comparison(seeds=0))) == 1


def test_a_negative_difference_means_that_the_first_model_saves_bits() -> None:
    result = comparison(["a", "b"], seeds=0)
    result["texts"][0] |= {"difference": -0.3, "interval": [-0.4, -0.2], "is_real": True}
    (plot,) = pair_plots(result)
    verdict = {(r["row"], r["column"]): r["verdict"] for r in drawn(plot)}
    assert verdict == {(1, 2): "row is better", (2, 1): "row is worse"}
    assert plot.rows[0][1:3] == [-0.3, "-0.4000 to -0.2000"]


def test_the_state_size_is_that_of_the_greatest_measured_length() -> None:
    result = comparison(["a"], seeds=0)
    result["models"][0]["state_bytes"] = [[1, 10], [512, 20], [4096, 30]]
    table = cost_table(result)
    assert table.rows[0][list(table.columns).index("bytes of state at 512")] == 20


def test_the_page_states_the_shared_conditions_and_the_time_taken() -> None:
    result = comparison()
    assert "5,200,000 characters to learn from" in conditions(result)
    assert "3 minutes of training each" in conditions(result)
    assert circumstances(result).endswith("Training took 900 s, everything else 40 s.")
    result["data"]["name"] = "/somewhere/far/novels.txt"
    assert data_name(result) == "novels.txt"


def test_an_empty_comparison_has_no_plots() -> None:
    assert compare_plots(comparison([])) == []
    assert context_plots([]) == [] and robustness_plots([]) == []


def test_a_context_curve_begins_at_context_zero() -> None:
    plot = context_plots([("lstm", effective_context())])[0]
    assert (drawn(plot)[0]["x"], drawn(plot)[0]["y"]) == (0, 4.2)
    assert plot.spec["datasets"]["levels"] == [{"name": "lstm", "y": 2.0}]


def test_an_effective_context_beyond_the_longest_tried_is_reported_as_more() -> None:
    result = effective_context()
    result["effective"], result["effective_interval"], result["reach"] = None, [300, None], 64
    assert context_table([("m", result)]).rows == [
        ["m", 2.0, "more than 512", "300 to more than 512", "64", 100_000]
    ]
    titles = [plot.title for plot in context_plots([("m", result)])]
    assert "Effective context" not in titles and "How far back it pays to look" in titles


def test_gradients_are_relative_to_the_nearest_and_layers_are_drawn_if_there_are_several() -> None:
    result = effective_context()
    result["gradient_decay"] = {"distance": [1, 2, 3], "layers": {"0": [8, 4, 0], "1": [4, 1, 0]}}
    together, layers = gradient_plots([("m", result)])
    assert [r["y"] for r in drawn(together)] == [1.0, 0.25]  # the last layer; 0 has no logarithm
    assert [r["y"] for r in drawn(layers, "layer 0")] == [1.0, 0.5]
    assert gradient_plots([("m", effective_context(gradients=False))]) == []


def test_a_perturbation_is_compared_with_the_same_targets_without_it() -> None:
    result = robustness()
    result["perturbations"] = [
        {"kind": "omitted", "strength": 0.2, "bits": 2.5, "intact": 2.1, "chance": [2.0, 2.3]},
        {"kind": "omitted", "strength": 0.1, "bits": 2.3, "intact": 2.2, "chance": [2.1, 2.3]},
    ]
    (plot,) = robustness_plots([("m", result)])
    rows = [[pytest.approx(v) for v in row[1:]] for row in plot.rows]
    assert rows == [[0.1, 0.1, 0.0, 0.2], [0.2, 0.4, 0.3, 0.6]]


@pytest.mark.parametrize("value", [0.0, 1e-9])
def test_a_negligible_effect_looks_negligible(value: float) -> None:
    result = robustness()
    result["perturbations"] = [
        {"kind": "swapped", "strength": s, "bits": 2 + value, "intact": 2.0, "chance": [2.0, 2.0]}
        for s in (0.1, 0.2)
    ]
    (plot,) = robustness_plots([("m", result)])
    line = next(layer for layer in plot.spec["layer"] if layer["mark"]["type"] == "line")
    low, high = line["encoding"]["y"]["scale"]["domain"]
    assert high - low >= 0.02


@pytest.mark.slow
def test_seriatim_report_measures_the_models_of_a_comparison_and_writes_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "once", "upon", "dog"]
    rng = random.Random(1)
    text = "\n".join(" ".join(rng.choice(words) for _ in range(12)) for _ in range(600)) + "\n"
    (tmp_path / "train.txt").write_text(text)
    (tmp_path / "other.txt").write_text(text[:9000])
    place = str(tmp_path / "compared")
    models = ["--models", "markov,gru:hidden_size=8", "--steps", "4", "--threads", "1"]
    asked = ["compare", str(tmp_path / "train.txt"), *models, "--out", place, "--quiet"]
    assert main(asked) == 0
    assert "How far back" not in (tmp_path / "compared" / "report.html").read_text()
    capsys.readouterr()
    other = str(tmp_path / "other.txt")
    assert main(["report", place, other, "--limit", "2000", "--quiet", "--threads", "1"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "compared" / "report.html"
    for heading in ("How far back", "When sequences are damaged", "How gradients fade"):
        assert f">{heading}<" in page.read_text()
    saved = json.loads((tmp_path / "compared" / "context" / "gru.json").read_text())
    assert saved["targets"] == 2000
    assert main(["report", place, "--out", str(tmp_path / "again.html"), "--threads", "1"]) == 0
    assert (tmp_path / "again.html").read_text() == page.read_text()


def test_seriatim_report_refuses_a_folder_without_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 4
    assert "holds no comparison" in capsys.readouterr().err
    (tmp_path / "compare.json").write_text(json.dumps(comparison([])))
    assert main(["report", str(tmp_path), "--limit", "5"]) == 2
    assert "give a text" in capsys.readouterr().err
    (tmp_path / "text.txt").write_text("a\n")
    text = str(tmp_path / "text.txt")
    assert main(["report", str(tmp_path), text, "--models", "lstm"]) == 2
    assert "there is no model lstm here" in capsys.readouterr().err
