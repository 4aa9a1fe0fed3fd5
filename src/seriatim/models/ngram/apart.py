"""Counting a large corpus in a process of its own: see `seriatim.core.apart` for why.

Knows padded corpora; no processes, files or probabilities.
"""

from typing import Any

import numpy.typing as npt

from seriatim.core.allocation import give_back_freed_memory
from seriatim.core.apart import ask
from seriatim.core.records import Json
from seriatim.models.ngram.counting import Counts
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_corpus

FEWEST = 2_000_000  # positions for which starting a process pays
_ARRAYS = ("starts", "key", "suffix", "count", "first", "num_first")


def count_quickly(corpus: PaddedCorpus, *, order: int, num_symbols: int) -> Counts:
    """`count_corpus`, in a process of its own if that is faster.

    Raises:
        DataError: there is nothing to predict, or a symbol outside 0 .. V - 1.
    """
    counts = None
    if corpus.num_positions >= FEWEST and order > 1:
        counts = count_apart(corpus, order=order, num_symbols=num_symbols)
    return counts or count_corpus(corpus, order=order, num_symbols=num_symbols)


def count_apart(corpus: PaddedCorpus, *, order: int, num_symbols: int) -> Counts | None:
    """`count_corpus` in another process; None if there can be none.

    Raises:
        DataError: there is nothing to predict, or a symbol outside 0 .. V - 1.
    """
    facts = {
        "order": order,
        "num_symbols": num_symbols,
        "boundary": corpus.boundary,
        "is_stream": corpus.is_stream,
    }
    answer = ask(f"{__name__}:count", facts, [corpus.tokens, corpus.offsets])
    return None if answer is None else Counts(num_symbols, *answer[1])


def count(facts: Json, arrays: list[npt.NDArray[Any]]) -> tuple[Json, list[npt.NDArray[Any]]]:
    """The job: a corpus as `count_apart` sends it, to the arrays of its counts."""
    corpus = [PaddedCorpus(*arrays, boundary=facts["boundary"], is_stream=facts["is_stream"])]
    give_back_freed_memory()  # of reading the text
    arrays.clear()  # nor is the corpus held while it is counted
    counts = count_corpus(corpus.pop(), order=facts["order"], num_symbols=facts["num_symbols"])
    give_back_freed_memory()  # before the counts are copied
    return {}, [getattr(counts, name) for name in _ARRAYS]
