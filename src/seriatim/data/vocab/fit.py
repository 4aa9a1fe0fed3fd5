"""Which alphabet a text gets, and an alphabet from its JSON: the one place that knows every kind.

Knows counts of characters and words. Does not know files or models.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from seriatim.data.vocab.bpe import BPEVocabulary, fit_bpe
from seriatim.data.vocab.nfd import DecomposedVocabulary, decompose
from seriatim.data.vocab.vocabulary import (
    LINE_END,
    UNKNOWN,
    ByteVocabulary,
    CharVocabulary,
    Text,
    Vocabulary,
    WordVocabulary,
    check_characters,
    join_texts,
)
from seriatim.data.vocab.word_index import split_words
from seriatim.errors import ConfigError, DataError, ModelError, SymbolError

# Symbols that are counted, so that rare ones may be left out.
COUNTED_VOCABULARIES: Mapping[str, type[CharVocabulary | WordVocabulary]] = {
    c.kind: c for c in (CharVocabulary, WordVocabulary, DecomposedVocabulary)
}


def fit_vocabulary(
    spec: str,
    texts: Iterable[Text],
    *,
    sequences: Literal["line", "document", "stream"],
    min_count: int = 1,
    max_size: int | None = None,
    is_only_read: bool = False,
) -> Vocabulary:
    """The symbols of a training text.

    Args:
        spec: `byte`, `char`, `word`, or `bpe:N` with N symbols in all; `nfd` for texts that are
            only read.
        texts: what `Source.texts()` gives; read once.
        sequences: what one sequence is; documents have a boundary of their own.
        min_count: characters or words seen fewer times are unknown.
        max_size: at most this many characters or words, `<unk>` and the boundary included.
        is_only_read: the model never predicts such symbols: they need not spell their text.

    Raises:
        ConfigError: no such symbols, or an option that does not belong to them.
        DataError: the texts hold no symbol, or none often enough.
    """

    kind, _, size = spec.partition(":")
    is_document = sequences == "document"
    if kind == "bpe":
        _refuse_counts(kind, min_count, max_size)
        return fit_bpe(texts, size, is_document=is_document)
    if spec == "byte":
        _refuse_counts(kind, min_count, max_size)
        return ByteVocabulary(is_document=is_document)
    if spec == DecomposedVocabulary.kind and not is_only_read:
        raise ConfigError(
            "symbols cannot be nfd where they are predicted: give nfd to source_symbols, or use "
            "char"
        )
    if spec not in COUNTED_VOCABULARIES:
        close = get_close_matches(kind, ["byte", "bpe", *COUNTED_VOCABULARIES], n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        apart = ", nfd" if is_only_read else ""
        raise ConfigError(
            f"symbols cannot be {spec!r}: expected byte, char{apart}, word, or bpe:N (for example "
            f"bpe:8000){hint}"
        )
    counts = _count_words(texts) if spec == "word" else _count_characters(texts, spec)
    for own in [UNKNOWN] if is_document else [UNKNOWN, LINE_END]:
        counts.pop(own, None)
    kept = _most_frequent(counts, min_count, max_size)
    return COUNTED_VOCABULARIES[spec](kept, is_document=is_document)


def _refuse_counts(kind: str, min_count: int, max_size: int | None) -> None:
    if min_count != 1 or max_size is not None:
        raise ConfigError(f"min_count and max_size belong to char and word, not to {kind}")


def _most_frequent(counts: Counter[str], min_count: int, max_size: int | None) -> list[str]:
    if min_count < 1 or (max_size is not None and max_size < 3):
        raise ConfigError(
            f"min_count = {min_count} and max_size = {max_size}: expected at least 1 and 3"
        )
    if not counts:
        raise DataError("the text has no symbol in it but line ends: there is nothing to learn")
    kept = sorted((s for s, n in counts.items() if n >= min_count), key=lambda s: (-counts[s], s))
    if not kept:
        raise DataError(
            f"no symbol comes {min_count} times; the most frequent comes {max(counts.values())} "
            "times: lower min_count"
        )
    return kept if max_size is None else kept[: max_size - 2]


def _count_characters(texts: Iterable[Text], kind: str) -> Counter[str]:
    counts = np.zeros(0, np.int64)
    for text in join_texts(texts, "", kind):
        check_characters(text)
        text = decompose(text) if kind == DecomposedVocabulary.kind else text
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        found = np.bincount(codes, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return Counter({chr(code): int(counts[code]) for code in np.flatnonzero(counts)})


def _count_words(texts: Iterable[Text]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split_words(text) if isinstance(text, str) else text)
    for word in counts:
        check_characters(word)
    return counts


def vocabulary_from_json(data: Any) -> Vocabulary:
    """The inverse of `Symbols.to_json`.

    Raises:
        ModelError: not the JSON of symbols.
    """

    kinds: dict[str, type[Vocabulary]] = {
        "byte": ByteVocabulary,
        "bpe": BPEVocabulary,
        **COUNTED_VOCABULARIES,
    }
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ModelError(
            f"the symbols are not of a kind known here ({', '.join(kinds)}): the file is "
            "altered, or of a newer version of seriatim"
        )
    is_document = data.get("is_document")
    if not isinstance(is_document, bool):
        raise ModelError("the symbols do not say whether they are of documents: altered file")
    try:
        return kinds[kind].restored(data, is_document)
    except KeyError as error:
        raise ModelError(f"the symbols are altered: {error} is missing") from None
    except (ConfigError, SymbolError, TypeError) as error:
        raise ModelError(f"the symbols are altered: {error}") from None
