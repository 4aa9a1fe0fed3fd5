"""Three parts: nothing lost, nothing twice, duplicates on one side, no part empty."""

import json
import random
import tracemalloc
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seriatim.data import files as text_lines
from seriatim.data.sources import Source, open_source
from seriatim.data.splits import split_source
from seriatim.errors import ConfigError, DataError

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")


def texts(part: Source | None) -> list[str]:
    return [] if part is None else [str(text) for text in part.texts()]


def joined(part: Source | None) -> str:
    return "".join(texts(part))


# ---- lines and documents ------------------------------------------------------------------------


@given(st.lists(st.text(st.sampled_from("abc"), max_size=3), min_size=1))
def test_every_sequence_is_in_one_part_in_order_and_duplicates_together(items: list[str]) -> None:
    items = [*items, "x", "y", "z"]
    parts, record = split_source(open_source(items))
    found = [texts(part) for part in parts]
    assert sorted(chain.from_iterable(found)) == sorted(items)
    assert all(found)
    seen = [set(part) for part in found]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    for part, chosen in zip(found, seen, strict=True):
        assert part == [item for item in items if item in chosen]
    facts = record.parts.values()
    assert [f.sequences for f in facts] == [len(part) for part in found]
    assert [f.distinct for f in facts] == [len(chosen) for chosen in seen]


@pytest.mark.parametrize(
    ("number", "fractions", "sizes"),
    [
        (100, (0.8, 0.1, 0.1), [80, 10, 10]),
        (3, (0.8, 0.1, 0.1), [1, 1, 1]),
        (10, (0.98, 0.01, 0.01), [8, 1, 1]),
        (29, (0.8, 0.1, 0.1), [23, 3, 3]),
        (7, (0.6, 0.2, 0.2), [4, 2, 1]),
        (1000, (0.5, 0.25, 0.25), [500, 250, 250]),
    ],
)
def test_parts_have_the_requested_sizes(
    number: int, fractions: tuple[float, float, float], sizes: list[int]
) -> None:
    source = open_source([f"text {i}" for i in range(number)])
    parts, _ = split_source(source, fractions)
    assert [len(texts(part)) for part in parts] == sizes


def test_parts_do_not_depend_on_order_or_duplicates() -> None:
    items = [f"text {i}" for i in range(50)]
    shuffled = [*items, *items[:20]]
    random.Random(0).shuffle(shuffled)
    first, _ = split_source(open_source(items))
    second, _ = split_source(open_source(shuffled))
    for a, b in zip(first, second, strict=True):
        assert set(texts(a)) == set(texts(b))


def test_lists_of_symbols_are_never_cut() -> None:
    items = [["a", "b c"], ["a b", "c"], ["a", "b", "c"], ["a", "b c"]]
    parts, record = split_source(open_source(items))
    found = [text for part in parts for text in part.texts()]  # type: ignore[union-attr]
    assert sorted(found) == sorted(items)
    assert sum(f.distinct for f in record.parts.values()) == 3


def test_too_few_distinct_sequences_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\nb\na\n")
    source = open_source(path, sequences="line")
    with pytest.raises(
        DataError, match=r"has 2 distinct lines, too few to split into 3 parts: give"
    ):
        split_source(source)
    parts, _ = split_source(source, (0.9, 0.1, 0.0))
    assert parts[2] is None and all(texts(part) for part in parts[:2])


# ---- streams ------------------------------------------------------------------------------------


@given(st.lists(st.text(st.sampled_from("ab é🐈"), max_size=9), min_size=3, max_size=30))
def test_streams_are_cut_at_line_ends_into_parts_that_are_not_empty(lines: list[str]) -> None:
    source = open_source(["\n".join(lines) + "\n"], sequences="stream")
    parts, record = split_source(source)
    found = [joined(part) for part in parts]
    assert "".join(found) == joined(source)
    assert all(found) and all(part.endswith("\n") for part in found)
    facts = list(record.parts.values())
    assert [f.lines for f in facts] == [part.count("\n") for part in found]
    assert [f.characters for f in facts] == [len(part) for part in found]
    assert [f.bytes for f in facts] == [len(part.encode()) for part in found]


def test_a_cut_is_the_first_line_end_at_or_after_its_fraction_of_bytes() -> None:
    lines = ["é" * 4 + "\n"] * 100  # 9 bytes each
    parts, _ = split_source(open_source(["".join(lines)], sequences="stream"))
    assert [joined(part).count("\n") for part in parts] == [80, 10, 10]
    parts, _ = split_source(open_source(["x" * 95 + "\na\nb\n" + "y\n"], sequences="stream"))
    assert [joined(part) for part in parts] == ["x" * 95 + "\n", "a\n", "b\ny\n"]


def test_a_long_last_line_leaves_a_line_for_every_part() -> None:
    parts, _ = split_source(open_source(["a\nb\n" + "x" * 90 + "\n"], sequences="stream"))
    assert [joined(part) for part in parts] == ["a\n", "b\n", "x" * 90 + "\n"]


@pytest.mark.parametrize("block", [1, 3, 7, 64])
def test_blocks_of_reading_do_not_move_the_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {'é' * (i % 5)}\n" for i in range(40)))
    whole = [joined(part) for part in split_source(open_source(path))[0]]
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block)
    monkeypatch.setattr(text_lines, "PIECE_CHARACTERS", 4)
    assert [joined(part) for part in split_source(open_source(path))[0]] == whole


def test_a_stream_of_one_line_is_cut_between_characters_other_than_spaces() -> None:
    line = "word " * 200
    parts, record = split_source(open_source([line.strip()], sequences="stream"))
    found = [joined(part) for part in parts]
    assert "".join(found) == line.strip() + "\n"
    for before, after in pairwise(found):
        assert before[-1].isalpha() and after[0].isalpha()
    assert [abs(len(p) - s) < 3 for p, s in zip(found, (800, 100, 100), strict=True)] == [True] * 3
    assert record.rule.endswith("characters")


@pytest.mark.parametrize(("text", "said"), [("a\nb\n", "2 lines"), ("a", "1 line and 2 bytes")])
def test_too_short_a_stream_is_refused(text: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"{said}.*, too few to split into 3"):
        split_source(open_source([text], sequences="stream"))


def test_streams_of_events_are_cut_between_sequences() -> None:
    items = [["a b", "c"], ["d"], ["e", "f"], ["g"]]
    parts, _ = split_source(open_source(items, sequences="stream"), (0.5, 0.25, 0.25))
    found = [list(part.texts()) for part in parts]  # type: ignore[union-attr]
    assert list(chain.from_iterable(found)) == [[*item, "\n"] for item in items]
    assert all(found)


# ---- both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", ["line", "stream"])
def test_the_record_is_json_and_parts_can_be_read_again(tmp_path: Path, sequences: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {i}\n" for i in range(100)))
    source = open_source(path, sequences=sequences)
    parts, record = split_source(source, (0.7, 0.2, 0.1))
    assert json.loads(json.dumps(record.to_json())) == record.to_json()
    assert record.to_json()["fractions"] == [0.7, 0.2, 0.1]
    assert record.source == source.fingerprint()
    assert sum(f.bytes for f in record.parts.values()) == path.stat().st_size
    fingerprints = set()
    for part, facts in zip(parts, record.parts.values(), strict=True):
        assert part is not None
        assert texts(part) == texts(part) and part.sequences == sequences
        assert part.fingerprint() == facts.fingerprint
        fingerprints.add(part.fingerprint())
    assert len(fingerprints) == 3
    again, same_record = split_source(open_source(path, sequences=sequences), (0.7, 0.2, 0.1))
    assert same_record == record and texts(again[1]) == texts(parts[1])


@pytest.mark.parametrize("sequences", ["line", "stream"])
def test_a_fraction_of_zero_gives_no_part(sequences: str) -> None:
    source = open_source([f"{i}" for i in range(20)], sequences=sequences)
    parts, record = split_source(source, (0.9, 0.1, 0))
    assert parts[2] is None and list(record.parts) == ["train", "valid"]
    parts, record = split_source(source, (0.9, 0, 0.1))
    assert parts[1] is None and list(record.parts) == ["train", "test"]
    parts, record = split_source(source, (1, 0, 0))
    assert parts[1:] == (None, None) and joined(parts[0]) == joined(source)


@pytest.mark.parametrize(
    "fractions",
    [(0.8, 0.1), (0.8, 0.1, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"),) * 3],
)
def test_invalid_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="with the sum 1, such as"):
        split_source(open_source(["a", "b", "c"]), fractions)


def test_a_part_can_be_split_again() -> None:
    source = open_source(["".join(f"{i}\n" for i in range(100))], sequences="stream")
    (first, _, _), _ = split_source(source)
    parts, _ = split_source(first, (0.5, 0.25, 0.25))
    assert "".join(joined(part) for part in parts) == joined(first)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("sequences", ["line", "stream"])
def test_splitting_does_not_hold_the_text(tmp_path: Path, sequences: str) -> None:
    path = tmp_path / "large.txt"
    with path.open("w") as file:
        file.writelines(
            f"{'a line of more than a hundred characters'.ljust(110)} {i}\n" for i in range(50_000)
        )
    source = open_source(path, sequences=sequences)
    tracemalloc.start()
    parts, _ = split_source(source)
    total = sum(len(text) for part in parts for text in part.texts())  # type: ignore[union-attr]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == path.stat().st_size - (50_000 if sequences == "line" else 0)
    assert peak < (12_000_000 if sequences == "stream" else 50_000 * 60)


def test_real_names_are_split_with_duplicates_on_one_side(shared_data: Path) -> None:
    source = open_source(shared_data / "names" / "Arabic.txt", sequences="line")
    parts, record = split_source(source)
    found = [set(texts(part)) for part in parts]
    assert len(texts(source)) == 2000 > len(set(texts(source))) == sum(map(len, found))
    assert sum(f.sequences for f in record.parts.values()) == 2000
