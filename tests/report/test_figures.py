"""The plots and tables of a comparison, an effective context and a robustness: right numbers."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seriatim.cli import main
from seriatim.core.records import to_json
from tests.comparison.made_up_results import (
    comparison,
    effective_context,
    model,
    not_run,
    perturbation,
    robustness,
)

pytest.importorskip("altair", reason="plots are of the extra seriatim[report]")
pytest.importorskip("vl_convert", reason="the page's script is of the extra seriatim[report]")

from seriatim.analysis.context.page import context_plots, context_table, gradient_plots
from seriatim.analysis.context.result import DecayRecord
from seriatim.analysis.robustness.page import robustness_plots
from seriatim.analysis.robustness.result import Robustness
from seriatim.comparison.page import (
    bits_plot,
    compare_plots,
    compare_report,
    conditions,
    cost_table,
    data_name,
    learning_plots,
    not_run_tables,
    pair_plots,
    quality_table,
)
from seriatim.comparison.record import EvaluationBits
from seriatim.report.plots import Plot


def drawn(plot: Plot, name: str | None = None) -> list[dict[str, Any]]:
    return [r for r in plot.spec["datasets"]["figures"] if name is None or r["name"] == name]


def test_models_are_ordered_by_their_bits_and_those_not_run_come_last() -> None:
    record = comparison(["a", "b", "c"])
    models = (not_run("late", "too short"), *reversed(record.models))
    record = replace(record, models=models)
    assert [row[0] for row in quality_table(record).rows] == ["a", "b", "c", "late"]
    assert quality_table(record).rows[3][2] == "not run"
    assert [r["name"] for r in drawn(bits_plot(record))] == ["a", "b", "c"]
    (table,) = not_run_tables(record)
    assert table.rows == [["late", "too short"]]


def test_a_model_keeps_its_colour_whatever_its_rank() -> None:
    record = comparison(["a", "b", "c"])
    before = {k.name: k.colour for k in learning_plots(record)[0].legend}
    a, b, _ = record.models
    other = replace(record, models=(a, b, replace(model("c", 2, 3), bits=0.1)))
    assert {k.name: k.colour for k in learning_plots(other)[0].legend} == before
    contexts = [("b", effective_context()), ("c", effective_context())]
    beside = context_plots(contexts, names=["a", "b", "c"])[0]
    assert {k.name: k.colour for k in beside.legend}.items() <= before.items()


def test_bits_per_symbol_are_the_unit_where_symbols_do_not_spell_the_text() -> None:
    record = comparison(["a", "b"])
    models = tuple(replace(model(n, i), bits_per_character=None) for i, n in enumerate("ab"))
    record = replace(record, metric="bits per symbol", models=models)
    assert quality_table(record).columns[1] == "bits per symbol"
    assert "bits per symbol" in bits_plot(record).columns
    assert pair_plots(record)[0].caption.startswith("Bits per symbol")


def test_learning_curves_have_the_units_of_the_comparison() -> None:
    """Five characters a word: 11 bits per word are 2.2 bits per character."""
    words = replace(
        model("words"),
        bits=2.0,
        bits_per_symbol=10.0,
        history=(
            EvaluationBits(step=0, epoch=0.0, seconds=0.5, train=None, valid=17.0),
            EvaluationBits(step=9, epoch=0.4, seconds=3.0, train=12.0, valid=11.0),
        ),
    )
    record = replace(comparison(["counted"]), models=(model("counted", 0), words))
    by_time, by_passes = learning_plots(record)
    assert [(r["x"], r["y"]) for r in drawn(by_time, "words")] == [(3.0, pytest.approx(2.2))]
    assert [(r["x"], r["y"]) for r in drawn(by_passes, "words")] == [(0.4, pytest.approx(2.2))]
    assert [(r["x"], r["y"]) for r in drawn(by_time, "counted")] == [(2.0, 1.75)]


def test_without_seeds_no_families_are_compared() -> None:
    assert len(pair_plots(comparison(seeds=3))) == 2
    assert len(pair_plots(replace(comparison(seeds=1), families=()))) == 1


def test_a_negative_difference_means_that_the_first_model_saves_bits() -> None:
    record = comparison(["a", "b"])
    pair = replace(record.texts[0], difference=-0.3, interval=(-0.4, -0.2), is_significant=True)
    (plot,) = pair_plots(replace(record, texts=(pair,), families=()))
    verdict = {(r["row"], r["column"]): r["verdict"] for r in drawn(plot)}
    assert verdict == {(1, 2): "row is better", (2, 1): "row is worse"}
    assert plot.rows[0][1:3] == [-0.3, "-0.4000 to -0.2000"]


def test_the_state_is_that_of_the_greatest_length_up_to_512() -> None:
    record = comparison(["a"])
    states = ((1, 10), (512, 20), (4096, 30))
    table = cost_table(replace(record, models=(replace(model("a"), state_bytes=states),)))
    assert table.rows[0][list(table.columns).index("bytes of state at 512")] == 20


def test_the_page_names_the_conditions_and_the_time_taken() -> None:
    record = comparison()
    assert "5,200,000 characters for training" in conditions(record)
    assert "3 minutes of training each" in conditions(record)
    assert compare_report(record).note.endswith("Training took 900 s, everything else 40 s.")
    renamed = replace(record, data=replace(record.data, name="/somewhere/far/novels.txt"))
    assert data_name(renamed) == "novels.txt"


def test_an_empty_comparison_has_no_plots() -> None:
    assert compare_plots(comparison([])) == []
    assert context_plots([]) == [] and robustness_plots([]) == []


def test_a_curve_of_memory_begins_where_nothing_is_seen() -> None:
    plot = context_plots([("lstm", effective_context())])[0]
    assert (drawn(plot)[0]["x"], drawn(plot)[0]["y"]) == (0, 4.2)
    assert plot.spec["datasets"]["levels"] == [{"name": "lstm", "y": 2.0}]


def test_an_effective_context_further_than_was_tried_is_more_than_the_greatest() -> None:
    record = effective_context()
    curve = replace(record.curve, effective=None, effective_interval=(300, None))
    record = replace(record, curve=curve, reach=64)
    assert context_table([("m", record)]).rows == [
        ["m", 2.0, "more than 512", "300 to more than 512", "64", 100_000]
    ]
    titles = [plot.title for plot in context_plots([("m", record)])]
    assert "Effective context" not in titles and "How far back it pays to look" in titles


def test_gradients_are_relative_to_the_nearest_and_layers_shown_where_there_are_several() -> None:
    decay = DecayRecord((1, 2, 3), {"0": (8.0, 4.0, 0.0), "1": (4.0, 1.0, 0.0)})
    record = replace(effective_context(), gradient_decay=decay)
    together, layers = gradient_plots([("m", record)])
    assert [r["y"] for r in drawn(together)] == [1.0, 0.25]  # the last layer; 0 has no logarithm
    assert [r["y"] for r in drawn(layers, "layer 0")] == [1.0, 0.5]
    assert gradient_plots([("m", effective_context(gradients=False))]) == []


def test_a_perturbation_is_measured_against_the_same_targets_without_it() -> None:
    results = (
        perturbation("omitted", 0.2, 2.5, intact=2.1, chance=(2.0, 2.3)),
        perturbation("omitted", 0.1, 2.3, intact=2.2, chance=(2.1, 2.3)),
    )
    (plot,) = robustness_plots([("m", Robustness(2.0, results))])
    rows = [[pytest.approx(v) for v in row[1:]] for row in plot.rows]
    assert rows == [[0.1, 0.1, 0.0, 0.2], [0.2, 0.4, 0.3, 0.6]]


@pytest.mark.parametrize("change", [0.0, 1e-9])
def test_next_to_no_damage_looks_like_next_to_nothing(change: float) -> None:
    results = tuple(perturbation("swapped", s, 2 + change, chance=(2.0, 2.0)) for s in (0.1, 0.2))
    (plot,) = robustness_plots([("m", Robustness(2.0, results))])
    line = next(layer for layer in plot.spec["layer"] if layer["mark"]["type"] == "line")
    low, high = line["encoding"]["y"]["scale"]["domain"]
    assert high - low >= 0.02


def test_every_perturbation_has_a_plot_of_its_own() -> None:
    plots = robustness_plots([("a", robustness()), ("b", robustness(damage=2.0))])
    assert [plot.title for plot in plots] == [
        "Cut at the start",
        "Cut at the end",
        "Symbols missing",
        "Neighbours swapped",
        "Blocks exchanged",
    ]


@pytest.mark.slow
def test_seriatim_report_measures_the_models_of_a_comparison_and_writes_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "once", "upon", "dog"]
    rng = random.Random(1)
    text = "\n".join(" ".join(rng.choice(words) for _ in range(12)) for _ in range(600)) + "\n"
    (tmp_path / "train.txt").write_text(text)
    (tmp_path / "other.txt").write_text(text[:9000])
    out = str(tmp_path / "compared")
    models = ["--models", "markov,gru:hidden_size=8", "--steps", "4", "--threads", "1"]
    assert main(["compare", str(tmp_path / "train.txt"), *models, "--out", out, "--quiet"]) == 0
    assert "How far back" not in (tmp_path / "compared" / "report.html").read_text()
    capsys.readouterr()
    other = str(tmp_path / "other.txt")
    assert main(["report", out, other, "--limit", "2000", "--quiet", "--threads", "1"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "compared" / "report.html"
    for heading in ("How far back", "When sequences are damaged", "How gradients fade"):
        assert f">{heading}<" in page.read_text()
    saved = json.loads((tmp_path / "compared" / "context" / "gru.json").read_text())
    assert saved["curve"]["targets"] == 2000
    assert main(["report", out, "--out", str(tmp_path / "again.html"), "--threads", "1"]) == 0
    assert (tmp_path / "again.html").read_text() == page.read_text()


def test_seriatim_report_refuses_what_is_not_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path)
    assert main(["report", folder]) == 4
    assert "holds no finished comparison" in capsys.readouterr().err
    (tmp_path / "compare.json").write_text('{"format": 1}')
    assert main(["report", folder]) == 4
    assert "written by another version of seriatim" in capsys.readouterr().err
    (tmp_path / "compare.json").write_text(json.dumps(to_json(comparison([]))))
    assert main(["report", folder, "--limit", "5"]) == 2
    assert "need a text: seriatim report FOLDER TEXT" in capsys.readouterr().err
    (tmp_path / "text.txt").write_text("a\n")
    assert main(["report", folder, str(tmp_path / "text.txt"), "--models", "lstm"]) == 2
    assert "there is no model lstm here" in capsys.readouterr().err
