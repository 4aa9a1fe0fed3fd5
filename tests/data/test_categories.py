"""Every symbol is of a kind; words by how much of the text they make up."""

import numpy as np
import pytest

from seriatim.data.vocab.categories import categories_of
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError

TEXT = "In 1847 she said: «I am – you know – well»; tea for 2?\tYes.\n"


def _symbols(spec: str, sequences: str = "stream", text: str = TEXT) -> Vocabulary:
    return fit_vocabulary(spec, [text], sequences=sequences)


def _texts(vocabulary: Vocabulary, ids: list[int]) -> set[str]:
    return {vocabulary.decode([i]) for i in ids}


def test_characters_are_letters_digits_punctuation_or_spaces() -> None:
    vocabulary = _symbols("char")
    categories = categories_of(vocabulary, np.ones(vocabulary.num_symbols, np.int64), True)
    assert _texts(vocabulary, categories["digits"]) == set("18472")
    assert _texts(vocabulary, categories["punctuation"]) == set(":«–»;?.")
    assert _texts(vocabulary, categories["spaces"]) == {" ", "\t"}
    assert categories["ends"] == [vocabulary.boundary]
    assert sum(map(len, categories.values())) == vocabulary.num_symbols, "each symbol once"


def test_words_are_banded_by_their_fraction_of_the_text() -> None:
    text = "a " * 50 + "b " * 20 + "c " * 12 + "d " * 10 + "e f g h i j k l"
    vocabulary = _symbols("word", text=text)
    counts = np.bincount(vocabulary.encode(text), minlength=vocabulary.num_symbols)
    categories = categories_of(vocabulary, counts, True)
    assert _texts(vocabulary, categories["frequent words"]) == {"a"}
    assert _texts(vocabulary, categories["middling words"]) == {"b", "c"}
    assert _texts(vocabulary, categories["rare words"]) == set("defghijkl")


def test_pieces_of_words_have_the_category_of_their_spelling() -> None:
    vocabulary = fit_vocabulary(
        "bpe:300", ["the cat, the cat, the 12 cats " * 20], sequences="stream"
    )
    categories = categories_of(vocabulary, np.ones(vocabulary.num_symbols, np.int64), True)
    assert sum(map(len, categories.values())) == vocabulary.num_symbols
    assert any("cat" in t for t in _texts(vocabulary, categories["letters"]))


def test_a_function_or_sets_define_other_categories() -> None:
    vocabulary = _symbols("char")
    counts = np.ones(vocabulary.num_symbols, np.int64)
    categories = categories_of(
        vocabulary, counts, lambda text: "vowels" if text in "aeiou" and text else None
    )
    assert _texts(vocabulary, categories["vowels"]) == set("aeiou")
    categories = categories_of(vocabulary, counts, {"first": ["I", "Y"], "breaks": ["\n"]})
    assert _texts(vocabulary, categories["first"]) == {"I", "Y"}
    assert categories["breaks"] == [vocabulary.boundary]
    assert categories_of(vocabulary, counts, False) == {}


def test_texts_that_are_no_symbols_are_refused() -> None:
    vocabulary = _symbols("char")
    with pytest.raises(ConfigError, match="'first': 'zz' are no symbols of this model"):
        categories_of(vocabulary, np.ones(vocabulary.num_symbols, np.int64), {"first": ["I", "zz"]})
