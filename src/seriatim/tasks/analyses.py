"""What the analyses of a text read: a text in the symbols of a model, and categories of symbols."""

from typing import Literal, TypeAlias

import numpy as np

from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.sources import Source
from seriatim.data.vocab.categories import CategoryChoice, categories_of
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import SymbolError

OutputMetricName: TypeAlias = Literal["chrf", "bleu", "exact-match", "character-errors"]

PAIRS = 200  # that are translated for each perturbation by default


def known_corpus(source: Source, vocabulary: Vocabulary) -> Corpus:
    """A source in the symbols of a model.

    Raises:
        SymbolError: if most of it is unknown to the model, so that figures would say nothing.
    """
    corpus = build_corpus(source, vocabulary)
    if corpus.num_unknown > corpus.num_tokens / 2:
        raise SymbolError(
            f"{corpus.num_unknown:,} of the {corpus.num_tokens:,} symbols of {source.name} are "
            "unknown to the model: give text like the text that it was fitted to"
        )
    return corpus


def categories_in(
    corpus: Corpus, vocabulary: Vocabulary, choice: CategoryChoice
) -> dict[str, list[int]]:
    """The symbols of each category; frequent ones are those that are frequent in this corpus."""
    counts = np.bincount(np.asarray(corpus.tokens), minlength=vocabulary.num_symbols)
    return categories_of(vocabulary, counts, choice)
