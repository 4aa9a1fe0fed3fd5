"""Which task a table is for, by its columns; text stays text."""

from pathlib import Path

import pytest

from seriatim.data_profile.recognize import recognize_task

PAIRS = "".join(f"{a} {b}\t{b} {a}\n" for a in "abcdef" for b in "ghijkl")
LABELS = "".join(f"so {a} {b},{'good' if a < b else 'bad'}\n" for a in "abcdef" for b in "abcdef")


@pytest.mark.parametrize(
    ("name", "content", "task"),
    [
        ("p.tsv", "source\ttarget\n" + PAIRS, "translation"),
        ("p.tsv", PAIRS, "translation"),
        ("p.tsv", "english\tgerman\n" + PAIRS, "translation"),
        ("l.csv", "text,label\n" + LABELS, "label"),
        ("l.csv", "id,text,label\n" + "".join(f"{i},a b,x\n" for i in range(9)), "label"),
        ("l.csv", "review,sentiment\n" + LABELS, "label"),
        ("a.conll", "a X\nb Y\n\n", "label"),
        ("t.txt", PAIRS, None),
        ("t.csv", "text\nso good\nso bad\n", None),
        ("t.csv", "title,text\nA,a long text about it\nB,another long text\n", None),
        ("e.csv", "session,event\n" + "".join(f"s{i // 5},e{i % 3}\n" for i in range(60)), None),
        ("n.csv", "a,b\n" + "".join(f"{i},{i * i}\n" for i in range(30)), None),
        ("t.jsonl", '{"text": "one"}\n{"text": "two"}\n', None),
        ("p.jsonl", '{"source": "a", "target": "b"}\n' * 3, "translation"),
    ],
)
def test_a_task_is_recognized_where_the_columns_are_plain(
    tmp_path: Path, name: str, content: str, task: str | None
) -> None:
    (tmp_path / name).write_text(content)
    found = recognize_task(tmp_path / name, format=None, encoding="utf-8")
    assert (found and found.task) == task


def test_a_chosen_column_of_targets_decides(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + LABELS)
    found = recognize_task(tmp_path / "t.csv", format=None, encoding="utf-8", target_column="b")
    assert found is not None
    assert found.task == "label"
    found = recognize_task(tmp_path / "t.csv", format=None, encoding="utf-8", target_column="a")
    assert found is not None
    assert found.task == "translation"


def test_what_cannot_be_read_is_no_task(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    assert recognize_task(tmp_path / "t.csv", format=None, encoding="utf-8") is None
    assert recognize_task(tmp_path / "none.csv", format=None, encoding="utf-8") is None
