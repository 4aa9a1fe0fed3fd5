"""The figures of a scored text, of all of it or of a sample.

Knows surprisals, symbols and sources; a model only as what is scored.
"""

from dataclasses import dataclass
from itertools import islice

import numpy as np

from seriatim.core.model import SequenceModel
from seriatim.data.corpus import Corpus
from seriatim.data.sources import Source
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.metrics.likelihood import ScoredCorpus, summarize_surprisals, unknown_targets
from seriatim.metrics.pieces import SampleLimit
from seriatim.metrics.score import Score, score_text
from seriatim.tasks.speller import spelling_bits
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import History
from seriatim.train.options import SCORING_FRACTION, TrainingOptions

EVERY_TRAINED = 10  # without one: a part has at most a tenth of the symbols that were trained on
AT_LEAST = 65_536  # symbols of a part that are scored in any case
_SPELLED = 2_000  # lines, documents or pieces of a text whose unknown words are spelled


def final_limit(
    options: TrainingOptions, history: History | None, parts: int
) -> SampleLimit | None:
    """What the final score of a part may cost.

    Args:
        options: the training options.
        parts: the number of parts to score.
        history: how the model was trained; None: counted, and then everything is scored.
    """
    if history is None:
        return None
    if options.minutes is not None:
        return SampleLimit(seconds=SCORING_FRACTION * 60 * options.minutes / max(parts, 1))
    return SampleLimit(symbols=max(AT_LEAST, history.num_targets // EVERY_TRAINED))


def count_scored(callbacks: Callbacks, part: str, symbols: int) -> None:
    """Say how many symbols of a part are scored."""
    callbacks.count(f"scored {symbols:,} symbols of the {part} part")


@dataclass(frozen=True)
class SampledText:
    """The text behind scored symbols; see `metrics.score.TextSize`."""

    num_characters: int
    num_bytes: int
    lossless_reason: str | None


def score_of(
    scored: ScoredCorpus,
    corpus: Corpus,
    vocabulary: Vocabulary,
    *,
    source: Source | None = None,
    speller: SequenceModel | None = None,
) -> Score:
    """The score of a text.

    Args:
        scored: the surprisals of the corpus, or of a sample of it.
        corpus: the text in symbols.
        vocabulary: the vocabulary of the corpus.
        source: the text itself, whose unknown words are spelled; None: they are not.
        speller: the model that spells them.
    """
    unknown = unknown_targets(corpus, vocabulary.unknown)
    if scored.is_whole:
        size: Corpus | SampledText = corpus
        is_unknown = unknown
    else:
        at = scored.positions(corpus)
        size, is_unknown = _text_behind(at, corpus, vocabulary), unknown[at]
    likelihood = summarize_surprisals(scored.nats, scored.bounds, is_unknown)
    bits = None
    if likelihood.unknown and corpus.is_respelled and speller is not None and source is not None:
        texts = source.texts()
        if scored.is_whole:
            bits = spelling_bits(speller, texts, vocabulary)
        else:  # the mean of an unknown word, as often as there are some in the sample
            some = list(islice(texts, _SPELLED))
            count = sum(len(vocabulary.spellings(text)) for text in some)
            mean = spelling_bits(speller, some, vocabulary) / max(count, 1)
            bits = mean * likelihood.unknown
    return score_text(
        likelihood, size, scored.seconds, spelling_bits=bits, coverage=scored.coverage
    )


def _text_behind(
    at: "np.ndarray[tuple[int], np.dtype[np.int64]]", corpus: Corpus, vocabulary: Vocabulary
) -> SampledText:
    """The size of the text behind the scored symbols at these positions."""
    ids = np.asarray(corpus.tokens, np.int64)
    if not corpus.is_stream:
        ids = np.insert(ids, corpus.offsets[1:], vocabulary.boundary)
    sizes = [(of_symbols[at].sum(), of_symbols.sum()) for of_symbols in vocabulary.text_sizes(ids)]
    wholes = (corpus.num_characters, corpus.num_bytes)
    # Where symbols do not spell the text, the others are stretched.
    characters, num_bytes = (
        round(int(part) * whole / max(int(total), 1))
        for (part, total), whole in zip(sizes, wholes, strict=True)
    )
    return SampledText(characters, num_bytes, corpus.lossless_reason)
