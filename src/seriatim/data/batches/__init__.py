"""Batches for training, one for every step, and passes for evaluation."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.data.batches.corpus import BatchSource as BatchSource
    from seriatim.data.batches.corpus import CorpusPass as CorpusPass
    from seriatim.data.batches.corpus import EvaluationBatch as EvaluationBatch
    from seriatim.data.batches.corpus import EvaluationPass as EvaluationPass
    from seriatim.data.batches.corpus import SequenceBatches as SequenceBatches
    from seriatim.data.batches.corpus import StreamChunks as StreamChunks
    from seriatim.data.batches.corpus import StreamWindows as StreamWindows
    from seriatim.data.batches.corpus import batch_source as batch_source
    from seriatim.data.batches.examples import Example as Example
    from seriatim.data.batches.examples import ExampleBatches as ExampleBatches
    from seriatim.data.batches.examples import ExamplePass as ExamplePass
    from seriatim.data.batches.pairs import PairBatches as PairBatches
    from seriatim.data.batches.pairs import PairBoundaries as PairBoundaries
    from seriatim.data.batches.pairs import PairPass as PairPass

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "corpus": [
            "BatchSource",
            "CorpusPass",
            "EvaluationBatch",
            "EvaluationPass",
            "SequenceBatches",
            "StreamChunks",
            "StreamWindows",
            "batch_source",
        ],
        "examples": ["Example", "ExampleBatches", "ExamplePass"],
        "pairs": ["PairBatches", "PairBoundaries", "PairPass"],
    },
)
