"""What the models of a comparison took for the test text, on one scale.

Nats of symbols become bits of blocks of text, so that models of different symbols can be held
against each other.

Knows runs, corpora and alphabets; trains nothing and judges nothing.

Shapes: N scored symbols, M sequences, K blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from seriatim.comparison.store import TrainedRun
from seriatim.data.corpus import Corpus
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.metrics.blocks import Blocks, Ints, blocks_of_sequences, blocks_of_stream
from seriatim.metrics.bootstrap import Floats
from seriatim.metrics.likelihood import unknown_targets

LN2 = float(np.log(2))


@dataclass(frozen=True)
class Compared:
    """What the conclusions are drawn from.

    Attributes:
        name: of the data.
        budget: JSON values.
        split: how the parts were made; None: they were given.
        sequences: what one sequence is.
        families, specs: family and name of the symbols of each model.
        alphabets, corpora, spelling: by that name; corpora hold the parts, spelling the bits that
            spell what is unknown of the test text, where there are several alphabets.
        runs: of each model, in the order of the seeds.
    """

    name: str
    budget: Mapping[str, Any]
    split: Mapping[str, Any] | None
    sequences: str
    families: Mapping[str, str]
    specs: Mapping[str, str]
    alphabets: Mapping[str, Vocabulary]
    corpora: Mapping[str, Mapping[str, Corpus]]
    spelling: Mapping[str, float]
    runs: Mapping[str, list[TrainedRun]]

    @cached_property
    def kept(self) -> dict[str, TrainedRun]:
        """Of each model that was run, the seed with the best validation loss."""
        found = {name: [r for r in runs if r.is_ok] for name, runs in self.runs.items()}
        return {
            name: min(runs, key=lambda run: float(run.record["valid_nats"]))
            for name, runs in found.items()
            if runs
        }

    @cached_property
    def test(self) -> dict[str, Corpus]:
        """The test text in each alphabet."""
        return {spec: parts["test"] for spec, parts in self.corpora.items()}

    @cached_property
    def is_by_character(self) -> bool:
        """Whether bits are those of characters; else of symbols, which all models share."""
        if len(self.alphabets) > 1:
            return True
        ((spec, symbols),) = self.alphabets.items()
        return self.test[spec].lossless_reason is None and not symbols.separator

    @cached_property
    def blocks(self) -> Blocks:
        """Of the test text."""
        corpus = next(iter(self.test.values()))
        if corpus.is_stream:
            return blocks_of_stream(max(corpus.num_characters, 1))
        spec = next(iter(self.test))
        characters, bounds = self.characters(spec), self.bounds(spec)
        each = np.add.reduceat(np.append(characters, 0), bounds[:-1]).astype(np.float64)
        return blocks_of_sequences(each * corpus.num_characters / max(each.sum(), 1.0))

    @cached_property
    def sizes(self) -> Floats:
        """Of the blocks: their characters, or their symbols."""
        if self.is_by_character:
            return self.blocks.sizes
        spec = next(iter(self.test))
        ones = np.ones(self.test[spec].num_scored)
        return self.blocks.sums(ones, self.characters(spec), self.bounds(spec))

    def characters(self, spec: str) -> Ints:
        """(N,) that each scored symbol stands for."""
        return self._sized[spec][0]

    def bounds(self, spec: str) -> Ints:
        """(M + 1,) of the sequences in the scored symbols."""
        return self._sized[spec][1]

    @cached_property
    def _sized(self) -> dict[str, tuple[Ints, Ints]]:
        found = {}
        for spec, corpus in self.test.items():
            ends = 0 if corpus.is_stream else 1
            ids = np.asarray(corpus.tokens, np.int64)
            if ends:
                ids = np.insert(ids, corpus.offsets[1:], self.alphabets[spec].boundary)
            bounds = corpus.offsets + ends * np.arange(len(corpus.offsets))
            found[spec] = (self.alphabets[spec].text_sizes(ids)[0], bounds)
        return found

    def bits(self, name: str, run: TrainedRun) -> Floats:
        """(K,) that a model takes for each block."""
        spec = self.specs[name]
        bits = run.test.astype(np.float64) / LN2 + self._spelled.get(spec, 0.0)
        return self.blocks.sums(bits, self.characters(spec), self.bounds(spec))

    @cached_property
    def _spelled(self) -> dict[str, Floats]:
        """(N,) bits that spell each unknown symbol: of each the mean of all, which is exact in
        sum."""
        found = {}
        for spec, bits in self.spelling.items():
            unknown = unknown_targets(self.test[spec], self.alphabets[spec].unknown)
            found[spec] = np.asarray(unknown * (bits / max(int(unknown.sum()), 1)), np.float64)
        return found

    def figure(self, name: str, run: TrainedRun) -> float:
        """Bits per character, or per symbol, on the test text."""
        return float(self.bits(name, run).sum() / self.sizes.sum())
