"""The surprisal of each sequence is the sum of the bits that `surprisal` gives, and of `score`."""

import json
from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import ConfigError, DataError

SESSIONS = [["open", "read", "close"], ["open", "write", "write", "close"], ["open", "close"]] * 30
ODD = ["open", "close", "close", "read"]


@pytest.fixture(scope="module", params=["line", "document"])
def lm(request: pytest.FixtureRequest) -> st.LanguageModel:
    model = st.LanguageModel(st.Markov(order=3), symbols="word", sequences=request.param)
    return model.fit(SESSIONS, valid=SESSIONS)


def test_the_bits_of_each_sequence_add_up_to_the_score(lm: st.LanguageModel) -> None:
    data = [*SESSIONS[:3], ODD, []]
    scores = list(lm.score_each(data))
    score = lm.score(data)
    assert sum(each.bits for each in scores) == pytest.approx(score.nats / np.log(2), rel=1e-6)
    assert [each.symbols for each in scores] == [len(s) + 1 for s in data]
    assert [each.number for each in scores] == [1, 2, 3, 4, 5]
    for each in scores:
        assert each.bits_per_symbol == pytest.approx(each.bits / each.symbols)


def test_the_highest_symbol_is_that_of_surprisal(lm: st.LanguageModel) -> None:
    text = " ".join(ODD)
    symbols = lm.surprisal(text)
    (each,) = lm.score_each([ODD])
    worst = max(range(len(symbols)), key=lambda i: symbols[i].bits)
    assert each.at == worst + 1
    assert each.symbol == symbols[worst].symbol
    assert each.highest == pytest.approx(symbols[worst].bits, rel=1e-5)


def test_an_odd_session_costs_more_than_every_known_one(lm: st.LanguageModel) -> None:
    *known, odd = lm.score_each([*SESSIONS[:3], ODD])
    assert odd.bits_per_symbol > max(each.bits_per_symbol for each in known)


def test_an_end_that_comes_too_early_has_a_high_surprisal(lm: st.LanguageModel) -> None:
    (each,) = lm.score_each([["open"]])
    assert each.at == each.symbols == 2


def test_streams_and_models_not_fitted_are_refused(tmp_path: Path) -> None:
    stream = st.LanguageModel(st.Markov(order=2), symbols="char", sequences="stream")
    with pytest.raises(ConfigError, match="not fitted"):
        next(stream.score_each(["a"]))
    (tmp_path / "a.txt").write_text("abc\n" * 30)
    stream.fit(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="one stream"):
        next(stream.score_each(tmp_path / "a.txt"))
    (tmp_path / "b.txt").write_text("")
    lines = st.LanguageModel(st.Markov(order=2), sequences="line").fit(["ab", "cd", "ef"] * 9)
    with pytest.raises(DataError, match="empty"):
        next(lines.score_each(tmp_path / "b.txt"))


def test_the_command_line_prints_a_line_for_each_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = st.LanguageModel(st.Markov(order=3), symbols="word", sequences="line")
    lm.fit(SESSIONS, valid=SESSIONS).save(tmp_path / "model")
    (tmp_path / "a.txt").write_text("open read close\nopen close close read\n")
    words = ["score", str(tmp_path / "model"), str(tmp_path / "a.txt"), "--each"]
    assert main(words) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    names = ["sequence", "symbols", "bits", "bits per symbol", "highest", "at", "symbol"]
    assert head.split("\t") == [*names, "time", "unknown", "verdict"]
    assert [len(row.split("\t")) for row in rows] == [10, 10]
    assert main([*words, "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["symbols"] for record in records] == [4, 5]
    assert float(rows[0].split("\t")[2]) == pytest.approx(records[0]["bits"], abs=1e-3)
    assert main([*words, "--restart-every", "4"]) == 2
