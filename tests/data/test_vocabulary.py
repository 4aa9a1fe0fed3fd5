"""Symbols: what goes in comes out, what cannot is said, and sizes add up to the text."""

import json
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seriatim.data.sources import open_source
from seriatim.data.vocab import bpe
from seriatim.data.vocab.byte import ByteVocabulary
from seriatim.data.vocab.char import CharVocabulary
from seriatim.data.vocab.fit import fit_vocabulary, vocabulary_from_json
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.data.vocab.word import WordVocabulary
from seriatim.errors import ConfigError, DataError, ModelError, SymbolError

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")


SAMPLE = (
    "it's the cat; the café's cat, the 12 naïve ones -- won't they?\n"
    '  "Ünïcode"\tand 日本語 text, the 🐈 the\x85next\u3000one…\n\nthe end. \n'
)
KINDS = ("line", "document", "stream")
any_text = st.text(st.characters(exclude_categories=["Cs"]))
odd_text = st.text(st.sampled_from("ab sté'\"\n\r\t\x0b\x1c\x85\xa0\u2028\u3000.,_-!0٣日🐈\u0301"))


@cache
def fitted(spec: str, sequences: str) -> Vocabulary:
    return fit_vocabulary(spec, [SAMPLE], sequences=sequences)  # type: ignore[arg-type]


def pushed(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    decoder = vocabulary.decoder()
    return "".join(decoder.push(int(i)) for i in ids) + decoder.flush()


# ---- round trips --------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", KINDS)
@pytest.mark.parametrize("spec", ["byte", "bpe:300"])
@given(text=st.one_of(any_text, odd_text))
def test_bytes_and_bpe_restore_every_text(spec: str, sequences: str, text: str) -> None:
    symbols = fitted(spec, sequences)
    ids = symbols.encode(text)
    assert symbols.decode(ids) == text
    assert symbols.is_known(text)
    if symbols.is_document:
        assert symbols.boundary not in ids


@pytest.mark.parametrize("sequences", KINDS)
@given(text=st.one_of(any_text, odd_text))
def test_characters_restore_every_text_that_they_were_fitted_to(sequences: str, text: str) -> None:
    vocabulary = fit_vocabulary("char", [text + "x"], sequences=sequences)  # type: ignore[arg-type]
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.is_known(text)


@given(st.lists(st.lists(st.text("abé\x85\xa0\r", min_size=1))))
def test_words_restore_lines_of_words_with_one_space_between(lines: list[list[str]]) -> None:
    text = "".join(" ".join(line) + "\n" for line in lines)
    vocabulary = fit_vocabulary("word", [text + "x"], sequences="stream")
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert pushed(vocabulary, vocabulary.encode(text)) == text


@pytest.mark.parametrize("sequences", KINDS)
@pytest.mark.parametrize("spec", ["byte", "char", "word", "bpe:300"])
@given(data=st.data())
def test_a_decoder_gives_the_same_text_as_decode(
    spec: str, sequences: str, data: st.DataObject
) -> None:
    symbols = fitted(spec, sequences)
    ids = data.draw(st.lists(st.integers(0, symbols.num_symbols - 1), max_size=30))
    assert pushed(symbols, ids) == symbols.decode(ids)


def test_a_decoder_waits_for_the_last_byte_of_a_character() -> None:
    decoder = ByteVocabulary(is_document=False).decoder()
    assert [decoder.push(b) for b in "é€".encode()] == ["", "é", "", "", "€"]
    assert decoder.push(0xE2) == "" and decoder.flush() == "\ufffd"


def test_words_decode_with_spaces_between_words_only() -> None:
    vocabulary = fit_vocabulary("word", ["a b\nc"], sequences="stream")
    assert vocabulary.decode(vocabulary.encode(" a  b\t\n\n c ")) == "a b\n\nc"


# ---- ids and boundaries -------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["byte", "char", "word", "bpe:300"])
def test_the_boundary_is_the_line_end_except_for_documents(spec: str) -> None:
    for sequences in ("line", "stream"):
        symbols = fitted(spec, sequences)
        assert symbols.encode("\n").tolist() == [symbols.boundary]
        assert symbols.boundary != 0 and symbols.name(symbols.boundary) == "\\n"
    symbols = fitted(spec, "document")
    assert symbols.boundary not in symbols.encode(SAMPLE)
    assert symbols.decode([symbols.boundary]) == "" and symbols.name(symbols.boundary) == "<end>"
    assert 0 < symbols.boundary < symbols.num_symbols


def test_numbers_of_symbols_are_exact() -> None:
    assert ByteVocabulary(is_document=False).num_symbols == 256
    assert ByteVocabulary(is_document=True).num_symbols == 257
    assert fitted("bpe:300", "stream").num_symbols == fitted("bpe:300", "document").num_symbols
    assert fitted("bpe:300", "stream").num_symbols == 300
    assert fit_vocabulary("bpe:900", ["ab\n"], sequences="line").num_symbols == 257


def test_ids_go_by_falling_frequency_then_by_symbol() -> None:
    vocabulary = fit_vocabulary("char", ["cbb", "aa"], sequences="line")
    assert [vocabulary.name(i) for i in range(5)] == ["<unk>", "\\n", "a", "b", "c"]
    words = fit_vocabulary("word", ["c b b", "a a a"], sequences="document")
    assert [words.name(i) for i in range(5)] == ["<unk>", "<end>", "a", "b", "c"]


def test_min_count_and_max_symbols_leave_out_rare_symbols() -> None:
    text = "a a a b b c"
    assert fit_vocabulary("word", [text], sequences="line", min_count=2).num_symbols == 4
    assert fit_vocabulary("word", [text], sequences="line", max_symbols=3).num_symbols == 3
    cut = fit_vocabulary("word", [text], sequences="line", min_count=2)
    assert cut.encode("a c b").tolist() == [2, 0, 3] and cut.decode([2, 0]) == "a <unk>"
    assert fit_vocabulary("char", ["aab"], sequences="line", min_count=2).encode("ab").tolist() == [
        2,
        0,
    ]


def test_only_ascii_space_tab_and_line_end_separate_words() -> None:
    vocabulary = fit_vocabulary("word", ["a\x85b\tc\u00a0d e\x0bf\n"], sequences="stream")
    assert [vocabulary.name(i) for i in vocabulary.encode("a\x85b\tc\u00a0d e\x0bf\n")] == [
        "a\\x85b",
        "c\\xa0d",
        "e\\x0bf",
        "\\n",
    ]


def test_events_are_symbols_unchanged() -> None:
    events = [["log in", "open", "\n"], ["open", "log out", "\n"]]
    vocabulary = fit_vocabulary("word", events, sequences="stream")
    assert vocabulary.num_symbols == 5
    assert len(vocabulary.encode(events[0])) == 3
    assert vocabulary.decode(vocabulary.encode(events[0])) == "log in open\n"
    assert vocabulary.unknown_symbols(["open", "log off"]) == ["log off"]
    with pytest.raises(ConfigError, match="--symbols word, not char"):
        fit_vocabulary("char", events, sequences="stream")
    with pytest.raises(ConfigError, match="of kind byte"):
        ByteVocabulary(is_document=False).encode(["a"])


def test_line_ends_inside_events_are_kept() -> None:
    vocabulary = fit_vocabulary("word", [["a\n b", "c"]], sequences="line")
    ids = vocabulary.encode(["a\n b", "c"])
    assert vocabulary.decode(ids) == pushed(vocabulary, ids) == "a\n b c"


def test_unknown_symbols_are_named_once_in_order() -> None:
    chars = fit_vocabulary("char", ["abc"], sequences="line")
    assert chars.unknown_symbols("azbyz\n") == ["z", "y"]
    assert chars.decode(chars.encode("az")) == "a\ufffd"
    words = fit_vocabulary("word", ["a b"], sequences="line")
    assert words.unknown_symbols("a q r q <unk>\n") == ["q", "r"]
    assert words.is_known("<unk> a\n") and words.encode("<unk>").tolist() == [0]


@pytest.mark.parametrize("spec", ["byte", "char", "word", "bpe:300"])
def test_half_a_surrogate_pair_is_refused(spec: str) -> None:
    text = json.loads('"ab \\ud800"')
    with pytest.raises(SymbolError, match=r"character 3 of the text is U\+D800"):
        fitted(spec, "line").encode(text)
    if spec != "byte":
        with pytest.raises(SymbolError, match=r"U\+D800"):
            fit_vocabulary(spec, [text], sequences="line")


def test_ids_out_of_range_are_refused() -> None:
    for spec in ("byte", "char", "word", "bpe:300"):
        symbols = fitted(spec, "line")
        for wrong in (-1, symbols.num_symbols):
            with pytest.raises(SymbolError, match=f"0 to {symbols.num_symbols - 1}"):
                symbols.decode([wrong])


def test_names_make_everything_visible() -> None:
    vocabulary = fit_vocabulary("char", [" \t\x85\u200b🐈"], sequences="line")
    names = [vocabulary.name(i) for i in range(2, 7)]
    assert names == ["\\t", "␣", "\\x85", "\\u200b", "🐈"]
    of_bytes = ByteVocabulary(is_document=False)
    assert [of_bytes.name(i) for i in (0x0A, 0x20, 0x41, 0x80)] == ["\\n", "␣", "A", "<0x80>"]


# ---- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["byte", "bpe:300"])
@given(text=st.one_of(any_text, odd_text))
def test_sizes_of_bytes_sum_to_the_text(spec: str, text: str) -> None:
    symbols = fitted(spec, "stream")
    ids = symbols.encode(text)
    assert symbols.num_characters[ids].sum() == len(text)
    assert symbols.num_bytes[ids].sum() == len(text.encode())


@given(any_text)
def test_sizes_of_characters_sum_to_the_text(text: str) -> None:
    vocabulary = fit_vocabulary("char", [text + "x"], sequences="stream")
    ids = vocabulary.encode(text)
    assert vocabulary.num_characters[ids].sum() == len(text)
    assert vocabulary.num_bytes[ids].sum() == len(text.encode())


words = st.lists(st.sampled_from(["a", "bé", "日本"]))


@given(st.lists(words))
def test_sizes_of_words_sum_to_the_text_with_spaces_and_empty_lines(lines: list[list[str]]) -> None:
    text = "".join(" ".join(line) + "\n" for line in lines)
    vocabulary = fit_vocabulary("word", ["a bé 日本"], sequences="stream")
    ids = vocabulary.encode(text)
    characters, in_bytes = vocabulary.text_sizes(ids)
    assert (characters.sum(), in_bytes.sum()) == (len(text), len(text.encode()))
    if all(lines):  # the constants alone are exact where no line is empty
        assert vocabulary.num_characters[ids].sum() == len(text)


@given(st.lists(words, min_size=1))
def test_sizes_of_words_sum_to_documents_that_end_without_a_line_end(
    lines: list[list[str]],
) -> None:
    text = "\n".join(" ".join(line) for line in lines)
    vocabulary = fit_vocabulary("word", ["a bé 日本\n"], sequences="document")
    ids = np.append(vocabulary.encode(text), vocabulary.boundary)
    characters, in_bytes = vocabulary.text_sizes(ids)
    assert (characters.sum(), in_bytes.sum()) == (len(text), len(text.encode()))


def test_unknown_and_boundary_of_documents_have_no_size() -> None:
    for spec in ("char", "word"):
        symbols = fitted(spec, "document")
        assert symbols.num_characters[[0, symbols.boundary]].tolist() == [0, 0]


# ---- byte-pair encoding -------------------------------------------------------------------------


@given(st.one_of(any_text, odd_text))
def test_encoding_in_parts_equals_encoding_at_once(text: str) -> None:
    symbols = fitted("bpe:300", "stream")
    assert isinstance(symbols, bpe.BPEVocabulary)
    assert symbols.encode(text).tolist() == symbols._tokenizer.encode(text).ids


def test_a_text_without_spaces_is_cut_into_units() -> None:
    """The trainer's time grows with the square of a unit's length."""
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 50_000))
    vocabulary = fit_vocabulary("bpe:300", [letters], sequences="stream")
    assert isinstance(vocabulary, bpe.BPEVocabulary)
    ids = vocabulary.encode(letters)
    assert vocabulary.decode(ids) == letters and len(ids) < 30_000
    ends = np.cumsum(vocabulary.num_bytes[ids])
    assert set(range(256, 50_000, 256)) <= set(ends.tolist())
    assert ids.tolist() == vocabulary._tokenizer.encode(letters).ids


def test_white_space_is_the_same_characters_for_us_as_for_the_tokenizer() -> None:
    """Parts begin at white space. A sign and a space are two units, a sign and a sign one."""
    symbols = fitted("bpe:300", "stream")
    assert isinstance(symbols, bpe.BPEVocabulary)
    units = symbols._tokenizer.pre_tokenizer.pre_tokenize_str
    every = map(chr, range(sys.maxunicode + 1))
    candidates = [c for c in every if unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc", "Cf")]
    for c in set(candidates) - {"\n"}:
        is_space = len(units(f".{c}.")) > 1
        assert is_space == bool(re.match(f"[{bpe._SPACE}]", c)), hex(ord(c))


def test_the_line_end_is_merged_with_nothing() -> None:
    vocabulary = fit_vocabulary("bpe:400", ["a\n\nb\n\n" * 50], sequences="stream")
    names = [vocabulary.name(i) for i in range(vocabulary.num_symbols)]
    assert [name for name in names if "\\n" in name] == ["\\n"]
    assert (vocabulary.encode("a\n\nb\n") == vocabulary.boundary).sum() == 3


def test_text_that_spells_a_special_token_is_text() -> None:
    symbols = fitted("bpe:300", "stream")
    text = "<unk><s></s><|endoftext|>[PAD]<end>"
    assert symbols.decode(symbols.encode(text)) == text
    assert symbols.num_characters[symbols.encode(text)].sum() == len(text)


def test_bpe_is_the_same_in_another_process() -> None:
    code = (
        "import sys, json; from seriatim.data.vocab.fit import fit_vocabulary; "
        "s = fit_vocabulary('bpe:300', [sys.stdin.read()], sequences='stream'); "
        "print(s.fingerprint())"
    )
    run = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        input=SAMPLE.encode(),
        capture_output=True,
        check=True,
    )
    assert run.stdout.decode().strip() == fitted("bpe:300", "stream").fingerprint()


def test_training_samples_very_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "_FULL_TRAINING_BYTES", 100)
    monkeypatch.setattr(bpe, "_TRAINING_CHARACTERS", 5)
    taken = list(bpe._subsample([f"{i:09d}\n" for i in range(10_000)]))
    assert taken[:11] == [f"{i:09d}\n" for i in range(11)]
    assert int(taken[-1]) > 5_000  # from all of the text
    assert 80 < len(taken) < 140  # about 11 for every doubling


@pytest.mark.parametrize("spec", ["bpe", "bpe:", "bpe:x", "bpe:256", "bpe:-1", "bpe:²"])
def test_a_vocabulary_too_small_for_all_bytes_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="at least 257"):
        fit_vocabulary(spec, ["ab"], sequences="line")


def test_a_foreign_tokenizer_is_refused() -> None:
    data = fitted("bpe:300", "line").to_json()
    for change in (
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": None},
        {"model": {**data["tokenizer"]["model"], "byte_fallback": True}},
    ):
        with pytest.raises(ModelError, match="by other rules"):
            vocabulary_from_json({**data, "tokenizer": {**data["tokenizer"], **change}})


# ---- fitting and saving -------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["chars", "words", "byte:3", "BPE:300", "", "char:10"])
def test_unknown_kinds_of_symbols_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="choose byte, char, word, or bpe:N"):
        fit_vocabulary(spec, ["ab"], sequences="line")


def test_a_near_miss_is_recognized() -> None:
    with pytest.raises(ConfigError, match="did you mean word"):
        fit_vocabulary("words", ["ab"], sequences="line")


def test_texts_without_symbols_are_refused() -> None:
    for spec in ("char", "word", "bpe:300"):
        with pytest.raises(DataError, match="nothing to learn"):
            fit_vocabulary(spec, ["", ""], sequences="line")
    with pytest.raises(DataError, match="most frequent one occurs 2 times: lower min_count"):
        fit_vocabulary("word", ["a a b"], sequences="line", min_count=3)


def test_options_of_other_symbols_are_refused() -> None:
    for spec in ("byte", "bpe:300"):
        with pytest.raises(ConfigError, match="apply to char and word symbols"):
            fit_vocabulary(spec, ["ab"], sequences="line", min_count=2)
    with pytest.raises(ConfigError, match="max_symbols is 2: give 3 or more"):
        fit_vocabulary("char", ["ab"], sequences="line", max_symbols=2)


@pytest.mark.parametrize("sequences", KINDS)
@pytest.mark.parametrize("spec", ["byte", "char", "word", "bpe:300"])
def test_symbols_survive_json(spec: str, sequences: str) -> None:
    symbols = fitted(spec, sequences)
    again = vocabulary_from_json(json.loads(json.dumps(symbols.to_json())))
    assert again.fingerprint() == symbols.fingerprint()
    assert (again.boundary, again.unknown) == (symbols.boundary, symbols.unknown)
    assert again.encode(SAMPLE).tolist() == symbols.encode(SAMPLE).tolist()
    assert [again.name(i) for i in range(again.num_symbols)] == [
        symbols.name(i) for i in range(symbols.num_symbols)
    ]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"kind": "unigram", "is_document": False},
        {"kind": ["char"], "is_document": False},
        {"kind": "char", "symbols": ["a"]},
        {"kind": "char", "is_document": False},
        {"kind": "char", "is_document": False, "symbols": "ab"},
        {"kind": "char", "is_document": False, "symbols": ["ab"]},
        {"kind": "char", "is_document": False, "symbols": ["a", "a"]},
        {"kind": "char", "is_document": False, "symbols": ["\n"]},
        {"kind": "char", "is_document": False, "symbols": ["\ud800"]},
        {"kind": "word", "is_document": False, "symbols": ["a", 5]},
        {"kind": "bpe", "is_document": False, "tokenizer": {"model": 1}},
        {"kind": "bpe", "is_document": False},
        {"kind": "word", "is_document": 0, "symbols": ["a"]},
        {"kind": "word", "is_document": False},
        {"kind": "word", "is_document": False, "symbols": "a  b"},
    ],
)
def test_damaged_vocabularies_are_refused(data: object) -> None:
    with pytest.raises(ModelError, match=r"symbols.json\) is damaged|this version knows"):
        vocabulary_from_json(data)


NESTED: object = "deep"
for _ in range(5000):
    NESTED = [NESTED]
STRANGE = [None, True, -1, 0, 7, 1e400, "", "a", "\n", "\ud800", "bpe", [], {}, [3], NESTED]


def _mutate(value: object, draw: random.Random) -> object:
    """The same JSON with one value somewhere replaced, removed or doubled."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        rest = {k: v for k, v in value.items() if k != key}
        return rest if draw.random() < 0.2 else {**rest, key: _mutate(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        i = draw.randrange(len(value))
        changed = draw.choice([[], [value[i]] * 2, [_mutate(value[i], draw)]])
        return [*value[:i], *changed, *value[i + 1 :]]
    return draw.choice(STRANGE)


@pytest.mark.parametrize("spec", ["byte", "char", "word", "bpe:260"])
def test_a_fuzzed_vocabulary_loads_or_is_refused_in_one_sentence(spec: str) -> None:
    draw = random.Random(3)
    original = fit_vocabulary(spec, ["ab ab\n"], sequences="line").to_json()
    refusals = []
    for _ in range(200):
        data = _mutate(original, draw)
        try:
            vocabulary = vocabulary_from_json(data)
            vocabulary.decode(vocabulary.encode("ab ab"))
            assert vocabulary.name(vocabulary.boundary)
        except ModelError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert not any("\n" in refusal for refusal in refusals)


def test_constructors_refuse_invalid_arguments() -> None:
    with pytest.raises(ConfigError, match="occurs twice"):
        WordVocabulary(["a", "a"], is_document=False)
    with pytest.raises(ConfigError, match="not one character"):
        CharVocabulary(["ab"], is_document=True)


# ---- real text ----------------------------------------------------------------------------------


def test_tinyshakespeare_has_65_characters(shared_data: Path) -> None:
    source = open_source(shared_data / "tinyshakespeare" / "input.txt")
    vocabulary = fit_vocabulary("char", source.texts(), sequences="stream")
    assert vocabulary.num_symbols == 66  # 65 and <unk>; the line end is one of the 65


def test_every_naughty_string_is_encoded_by_every_kind_of_symbols(shared_data: Path) -> None:
    source = open_source(shared_data / "blns" / "blns.txt", sequences="line")
    for spec in ("byte", "char", "bpe:500"):
        vocabulary = fit_vocabulary(spec, source.texts(), sequences="line")
        for text in source.texts():
            ids = vocabulary.encode(text)
            assert vocabulary.decode(ids) == pushed(vocabulary, ids) == text
    words = fit_vocabulary("word", source.texts(), sequences="line")
    for text in source.texts():
        assert isinstance(text, str)
        spelled = " ".join(w for w in text.replace("\t", " ").split(" ") if w)
        assert words.decode(words.encode(text)) == spelled
