"""Events and words: one event is one symbol, pieces are those of the text, words have bits."""

import itertools
import json
from pathlib import Path

import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.data.vocab.fit import vocabulary_from_json
from seriatim.errors import DataError, SymbolError
from seriatim.tasks import SurprisalTable

SESSIONS = [["open", "view item", "buy now"], ["open", "view item", "log out"]] * 30
SENTENCE = "the cat sat on the unbelievable mat"
TEXT = f"{SENTENCE}\nthe unbelievable dog sat on the cat\n" * 30


@pytest.fixture(scope="module")
def events() -> st.LanguageModel:
    """A model of lists of events, some of which contain spaces."""
    return st.LanguageModel(st.Markov(order=3), symbols="word").fit(SESSIONS, valid=SESSIONS)


@pytest.fixture(scope="module")
def bare() -> st.LanguageModel:
    """A model of lists of events without spaces in them."""
    sessions = [["open", "read", "close"], ["open", "write", "close"]] * 30
    return st.LanguageModel(st.Markov(order=3), symbols="word").fit(sessions, valid=sessions)


@pytest.fixture(scope="module", params=["byte", "char", "word", "bpe:300"])
def text_model(request: pytest.FixtureRequest) -> st.LanguageModel:
    """A model of lines for each kind of symbols."""
    source = st.open_source(TEXT.splitlines(), sequences="line")
    return st.LanguageModel(st.Markov(order=3), symbols=request.param).fit(source, valid=source)


@pytest.fixture(scope="module")
def pieces() -> st.LanguageModel:
    """A model of merged bytes."""
    source = st.open_source(TEXT.splitlines(), sequences="line")
    return st.LanguageModel(st.Markov(order=3), symbols="bpe:300").fit(source, valid=source)


def _bits(table: SurprisalTable) -> list[float]:
    return [row.bits for row in table]


# ---- one event is one symbol --------------------------------------------------------------------


def test_an_event_with_a_space_is_pushed_as_one_symbol(events: st.LanguageModel) -> None:
    one, listed = events.stream(), events.stream()
    assert one.push("open") == listed.push(["open"])
    assert one.push("view item") == listed.push(["view item"])
    assert one.top(2) == listed.top(2)


def test_an_unknown_event_with_a_space_is_one_unknown_symbol(bare: st.LanguageModel) -> None:
    text, listed = bare.stream(), bare.stream()
    assert text.push("break in") == listed.push(["break in"])
    assert text.top(3) == listed.top(3)


def test_lists_of_events_are_taken_everywhere_and_agree(events: st.LanguageModel) -> None:
    session = SESSIONS[0]
    surprisal = events.surprisal(session)
    assert [s.symbol for s in surprisal] == ["open", "view item", "buy now", "<end>"]
    stream = events.stream()
    pushed = [*map(stream.push, session), stream.end()]
    assert [s.bits for s in surprisal] == pytest.approx(pushed, abs=1e-4)
    assert sum(pushed) == pytest.approx(
        events.score([session]).bits_per_symbol * len(surprisal), abs=1e-4
    )
    assert {p.symbol for p in events.next(["open", "view item"], top=2)} == {"buy now", "log out"}
    after = events.generate(["open"], 5, temperature=0)
    assert after[:2] == ["open", "view item"]
    assert len(after) == 3, "the end is predicted"
    assert list(events.generating(["open"], 1, temperature=0)) == ["view item"]


def test_a_text_of_an_event_model_is_one_event_or_refused(events: st.LanguageModel) -> None:
    assert events.next("view item") == events.next(["view item"])
    assert _bits(events.surprisal("view item")) == _bits(events.surprisal(["view item"]))
    with pytest.raises(SymbolError, match=r"'open view item'.*give a list of events"):
        events.next("open view item")
    with pytest.raises(SymbolError, match="give a list of events"):
        events.surprisal("open view item")
    with pytest.raises(DataError, match=r"events that contain spaces.*list of events"):
        events.score(["open view item"])


def test_texts_of_events_without_spaces_are_still_cut_at_spaces(bare: st.LanguageModel) -> None:
    listed = bare.surprisal(["open", "read", "close"])
    assert _bits(bare.surprisal("open read close")) == _bits(listed)
    assert bare.score(["open read close"]).nats == bare.score([["open", "read", "close"]]).nats


def test_a_saved_event_model_still_knows_its_events(
    bare: st.LanguageModel, events: st.LanguageModel, tmp_path: Path
) -> None:
    for name, lm in {"bare": bare, "events": events}.items():
        lm.save(tmp_path / name)
        again = st.load(tmp_path / name)
        assert again.stream().push("break in") == lm.stream().push("break in")


def test_an_older_vocabulary_of_events_is_recognized_by_their_spaces(
    events: st.LanguageModel,
) -> None:
    assert events.vocabulary is not None
    record = events.vocabulary.to_json()
    assert record.pop("is_events") is True
    again = vocabulary_from_json(record)
    assert again.is_events
    assert again.encode_element("view item").tolist() == events.vocabulary.encode(["view item"])


# ---- pieces -------------------------------------------------------------------------------------


def test_pieces_that_are_not_those_of_the_text_are_refused(pieces: st.LanguageModel) -> None:
    stream = pieces.stream()
    with pytest.raises(SymbolError, match=r"'.' continues '.*whole words"):
        [stream.push(character) for character in SENTENCE]


def test_words_pushed_with_their_spaces_cost_what_the_text_costs(
    text_model: st.LanguageModel,
) -> None:
    stream = text_model.stream()
    pushed = [stream.push(p) for p in ["the", " unbelievable", " cat"]] + [stream.end()]
    whole = text_model.surprisal("the unbelievable cat")
    assert sum(pushed) == pytest.approx(sum(s.bits for s in whole), rel=1e-5)


def test_characters_of_a_word_model_are_refused_at_the_first_space() -> None:
    source = st.open_source(TEXT.splitlines(), sequences="line")
    lm = st.LanguageModel(st.Markov(order=3), symbols="word").fit(source, valid=source)
    stream = lm.stream()
    for character in "the":
        stream.push(character)
    with pytest.raises(SymbolError, match=r"' ' holds no symbol.*whole words"):
        stream.push(" ")


# ---- words --------------------------------------------------------------------------------------


def test_the_bits_of_words_sum_to_those_of_the_symbols(text_model: st.LanguageModel) -> None:
    text = "the cat  sat\non the unbelievable\tmat "
    words = text_model.surprisal(text, by="word")
    symbols = text_model.surprisal(text)
    assert sum(w.bits for w in words) == pytest.approx(sum(s.bits for s in symbols), rel=1e-6)
    names = [w.word for w in words if w.word.strip()]  # the space at the end has no word
    assert names == ["the", "cat", "sat", "\\n", "on", "the", "unbelievable", "mat", "\\n"]


def test_the_bits_of_words_are_those_of_their_symbols() -> None:
    source = st.open_source([TEXT], sequences="stream")
    lm = st.LanguageModel(st.Markov(order=3)).fit(source, valid=source)
    symbols = lm.surprisal("the cat sat\n")
    words = lm.surprisal("the cat sat\n", by="word")
    ends = [3, 7, 11, 12]  # a space counts with the word after it
    sums = [sum(s.bits for s in symbols[i:j]) for i, j in itertools.pairwise([0, *ends])]
    assert [w.bits for w in words] == pytest.approx(sums)
    assert [w.symbol for w in words] == ["the", "cat", "sat", "\\n"]


def test_unknown_words_are_named_as_they_are_written() -> None:
    source = st.open_source(TEXT.splitlines(), sequences="line")
    for symbols in ("char", "word"):
        lm = st.LanguageModel(st.Markov(order=3), symbols=symbols).fit(source, valid=source)
        names = [w.symbol for w in lm.surprisal("the Zebra 日本 sat", by="word")]
        assert names == ["the", "Zebra", "日本", "sat", "\\n"]


def test_every_event_is_its_own_word(events: st.LanguageModel) -> None:
    session = SESSIONS[0]
    assert _bits(events.surprisal(session, by="word")) == _bits(events.surprisal(session))


# ---- the command line ---------------------------------------------------------------------------


@pytest.fixture
def saved(events: st.LanguageModel, tmp_path: Path) -> str:
    """The folder of the model of events."""
    events.save(tmp_path / "events")
    return str(tmp_path / "events")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_events_are_given_as_json(
    saved: str, events: st.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    session = json.dumps(SESSIONS[0])
    result = json.loads(_run(capsys, "surprisal", saved, "--text", session, "--json"))
    assert [s["symbol"] for s in result["symbols"]] == ["open", "view item", "buy now", "<end>"]
    expected = sum(s.bits for s in events.surprisal(SESSIONS[0]))
    assert result["bits"] == pytest.approx(expected)
    result = json.loads(_run(capsys, "next", saved, '["open", "view item"]', "--json"))
    assert {p["symbol"] for p in result[:2]} == {"buy now", "log out"}
    out = _run(capsys, "generate", saved, '["open"]', "--temperature", "0", "--json")
    assert json.loads(out)["symbols"][:2] == ["open", "view item"]
    out = _run(capsys, "generate", saved, '["open"]', "--temperature", "0")
    assert out.splitlines()[:2] == ["open", "view item"]


def test_events_are_read_from_a_column(
    saved: str,
    events: st.LanguageModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "session.csv"
    table.write_text("time,action\n1,open\n2,view item\n")
    options = ["--file", str(table), "--column", "action"]
    result = json.loads(_run(capsys, "surprisal", saved, *options, "--json"))
    assert result["bits"] == pytest.approx(
        sum(s.bits for s in events.surprisal(["open", "view item"]))
    )
    result = json.loads(_run(capsys, "next", saved, *options, "--json"))
    assert {p["symbol"] for p in result[:2]} == {"buy now", "log out"}
    out = _run(capsys, "generate", saved, *options, "--temperature", "0")
    assert out.splitlines()[:2] == ["open", "view item"]
    grouped = tmp_path / "sessions.csv"
    rows = [f"{i},{e}" for i, session in enumerate(SESSIONS[:2]) for e in session]
    grouped.write_text("\n".join(["id,action", *rows]) + "\n")
    options = ["--column", "action", "--sequence-column", "id"]
    scored = json.loads(_run(capsys, "score", saved, str(grouped), *options, "--json"))
    assert scored["symbols"] == 8
    assert scored["unknown"] == 0


def test_other_ways_of_giving_events(
    saved: str, events: st.LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = sum(s.bits for s in events.surprisal(["open", "view item"]))
    for name, text in {
        "x.jsonl": '["open", "view item"]\n',
        "x.json.txt": '["open", "view item"]\n',
        "x.csv": "action\nopen\nview item\n",
    }.items():
        (tmp_path / name).write_text(text)
        options = ["--column", "action"] if name == "x.csv" else []
        out = _run(capsys, "surprisal", saved, "--file", str(tmp_path / name), *options, "--json")
        assert json.loads(out)["bits"] == pytest.approx(expected), name
    (tmp_path / "two.jsonl").write_text('["open"]\n["open"]\n')
    assert main(["next", saved, "--file", str(tmp_path / "two.jsonl")]) == DataError.exit_code
    assert "holds 2 sequences, and one is needed" in capsys.readouterr().err
    assert main(["next", saved, "--column", "action"]) == 2
    assert "give --file too" in capsys.readouterr().err
    assert main(["next", saved, '[["open"]]']) == DataError.exit_code
    assert main(["next", saved, '["break in"]']) == 0
    assert "never seen ('break in'), read as <unk>" in capsys.readouterr().err
    one = _run(capsys, "next", saved, "view item", "--json")
    assert one == _run(capsys, "next", saved, '["view item"]', "--json")
    found = json.loads(_run(capsys, "inspect", saved, "--text", '["open", "view item"]', "--json"))
    assert "view item" in json.dumps(found, ensure_ascii=False)
    assert "unknown" not in json.dumps(found["notes"])


def test_whole_numbers_are_events_as_in_a_table(tmp_path: Path) -> None:
    table = tmp_path / "codes.csv"
    rows = [f"{i},{code}" for i in range(40) for code in ("17", "200", str(i % 9))]
    table.write_text("\n".join(["id,code", *rows]) + "\n")
    source = st.open_source(table, column="code", sequence_column="id")
    lm = st.LanguageModel(st.Markov(order=2), symbols="word").fit(source, valid=source)
    lm.save(tmp_path / "codes")
    assert main(["next", str(tmp_path / "codes"), "[17, 200.0]"]) == 0
    assert lm.stream().push("17") == lm.stream().push(["17"])


def test_words_are_summed_on_the_command_line(
    pieces: st.LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pieces.save(tmp_path / "pieces")
    model = str(tmp_path / "pieces")
    given = ["surprisal", model, "--text", SENTENCE, "--json"]
    words = json.loads(_run(capsys, *given, "--by", "word"))
    assert [w["word"] for w in words["words"]] == [*SENTENCE.split(), "\\n"]
    symbols = json.loads(_run(capsys, *given))
    assert words["bits"] == pytest.approx(symbols["bits"])


def test_a_prompt_longer_than_the_context_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = st.open_source([TEXT], sequences="stream")
    transformer = st.Transformer(model_size=8, num_layers=1, num_heads=1, context=8)
    lm = st.LanguageModel(transformer).fit(source, valid=source, steps=1)
    assert lm.model is not None
    assert lm.prompt_note("the cat") is None
    assert lm.prompt_note(SENTENCE) == (
        f"the prompt has {len(SENTENCE)} symbols, and the model sees the last {lm.model.reach} of "
        "them: what is before them changes nothing"
    )
    tail = SENTENCE[-(lm.model.reach or 0) :]
    assert lm.next(SENTENCE, top=1)[0].symbol == lm.next(tail, top=1)[0].symbol
    lm.save(tmp_path / "m")
    capsys.readouterr()
    assert main(["generate", str(tmp_path / "m"), SENTENCE, "-n", "40"]) == 0
    assert capsys.readouterr().err.count("the model sees the last") == 1
    assert main(["next", str(tmp_path / "m"), "the cat"]) == 0
    assert "the model sees" not in capsys.readouterr().err
