"""Every trap of the data beside the repository is seen, and so are the same in small files."""

from pathlib import Path

import pytest

from seriatim.data_profile.profile import Look, look

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "dog", "that", "ran", "after", "it"]


def prose(lines: int, start: int = 0) -> str:
    """Lines that differ."""
    return "".join(
        f"{' '.join(WORDS[(i * 7 + j * (i % 5 + 1)) % len(WORDS)] for j in range(9))} {i}\n"
        for i in range(start, start + lines)
    )


def looked(path: Path, data: bytes | str, **options: object) -> Look:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return look(path, **options)  # type: ignore[arg-type]


def says(found: Look, *words: str) -> str:
    """The level of the first finding that has these words."""
    for finding in found.findings:
        if all(word in f"{finding.what} {finding.do}" for word in words):
            return finding.level
    raise AssertionError(f"{words} is not among {[f.what for f in found.findings]}")


def silent(found: Look, word: str) -> bool:
    return all(word not in finding.what for finding in found.findings)


def test_plain_prose_has_nothing_to_heed(tmp_path: Path) -> None:
    assert looked(tmp_path / "a.txt", prose(300)).findings == ()


def test_bytes_that_are_not_utf8_name_the_encoding_to_give(tmp_path: Path) -> None:
    found = looked(
        tmp_path / "a.txt", (prose(60) + "na\u00efve \u201cquoted\u201d\n").encode("cp1252")
    )
    assert says(found, "is not UTF-8", "line 61", "--encoding cp1252") == "stop"
    assert "--encoding cp1252" in (found.command or "")
    old = looked(tmp_path / "b.txt", prose(60).encode() + b"caf\xe9\x85\n")
    assert says(old, "--encoding latin-1") == "stop"
    told = look(tmp_path / "a.txt", encoding="cp1252")
    assert silent(told, "UTF-8")


def test_damaged_utf8_is_not_taken_for_latin_1(tmp_path: Path) -> None:
    found = looked(tmp_path / "a.txt", "誰 が 一番 に\n".encode() * 60 + b"\xff\n")
    assert says(found, "damaged", "iconv -f utf-8") == "stop"


def test_marks_ends_and_odd_characters_are_named(tmp_path: Path) -> None:
    text = prose(80).replace("\n", "\r\n")
    found = looked(tmp_path / "a.txt", "\ufeff" + text + "a\x85b\x0cc\x07\u200b\u00a0\ufffd\rd")
    assert says(found, "byte-order mark", "dropped") == "note"
    assert says(found, "80 lines end in CRLF") == "note"
    assert says(found, "1 CR stand without LF") == "care"
    assert says(found, "str.splitlines", "84") == "note"
    assert says(found, "U+0007 1 times") == "care"
    assert says(found, "U+200B") == "care"
    assert says(found, "no-break") == "note"
    assert says(found, "U+FFFD") == "care"
    assert says(found, "has no end") == "note"


def test_forms_of_lines_are_named(tmp_path: Path) -> None:
    text = prose(50) + "abc A B # noun\nabc(2) A B\n\n  \nthe <unk> sat\nend </s>\n"
    found = looked(tmp_path / "a.txt", text)
    assert says(found, "1 lines", "' # '", "sed") == "care"
    assert says(found, "word(2)") == "care"
    assert says(found, "1 empty and 1 with nothing but spaces", "<eos>") == "note"
    assert says(found, "<unk>", "--symbols word") == "note"
    assert says(found, "</s>") == "care"


def test_repeated_lines_and_what_they_do_to_the_split(tmp_path: Path) -> None:
    lines = [f"{a} {b} {c}" for a in "abcdef" for b in "abcdef" for c in "abcdef"]
    found = looked(tmp_path / "a.txt", "\n".join(lines * 2) + "\n", sequences="line")
    assert says(found, "50.0% of the 432 lines repeat", "only sequences that training has not")
    assert found.seen.leaks["test"]["share"] == 0.0  # equal lines are on one side


def test_leaks_into_a_given_test_part_are_found(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text(prose(5, 100) + prose(95, 5000))
    found = looked(tmp_path / "a.txt", prose(300), test=tmp_path / "test.txt")
    assert says(found, "test: 5.0% of its 100 lines") == "care"
    assert found.seen.leaks["test"]["in_train"] == 5
    assert found.seen.leaks["test"]["given"] and not found.seen.leaks["valid"]["given"]


def test_a_test_that_is_longer_than_training_and_new_characters_are_named(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("one two three four five six seven eight nine ten x é\n")
    found = looked(tmp_path / "a.txt", prose(200), test=tmp_path / "test.txt", sequences="line")
    assert says(found, "longer than any in training (at most 10)") == "care"
    assert says(found, "characters that training never has", "'é'")


def test_half_characters_in_json_are_named(tmp_path: Path) -> None:
    found = looked(tmp_path / "a.jsonl", '{"text": "\\ud800 half"}\n' * 3)
    assert says(found, "3 halves of surrogate pairs") == "stop"


def test_a_broken_record_stops_reading_and_says_where(tmp_path: Path) -> None:
    text = '{"text": "one more line"}\n' * 2500 + "{broken\n"
    found = looked(tmp_path / "a.jsonl", text)
    assert says(found, "reading stopped", "line 2,501") == "stop"
    assert found.seen.train.facts.num_sequences == 2500


def test_data_that_is_broken_from_the_start_says_so(tmp_path: Path) -> None:
    found = looked(tmp_path / "a.jsonl", '{"text": "a"\n' * 3)
    assert says(found, "reading stopped", "line 1", "not JSON") == "stop"
    assert str(found)


def test_an_unbalanced_folder_of_labels_with_other_files_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / "Many.txt").write_text("".join(f"Name{i}\n" for i in range(300)))
    (folder / "Few.txt").write_text("Ana\nEva\n")
    for name in ("A", "B", "C"):
        (folder / f"{name}.txt").write_text("".join(f"{name}n{i}\n" for i in range(50)))
    (folder / "LICENSE").write_text("Free.\n")
    found = look(folder)
    assert says(found, "the label Many has 300", "150 times", "macro F1") == "care"
    assert says(found, "LICENSE") == "care"


def test_gaps_and_numbers_are_named(tmp_path: Path) -> None:
    rows = "".join(f"{1958 + i},{'' if i % 9 == 0 else 316.1 + i}\n" for i in range(60))
    found = looked(tmp_path / "a.csv", "date,co2\n" + rows)
    assert says(found, "'co2' has no value in 7 of the first 60") == "care"
    assert says(found, "the data is numbers") == "stop"
    assert found.command is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "test", "words"),
    [
        ("novels/Stevenson_Treasure_1883.txt", None, ("byte-order mark",)),
        ("novels/Stevenson_Treasure_1883.txt", None, ("CRLF",)),
        ("blns/blns.txt", None, ("742 lines by LF", "see 752")),
        ("wikitext-2/valid.txt", None, ("1,299 with nothing but spaces of 3,760", "<eos>")),
        ("statsmodels-series/co2.csv", None, ("'co2' has no value in 59",)),
        ("names", None, ("Russian", "129 times as many as Vietnamese")),
        ("names", None, ("repeat another",)),
        (
            "scan/length_split/tasks_train_length.txt",
            "scan/length_split/tasks_test_length.txt",
            ("100.0% of the targets (24 to 48 words)", "at most 22"),
        ),
        ("cmudict/cmudict.dict", None, ("22 lines", "' # '")),
        ("cmudict/cmudict.dict", None, ("9,114 lines", "word(2)")),
    ],
)
def test_the_traps_of_real_files_are_seen(
    shared_data: Path, place: str, test: str | None, words: tuple[str, ...]
) -> None:
    found = _looked_at(shared_data / place, None if test is None else shared_data / test)
    says(found, *words)


_SEEN: dict[Path, Look] = {}


def _looked_at(path: Path, test: Path | None) -> Look:
    """Each file once."""
    if path not in _SEEN:
        _SEEN[path] = look(path, test=test)
    return _SEEN[path]
