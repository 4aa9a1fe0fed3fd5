"""`seriatim generate` with prompts and samples; files of pairs are recognized."""

import json
import os
from pathlib import Path

import pytest

import seriatim as st
from seriatim.cli import main

TEXTS = [f"the {a} sat on {b}" for a in ("cat", "dog", "rat") for b in ("a mat", "it", "a hat")]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of lines and a file of prompts."""
    place = tmp_path_factory.mktemp("generate")
    os.environ["SERIATIM_CACHE"] = str(place / "cache")
    lm = st.LanguageModel(st.Markov(order=3), sequences="line", device="cpu")
    lm.fit(TEXTS, valid=TEXTS).save(place / "lm")
    (place / "prompts.txt").write_text("the\na\n")
    return place


def test_samples_of_lines_are_lines(folder: Path, capsys: Capture) -> None:
    assert main(["generate", str(folder / "lm"), "the", "--samples", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    lm = st.load(folder / "lm")
    assert isinstance(lm, st.LanguageModel)
    assert lines == lm.generate("the", samples=3)


def test_json_has_an_object_for_each_text(folder: Path, capsys: Capture) -> None:
    prompts = ["--prompts", str(folder / "prompts.txt")]
    options = ["--samples", "2", "--stop", "sat", "--json", "--seed", "4"]
    assert main(["generate", str(folder / "lm"), *prompts, *options]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["prompt"], r["sample"]) for r in records] == [
        *(("the", 0), ("the", 1), ("a", 0), ("a", 1))
    ]
    assert all("sat" not in r["text"] and r["seed"] == 4 for r in records)


def test_a_beam_prints_the_most_probable_texts(folder: Path, capsys: Capture) -> None:
    lm = st.load(folder / "lm")
    assert isinstance(lm, st.LanguageModel)
    best = lm.beam("the", 30, beam=4, num_best=2)
    options = ["the", "-n", "30", "--beam", "4", "--num-best", "2"]
    assert main(["generate", str(folder / "lm"), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{one.log_prob:.3f}\t{one.text}" for one in best]
    assert main(["generate", str(folder / "lm"), *options, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["rank"], "the" + r["text"]) for r in records] == [
        (rank, one.text) for rank, one in enumerate(best, start=1)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam", "3", "--top-k", "5"], "samples none, so it does not go with --top-k"),
        (["--beam", "3", "--seed", "5", "--samples", "2"], "does not go with --seed and --samples"),
        (["--num-best", "3"], "--num-best needs --beam N"),
        (["--beam", "2", "--num-best", "3"], "--num-best 3 does not fit"),
    ],
)
def test_a_beam_is_no_sampling(
    folder: Path, capsys: Capture, options: list[str], message: str
) -> None:
    assert main(["generate", str(folder / "lm"), "the", *options]) == 2
    assert message in capsys.readouterr().err


def test_several_prompts_are_noted_if_they_may_be_one(folder: Path, capsys: Capture) -> None:
    assert main(["generate", str(folder / "lm"), "the", "a"]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 2
    assert "2 prompts, one for each word; put a text of several words in quotes" in output.err


def test_prompts_are_given_once(folder: Path, capsys: Capture) -> None:
    prompts = ["--prompts", str(folder / "prompts.txt")]
    assert main(["generate", str(folder / "lm"), "the", *prompts]) == 2
    assert "prompts were given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "head", "row", "what"),
    [
        ("p.tsv", "source\ttarget", "{a} {b}\t{b} {a}", "this fits a translator"),
        ("l.csv", "text,label", "so {a} {b},{c}", "this fits a labeller"),
    ],
)
def test_fit_says_what_it_recognized(
    tmp_path: Path, capsys: Capture, name: str, head: str, row: str, what: str
) -> None:
    rows = [row.format(a=a, b=b, c=a < b) for a in "abcdef" for b in "abcdef"]
    (tmp_path / name).write_text("\n".join([head, *rows]) + "\n")
    size = ["--model", "gru", "--model-size", "8", "--steps", "1", "--allow-untrained"]
    fit = ["fit", str(tmp_path / name), *size]
    assert main([*fit, "--out", str(tmp_path / "m")]) == 0
    output = capsys.readouterr()
    assert what in output.err
    assert ("bits per label" in output.err) == ("labeller" in what)
    data = [str(tmp_path / name)]
    assert main(["score", str(tmp_path / "m"), *data]) == 0
    assert main([*fit, "--task", "language", "--out", str(tmp_path / "n")]) == 2


def test_a_table_of_numbers_in_time_is_one_of_series(tmp_path: Path, capsys: Capture) -> None:
    days = [f"2026-01-{day:02d},{day % 7 + 0.5}" for day in range(1, 32)]
    (tmp_path / "s.csv").write_text("\n".join(["ds,y", *days]) + "\n")
    assert main(["fit", str(tmp_path / "s.csv"), "--out", str(tmp_path / "m")]) == 0
    assert "holds series of numbers: this fits a forecaster" in capsys.readouterr().err
    assert main(["forecast", str(tmp_path / "m"), "--horizon", "3"]) == 0
    assert "2026-02-01" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "s.csv"), "--minutes", "1"]) == 2
    assert "compare models of series with seriatim backtest" in capsys.readouterr().err


def test_two_files_are_pairs_in_every_command(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "s.txt").write_text("".join(f"{a} {b}\n" for a in "abcdef" for b in "abcdef"))
    (tmp_path / "t.txt").write_text("".join(f"{b} {a}\n" for a in "abcdef" for b in "abcdef"))
    pairs = ["--source", str(tmp_path / "s.txt"), "--target", str(tmp_path / "t.txt")]
    size = ["--model", "gru", "--model-size", "8", "--steps", "1", "-q", "--allow-untrained"]
    model = str(tmp_path / "m")
    assert main(["fit", *pairs, *size, "-o", model]) == 0
    assert main(["look", *pairs]) == 0
    assert main(["score", model, *pairs]) == 0
    capsys.readouterr()
    assert main(["score", model, *pairs, "--json"]) == 0
    apart = capsys.readouterr().out
    assert main(["score", model, str(tmp_path / "s.txt"), *pairs[2:], "--json"]) == 0
    keys = ("nats", "symbols")
    one, other = (json.loads(text) for text in (apart, capsys.readouterr().out))
    assert [one[key] for key in keys] == [other[key] for key in keys]
    assert main(["evaluate", model, *pairs, "--beam", "1", "--max-length", "3"]) == 0
    assert main(["score", model]) == 2
    assert main(["score", model, *pairs[:2]]) == 2
