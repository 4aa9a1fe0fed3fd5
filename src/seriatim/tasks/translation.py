"""Translations: texts resolved to symbols, hypotheses turned into texts, alignments, length limits.

Knows vocabularies, the results of searches and models that attend to a source; no files and no
training.

Shapes: N sources, S source positions, L target positions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.batch import Batch
from seriatim.core.records import Json
from seriatim.data.batches.pairs import PairBoundaries, PairReader, cut_batches
from seriatim.data.pairs import PairCorpus
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.decode.constraints import Forbidden, Fusion
from seriatim.decode.hypotheses import Hypothesis, Ints
from seriatim.decode.mbr import ChrF, minimum_bayes_risk
from seriatim.decode.phrases import Phrases
from seriatim.decode.scoring import Scorers
from seriatim.decode.settings import Decoding
from seriatim.errors import ConfigError, SymbolError
from seriatim.report.alignment import alignment_svg
from seriatim.report.terminal import count_noun


@runtime_checkable
class Aligned(Protocol):
    """A model that attends to its source."""

    def alignment(self, source: Batch, batch: Batch, layer: int = -1) -> Tensor:
        """(B, L, S) the attention of each target position to its source; rows sum to 1."""


_MOST_GROWTH, _MOST_EXTRA = 1e4, 10**6  # what a fitted rule never has: decoding would not end


@dataclass(frozen=True)
class LengthRule:
    """The maximum length of a target: ceil(slope * S) + extra symbols for a source of S symbols.

    The ends of both are counted.

    Attributes:
        slope: the maximum growth; fitted, it is twice the 99 % quantile of L / S over the
            training pairs.
        extra: the number of symbols allowed on top.
    """

    slope: float = 2.0
    extra: int = 20

    def __post_init__(self) -> None:
        if not (0.0 <= self.slope <= _MOST_GROWTH and 0 <= self.extra <= _MOST_EXTRA):
            raise ValueError(f"no rule of length: {self.slope} times, and {self.extra} more")

    @classmethod
    def of(cls, corpus: PairCorpus) -> "LengthRule":
        """The rule fitted to training pairs."""
        sizes = [np.diff(side.offsets) + 1 for side in (corpus.source, corpus.target)]
        ratio = float(np.quantile(sizes[1] / sizes[0], 0.99))
        return cls(slope=round(2.0 * max(ratio, 1.0), 3))

    def limit(self, size: int) -> int:
        """The maximum number of target symbols for a source of `size` symbols."""
        return math.ceil(self.slope * size) + self.extra

    def limits(self, sources: Sequence[Ints], max_length: int | None) -> tuple[Ints, Ints]:
        """(N,) the sizes of the sources, ends included, and (N,) the limits of their targets.

        Args:
            sources: the symbols of each source.
            max_length: one limit for all targets; None: by this rule.
        """
        sizes = np.array([len(source) + 1 for source in sources], np.int64)
        return sizes, np.array([max_length or self.limit(n) for n in sizes.tolist()])


@dataclass(frozen=True)
class SavedTranslator:
    """The part of config.json that only a translator has."""

    model: Json
    joint: bool
    length_rule: LengthRule


@dataclass(frozen=True)
class Alignment:
    """The attention of a decoder to its source while it wrote a target.

    Attributes:
        source: the symbols of the source, its end last.
        target: the symbols of the target, its end last if it was reached.
        weights: (L, S) the attention of each target position; rows sum to 1.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: NDArray[np.float32]

    def svg(self, *, is_dark: bool = False) -> str:
        """A picture: the source from left to right, the target from top to bottom.

        Args:
            is_dark: whether it is for a dark page.
        """
        return alignment_svg(self.source, self.target, self.weights, is_dark=is_dark)


@dataclass(frozen=True)
class Translation:
    """One target of a source.

    Attributes:
        text: the text of the target.
        log_prob: ln p(target, its end included if it was reached | source), nats.
        score: the ranking score; larger is better.
        is_ended: whether the model ended it; if not, the maximum length cut it.
        symbols: the symbols of the target.
        notes: warnings about its source or its length.
        alignment: the attention to the source, if requested.
        others: the next best targets, if more than one was requested.
    """

    text: str
    log_prob: float
    score: float
    is_ended: bool
    symbols: tuple[int, ...]
    notes: tuple[str, ...] = ()
    alignment: Alignment | None = None
    others: tuple["Translation", ...] = ()

    def __repr__(self) -> str:
        more = f", {len(self.others)} others" if self.others else ""
        return f"Translation({self.text!r}, ln p = {self.log_prob:.3f}{more})"


# ---- before the search: texts to symbols --------------------------------------------------------


def read_sources(
    texts: Sequence[Text], vocabulary: Vocabulary, longest: int | None
) -> tuple[list[Ints], list[tuple[str, ...]]]:
    """The symbols of the sources, and warnings about each.

    Args:
        texts: the sources.
        vocabulary: the vocabulary of the sources.
        longest: the number of symbols of the longest source in training; None: not known.
    """
    ids = [vocabulary.encode_prompt(text) for text in texts]
    return ids, [
        tuple(_source_notes(text, source, vocabulary, longest))
        for text, source in zip(texts, ids, strict=True)
    ]


def _source_notes(text: Text, ids: Ints, vocabulary: Vocabulary, longest: int | None) -> list[str]:
    notes = []
    if vocabulary.unknown is not None and (ids == vocabulary.unknown).any():
        unknown = vocabulary.unknown_symbols(text)
        shown = ", ".join(repr(u) for u in unknown[:5]) + (", .." if len(unknown) > 5 else "")
        notes.append(f"the source has symbols never seen in training ({shown}), read as <unk>")
    if longest is not None and len(ids) > longest:
        notes.append(
            f"the source has {len(ids):,} symbols and the longest in training had {longest:,}: "
            "it is translated in full, but expect less"
        )
    return notes


def scorers_for(decoding: Decoding, target: Vocabulary, *, has_unknown: bool) -> Scorers:
    """The scorers of a search: what the settings forbid and which language model they fuse.

    Args:
        decoding: the settings.
        target: the vocabulary of the targets.
        has_unknown: whether the training targets had `<unk>`; if not, no target may have it.

    Raises:
        ConfigError: if the language model has another vocabulary.
        SymbolError: if no target can have a forbidden text.
    """
    if decoding.sampling is not None:
        return []  # samples follow the model alone
    scorers: list[tuple[Forbidden | Fusion, float]] = []
    forbidden = [p for text in decoding.forbid for p in _phrases(text, target)]
    if target.unknown is not None and not has_unknown:
        forbidden.append([target.unknown])
    if forbidden:
        scorers.append((Forbidden([forbidden], target.num_symbols), 1.0))
    lm = decoding.fuse
    if lm is not None:
        if lm.vocabulary is None or lm.model is None:
            raise ConfigError("the language model to fuse is not fitted yet: call fit")
        if lm.vocabulary.fingerprint() != target.fingerprint():
            raise ConfigError(
                "fuse needs a language model with the vocabulary of the targets: fit it with "
                "symbols=translator.vocabulary on a list of texts"
            )
        scorers.append((Fusion(lm.model), decoding.fuse_weight))
    return scorers


def required_phrases(
    required: Sequence[Sequence[str]] | None, decoding: Decoding, target: Vocabulary, sources: int
) -> Phrases | None:
    """The required texts of each source as phrases of symbols; None: nothing is required.

    Raises:
        ConfigError: if there is not one list for each source, or the settings choose something
            other than plain beam search.
        SymbolError: if no target can have a required text.
    """
    if required is None:
        return None
    if len(required) != sources:
        raise ConfigError(
            f"there are {sources:,} sources and {len(required):,} lists of required texts: give "
            "one list for each source, empty where nothing is required"
        )
    decoding.check_required()
    return [[_phrases(text, target)[0] for text in texts] for texts in required]


def target_prefixes(
    prefixes: str | Sequence[Text] | None,
    target: Vocabulary,
    limits: Ints,
    extra: int,
    max_length: int | None,
) -> tuple[list[list[int]] | None, Ints]:
    """The symbols with which the target of each source begins, and limits that leave room.

    Args:
        prefixes: a text for all sources, or one for each; None: nothing is given.
        target: the vocabulary of the targets.
        limits: (N,) the maximum number of symbols of each target.
        extra: the number of symbols that a target may have after a prefix at least.
        max_length: the limit that the user chose; None: none.

    Raises:
        ConfigError: if there is not one prefix for each source, or `max_length` leaves no room.
        SymbolError: if no target can have the symbols of a prefix.
    """
    if prefixes is None:
        return None, limits
    texts = [prefixes] * len(limits) if isinstance(prefixes, str) else list(prefixes)
    if len(texts) != len(limits):
        raise ConfigError(
            f"there are {len(limits):,} sources and {len(texts):,} prefixes: give one for each "
            "source, empty where nothing is given"
        )
    found = []
    for number, text in enumerate(texts, 1):
        unknown = target.unknown_symbols(text)
        if unknown:
            raise SymbolError(
                f"the prefix {text!r:.60} has symbols that no target of this translator can have "
                f"({', '.join(map(repr, unknown[:5]))}): leave them out"
            )
        found.append(target.encode(text).tolist())
        if max_length is not None and len(found[-1]) >= max_length:
            raise ConfigError(
                f"the prefix of source {number:,} has {len(found[-1]):,} symbols, and max_length "
                f"{max_length:,} leaves no room after it: give a greater one"
            )
    if max_length is None:
        limits = np.maximum(limits, [len(prefix) + extra for prefix in found])
    return found, limits


def _phrases(text: str, vocabulary: Vocabulary) -> list[list[int]]:
    """A text as phrases of symbols: as it is spelled inside a text, then at its beginning.

    They differ where a word includes the space before it (byte-pair encoding).
    """
    if not text:
        raise SymbolError("a required or forbidden text is empty: give at least one symbol")
    unknown = vocabulary.unknown_symbols(text)
    if unknown:
        raise SymbolError(
            f"{text!r} has symbols that no target of this translator can have "
            f"({', '.join(map(repr, unknown[:5]))}): leave it out"
        )
    first, inner = vocabulary.encode(text).tolist(), vocabulary.encode(" " + text).tolist()
    takes_space = len(inner) <= len(first) and inner != first
    return [inner, first] if takes_space else [first]


def check_same_symbols(members: Sequence[Vocabulary]) -> None:
    """Check that the members of an ensemble share their target vocabulary.

    Raises:
        ConfigError: if they do not.
    """
    if len({symbols.fingerprint() for symbols in members}) > 1:
        raise ConfigError(
            "an ensemble needs the same target vocabulary in every translator: fit the others "
            "with symbols=first.vocabulary"
        )


# ---- after the search: hypotheses to translations -----------------------------------------------


def translations(
    hypotheses: list[list[Hypothesis]], vocabulary: Vocabulary, notes: Sequence[tuple[str, ...]]
) -> list[Translation]:
    """The hypotheses of each source as texts: the best one, which holds the others."""
    results = []
    for own, source_notes in zip(hypotheses, notes, strict=True):
        best, *others = [_translation(h, vocabulary, source_notes) for h in own]
        results.append(replace(best, others=tuple(others)))
    return results


def _translation(h: Hypothesis, vocabulary: Vocabulary, notes: tuple[str, ...]) -> Translation:
    if not h.is_ended:
        cut = f"the target was cut at {count_noun(len(h.symbols), 'symbol')}"
        notes = (*notes, f"{cut}: the model had not ended it")
    text = vocabulary.decode(np.asarray(h.symbols, np.int64))
    return Translation(text, h.log_prob, h.score, h.is_ended, h.symbols, notes)


def rank_by_risk(samples: Translation) -> Translation:
    """The samples of one source by minimum Bayes risk, the one that agrees most with all first.

    Agreement is chrF (Eikema, Aziz 2020), which becomes the score. Equal samples are merged.
    """
    candidates = [replace(samples, others=()), *samples.others]
    ranked = minimum_bayes_risk([c.text for c in candidates], ChrF())
    best, *others = [replace(candidates[i], score=utility) for i, utility in ranked]
    return replace(best, others=tuple(others))


def align(
    model: object,
    device: torch.device,
    sources: Sequence[Ints],
    results: Sequence[Translation],
    vocabularies: tuple[Vocabulary, Vocabulary],
) -> list[Translation]:
    """The translations with their alignments.

    Args:
        model: a model that attends to its source.
        device: the device of the model.
        sources: the symbols of each source.
        results: a translation of each source.
        vocabularies: the vocabularies of the sources and of the targets.

    Raises:
        ConfigError: if the model does not attend to its source.
    """
    if not isinstance(model, Aligned):
        raise ConfigError(f"{type(model).__name__} has no attention to its source to align by")
    aligned = list(results)
    if not aligned:
        return aligned
    corpus = PairCorpus.from_tokens(
        (s.tolist(), t.symbols) for s, t in zip(sources, results, strict=True)
    )
    reader = PairReader(corpus, PairBoundaries(vocabularies[0].boundary, vocabularies[1].boundary))
    sizes = reader.source_sizes, reader.target_sizes
    order = np.lexsort(sizes)[::-1]
    cuts = cut_batches(sizes[0][order], sizes[1][order], batch_size=1, token_budget=8192).tolist()
    for begin, finish in pairwise(cuts):
        group = order[begin:finish]
        source, batch = reader.source(group).to(device), reader.batch(group).to(device)
        weights = model.alignment(source, batch).float().cpu().numpy()
        for row, i in enumerate(group.tolist()):
            result = results[i]
            length = int(sizes[1][i]) - (not result.is_ended)
            alignment = Alignment(
                _symbol_names(sources[i], vocabularies[0]),
                _symbol_names(result.symbols, vocabularies[1])[:length],
                np.array(weights[row, :length, : sizes[0][i]]),
            )
            aligned[i] = replace(result, alignment=alignment)
    return aligned


def _symbol_names(ids: Sequence[int] | Ints, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The names of symbols, and of the end."""
    return (*(vocabulary.name(int(i)) for i in ids), vocabulary.name(vocabulary.boundary))
