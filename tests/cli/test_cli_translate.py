"""Translators on the command line: fit, translate, score, and one sentence for a mistake."""

import io
import json
import sys
from pathlib import Path

import pytest

from seriatim.cli import main
from seriatim.cli.inputs import _arriving
from seriatim.errors import DecodingError

TINY = ["--model-size", "16", "--encoder-layers", "1", "--decoder-layers", "1", "--dropout", "0"]


def write_pairs(folder: Path, count: int = 60) -> Path:
    """Words and their reversals."""
    words = [f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16 % 4]}" for i in range(count)]
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{w}\t{w[::-1]}\n" for w in words))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a translator that was trained for a few steps."""
    folder = tmp_path_factory.mktemp("cli")
    pairs, out = write_pairs(folder), folder / "model"
    command = ["fit", str(pairs), "--task", "translation", "--model", "gru", "--symbols", "char"]
    assert main([*command, *TINY, "--steps", "3", "--out", str(out), "-q"]) == 0
    return out


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


# ---- fit ----------------------------------------------------------------------------------------


def test_two_files_are_fitted_as_pairs_without_a_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [line.split("\t") for line in write_pairs(tmp_path).read_text().splitlines()]
    for i, name in enumerate(("s", "t")):
        (tmp_path / name).write_text("".join(row[i] + "\n" for row in rows))
    files = ["--source", str(tmp_path / "s"), "--target", str(tmp_path / "t")]
    valid = ["--valid-source", str(tmp_path / "s"), "--valid-target", str(tmp_path / "t")]
    shape = ["--encoder", "gru", "--decoder", "lstm", "--attention", "multiplicative", *TINY]
    command = ["fit", *files, *valid, *shape, "--symbols", "char", "--joint", "--steps", "2"]
    assert main([*command, "--out", str(tmp_path / "m"), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["model"]["options"]["decoder"] == "lstm"
    assert info["joint"] is True
    assert info["training"]["data"]["valid"]["pairs"] == 60


def test_fit_prints_a_summary_of_a_few_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = write_pairs(tmp_path)
    command = ["fit", str(pairs), "--task", "translation", "--model", "gru", "--symbols", "char"]
    assert main([*command, *TINY, "--steps", "2", "--out", str(tmp_path / "m"), "-q"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("gru to gru: ")
    assert "test:\n  targets given their sources:" in out
    assert f"try: seriatim translate {tmp_path / 'm'} FILE" in out


# ---- translate ----------------------------------------------------------------------------------


def test_each_line_gives_one_line_of_output(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_bytes(b"\xef\xbb\xbfab\r\n\r\nccd\nxab")
    assert main(["translate", str(model), str(tmp_path / "in"), "--beam", "2"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert "line 4: the source has symbols never seen in training ('x')" in captured.err


def test_stdin_is_translated_like_a_file(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b"ab\nda\n\nbb\n"
    (tmp_path / "in").write_bytes(text)
    assert main(["translate", str(model), str(tmp_path / "in")]) == 0
    expected = lines_of(capsys)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["translate", str(model), "-"]) == 0
    assert lines_of(capsys) == expected


def test_lines_of_a_stream_are_in_order_and_without_line_ends() -> None:
    stream = io.BytesIO("\ufeffä\r\nb\n\nlast".encode())
    assert [line for group in _arriving(stream, "utf-8") for line in group] == [
        "ä",
        "b",
        "",
        "last",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_lines_of_wide_characters_are_read_from_a_stream(encoding: str) -> None:
    stream = io.BytesIO("Ċä\r\nb\n\nПривет".encode(encoding))
    lines = [line for group in _arriving(stream, encoding) for line in group]
    assert lines == ["Ċä", "b", "", "Привет"]
    with pytest.raises(DecodingError, match="stdin is not"):
        list(_arriving(io.BytesIO(b"\x00"), encoding))


def test_utf16_without_a_mark_is_refused_on_stdin() -> None:
    stream = io.BytesIO("plain text\n".encode("utf-16-le"))
    with pytest.raises(DecodingError, match="give --encoding utf-16-le"):
        list(_arriving(stream, "utf-8"))


def test_json_has_scores_the_n_best_and_the_weights_of_the_alignment(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("abc\nb\n")
    command = ["translate", str(model), str(tmp_path / "in"), "--json", "--alignment"]
    assert main([*command, "--num-best", "3", "--beam", "3"]) == 0
    records = [json.loads(line) for line in lines_of(capsys)]
    assert len(records) == 2
    for record, size in zip(records, (4, 2), strict=True):
        assert len(record["others"]) == 2
        assert record["score"] >= record["others"][0]["score"]
        assert all(len(row) == size for row in record["alignment"]["weights"])
        assert len(record["alignment"]["weights"]) == len(record["alignment"]["target"])


def test_plain_output_shows_n_best_and_positions(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("abc\nb\n")
    command = ["translate", str(model), str(tmp_path / "in"), "-q"]
    assert main([*command, "--num-best", "2"]) == 0
    rows = [line.split(" ||| ") for line in lines_of(capsys)]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert float(rows[0][2]) >= float(rows[1][2])
    assert main([*command, "--alignment"]) == 0
    _, places = lines_of(capsys)[0].split("\t")
    assert all(place.split("-")[1] == str(t) for t, place in enumerate(places.split()))


def test_samples_are_those_of_their_seed_and_an_ensemble_is_searched_together(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("abc\nb\n")
    command = ["translate", str(model), str(tmp_path / "in"), "-q"]
    drawn = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--sample", "--seed", seed]) == 0
        drawn.append(lines_of(capsys))
    assert drawn[0] == drawn[1] != drawn[2]
    assert main(command) == 0
    alone = lines_of(capsys)
    assert main([*command, "--ensemble", str(model)]) == 0
    assert lines_of(capsys) == alone


# ---- score and info -----------------------------------------------------------------------------


def test_score_gives_bits_or_the_log_probability_of_each_pair(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = write_pairs(tmp_path, 5)
    assert main(["score", str(model), str(pairs), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["symbols"] == 20
    assert main(["score", str(model), str(pairs), "--each"]) == 0
    each = [float(line) for line in lines_of(capsys)]
    assert -sum(each) == pytest.approx(score["nats"], rel=1e-4)


def test_info_says_what_the_folder_holds(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--verify"]) == 0
    out = capsys.readouterr().out
    assert "translation" in out
    assert "2 S + 20 symbols for a source of S" in out
    assert "all files are as written" in out


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["translate", "MODEL", "IN", "--beam", "0"],
            2,
            "--beam 0: give 1 (greedy search) or more",
        ),
        (["translate", "MODEL", "IN", "--num-best", "9"], 2, "a beam of 4 cannot return 9 results"),
        (["translate", "MODEL", "absent"], 3, "there is no file 'absent'"),
        (["translate", "IN", "IN"], 4, "there is no model folder"),
        (["translate", "MODEL", "IN", "--top-k", "3"], 2, "give --sample too"),
        (["generate", "MODEL", "ab"], 4, "is a translator; generate needs a language model"),
        (["score", "MODEL", "IN"], 2, "which has no columns"),
        (
            ["score", "MODEL", "IN", "--target", "IN", "--restart-every", "3"],
            2,
            "is for texts that are streams, not for a translator",
        ),
        (["fit", "IN", "--task", "translation", "--out", "OUT"], 2, "which has no columns"),
        (["fit", "--source", "IN", "--out", "OUT"], 2, "belong together: give both"),
        (["fit", "--task", "translation", "--out", "OUT"], 2, "nothing to fit to"),
        (
            ["fit", "IN", "--joint", "--sequences", "line", "--out", "OUT"],
            2,
            "not an option of a translator",
        ),
        (
            ["fit", "IN", "--joint", "--model", "markov", "--out", "OUT"],
            2,
            "no translator 'markov'",
        ),
        (["fit", "IN", "--joint", "--length", "9", "--out", "OUT"], 2, "a pair is never cut"),
        (["fit", "--source", "IN", "--target", "TWO", "--out", "OUT"], 3, "in has 1 lines and"),
    ],
)
def test_a_mistake_gives_one_sentence_and_an_exit_code(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    (tmp_path / "in").write_text("abc\n")
    (tmp_path / "two").write_text("abc\nd\n")
    places = {"MODEL": model, "IN": tmp_path / "in", "TWO": tmp_path / "two", "OUT": tmp_path / "o"}
    assert main([str(places.get(a, a)) for a in arguments]) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


# ---- evaluate and wishes ------------------------------------------------------------------------


def test_evaluate_compares_translations_with_their_references(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = write_pairs(tmp_path, 6)
    assert main(["evaluate", str(model), str(pairs), "--beam", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pairs"] == 6
    assert 0 <= result["exact_match"] <= 1
    assert result["symbol_error_rate"] > 0
    assert main(["evaluate", str(model), str(pairs), "--beam", "1"]) == 0
    assert "exact match" in capsys.readouterr().out


def test_required_texts_are_in_every_result_and_forbidden_ones_in_none(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("abc\nb\n")
    (tmp_path / "must").write_text("dd\tb\n\n")
    command = ["translate", str(model), str(tmp_path / "in"), "-q", "--forbid", "a"]
    assert main([*command, "--require", str(tmp_path / "must")]) == 0
    first, second = lines_of(capsys)
    assert "dd" in first
    assert "b" in first
    assert "a" not in first + second


def test_a_picture_shows_the_attention_for_the_first_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("abc\nda\n")
    command = ["translate", str(model), str(tmp_path / "in"), "-q"]
    assert main(command) == 0
    plain = lines_of(capsys)
    picture = tmp_path / "seen.svg"
    assert main([*command, "--picture", str(picture)]) == 0
    assert lines_of(capsys) == plain  # no other line out
    drawn = picture.read_text()
    assert (
        drawn.startswith("<svg") and drawn.count("attends to") >= 4
    )  # the source has four symbols
    assert "attends to d" not in drawn  # that is the second line's
    assert main([*command, "--picture", str(tmp_path / "no" / "where.svg")]) == 5
    assert "cannot write the picture" in capsys.readouterr().err
