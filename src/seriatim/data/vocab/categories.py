"""Kinds of symbols: letters, digits, punctuation and spaces; of words, how frequent they are.

Knows symbols and their counts; no model.

Shapes: V symbols.
"""

import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError

# The usual kinds, a name for the text of each symbol, or the texts of each kind.
CategoryChoice: TypeAlias = bool | Callable[[str], str | None] | Mapping[str, Collection[str]]

# Shares of a text: the most frequent words that make up a half of it, and so on.
_BANDS = (("frequent words", 0.5), ("middling words", 0.8), ("rare words", 1.0))
_CATEGORIES = {"L": "letters", "N": "digits", "P": "punctuation", "S": "punctuation", "Z": "spaces"}


def categories_of(
    vocabulary: Vocabulary, counts: NDArray[np.int64], asked: CategoryChoice
) -> dict[str, list[int]]:
    """The symbols of each kind.

    The usual kinds are, of words, those that make up the more frequent half of a text, the next
    three tenths and the rest; of other symbols what their text is made of, by Unicode: letters,
    digits, punctuation and signs, spaces, or several of these. The boundary and the unknown
    symbol are kinds of their own.

    Args:
        vocabulary: of the text.
        counts: (V,) how often each occurs in it.
        asked: True for the usual kinds; a function that names the kind of a symbol's text (None:
            none); or the texts of the symbols of each kind.

    Raises:
        ConfigError: texts that are no symbols.
    """
    own = {vocabulary.boundary: "ends"}
    if vocabulary.unknown is not None:
        own[vocabulary.unknown] = "unknown"
    others = [i for i in range(vocabulary.num_symbols) if i not in own]
    if isinstance(asked, Mapping):
        return {name: _ids(name, texts, vocabulary) for name, texts in asked.items()}
    if callable(asked):
        return _grouped({i: asked(vocabulary.decode([i])) for i in range(vocabulary.num_symbols)})
    if not asked:
        return {}
    if vocabulary.separator:
        return _grouped(own | _by_frequency(np.array(others, np.int64), counts))
    return _grouped(own | {i: _category(vocabulary.decode([i])) for i in others})


def _grouped(kinds: Mapping[int, str | None]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, kind in kinds.items():
        if kind is not None:
            found.setdefault(kind, []).append(i)
    return found


def _ids(name: str, texts: Collection[str], vocabulary: Vocabulary) -> list[int]:
    wanted, found = set(texts), {}
    for i in range(vocabulary.num_symbols):
        text = vocabulary.decode([i])
        if text in wanted:
            found[text] = i
    missing = sorted(wanted - found.keys())
    if missing:
        raise ConfigError(
            f"{name}: {', '.join(map(repr, missing[:5]))} are no symbols of this model: give texts "
            "of single symbols"
        )
    return list(found.values())


def _by_frequency(ids: NDArray[np.int64], counts: NDArray[np.int64]) -> dict[int, str]:
    order = ids[np.argsort(-counts[ids], kind="stable")]
    before = np.cumsum(counts[order]) - counts[order]
    share = before / max(1, int(counts[order].sum()))
    return {
        int(i): next(name for name, upper in _BANDS if s < upper or upper == 1.0)
        for i, s in zip(order, share, strict=True)
    }


def _category(text: str) -> str:
    """What the text of a symbol is made of."""
    bare = text.strip() or text
    kinds = {_CATEGORIES.get(unicodedata.category(c)[0], "others") for c in bare}
    if bare.isspace():
        return "spaces"
    return kinds.pop() if len(kinds) == 1 else "several"
