"""Pairs: read side by side whatever they come from, never silently shifted, split whole."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seriatim.data.pairs import (
    PairCorpus,
    PairList,
    build_pair_corpus,
    first_misalignment,
    open_pairs,
    split_pairs,
)
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.errors import ConfigError, DataError, DecodingError

EXPECTED = [("eins", "one"), ("", "empty"), ("zwei  drei", ""), ("vier\x85", "four")]


def _two_files(folder: Path) -> tuple[Path, Path]:
    source, target = folder / "a.de", folder / "a.en"
    source.write_bytes("\ufeffeins\r\n\r\nzwei  drei\r\nvier\x85".encode())
    target.write_bytes(b"one\nempty\n\nfour\n")
    return source, target


def _tsv(folder: Path) -> Path:
    path = folder / "a.tsv"
    path.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(f"{s}\t{t}" for s, t in EXPECTED).encode() + b"\r\n"
    )
    return path


def _csv_with_header(folder: Path) -> Path:
    path = folder / "a.csv"
    rows = ["id,source,target", *(f'{i},"{s}","{t}"' for i, (s, t) in enumerate(EXPECTED))]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def _jsonl(folder: Path) -> Path:
    path = folder / "a.jsonl"
    rows = [json.dumps({"source": s, "target": t}) for s, t in EXPECTED]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def _packed(folder: Path) -> tuple[Path, Path]:
    packed = []
    for path in _two_files(folder):
        file = path.with_name(path.name + ".gz")
        file.write_bytes(gzip.compress(path.read_bytes()))
        packed.append(file)
    return packed[0], packed[1]


@pytest.mark.parametrize("write", [_two_files, _tsv, _csv_with_header, _jsonl, _packed])
def test_every_format_gives_the_same_pairs_in_order_with_empty_sides_kept(
    tmp_path: Path, write: Callable[[Path], Path | tuple[Path, Path]]
) -> None:
    assert list(open_pairs(write(tmp_path)).pairs()) == EXPECTED


def test_a_list_gives_its_pairs_and_lists_of_symbols_stay_lists() -> None:
    pairs = open_pairs([("a\r\nb", "c"), (["x y", "z"], ["q"])])
    assert list(pairs.pairs()) == [("a\nb", "c"), (["x y", "z"], ["q"])]


def test_columns_are_taken_by_name_and_by_number(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("de\ten\tfr\nein\tone\tun\n")
    by_name = open_pairs(path, source_column="fr", target_column="de")
    assert list(by_name.pairs()) == [("un", "ein")]
    by_number = open_pairs(path, source_column="3", target_column="1")
    assert list(by_number.pairs()) == [("fr", "de"), ("un", "ein")]


def test_a_first_row_of_digits_is_a_pair_and_no_header(tmp_path: Path) -> None:
    path = tmp_path / "n.tsv"
    path.write_text("1\tone\n2\ttwo\n")
    assert list(open_pairs(path).pairs()) == [("1", "one"), ("2", "two")]


def test_fields_without_usual_names_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"de": "ein", "en": "one"}\n')
    with pytest.raises(ConfigError, match="has the columns de, en: say which one holds the source"):
        open_pairs(path)
    found = open_pairs(path, source_column="de", target_column="en")
    assert list(found.pairs()) == [("ein", "one")]


# ---- bad input ----------------------------------------------------------------------------------


def test_files_of_different_length_are_refused_with_both_counts_and_a_line(tmp_path: Path) -> None:
    rng = random.Random(0)
    lengths = [rng.randint(1, 80) for _ in range(200)]
    lost = 120
    (tmp_path / "a").write_text("".join("x" * n + "\n" for n in lengths))
    shorter = lengths[:lost] + lengths[lost + 2 :]
    (tmp_path / "b").write_text("".join("y" * (n + 1) + "\n" for n in shorter))
    with pytest.raises(DataError, match=r"a has 200 lines and .*b has 198:.* near line (\d+)") as e:
        list(open_pairs(tmp_path / "a", tmp_path / "b").pairs())
    near = int(str(e.value).split("near line ")[1].split(",")[0])
    assert abs(near - (lost + 1)) <= 2


def test_the_place_where_lines_are_missing_is_found_from_either_side() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 100, 300)
    for place in (0, 17, 150, 290):
        fewer = np.delete(2 * lengths, [place, place + 1, place + 2])
        assert abs(first_misalignment(lengths, fewer) - place) <= 1
        assert abs(first_misalignment(fewer, lengths) - place) <= 1


def test_an_empty_side_is_suspicious_from_the_first_line() -> None:
    assert first_misalignment(np.array([3, 4]), np.array([], np.int64)) == 0


def test_bad_pairs_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("no columns\n")
    with pytest.raises(ConfigError, match="has no columns: give the file of the targets"):
        open_pairs(tmp_path / "t.txt")
    (tmp_path / "t.tsv").write_text("a\tb\nonly one\n")
    with pytest.raises(DataError, match="line 2, has 1 column and the first row has 2"):
        list(open_pairs(tmp_path / "t.tsv").pairs())
    with pytest.raises(DataError, match="item 1 of the list is 'b'"):
        open_pairs([("a", "b"), "b"])  # type: ignore[list-item]
    with pytest.raises(DataError, match="empty"):
        open_pairs([])
    with pytest.raises(DataError, match="there is no file"):
        open_pairs(tmp_path / "absent.tsv")
    with pytest.raises(ConfigError, match="leave them out"):
        open_pairs([("a", "b")], source_column="de", target_column="en")
    with pytest.raises(ConfigError, match="give those of the source and"):
        open_pairs(tmp_path / "t.tsv", source_column="de")
    (tmp_path / "latin").write_bytes("dü\n".encode("latin-1"))
    with pytest.raises(DecodingError, match="is not utf-8 text"):
        list(open_pairs(tmp_path / "latin", tmp_path / "t.txt").pairs())
    found = open_pairs(tmp_path / "latin", tmp_path / "t.txt", encoding="latin-1")
    assert list(found.pairs()) == [("dü", "no columns")]


# ---- parts --------------------------------------------------------------------------------------


def test_parts_hold_whole_pairs_in_order_and_all_pairs_of_a_source_on_one_side() -> None:
    items = [(f"source {i % 60}", f"target {i}") for i in range(100)]
    parts, record = split_pairs(open_pairs(items))
    found = [[] if part is None else list(part.pairs()) for part in parts]
    assert sorted(pair for part in found for pair in part) == sorted(items)
    sides = [{source for source, _ in part} for part in found]
    assert [len(side) for side in sides] == [48, 6, 6]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    for part in found:
        assert part == [item for item in items if item in part]
    assert record.rule == "whole pairs by the hash of their source"


def test_a_split_does_not_depend_on_the_targets_or_on_the_order() -> None:
    items = [(f"s{i}", f"t{i}") for i in range(50)]
    first, _ = split_pairs(open_pairs(items))
    other, _ = split_pairs(open_pairs([(s, "x") for s, _ in reversed(items)]))
    for a, b in zip(first, other, strict=True):
        assert a is not None
        assert b is not None
        assert {s for s, _ in a.pairs()} == {s for s, _ in b.pairs()}


# ---- as symbols ---------------------------------------------------------------------------------


def test_a_corpus_of_pairs_is_mapped_from_the_cache_and_restores_both_sides(tmp_path: Path) -> None:
    pairs = open_pairs(_two_files(tmp_path))
    source = fit_vocabulary("char", pairs.sources.texts(), sequences="document")
    target = fit_vocabulary("byte", [], sequences="document")
    corpus = build_pair_corpus(pairs, source, target, tmp_path / "cache")
    assert isinstance(corpus.source.tokens, np.memmap)
    for i, (s, t) in enumerate(EXPECTED):
        assert source.decode(corpus.source.sequence(i)) == s
        assert target.decode(corpus.target.sequence(i)) == t
    again = build_pair_corpus(pairs, source, target, tmp_path / "cache")
    assert again.fingerprint == corpus.fingerprint
    assert corpus.num_scored == sum(len(t) for _, t in EXPECTED) + len(EXPECTED)


def test_the_fingerprint_changes_with_either_side_and_when_they_are_swapped() -> None:
    def fingerprint(items: list[tuple[str, str]]) -> str:
        return PairList(tuple(items)).sources.fingerprint()

    assert len({fingerprint(p) for p in ([("a", "b")], [("a", "c")], [("b", "a")])}) == 3


def test_sides_of_different_sizes_are_refused() -> None:
    one = PairCorpus.from_tokens([([2], [3])])
    two = PairCorpus.from_tokens([([2], [3]), ([4], [5])])
    with pytest.raises(DataError, match="1 sources and 2 targets"):
        PairCorpus(one.source, two.target)
