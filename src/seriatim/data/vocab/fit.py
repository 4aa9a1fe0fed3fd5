"""Fitting a vocabulary to texts, and reading one from JSON: the one place that knows every kind.

Knows counts of characters and words. Does not know files or models.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Literal

import numpy as np

from seriatim.core.records import from_json
from seriatim.data.vocab.bpe import BPEVocabulary, fit_bpe
from seriatim.data.vocab.byte import ByteVocabulary
from seriatim.data.vocab.char import CharVocabulary
from seriatim.data.vocab.nfd import DecomposedVocabulary, decompose
from seriatim.data.vocab.vocabulary import (
    LINE_END,
    UNKNOWN,
    Text,
    Vocabulary,
    VocabularyRecord,
    check_characters,
    join_texts,
)
from seriatim.data.vocab.word import WordVocabulary
from seriatim.data.vocab.word_index import split_words
from seriatim.errors import ConfigError, DataError, ModelError, SymbolError

# The vocabularies whose symbols are counted, so that rare ones may be left out.
COUNTED_VOCABULARIES: Mapping[str, type[CharVocabulary | WordVocabulary]] = {
    c.kind: c for c in (CharVocabulary, WordVocabulary, DecomposedVocabulary)
}
_VOCABULARIES: Mapping[str, type[Vocabulary]] = {
    ByteVocabulary.kind: ByteVocabulary,
    BPEVocabulary.kind: BPEVocabulary,
    **COUNTED_VOCABULARIES,
}


def fit_vocabulary(
    spec: str,
    texts: Iterable[Text],
    *,
    sequences: Literal["line", "document", "stream"],
    min_count: int = 1,
    max_symbols: int | None = None,
    is_only_read: bool = False,
) -> Vocabulary:
    """The vocabulary of a training text.

    Args:
        spec: `byte`, `char`, `word`, or `bpe:N` with N symbols in total; `nfd` for texts that are
            only read.
        texts: the training texts, such as `Source.texts()`; read once.
        sequences: what one sequence is; documents have a separate boundary.
        min_count: the least number of occurrences; characters or words with fewer are unknown.
        max_symbols: the largest number of symbols, `<unk>` and the boundary included; None: no
            limit.
        is_only_read: whether the model never predicts these symbols, so that they need not
            spell their text.

    Raises:
        ConfigError: if there is no such vocabulary, or an option does not apply to it.
        DataError: if the texts hold no symbol, or none often enough.
    """
    kind, _, size = spec.partition(":")
    is_document = sequences == "document"
    if kind == "bpe" or spec == "byte":
        _refuse_limits(kind, min_count, max_symbols)
    if kind == "bpe":
        return fit_bpe(texts, size, is_document=is_document)
    if spec == "byte":
        return ByteVocabulary(is_document=is_document)
    if spec == DecomposedVocabulary.kind and not is_only_read:
        raise ConfigError(
            "nfd symbols can be read but not predicted: use them as source_symbols, or use char"
        )
    if spec not in COUNTED_VOCABULARIES:
        close = get_close_matches(kind, ["byte", "bpe", *COUNTED_VOCABULARIES], n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        nfd = ", nfd" if is_only_read else ""
        raise ConfigError(
            f"unknown symbols {spec!r}: choose byte, char{nfd}, word, or bpe:N (for example "
            f"bpe:8000){hint}"
        )
    check_limits(min_count, max_symbols)
    is_events = False
    if spec == "word":
        counts, is_events = _count_words(texts)
    else:
        counts = _count_characters(texts, spec)
    for special in [UNKNOWN] if is_document else [UNKNOWN, LINE_END]:
        counts.pop(special, None)
    symbols = _most_frequent(counts, min_count, max_symbols)
    if spec == "word":
        return WordVocabulary(symbols, is_document=is_document, is_events=is_events)
    return COUNTED_VOCABULARIES[spec](symbols, is_document=is_document)


def _refuse_limits(kind: str, min_count: int, max_symbols: int | None) -> None:
    if min_count != 1 or max_symbols is not None:
        raise ConfigError(
            f"min_count and max_symbols apply to char and word symbols, not to {kind}"
        )


def check_limits(min_count: int, max_symbols: int | None) -> None:
    """Refuse limits that leave no symbol.

    Raises:
        ConfigError: if a limit is too small.
    """
    if min_count < 1:
        raise ConfigError(f"min_count is {min_count}: give 1 or more")
    if max_symbols is not None and max_symbols < 3:
        raise ConfigError(
            f"max_symbols is {max_symbols}: give 3 or more: <unk>, the end and a symbol"
        )


def _most_frequent(counts: Counter[str], min_count: int, max_symbols: int | None) -> list[str]:
    check_any(max(counts.values(), default=0), min_count)
    frequent = [s for s, n in counts.items() if n >= min_count]
    frequent.sort(key=lambda s: (-counts[s], s))
    return frequent if max_symbols is None else frequent[: max_symbols - 2]


def check_any(highest_count: int, min_count: int) -> None:
    """Refuse a text without a symbol that is frequent enough.

    Raises:
        DataError: if the most frequent symbol occurs too few times.
    """
    if not highest_count:
        raise DataError("the text has no symbols but line ends: there is nothing to learn from it")
    if highest_count < min_count:
        raise DataError(
            f"no symbol occurs {min_count} times, and the most frequent one occurs "
            f"{highest_count} times: lower min_count"
        )


def _count_characters(texts: Iterable[Text], kind: str) -> Counter[str]:
    totals = np.zeros(0, np.int64)
    for text in join_texts(texts, "", kind):
        check_characters(text)
        text = decompose(text) if kind == DecomposedVocabulary.kind else text
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        counts = np.bincount(codes, minlength=len(totals))
        counts[: len(totals)] += totals
        totals = counts
    return Counter({chr(code): int(totals[code]) for code in np.flatnonzero(totals)})


def _count_words(texts: Iterable[Text]) -> tuple[Counter[str], bool]:
    """The words, and whether some of them came as lists of events."""
    counts: Counter[str] = Counter()
    is_events = False
    for text in texts:
        is_events = is_events or not isinstance(text, str)
        counts.update(split_words(text) if isinstance(text, str) else text)
    for word in counts:
        check_characters(word)
    return counts, is_events


def vocabulary_from_json(data: object) -> Vocabulary:
    """The inverse of `Vocabulary.to_json`.

    Raises:
        ModelError: if it is not the JSON of a vocabulary.
    """
    record = from_json(VocabularyRecord, data, name="the vocabulary (symbols.json)")
    if record.kind not in _VOCABULARIES:
        raise ModelError(
            f"the vocabulary is of kind {record.kind!r:.40}, and this version knows "
            f"{', '.join(_VOCABULARIES)}: update seriatim, or restore the file"
        )
    try:
        return _VOCABULARIES[record.kind].from_record(record)
    except (ConfigError, SymbolError) as error:
        raise ModelError(f"the vocabulary (symbols.json) is damaged: {error}") from None
