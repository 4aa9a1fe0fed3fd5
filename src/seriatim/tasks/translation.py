"""What a translation is: its text, its figures, its alignment, and how long it may become.

Knows results of searches, symbols and models that look at a source; no files and no training.

Shapes: B sources of a batch, S source positions, L target positions, K beam.
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
from seriatim.data.batches.pairs import Boundaries, PairReader, cut_batches
from seriatim.data.pairs import PairCorpus
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.decode.batched import Decoding, Ids, SearchConstraints
from seriatim.decode.hypotheses import Hypothesis
from seriatim.decode.mbr import ChrF, least_risk
from seriatim.errors import ConfigError, SymbolError
from seriatim.report.alignment import alignment_svg


@runtime_checkable
class Aligned(Protocol):
    """A model that can say where in the source it looked."""

    def alignment(self, source: Batch, batch: Batch, layer: int = -1) -> Tensor:
        """(B, L, S) how much each target looked at each position of its source, summing to 1."""


@dataclass(frozen=True)
class LengthRule:
    """How long a target may become: ceil(slope * S) + extra symbols for a source of S symbols.

    The ends of both are counted. Made from the training pairs: twice the ratio L / S that 99 of
    100 pairs stay below, and 20.
    """

    slope: float = 2.0
    extra: int = 20

    @classmethod
    def of(cls, corpus: PairCorpus) -> "LengthRule":
        """The rule of training pairs."""
        sizes = [np.diff(side.offsets) + 1 for side in (corpus.source, corpus.target)]
        ratio = float(np.quantile(sizes[1] / sizes[0], 0.99))
        return cls(slope=round(2.0 * max(ratio, 1.0), 3))

    def limit(self, size: int) -> int:
        """Symbols that the target of a source of `size` symbols may have."""
        return math.ceil(self.slope * size) + self.extra

    def limits(self, sources: Sequence[Ids], most: int | None) -> tuple[Ids, Ids]:
        """The sizes of sources, ends included, and the limits of their targets, unless `most` says.

        Both are (N,), for the symbols of N sources.
        """
        sizes = np.array([len(source) + 1 for source in sources], np.int64)
        return sizes, np.array([most or self.limit(n) for n in sizes.tolist()])


@dataclass(frozen=True)
class Alignment:
    """Where a decoder looked while it wrote.

    Attributes:
        source: the symbols of the source, its end last.
        target: the symbols of the target, its end last if it was reached.
        weights: (L, S) of each target symbol over the source; rows sum to 1.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: NDArray[np.float32]

    def svg(self) -> str:
        """A picture: the source from left to right, the target from top to bottom."""
        return alignment_svg(self.source, self.target, self.weights)


@dataclass(frozen=True)
class Translation:
    """One target that was found for a source.

    Attributes:
        text: of the target.
        log_prob: ln p(target, its end included if it was reached | source), nats.
        score: what it was ranked by; larger is better.
        is_ended: whether the model ended it; if not, the maximum length cut it.
        symbols: what it is made of.
        notes: sentences about its source or its length that one should know.
        alignment: if it was asked for.
        others: the next best, if more than one was asked for.
    """

    text: str
    log_prob: float
    score: float
    is_ended: bool
    symbols: tuple[int, ...]
    notes: tuple[str, ...] = ()
    alignment: Alignment | None = None
    others: tuple["Translation", ...] = ()


def translations(
    found: list[list[Hypothesis]], symbols: Vocabulary, notes: Sequence[tuple[str, ...]]
) -> list[Translation]:
    """The results as texts, the best of each source with the others in it."""
    made = []
    for hypotheses, remarks in zip(found, notes, strict=True):
        results = [
            Translation(
                symbols.decode(np.asarray(h.symbols, np.int64)),
                h.log_prob,
                h.score,
                h.is_ended,
                h.symbols,
                remarks if h.is_ended else (*remarks, _cut_note(len(h.symbols))),
            )
            for h in hypotheses
        ]
        made.append(replace(results[0], others=tuple(results[1:])))
    return made


def _cut_note(length: int) -> str:
    return f"the target was cut at {length:,} symbols: the model had not ended it"


def align(
    model: Aligned,
    device: torch.device,
    sources: Sequence[Ids],
    found: Sequence[Translation],
    symbols: tuple[Vocabulary, Vocabulary],
) -> list[Translation]:
    """The same translations with their alignments.

    Args:
        model: looks at the source.
        device: where it is.
        sources: symbols of each.
        found: a translation of each.
        symbols: of the sources and of the targets.
    """
    aligned = list(found)
    if not aligned:
        return aligned
    corpus = PairCorpus.from_tokens(
        (s.tolist(), t.symbols) for s, t in zip(sources, found, strict=True)
    )
    reader = PairReader(corpus, Boundaries(symbols[0].boundary, symbols[1].boundary))
    sizes = reader.source_sizes, reader.target_sizes
    order = np.lexsort(sizes)[::-1]
    cuts = cut_batches(sizes[0][order], sizes[1][order], batch_size=1, token_budget=8192).tolist()
    for begin, finish in pairwise(cuts):
        group = order[begin:finish]
        source, batch = reader.source(group).to(device), reader.batch(group).to(device)
        weights = model.alignment(source, batch).float().cpu().numpy()
        for row, place in enumerate(group.tolist()):
            length = int(sizes[1][place]) - (not found[place].is_ended)
            own = np.array(weights[row, :length, : sizes[0][place]])
            shown = _named(sources[place], symbols[0]), _named(found[place].symbols, symbols[1])
            aligned[place] = replace(
                found[place], alignment=Alignment(shown[0], shown[1][:length], own)
            )
    return aligned


def _named(ids: Sequence[int] | Ids, symbols: Vocabulary) -> tuple[str, ...]:
    """Symbols by their names, and the end."""
    return (*(symbols.name(int(i)) for i in ids), symbols.name(symbols.boundary))


def phrases_of(text: str, symbols: Vocabulary) -> list[list[int]]:
    """A text as phrases of symbols: as it stands inside of a text, then as it begins one.

    They differ where a word takes the space before it along (byte-pair encoding).

    Raises:
        SymbolError: nothing, or symbols that no target can have.
    """
    if not text:
        raise SymbolError("an empty text was required or forbidden: give one symbol at least")
    unknown = symbols.unknown_symbols(text)
    if unknown:
        raise SymbolError(
            f"{text!r} has symbols that no target of this translator can have "
            f"({', '.join(map(repr, unknown[:5]))}): leave it out"
        )
    first, inner = symbols.encode(text).tolist(), symbols.encode(" " + text).tolist()
    takes_space = len(inner) <= len(first) and inner != first
    return [inner, first] if takes_space else [first]


def wishes_of(decoding: Decoding, target: Vocabulary, *, has_unknown: bool) -> SearchConstraints:
    """What is forbidden and what is fused.

    Args:
        decoding: what was asked.
        target: the symbols of the targets.
        has_unknown: whether the training targets had `<unk>`; else no target shall.

    Raises:
        ConfigError: a language model of other symbols.
        SymbolError: a text that no target can have.
    """
    if decoding.sampling is not None:
        return SearchConstraints()  # samples are the model's own
    forbidden = [p for text in decoding.forbidden for p in phrases_of(text, target)]
    if target.unknown is not None and not has_unknown:
        forbidden.append([target.unknown])
    if decoding.fusion is None:
        return SearchConstraints(forbidden)
    lm, weight = decoding.fusion
    if lm.symbols is None or lm.model is None:
        raise ConfigError("the language model to fuse is not fitted yet: call fit")
    if lm.symbols.fingerprint() != target.fingerprint():
        raise ConfigError(
            "fusion needs a language model of the target's symbols: fit it with "
            "symbols=translator.symbols on a list of texts"
        )
    return SearchConstraints(forbidden, fusion=(lm.model, weight))


def by_risk(found: Translation) -> Translation:
    """Samples of one source by minimum Bayes risk: first the one that the others are most like.

    Alike is chrF (Eikema, Aziz 2020); it stands as the score. Equal samples are told once.
    """
    candidates = [replace(found, others=()), *found.others]
    ranked = least_risk([c.text for c in candidates], ChrF())
    best, *others = [replace(candidates[i], score=utility) for i, utility in ranked]
    return replace(best, others=tuple(others))


def read_sources(
    texts: Sequence[Text], symbols: Vocabulary, longest: int | None
) -> tuple[list[Ids], list[tuple[str, ...]]]:
    """The symbols of sources, and what should be known of each.

    Args:
        texts: sources.
        symbols: of the sources.
        longest: symbols of the longest source in training, if that is known.
    """
    ids = [symbols.encode(text) for text in texts]
    notes = []
    for text, found in zip(texts, ids, strict=True):
        remarks = []
        if symbols.unknown is not None and (found == symbols.unknown).any():
            remarks.append(_unknown_note(symbols.unknown_symbols(text)))
        if longest is not None and len(found) > longest:
            remarks.append(
                f"the source has {len(found):,} symbols and the longest in training had "
                f"{longest:,}: it is translated in full, but expect less"
            )
        notes.append(tuple(remarks))
    return ids, notes


def _unknown_note(unknown: Sequence[str]) -> str:
    """That a source has symbols which were never seen."""
    named = ", ".join(repr(u) for u in unknown[:5]) + (", .." if len(unknown) > 5 else "")
    return f"the source has symbols never seen in training ({named}), read as <unk>"


def check_same_symbols(members: Sequence[Vocabulary]) -> None:
    """
    Raises:
        ConfigError: the target symbols of an ensemble are not the same.
    """
    if len({symbols.fingerprint() for symbols in members}) > 1:
        raise ConfigError(
            "an ensemble needs the same target symbols in every translator: fit the others with "
            "symbols=first.symbols"
        )
