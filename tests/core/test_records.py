"""Records are checked once when read back, and refused in one sentence if they are damaged."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from seriatim.core.records import MaybeInfinite, from_json, read_record, to_json
from seriatim.errors import ModelError
from seriatim.metrics.score import Score


@dataclass(frozen=True)
class Part:
    size: int
    fractions: tuple[float, ...] = ()


@dataclass(frozen=True)
class Whole:
    name: str
    parts: dict[str, Part]
    seconds: float | None = None


WHOLE = Whole("a", {"train": Part(3, (0.5, 1.0))})


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(to_json(WHOLE)))
    assert read_record(Whole, file) == WHOLE


def test_unknown_keys_are_ignored() -> None:
    assert from_json(Whole, {**to_json(WHOLE), "later": 1}, name="f") == WHOLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "f is damaged: name: input should be a valid string"),
        ({"parts": {"train": {}}}, "f is damaged: parts.train.size: field required"),
        ({"parts": {"train": {"size": "3"}}}, "parts.train.size: input should be a valid integer"),
    ],
)
def test_the_wrong_field_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        from_json(Whole, {**to_json(WHOLE), **change}, name="f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[]", "does not hold a JSON object"),
        ("{", "cannot be read"),
        ('{"name": "a", "parts": {}', "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_record_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(text)
    with pytest.raises(ModelError, match=message):
        read_record(Whole, file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"record\.json is missing"):
        read_record(Whole, tmp_path / "record.json")


def test_an_infinite_number_is_written_as_null_and_read_back() -> None:
    @dataclass(frozen=True)
    class Measure:
        value: MaybeInfinite
        interval: tuple[MaybeInfinite, MaybeInfinite]

    record = Measure(math.inf, (1.5, math.inf))
    assert to_json(record) == {"value": None, "interval": [1.5, None]}
    assert from_json(Measure, to_json(record), name="f") == record


def test_a_score_comes_back_from_its_json() -> None:
    score = Score(
        symbols=3,
        nats=math.inf,
        nats_per_symbol=math.inf,
        bits_per_symbol=math.inf,
        bits_per_symbol_interval=(1.0, math.inf),
        bits_per_character=None,
        bits_per_byte=None,
        bits_per_character_interval=None,
        not_spelled="words were lowercased",
        bits_per_character_spelled=None,
        perplexity=math.inf,
        perplexity_known=4.0,
        unknown=1,
        characters=5,
        bytes=5,
        seconds=0.5,
        symbols_per_second=6.0,
    )
    assert from_json(Score, json.loads(json.dumps(score.to_json())), name="f") == score
