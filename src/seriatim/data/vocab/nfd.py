"""The vocabulary of decomposed characters: letters and accents, Korean syllables and their sounds.

Knows Unicode's canonical decomposition. Does not know files or models.
"""

import unicodedata
from typing import ClassVar

import numpy as np

from seriatim.data.vocab.char import CharVocabulary
from seriatim.data.vocab.vocabulary import Ids, Text


def decompose(text: str) -> str:
    """The canonical decomposition, NFD (Unicode Standard Annex 15)."""
    return text if text.isascii() else unicodedata.normalize("NFD", text)


class DecomposedVocabulary(CharVocabulary):
    """Code points of NFD, for texts that are read and never written.

    Canonically equivalent texts have the same symbols, so decoding returns an equivalent text,
    not necessarily the same one. A script whose characters are composed of few parts needs few
    symbols: 8,000 Korean words have 1,089 syllables and 67 parts of them.
    """

    kind: ClassVar[str] = "nfd"

    def _encode(self, text: str) -> Ids:
        return super()._encode(decompose(text))

    def _spans(self, text: str) -> Ids:
        return np.repeat(super()._spans(text), [len(decompose(c)) for c in text], axis=0)

    def spellings(self, text: Text) -> list[str]:
        """The parts outside the vocabulary, in order."""
        return super().spellings(decompose(text) if isinstance(text, str) else text)
