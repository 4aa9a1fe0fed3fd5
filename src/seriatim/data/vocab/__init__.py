"""Vocabularies: bytes, characters, words and byte-pair encoding, and categories of symbols."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.data.vocab.bpe import BPEVocabulary as BPEVocabulary
    from seriatim.data.vocab.byte import ByteVocabulary as ByteVocabulary
    from seriatim.data.vocab.categories import categories_of as categories_of
    from seriatim.data.vocab.char import CharVocabulary as CharVocabulary
    from seriatim.data.vocab.fit import fit_vocabulary as fit_vocabulary
    from seriatim.data.vocab.fit import vocabulary_from_json as vocabulary_from_json
    from seriatim.data.vocab.nfd import DecomposedVocabulary as DecomposedVocabulary
    from seriatim.data.vocab.vocabulary import TextDecoder as TextDecoder
    from seriatim.data.vocab.vocabulary import Vocabulary as Vocabulary
    from seriatim.data.vocab.word import WordVocabulary as WordVocabulary

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "bpe": ["BPEVocabulary"],
        "byte": ["ByteVocabulary"],
        "categories": ["categories_of"],
        "char": ["CharVocabulary"],
        "fit": ["fit_vocabulary", "vocabulary_from_json"],
        "nfd": ["DecomposedVocabulary"],
        "vocabulary": ["TextDecoder", "Vocabulary"],
        "word": ["WordVocabulary"],
    },
)
