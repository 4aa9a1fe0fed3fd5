"""Findings: every trap of real data is reported, and the same traps in small files."""

from pathlib import Path

import pytest

from seriatim.data_profile import DataReport, look

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "dog", "that", "ran", "after", "it"]


def prose(lines: int, start: int = 0) -> str:
    """Lines that differ."""
    return "".join(
        f"{' '.join(WORDS[(i * 7 + j * (i % 5 + 1)) % len(WORDS)] for j in range(9))} {i}\n"
        for i in range(start, start + lines)
    )


def look_at(path: Path, data: bytes | str, **options: object) -> DataReport:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return look(path, **options)  # type: ignore[arg-type]


def says(report: DataReport, *words: str) -> str:
    """The level of the first finding with these words."""
    for finding in report.findings:
        if all(word in f"{finding.message} {finding.action}" for word in words):
            return finding.level
    raise AssertionError(f"{words} is not among {[f.message for f in report.findings]}")


def is_silent(report: DataReport, word: str) -> bool:
    return all(word not in finding.message for finding in report.findings)


def test_plain_prose_has_no_findings(tmp_path: Path) -> None:
    assert look_at(tmp_path / "a.txt", prose(300)).findings == ()


def test_text_that_is_not_utf8_names_the_encoding_to_pass(tmp_path: Path) -> None:
    report = look_at(
        tmp_path / "a.txt", (prose(60) + "na\u00efve \u201cquoted\u201d\n").encode("cp1252")
    )
    assert says(report, "is not UTF-8", "line 61", "--encoding cp1252") == "error"
    assert "--encoding cp1252" in (report.command or "")
    old = look_at(tmp_path / "b.txt", prose(60).encode() + b"caf\xe9\x85\n")
    assert says(old, "--encoding latin-1") == "error"
    chosen = look(tmp_path / "a.txt", encoding="cp1252")
    assert is_silent(chosen, "UTF-8")


def test_damaged_utf8_is_not_latin_1(tmp_path: Path) -> None:
    report = look_at(tmp_path / "a.txt", "誰 が 一番 に\n".encode() * 60 + b"\xff\n")
    assert says(report, "damaged", "iconv -f utf-8") == "error"


def test_marks_line_ends_and_unusual_characters_are_reported(tmp_path: Path) -> None:
    text = prose(80).replace("\n", "\r\n")
    report = look_at(tmp_path / "a.txt", "\ufeff" + text + "a\x85b\x0cc\x07\u200b\u00a0\ufffd\rd")
    assert says(report, "byte-order mark", "dropped") == "note"
    assert says(report, "80 lines end in CRLF") == "note"
    assert says(report, "CR without LF occurs once") == "warning"
    assert says(report, "str.splitlines", "84") == "note"
    assert says(report, "U+0007 (1)") == "warning"
    assert says(report, "U+200B") == "warning"
    assert says(report, "no-break") == "note"
    assert says(report, "U+FFFD") == "warning"
    assert says(report, "has no line end") == "note"


def test_forms_of_lines_are_reported(tmp_path: Path) -> None:
    text = prose(50) + "abc A B # noun\nabc(2) A B\n\n  \nthe <unk> sat\nend </s>\n"
    report = look_at(tmp_path / "a.txt", text)
    assert says(report, "1 line has", "' # '", "sed") == "warning"
    assert says(report, "word(2)") == "warning"
    assert says(report, "1 is empty and 1 is blank", "<eos>") == "note"
    assert says(report, "<unk>", "--symbols word") == "note"
    assert says(report, "</s>") == "warning"


def test_repeated_lines_and_what_they_do_to_the_split(tmp_path: Path) -> None:
    lines = [f"{a} {b} {c}" for a in "abcdef" for b in "abcdef" for c in "abcdef"]
    report = look_at(tmp_path / "a.txt", "\n".join(lines * 2) + "\n", sequences="line")
    assert says(report, "50.0% of the 432 lines repeat", "only sequences that training does not")
    assert report.profile.leaks["test"].fraction == 0.0  # equal lines are in one part


def test_leaks_into_a_given_test_part_are_found(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text(prose(5, 100) + prose(95, 5000))
    report = look_at(tmp_path / "a.txt", prose(300), test=tmp_path / "test.txt")
    assert says(report, "In the test part, 5.0% of the 100 lines") == "warning"
    assert report.profile.leaks["test"].in_train == 5
    assert report.profile.leaks["test"].is_given and not report.profile.leaks["valid"].is_given


def test_a_test_part_longer_than_training_and_new_characters_are_reported(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("one two three four five six seven eight nine ten x é\n")
    report = look_at(tmp_path / "a.txt", prose(200), test=tmp_path / "test.txt", sequences="line")
    assert says(report, "longer than any in training (at most 10)") == "warning"
    assert says(report, "never occur in training", "'é'")


def test_unpaired_surrogates_in_json_are_reported(tmp_path: Path) -> None:
    report = look_at(tmp_path / "a.jsonl", '{"text": "\\ud800 half"}\n' * 3)
    assert says(report, "3 unpaired surrogates") == "error"


def test_a_broken_record_stops_reading_and_its_line_is_reported(tmp_path: Path) -> None:
    text = '{"text": "one more line"}\n' * 2500 + "{broken\n"
    report = look_at(tmp_path / "a.jsonl", text)
    assert says(report, "Reading stopped", "line 2,501") == "error"
    assert report.profile.train.facts.num_sequences == 2500


def test_data_broken_from_the_start_is_reported(tmp_path: Path) -> None:
    report = look_at(tmp_path / "a.jsonl", '{"text": "a"\n' * 3)
    assert says(report, "Reading stopped", "line 1", "not JSON") == "error"
    assert str(report)


def test_unbalanced_labels_and_other_files_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / "Many.txt").write_text("".join(f"Name{i}\n" for i in range(300)))
    (folder / "Few.txt").write_text("Ana\nEva\n")
    for name in ("A", "B", "C"):
        (folder / f"{name}.txt").write_text("".join(f"{name}n{i}\n" for i in range(50)))
    (folder / "LICENSE").write_text("Free.\n")
    report = look(folder)
    assert says(report, "The label Many has 300", "150 times", "macro F1") == "warning"
    assert says(report, "LICENSE") == "warning"


def test_gaps_and_numbers_are_reported(tmp_path: Path) -> None:
    rows = "".join(f"{1958 + i},{'' if i % 9 == 0 else 316.1 + i}\n" for i in range(60))
    report = look_at(tmp_path / "a.csv", "date,co2\n" + rows)
    assert says(report, "7 values (11.7%) are missing") == "note"
    as_text = look(tmp_path / "a.csv", sequences="document")
    assert says(as_text, "'co2' has no value in 7 of the first 60") == "warning"
    assert says(as_text, "The data is numbers", "--task forecast") == "error"
    assert as_text.command is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "test", "words"),
    [
        ("novels/Stevenson_Treasure_1883.txt", None, ("byte-order mark",)),
        ("novels/Stevenson_Treasure_1883.txt", None, ("CRLF",)),
        ("blns/blns.txt", None, ("742 lines by LF", "count 752")),
        ("wikitext-2/valid.txt", None, ("Of 3,760 lines, 1,299 are blank", "<eos>")),
        ("statsmodels-series/co2.csv", None, ("59 values (2.6%) are missing",)),
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
def test_the_traps_of_real_files_are_reported(
    shared_data: Path, place: str, test: str | None, words: tuple[str, ...]
) -> None:
    report = _report_of(shared_data / place, None if test is None else shared_data / test)
    says(report, *words)


_REPORTS: dict[Path, DataReport] = {}


def _report_of(path: Path, test: Path | None) -> DataReport:
    """Each file once."""
    if path not in _REPORTS:
        _REPORTS[path] = look(path, test=test)
    return _REPORTS[path]
