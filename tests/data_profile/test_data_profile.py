"""`look` from end to end: how data is read, what is advised, and that the advice runs."""

import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.data_profile import DataReport, look
from seriatim.errors import ConfigError, DataError
from tests.data_profile.test_profile_findings import prose
from tests.oracles.sources import markov_chain


def letters(ids: np.ndarray) -> str:
    return "".join("abcdefgh"[i] for i in ids)


def lines_of(text: str, width: int = 50) -> str:
    return "\n".join(text[i : i + width] for i in range(0, len(text), width)) + "\n"


def test_a_report_is_json_and_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(200))
    report = look(path)
    record = json.loads(json.dumps(report.to_json()))
    assert record["parts"]["train"]["text"]["sequences"] == 200
    assert record["advice"]["commands"][0] == report.command
    assert report.command is not None and report.command in str(report)
    assert "bits per char" in str(report)


@pytest.mark.parametrize("how", ["path", "lists", "texts", "source"])
def test_files_and_texts_in_memory_have_the_same_figures(tmp_path: Path, how: str) -> None:
    (tmp_path / "a.txt").write_text(prose(200))
    data: Any = {
        "path": tmp_path / "a.txt",
        "texts": prose(200).splitlines(),
        "lists": [line.split() for line in prose(200).splitlines()],
        "source": st.open_source(tmp_path / "a.txt"),
    }[how]
    report = look(data)
    assert report.profile.train.facts.num_sequences == 200
    assert report.profile.train.facts.num_words == 2000
    assert report.advice.symbols == ("word" if how == "lists" else "char")


def test_a_packed_file_and_a_plain_one_give_the_same_figures(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(200))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(prose(200).encode()))
    plain, packed = (look(tmp_path / name).to_json() for name in ("a.txt", "a.txt.gz"))
    assert plain["parts"]["train"]["text"] == packed["parts"]["train"]["text"]
    assert plain["predictability"] == packed["predictability"]


def test_the_advised_order_is_that_of_the_chain(tmp_path: Path) -> None:
    text = letters(markov_chain(2, num_symbols=4).sample(120_000, 0))
    (tmp_path / "a.txt").write_text(lines_of(text, 2000))
    report = look(tmp_path / "a.txt")
    assert (report.advice.family, report.advice.options["order"]) == ("markov", 3)


def test_a_long_memory_calls_for_a_recurrent_model(tmp_path: Path) -> None:
    text = letters(markov_chain(5, num_symbols=3, sharpness=0.2).sample(120_000, 0))
    (tmp_path / "a.txt").write_text(lines_of(text, 2000))
    assert look(tmp_path / "a.txt").advice.family == "lstm"


def test_context_does_not_help_on_shuffled_text(tmp_path: Path) -> None:
    text = letters(np.random.default_rng(0).integers(0, 8, 60_000))
    (tmp_path / "a.txt").write_text(lines_of(text, 2000))
    report = look(tmp_path / "a.txt")
    assert report.advice.family == "markov"
    assert "does not help" in " ".join(report.advice.reasons)


@pytest.mark.slow
def test_large_data_is_sampled_and_the_fraction_stated(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(20_000))
    report = look(tmp_path / "a.txt", megabytes=0.1)
    whole = look(tmp_path / "a.txt")
    fraction = report.profile.train.sample.fraction
    assert fraction == pytest.approx(0.1 / 0.75, rel=0.2)
    assert any("sample of" in f.message for f in report.findings)
    guess = report.profile.train.facts.num_sequences / fraction
    assert guess == pytest.approx(20_000, rel=0.05)
    assert whole.profile.train.sample.fraction == 1


def test_say_receives_log_messages(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(100))
    messages: list[str] = []
    look(tmp_path / "a.txt", say=messages.append)
    assert any("leaks" in sentence for sentence in messages)


# ---- advice -------------------------------------------------------------------------------------


def write_kinds(folder: Path) -> dict[str, Path]:
    """A small file of each kind that has a command."""
    rng = np.random.default_rng(0)
    sessions = "".join(
        " ".join(f"e{k}" for k in rng.integers(0, 9, rng.integers(3, 9))) + "\n" for _ in range(200)
    )
    rows = "".join(f"s{i // 5},{i},{'abc'[i % 3]}\n" for i in range(300))
    pairs = "".join(f"w{i}\t{' '.join(str(i))}\n" for i in range(150))
    files = {
        "prose.txt": prose(200),
        "events.log": sessions,
        "table.csv": "session_id,time,event\n" + rows,
        "pairs.tsv": pairs,
        "keyed.txt": "".join(f"IN: w{i} OUT: {' '.join(str(i))}\n" for i in range(150)),
        "labels.csv": "text,label\n" + "".join(f"t{i} {i % 7},{'ab'[i % 2]}\n" for i in range(150)),
        "texts.jsonl": "".join(f'{{"id": {i}, "body": "text {i}"}}\n' for i in range(90)),
        "unnamed.dat": "".join(f"+,S{i}, tac{i}ta\n" for i in range(90)),
        "latin.txt": prose(200) + "caf\xe9\n",
        "it's odd.txt": prose(200),
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    return {name: folder / name for name in files}


KINDS = [
    "prose.txt", "events.log", "table.csv", "pairs.tsv", "keyed.txt", "labels.csv", "texts.jsonl",
    "unnamed.dat", "latin.txt", "it's odd.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_advised_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A budget of three steps in place of the minutes, and the smallest sizes."""
    monkeypatch.chdir(tmp_path)
    report = look(write_kinds(tmp_path)[name])
    assert report.advice.commands
    for command in report.advice.commands:
        words = shlex.split(command)
        if words[0] == "sed":
            lines = [line.split(" OUT: ") for line in (tmp_path / name).read_text().splitlines()]
            table = "".join(f"{a.removeprefix('IN: ')}\t{b}\n" for a, b in lines)
            (tmp_path / words[-1]).write_text(table)
        elif words[1] == "fit":
            assert main([*_cheap(words[1:]), "--quiet"]) == 0


def _cheap(words: list[str]) -> list[str]:
    sizes = {"--minutes": ("--steps", "2"), "--hidden-size": ("--hidden-size", "8")}
    sizes |= {"--model-size": ("--model-size", "16")}
    cheap, skip = [], False
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if skip:
            skip = False
            continue
        if word in sizes:
            cheap += sizes[word]
            skip = True
        else:
            cheap.append(word)
        del value
    return cheap


def test_the_users_own_options_are_in_the_command(tmp_path: Path) -> None:
    path = write_kinds(tmp_path)["texts.jsonl"]
    (tmp_path / "test.jsonl").write_bytes(path.read_bytes())
    report = look(path, field="body", sequences="line", test=tmp_path / "test.jsonl")
    command = report.command or ""
    assert "--field body" in command
    assert "--sequences line" in command
    assert f"--test {tmp_path / 'test.jsonl'}" in command


def test_two_files_of_pairs_are_read_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("".join(f"word{i} it is\n" for i in range(60)))
    (tmp_path / "a.ja").write_text("".join(f"{i} です\n" for i in range(60)))
    report = look(tmp_path / "a.en", target=tmp_path / "a.ja")
    assert set(report.profile.train.sides) == {"source", "target"}
    assert "--source" in (report.command or "") and "--target" in (report.command or "")
    with pytest.raises(ConfigError, match="file of targets"):
        look(tmp_path / "a.en", target=tmp_path / "a.ja", test=tmp_path / "a.en")


@pytest.mark.parametrize(
    ("first", "kinds", "symbols"), [(0xAC00, 300, "nfd"), (0x3041, 60, "char")]
)
def test_syllables_composed_of_few_parts_are_decomposed(
    tmp_path: Path, first: int, kinds: int, symbols: str
) -> None:
    lines = [
        f"{chr(first + i % kinds)}{chr(first + 7 * i % kinds)}\t{i % 5} {i % 7} {i % 9} {i % 11}\n"
        for i in range(300)
    ]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    command = look(tmp_path / "pairs.tsv").command or ""
    assert f"--source-symbols {symbols}" in command


# ---- bad input ----------------------------------------------------------------------------------


def test_unreadable_data_is_refused_with_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").write_text("a\n")
    for name, message in {
        "missing.txt": "there is no file",
        "empty.txt": "is empty",
        "image.txt": "PNG image",
        "folder": "has no files in it",
    }.items():
        with pytest.raises(DataError, match=message):
            look(tmp_path / name)
    with pytest.raises(DataError, match="is empty"):
        look([])
    with pytest.raises(ConfigError, match="megabytes"):
        look(tmp_path / "a.txt", megabytes=0)
    with pytest.raises(ConfigError, match="fractions"):
        look(tmp_path / "a.txt", split=(0.5, 0.1, 0.1))


@pytest.mark.parametrize(
    "text", ["a", "one line only\n", "\n", "\n\n\n", "\n" * 99, " \n", "x" * 5000]
)
def test_tiny_texts_have_a_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    report = look(tmp_path / "a.txt")
    assert isinstance(report, DataReport)
    assert str(report) and json.dumps(report.to_json())
    assert report.advice.family in ("markov", None)


def test_data_too_short_to_split_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    report = look(tmp_path / "a.txt")
    assert any(f.level == "error" and "too few to split" in f.message for f in report.findings)
