"""The names of the taps alone decide how a recording is analysed."""

import json
import math

import pytest
import torch
from torch import Tensor

from seriatim.analysis.inspect.findings import InspectedSide, Passage
from seriatim.analysis.inspect.inspection import Inspection
from seriatim.analysis.inspect.labels import user_label
from seriatim.analysis.inspect.measure import inspect_passages
from seriatim.analysis.inspect.text import summary
from seriatim.errors import DataError
from seriatim.report.terminal import display_width, visible

TEXT = "The cat (a grey one) sat.\n  And the dog\nsaw it (the cat), too.\n" * 6


def side(text: str, start: int = 1) -> InspectedSide:
    pieces = ["\n"] * start + list(text)
    return InspectedSide(
        pieces, torch.tensor([ord(c) for c in pieces]), [visible(c) for c in pieces], start
    )


def passage(taps: dict[str, Tensor], text: str = TEXT, **more: object) -> Passage:
    bits = torch.linspace(0, 9, len(text), dtype=torch.float64)
    return Passage(
        read=side(text[:-1]),
        taps=taps,
        targets=list(text),
        target_pieces=list(text),
        bits=bits,
        alternatives=[[("e", 0.5), ("t", 0.25)]] * len(text),
        **more,  # type: ignore[arg-type]
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def previous(length: int) -> Tensor:
    """A head that attends to the previous position, at the first position to itself."""
    weights = torch.full((length, length), 0.0)
    weights[0, 0] = 1.0
    weights[torch.arange(1, length), torch.arange(length - 1)] = 1.0
    return weights


def uniform(length: int) -> Tensor:
    weights = torch.ones(length, length).tril()
    return weights / weights.sum(1, keepdim=True)


def of_every_kind() -> Inspection:
    count = len(TEXT)
    states = noise(count, 8)
    depth = torch.tensor([TEXT[:t].count("(") - TEXT[:t].count(")") for t in range(count)])
    states[:, 5] += 6 * depth
    orders = torch.tensor([min(t, 3) for t in range(count)])
    paid = torch.zeros(count, 4)
    paid[:, 3] = -math.log(2)
    taps = {
        "layers.0.hidden": states,
        "layers.0.forget": noise(count, 8, seed=1).sigmoid(),
        "layers.0.candidate": noise(count, 8, seed=2).tanh(),
        "layers.0.attention.self": torch.stack([previous(count), uniform(count)]),
        "order": orders,
        "backoff": paid,
        "context": orders,
    }
    return inspect_passages([passage(taps)], title="a model", notes=["a note"])


def test_every_kind_of_tap_is_found_by_its_name() -> None:
    inspection = of_every_kind()
    assert [s.name for s in inspection.states] == ["layers.0.hidden"]
    assert [g.name for g in inspection.gates] == ["layers.0.forget"]
    assert [m.name for m in inspection.maps] == ["layers.0.attention.self"]
    assert [o.name for o in inspection.orders] == ["order"]
    assert inspection.gates[0].gate.half_lives is not None
    assert inspection.maps[0].heads[0].names == ["previous position"]
    assert inspection.maps[0].heads[1].names == []


def test_the_planted_neuron_is_named_in_findings_text_and_json() -> None:
    inspection = of_every_kind()
    best = next(n for n in inspection.states[0].neurons if n.label == "depth of brackets")
    assert (best.index, best.is_named) == (5, True)
    line = next(line for line in str(inspection).splitlines() if "depth of brackets" in line)
    assert "layers.0.hidden" in line
    assert line.split()[4] == "5"
    named = [n for n in inspection.to_json()["states"][0]["neurons"] if n["named"]]
    assert ("depth of brackets", 5) in {(n["label"], n["unit"]) for n in named}


def test_the_findings_are_json_values() -> None:
    record = json.loads(json.dumps(of_every_kind().to_json()))
    symbols = record["passages"][0]["symbols"]
    assert symbols[-1]["symbol"] == TEXT[-1]
    assert symbols[-1]["bits"] == pytest.approx(9.0)
    assert symbols[0]["alternatives"] == [["e", 0.5], ["t", 0.25]]
    assert record["notes"] == ["a note"]
    assert record["bits_per_symbol"] == pytest.approx(4.5)


def test_the_backoff_path_goes_from_the_longest_context_down() -> None:
    paid = torch.tensor([[-2.0, 0.0, -1.0, -0.5], [0.0, 0.0, 0.0, -3.0]]) * math.log(2)
    taps = {"order": torch.tensor([0, 3]), "backoff": paid}
    (inspection,) = inspect_passages([passage(taps, "ab")], title="counts").orders
    assert [m for m, _ in inspection.steps(0)] == [3, 2, 0]
    assert [bits for _, bits in inspection.steps(0)] == pytest.approx([0.5, 1.0, 2.0])
    assert inspection.steps(1) == [(3, pytest.approx(3.0))]
    first, last = inspection.table
    assert (first.order, first.positions, first.bits, first.backoff) == (
        0,
        1,
        0.0,
        pytest.approx(1.5),
    )
    assert (last.order, last.positions, last.bits, last.backoff) == (3, 1, 9.0, 0.0)


def test_the_most_surprising_symbols_are_those_with_the_most_bits() -> None:
    inspection = of_every_kind()
    count = len(TEXT)
    assert inspection.most_surprising(2) == [(0, count - 1), (0, count - 2)]


def test_a_text_without_symbols_is_refused() -> None:
    empty = Passage(InspectedSide([], torch.zeros(0), []), {})
    with pytest.raises(DataError, match="no symbol to inspect"):
        inspect_passages([empty], title="a model")


def test_too_little_text_names_no_neuron_and_notes_it() -> None:
    inspection = inspect_passages(
        [passage({"layers.0.hidden": noise(12, 4)}, TEXT[:12])], title="m"
    )
    assert inspection.states[0].neurons == []
    assert any("11 symbols are too few" in note for note in inspection.notes)


def test_user_labels_come_first() -> None:
    count = len(TEXT)
    kinds = ["vowel" if c in "aeiou" else "other" for c in TEXT[:-1]]
    states = noise(count, 4)
    states[1:, 2] -= 5 * torch.tensor([kind == "vowel" for kind in kinds]).float()
    label = user_label("sound", kinds)
    inspection = inspect_passages([passage({"h": states})], title="m", labels=[label])
    best = inspection.states[0].neurons[0]
    assert (best.index, best.label, best.is_named) == (2, "sound = vowel", True)
    assert best.correlation < -0.8


def test_taps_of_the_encoder_belong_to_the_source() -> None:
    source = side("ein Haus.", start=0)
    weights = torch.softmax(noise(2, 6, 9), -1)
    taps = {
        "encoder.layers.0.hidden": noise(9, 4),
        "decoder.layers.0.hidden": noise(6, 4),
        "decoder.layers.0.attention.cross": weights,
    }
    one = passage(taps, "house.", source=source)
    inspection = inspect_passages([one], title="m")
    assert len(inspection.states[0].trajectory.path) == 9
    assert len(inspection.states[1].trajectory.path) == 6
    (cross,) = inspection.maps
    assert list(cross.queries) == list("house.")
    assert list(cross.keys) == list(source.names)
    assert all(head.monotone is not None for head in cross.heads)


def test_maps_may_cover_less_text_than_states() -> None:
    long = passage({"layers.0.hidden": noise(len(TEXT), 4)})
    short = passage({"layers.0.attention.self": previous(30)[None]}, TEXT[:30])
    inspection = inspect_passages([long], map_passages=[short], title="m")
    assert len(inspection.states[0].trajectory.path) == len(TEXT)
    assert inspection.maps[0].weights.shape == (1, 30, 30)
    assert inspection.maps[0].heads[0].names == ["previous position"]


# ---- as text ------------------------------------------------------------------------------------


def test_every_symbol_has_a_bar_as_high_as_its_bits() -> None:
    one = passage({}, "abc")
    inspection = inspect_passages(
        [Passage(**{**vars(one), "bits": torch.tensor([0.2, 3.7, 99.0])})], title="m"
    )
    lines = summary(inspection).splitlines()
    assert lines[lines.index("abc") + 1] == "▁▄█"


def test_a_symbol_of_probability_zero_is_shown_and_is_null_in_json() -> None:
    pytest.importorskip("altair")
    one = passage({}, "ab")
    one = Passage(**{**vars(one), "bits": torch.tensor([1.0, math.inf])})
    inspection = inspect_passages([one], title="m")
    lines = summary(inspection).splitlines()
    assert lines[lines.index("ab") + 1] == "▂█"
    assert inspection.to_json()["passages"][0]["symbols"][1]["bits"] is None
    json.dumps(inspection.to_json(), allow_nan=False)
    assert all(plot.spec for plot in inspection.report().plots)


def test_of_many_heads_only_those_with_a_name_are_listed() -> None:
    heads = torch.stack([previous(40), *[uniform(40)] * 11])
    inspection = inspect_passages(
        [passage({"layers.0.attention.self": heads}, TEXT[:40])], title="m"
    )
    text = summary(inspection)
    assert "previous position" in text
    assert "11 heads show no pattern above chance" in text
    assert text.count("layers.0.attention.self") == 1


def test_wide_characters_get_bars_as_wide_as_they_are() -> None:
    assert display_width("猫a") == 3
    one = passage({}, "猫a")
    inspection = inspect_passages(
        [Passage(**{**vars(one), "bits": torch.tensor([7.5, 0.0])})], title="m"
    )
    lines = summary(inspection).splitlines()
    assert lines[lines.index("猫a") + 1] == "██▁"


def test_text_is_coloured_only_on_request() -> None:
    inspection = of_every_kind()
    assert "\x1b[" not in summary(inspection)
    coloured = summary(inspection, is_coloured=True)
    assert "\x1b[38;5;16;48;5;" in coloured
    assert coloured.count("\x1b[0m") == coloured.count("\x1b[38;5;16;48;5;")
    assert "▇" not in coloured


def test_lines_are_no_wider_than_the_width() -> None:
    text = summary(inspect_passages([passage({}, "x" * 100)], title="m"), width=40)
    widths = [len(line) for line in text.splitlines() if line.startswith(("x", "▁", "█"))]
    assert max(widths) == 40


def test_a_long_text_is_shown_in_part_and_the_title_says_so() -> None:
    text = summary(inspect_passages([passage({}, "y" * 900)], title="m"), most_symbols=100)
    assert "Surprisal of the first 100 of 900 symbols" in text
    assert sum(line.count("y") for line in text.splitlines() if set(line) == {"y"}) == 100


# ---- as a page ----------------------------------------------------------------------------------


def test_the_page_has_a_section_for_every_kind_of_finding_and_a_table_beside_every_plot() -> None:
    pytest.importorskip("altair")
    report = of_every_kind().report()
    titles = [section.title for section in report.sections]
    assert titles == ["Surprisal", "Matched context", "Neurons", "States", "Gates", "Attention"]
    for plot in report.plots:
        assert plot.spec, plot.title
        assert plot.caption.strip()
        assert plot.rows
        assert all(len(row) == len(plot.columns) for row in plot.rows), plot.title
    assert "a note" in report.note


def test_the_page_leaves_out_sections_without_findings() -> None:
    pytest.importorskip("altair")
    report = inspect_passages([passage({}, "ab")], title="m").report()
    assert [section.title for section in report.sections] == ["Surprisal"]


@pytest.mark.slow
def test_hostile_text_is_text_on_the_page() -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    attack = "</script><script>alert(1)</script><b>"
    page = inspect_passages([passage({}, attack)], title="<i>m</i>").report().html()
    assert "<b>" not in page
    assert "alert(1)</script>" not in page
    assert "<i>m</i>" not in page
