"""The cost of spelling unknown words, by a byte model of rare words.

A model of words gives a probability to `<unk>`, not to the word. A code of the whole text must
spell the word too, which a Markov model over the bytes of rare training words does:

    bits(word) = -log2 p(b_1 .. b_n, end),       independently for each word

so its sum with the bits of the symbols is the length of a proper code. Knows symbols and models of
bytes; names no family but that of the counted default.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from seriatim.core.model import SequenceModel
from seriatim.data.corpus import Corpus, Tokens
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.metrics.likelihood import surprisals
from seriatim.models.build import build_model
from seriatim.models.options.ngram import Markov
from seriatim.train.closed_form import ClosedForm

_PIECES = 200_000  # lines or documents of training text that are read
_PIECE = 1 << 20  # tokens
_ENOUGH = 100  # distinct unknown words, to do without those that occur once


def speller() -> SequenceModel:
    """The byte model, not fitted: 256 bytes and an end."""
    return build_model(Markov(order=4, smoothing="witten-bell"), 257, 256)


def fit_speller(
    texts: Iterable[Text], corpus: Corpus, vocabulary: Vocabulary
) -> SequenceModel | None:
    """A byte model of the rare words of a training text; None if no symbol can be unknown.

    Rare words are those that are unknown in the training text itself and, if these are few, also
    those that occur once. The text is read only if some of it is unknown.

    Args:
        texts: the training text.
        corpus: the same text as symbols.
        vocabulary: the vocabulary of the corpus.
    """
    if vocabulary.unknown is None:
        return None
    rare: set[str] = set()
    if corpus.num_unknown:
        for text in islice(texts, _PIECES):
            rare.update(vocabulary.unknown_symbols(text))
    if len(rare) < _ENOUGH:
        counts = _counts(corpus.tokens, vocabulary.num_symbols)
        counts[[vocabulary.unknown, vocabulary.boundary]] = 0
        rare.update(vocabulary.texts(np.flatnonzero(counts == 1)))
    return spelling_model(rare)


def _counts(tokens: Tokens, num_symbols: int) -> NDArray[np.int64]:
    """(V,) how often each symbol occurs; in pieces, since numpy widens what it counts."""
    counts = np.zeros(num_symbols, np.int64)
    for low in range(0, len(tokens), _PIECE):
        counts += np.bincount(tokens[low : low + _PIECE], minlength=num_symbols)
    return counts


def begin_speller(
    texts: Iterable[Text], corpus: Corpus, vocabulary: Vocabulary
) -> Future[SequenceModel | None]:
    """`fit_speller` in a thread, while the model itself is counted in another process."""
    thread = ThreadPoolExecutor(1)
    begun = thread.submit(fit_speller, texts, corpus, vocabulary)
    thread.shutdown(wait=False)
    return begun


def spelling_model(words: Iterable[str]) -> SequenceModel:
    """A byte model of these words."""
    model, distinct = speller(), sorted(set(words))
    if isinstance(model, ClosedForm) and distinct:
        model.fit_closed_form(_as_bytes(distinct))
    return model


def spelling_bits(model: SequenceModel, texts: Iterable[Text], vocabulary: Vocabulary) -> float:
    """The bits that spell every unknown symbol of the texts, each time it occurs."""
    counts = Counter(word for text in texts for word in vocabulary.spellings(text))
    return float(_bits(model, list(counts)) @ np.array(list(counts.values()), np.float64))


def spelling_of_each(model: SequenceModel, words: Sequence[str]) -> NDArray[np.float64]:
    """(N,) the bits that spell each of N words."""
    distinct = list(dict.fromkeys(words))
    bits = dict(zip(distinct, _bits(model, distinct).tolist(), strict=True))
    return np.array([bits[word] for word in words], np.float64)


def _bits(model: SequenceModel, words: Sequence[str]) -> NDArray[np.float64]:
    """(N,) the bits of distinct words."""
    if not words:
        return np.zeros(0)
    nats, bounds = surprisals(model, _as_bytes(words))
    bits: NDArray[np.float64] = np.add.reduceat(nats, bounds[:-1], dtype=np.float64) / np.log(2)
    return bits


def _as_bytes(words: Iterable[str]) -> Corpus:
    return Corpus.from_tokens([np.frombuffer(w.encode(), np.uint8) for w in words])
