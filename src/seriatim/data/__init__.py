"""Reading data: sources of sequences, pairs and labels, splits, and corpora of symbols."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.data.corpus import Corpus as Corpus
    from seriatim.data.corpus import CorpusStatistics as CorpusStatistics
    from seriatim.data.corpus import build_corpus as build_corpus
    from seriatim.data.labels import LabelSet as LabelSet
    from seriatim.data.labels import open_labelled as open_labelled
    from seriatim.data.pairs import PairCorpus as PairCorpus
    from seriatim.data.pairs import Pairs as Pairs
    from seriatim.data.pairs import build_pair_corpus as build_pair_corpus
    from seriatim.data.pairs import open_pairs as open_pairs
    from seriatim.data.pairs import split_pairs as split_pairs
    from seriatim.data.sources import Sequences as Sequences
    from seriatim.data.sources import Source as Source
    from seriatim.data.sources import open_source as open_source
    from seriatim.data.splits import SplitRecord as SplitRecord
    from seriatim.data.splits import split_source as split_source

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "corpus": ["Corpus", "CorpusStatistics", "build_corpus"],
        "labels": ["LabelSet", "open_labelled"],
        "pairs": ["PairCorpus", "Pairs", "build_pair_corpus", "open_pairs", "split_pairs"],
        "sources": ["Sequences", "Source", "open_source"],
        "splits": ["SplitRecord", "split_source"],
    },
)
