"""Categories of symbols: letters, digits, punctuation, spaces; for words, bands of frequency.

Knows vocabularies and how often symbols occur. Does not know models.

Shapes: V symbols.
"""

import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError

# The usual categories; a function that names the category of a symbol's text; or the texts of
# the symbols in each category.
CategoryChoice: TypeAlias = bool | Callable[[str], str | None] | Mapping[str, Collection[str]]

# Fractions of a text: the most frequent words that make up one half of it, and so on.
_BANDS = (("frequent words", 0.5), ("middling words", 0.8), ("rare words", 1.0))
_CATEGORIES = {"L": "letters", "N": "digits", "P": "punctuation", "S": "punctuation", "Z": "spaces"}


def categories_of(
    vocabulary: Vocabulary, counts: NDArray[np.int64], choice: CategoryChoice
) -> dict[str, list[int]]:
    """The symbols in each category.

    The usual categories of words are the most frequent ones that make up half of a text, those
    of the next three tenths, and the rest; of other symbols they follow the Unicode categories
    of their text: letters, digits, punctuation and signs, spaces, or several of these. The
    boundary and the unknown symbol have categories of their own.

    Args:
        vocabulary: the vocabulary of the text.
        counts: (V,) how often each symbol occurs in it.
        choice: True for the usual categories; a function from a symbol's text to its category
            (None: no category); or the texts of the symbols in each category.

    Raises:
        ConfigError: if a text is not a symbol of the vocabulary.
    """
    special = {vocabulary.boundary: "ends"}
    if vocabulary.unknown is not None:
        special[vocabulary.unknown] = "unknown"
    others = [i for i in range(vocabulary.num_symbols) if i not in special]
    if isinstance(choice, Mapping):
        return {name: _find_ids(name, texts, vocabulary) for name, texts in choice.items()}
    if callable(choice):
        return _group({i: choice(vocabulary.decode([i])) for i in range(vocabulary.num_symbols)})
    if not choice:
        return {}
    if vocabulary.separator:
        return _group(special | _by_frequency(np.array(others, np.int64), counts))
    return _group(special | {i: _by_unicode(vocabulary.decode([i])) for i in others})


def _group(category_of: Mapping[int, str | None]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for symbol, category in category_of.items():
        if category is not None:
            groups.setdefault(category, []).append(symbol)
    return groups


def _find_ids(name: str, texts: Collection[str], vocabulary: Vocabulary) -> list[int]:
    wanted, ids = set(texts), {}
    for i in range(vocabulary.num_symbols):
        text = vocabulary.decode([i])
        if text in wanted:
            ids[text] = i
    missing = sorted(wanted - ids.keys())
    if missing:
        raise ConfigError(
            f"category {name!r}: {', '.join(map(repr, missing[:5]))} are no symbols of this model: "
            "list the texts of single symbols"
        )
    return list(ids.values())


def _by_frequency(ids: NDArray[np.int64], counts: NDArray[np.int64]) -> dict[int, str]:
    order = ids[np.argsort(-counts[ids], kind="stable")]
    before = np.cumsum(counts[order]) - counts[order]
    fraction = before / max(1, int(counts[order].sum()))
    return {
        int(i): next(name for name, upper in _BANDS if f < upper or upper == 1.0)
        for i, f in zip(order, fraction, strict=True)
    }


def _by_unicode(text: str) -> str:
    """The category of the characters of a text; "several" if there is more than one."""
    bare = text.strip() or text
    if bare.isspace():
        return "spaces"
    categories = {_CATEGORIES.get(unicodedata.category(c)[0], "others") for c in bare}
    return categories.pop() if len(categories) == 1 else "several"
