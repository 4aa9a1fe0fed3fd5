"""The runs of a comparison, and what each takes for the test text, on one scale.

Nats of symbols become bits of blocks of text, so that models of different vocabularies can be
compared.

Knows runs and the shared data; trains nothing and judges nothing.

Shapes: N scored symbols, M sequences, K blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seriatim.comparison.shared_data import SharedData
from seriatim.comparison.store import Run, TrainedRun
from seriatim.metrics.blocks import Blocks, Ints, blocks_of_sequences, blocks_of_stream
from seriatim.metrics.bootstrap import Floats
from seriatim.metrics.likelihood import unknown_targets

LN2 = float(np.log(2))


@dataclass(frozen=True)
class ScoredRuns:
    """What the conclusions are drawn from.

    Attributes:
        data: the text and its vocabularies.
        runs: by model, in the order of the seeds.
    """

    data: SharedData
    runs: Mapping[str, Sequence[Run]]

    @cached_property
    def trained(self) -> dict[str, list[TrainedRun]]:
        """The runs of each model that could be trained; models without any are left out."""
        trained = {
            n: [r for r in runs if isinstance(r, TrainedRun)] for n, runs in self.runs.items()
        }
        return {name: runs for name, runs in trained.items() if runs}

    @cached_property
    def best(self) -> dict[str, TrainedRun]:
        """Of each model that was trained, the seed with the best validation loss."""
        return {
            name: min(runs, key=lambda run: run.record.valid_nats)
            for name, runs in self.trained.items()
        }

    @cached_property
    def is_by_character(self) -> bool:
        """Whether bits are per character; else per symbol, of the vocabulary that all share."""
        if len(self.data.vocabularies) > 1:
            return True
        ((spec, vocabulary),) = self.data.vocabularies.items()
        return self.data.test[spec].lossless_reason is None and not vocabulary.separator

    @cached_property
    def blocks(self) -> Blocks:
        """The blocks of the test text."""
        spec, corpus = next(iter(self.data.test.items()))
        if corpus.is_stream:
            return blocks_of_stream(max(corpus.num_characters, 1))
        characters, bounds = self._symbols[spec]
        each = np.add.reduceat(np.append(characters, 0), bounds[:-1]).astype(np.float64)
        return blocks_of_sequences(each * corpus.num_characters / max(each.sum(), 1.0))

    @cached_property
    def sizes(self) -> Floats:
        """(K,) the characters of each block, or its symbols."""
        if self.is_by_character:
            return self.blocks.sizes
        spec, corpus = next(iter(self.data.test.items()))
        return self.blocks.sums(np.ones(corpus.num_scored), *self._symbols[spec])

    @cached_property
    def _symbols(self) -> dict[str, tuple[Ints, Ints]]:
        """By vocabulary, (N,) the characters of each scored symbol, and (M + 1,) the bounds of the
        sequences among them."""
        symbols = {}
        for spec, corpus in self.data.test.items():
            vocabulary = self.data.vocabularies[spec]
            ends = 0 if corpus.is_stream else 1
            ids = np.asarray(corpus.tokens, np.int64)
            if ends:
                ids = np.insert(ids, corpus.offsets[1:], vocabulary.boundary)
            bounds = corpus.offsets + ends * np.arange(len(corpus.offsets))
            symbols[spec] = (vocabulary.text_sizes(ids)[0], bounds)
        return symbols

    @cached_property
    def _spelling(self) -> dict[str, Floats]:
        """By vocabulary, (N,) the bits that spell each unknown symbol: the mean over all of them,
        which is exact in the sum."""
        spelling = {}
        for spec, bits in self.data.spelling.items():
            unknown = unknown_targets(self.data.test[spec], self.data.vocabularies[spec].unknown)
            each = bits / max(int(unknown.sum()), 1)
            spelling[spec] = np.asarray(unknown * each, np.float64)
        return spelling

    def bits(self, name: str, run: TrainedRun) -> Floats:
        """(K,) the bits that a run of a model takes for each block."""
        spec = self.data.vocabulary_of[name]
        bits = run.test.astype(np.float64) / LN2 + self._spelling.get(spec, 0.0)
        return self.blocks.sums(bits, *self._symbols[spec])

    def mean_bits(self, name: str, run: TrainedRun) -> float:
        """Bits per character, or per symbol, of a run of a model on the test text."""
        return float(self.bits(name, run).sum() / self.sizes.sum())
