"""A file name and a text are never confused: data is read from a str, a text is the str."""

from pathlib import Path
from typing import Any

import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.data.file_names import is_file_name
from seriatim.errors import DataError, SeriatimError

TEXT = "the cat sat on the mat\nthe dog lay\n" * 40
PAIRS = [("abc", "cba"), ("bca", "acb"), ("cab", "bac"), ("bbc", "cbb")] * 10
LABELLED = [("so good", "pos"), ("so bad", "neg"), ("not bad", "pos"), ("not good", "neg")] * 10


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    """A small task of each kind."""
    source = st.open_source([TEXT], sequences="line")
    small: dict[str, Any] = {"batch_size": 4}
    return {
        "lm": st.LanguageModel(st.Markov(order=3)).fit(source, valid=source),
        "translator": st.Translator("gru", symbols="char").fit(
            PAIRS, valid=PAIRS, steps=1, options=small
        ),
        "labeller": st.Labeller("gru", symbols="word").fit(
            LABELLED, valid=LABELLED, steps=1, options=small
        ),
    }


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("a.txt", True), ("data/a.csv", True), ("a.JSONL", True), ("x.tsv.gz", True),
        ("the end of a.txt", False), ("a b.txt", False), ("a.txt\n", False), ("cat", False),
        ("and/or", False), ("", False), ("/\0/", False), ("e.g.", False), ("x" * 5000, False),
    ],
)  # fmt: skip
def test_names_of_files_are_told_from_texts(text: str, is_name: bool) -> None:
    assert is_file_name(text) is is_name


def test_a_path_that_exists_is_a_name_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a b.txt"
    file.write_text("x")
    assert is_file_name(str(file))
    (tmp_path / "plain").write_text("x")
    assert is_file_name(str(tmp_path / "plain"))


def test_functions_of_data_read_a_str_as_a_path(tasks: dict[str, Any], tmp_path: Path) -> None:
    lm = tasks["lm"]
    lm.threshold(TEXT.splitlines(), false_alarms=0.1)
    (tmp_path / "a.txt").write_text(TEXT)
    path = tmp_path / "a.txt"
    for use in (lm.score, lambda data: list(lm.score_each(data)), lm.effective_context):
        assert type(use(str(path))) is type(use(path))
    for use in (
        lm.score, lm.sequence_bits, lm.threshold, lm.detect, lm.effective_context, lm.robustness,
        tasks["translator"].score, tasks["labeller"].score, st.open_source, st.look,
        st.LanguageModel(st.Markov(order=2)).fit, st.Translator("gru").fit, st.Labeller("gru").fit,
    ):  # fmt: skip
        with pytest.raises(SeriatimError, match="there is no file 'the cat sat"):
            use("the cat sat on the mat")


def test_functions_of_texts_read_a_str_as_the_text_and_refuse_a_file(
    tasks: dict[str, Any], tmp_path: Path
) -> None:
    lm = tasks["lm"]
    (tmp_path / "a.txt").write_text(TEXT)
    for use in (lm.surprisal, tasks["translator"].translate, tasks["labeller"].label):
        with pytest.raises(DataError, match=r"is read as a text here, and looks like the name"):
            use("a.txt")
        with pytest.raises(DataError, match=r"is read as a text here, and looks like the name"):
            use(str(tmp_path / "a.txt"))
        assert use(["a.txt"])
    for use in (
        lm.next, lm.generate, lm.trace, lambda text: st.inspect(lm, text),
        tasks["translator"].translate, tasks["labeller"].label,
    ):  # fmt: skip
        with pytest.raises(DataError, match="is a path, and a text is needed: read the file"):
            use(tmp_path / "a.txt")
    assert lm.generate("a.txt", 3).startswith("a.txt")
    assert lm.next("a.txt")
    assert lm.surprisal(tmp_path / "a.txt") == lm.surprisal(TEXT)


def test_on_the_command_line_files_are_files_and_text_is_given_as_text(
    tasks: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "lm")
    tasks["lm"].save(folder)
    (tmp_path / "a.txt").write_text("the cat\n")
    file = str(tmp_path / "a.txt")
    for command in (["surprisal", folder, "--file"], ["inspect", folder]):
        assert main([*command, file]) == 0, command
        assert main([*command, "the cat"]) == 3, command
        assert "there is no file 'the cat'" in capsys.readouterr().err, command
        assert main([*command[:2], "--text", "the cat"]) == 0, command
        assert main([*command[:2], "--text", "a.txt"]) == 0, command  # asked for as a text
    capsys.readouterr()
    assert main(["generate", folder, file, "-n", "1"]) == 0
    assert f"the prompt is the text '{file}'; to read the file, give --file" in (
        capsys.readouterr().err
    )
