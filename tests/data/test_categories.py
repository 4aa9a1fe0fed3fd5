"""Every symbol is of a kind; words by how much of the text they make up."""

import numpy as np
import pytest

from seriatim.data.vocab.categories import kinds_of
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError

TEXT = "In 1847 she said: «I am – you know – well»; tea for 2?\tYes.\n"


def _symbols(spec: str, sequences: str = "stream", text: str = TEXT) -> Vocabulary:
    return fit_vocabulary(spec, [text], sequences=sequences)


def _texts(symbols: Vocabulary, ids: list[int]) -> set[str]:
    return {symbols.decode([i]) for i in ids}


def test_characters_are_letters_digits_punctuation_or_spaces() -> None:
    symbols = _symbols("char")
    kinds = kinds_of(symbols, np.ones(symbols.num_symbols, np.int64), True)
    assert _texts(symbols, kinds["digits"]) == set("18472")
    assert _texts(symbols, kinds["punctuation"]) == set(":«–»;?.")
    assert _texts(symbols, kinds["spaces"]) == {" ", "\t"}
    assert kinds["ends"] == [symbols.boundary]
    assert sum(map(len, kinds.values())) == symbols.num_symbols, "each symbol once"


def test_words_are_banded_by_the_share_of_the_text_that_they_make_up() -> None:
    text = "a " * 50 + "b " * 20 + "c " * 12 + "d " * 10 + "e f g h i j k l"
    symbols = _symbols("word", text=text)
    counts = np.bincount(symbols.encode(text), minlength=symbols.num_symbols)
    kinds = kinds_of(symbols, counts, True)
    assert _texts(symbols, kinds["frequent words"]) == {"a"}
    assert _texts(symbols, kinds["middling words"]) == {"b", "c"}
    assert _texts(symbols, kinds["rare words"]) == set("defghijkl")


def test_pieces_of_words_are_of_the_kind_of_what_they_spell() -> None:
    symbols = fit_vocabulary("bpe:300", ["the cat, the cat, the 12 cats " * 20], sequences="stream")
    kinds = kinds_of(symbols, np.ones(symbols.num_symbols, np.int64), True)
    assert sum(map(len, kinds.values())) == symbols.num_symbols
    assert any("cat" in t for t in _texts(symbols, kinds["letters"]))


def test_a_function_or_sets_say_other_kinds() -> None:
    symbols = _symbols("char")
    counts = np.ones(symbols.num_symbols, np.int64)
    kinds = kinds_of(symbols, counts, lambda text: "vowels" if text in "aeiou" and text else None)
    assert _texts(symbols, kinds["vowels"]) == set("aeiou")
    kinds = kinds_of(symbols, counts, {"first": ["I", "Y"], "breaks": ["\n"]})
    assert _texts(symbols, kinds["first"]) == {"I", "Y"}
    assert kinds["breaks"] == [symbols.boundary]
    assert kinds_of(symbols, counts, False) == {}


def test_texts_that_are_no_symbols_are_refused() -> None:
    symbols = _symbols("char")
    with pytest.raises(ConfigError, match="first: 'zz' are no symbols of this model"):
        kinds_of(symbols, np.ones(symbols.num_symbols, np.int64), {"first": ["I", "zz"]})
