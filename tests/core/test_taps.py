"""Taps: a value goes, under the name of its module, to the recorders that want it only."""

import pytest
import torch
from torch import nn

from seriatim.core import taps
from seriatim.core.taps import Record, Recorder
from seriatim.errors import ConfigError


class Renamed(nn.Module):
    """Its parts go by other names than its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.blocks = nn.Linear(1, 1), nn.ModuleList([nn.Linear(1, 1), nn.Tanh()])

    def tap_children(self) -> dict[str, nn.Module]:
        return {"": self.inner, "layers": self.blocks}


def put(owner: nn.Module, name: str = "x", rows: int = 1) -> None:
    taps.put(owner, name, Record(torch.zeros(rows, 2)))


def test_a_name_is_the_path_of_the_module_followed_by_the_tap() -> None:
    model = nn.ModuleDict({"part": Renamed()})
    recorder, part = Recorder(model), model["part"]
    with taps.recording(recorder):
        put(part)
        put(part.inner, "y")
        put(part.blocks[1], "z")
        put(model, "w")
        put(nn.Linear(1, 1))
    assert list(recorder.records) == ["part.x", "part.y", "part.layers.1.z", "w"]


def test_a_module_in_two_places_has_the_name_of_the_first() -> None:
    one = nn.Linear(1, 1)
    recorder = Recorder(nn.ModuleList([one, one]))
    with taps.recording(recorder):
        put(one)
    assert list(recorder.records) == ["0.x"]


def test_nothing_is_wanted_without_a_recorder_of_this_model() -> None:
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    assert not taps.is_on() and not taps.wanted(one, "x")
    with taps.recording(Recorder(other)):
        assert taps.is_on() and taps.wanted(other, "x") and not taps.wanted(one, "x")
    assert not taps.is_on()


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("layers.0.forget", ["layers.0.forget"]),
        ("layers.0", ["layers.0.forget", "layers.0.hidden"]),
        ("*.hidden", ["layers.0.hidden", "layers.10.hidden"]),
        ("layers.?.hidden", ["layers.0.hidden"]),
        ("hidden", []),
    ],
)
def test_a_pattern_matches_names_and_their_children(pattern: str, fits: list[str]) -> None:
    model = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(1, 1) for _ in range(11))})
    recorder = Recorder(model, only=[pattern])
    with taps.recording(recorder):
        for layer, name in ((0, "forget"), (0, "hidden"), (10, "hidden")):
            put(model["layers"][layer], name)
    assert list(recorder.records) == fits


def test_the_bound_applies_to_all_records_together_until_they_are_cleared() -> None:
    one = nn.Linear(1, 1)
    recorder = Recorder(one, max_bytes=100)
    with taps.recording(recorder):
        put(one, rows=10)
        with pytest.raises(ConfigError, match=r"x would take 8e-08 GB, 1.6e-07 GB in total"):
            put(one, rows=10)
        assert len(recorder.records["x"]) == 1
        recorder.clear()
        put(one, rows=10)


def test_a_repeated_computation_wants_the_same_and_records_nothing() -> None:
    one = nn.Linear(1, 1)
    recorder = Recorder(one, only=["x"])
    with taps.recording(recorder):
        again = taps.recomputing()
    with again:
        assert taps.wanted(one, "x") and not taps.wanted(one, "y")
        put(one)
    assert not recorder.records and not taps.is_on()


def test_values_for_recorders_have_a_graph_only_if_one_keeps_it() -> None:
    one = nn.Linear(1, 1)
    for gradients in (False, True):
        with taps.recording(Recorder(one, gradients=gradients)):
            with taps.grad_mode():
                assert one(torch.ones(1)).requires_grad == gradients
            with torch.no_grad(), taps.grad_mode():
                assert not one(torch.ones(1)).requires_grad


def test_no_recorder_is_active_while_compiling() -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return 3 * x if taps.is_on() else 2 * x

    compiled = torch.compile(double, backend="eager", fullgraph=True)
    with taps.recording(Recorder(nn.Linear(1, 1))):
        assert float(compiled(torch.ones(()))) == 2
