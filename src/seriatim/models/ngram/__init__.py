"""Markov models of n-grams: counted exactly, smoothed, looked up.

Every step shares one form, a trie in flat arrays. The n-gram w_1 .. w_m has an id, its rank among
all n-grams ordered by m and then by

    key(w_1 .. w_m) = id(w_1 .. w_{m-1}) shifted left by the bits of a symbol, plus w_m
    id(w_1) = w_1

Keys are exact (nothing is hashed into them), the successors of a context are contiguous, and every
step is an operation on whole arrays. Read in this order:

    padded_corpus, prefix_doubling, counting, merging, apart, on_disk, ray_counting   text to counts
    kneser_ney, smoothing, pruning, quantization                        counts to a backoff model
    key_index, codebook, table, backoff_path, scoring, sampling         a backoff model in use
"""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.models.ngram.backoff_model import BackoffModel as BackoffModel
    from seriatim.models.ngram.counting import Counts as Counts
    from seriatim.models.ngram.interpolation import SmoothingOptions as SmoothingOptions
    from seriatim.models.ngram.merging import merge_counts as merge_counts
    from seriatim.models.ngram.merging import update_counts as update_counts
    from seriatim.models.ngram.on_disk import load_counts as load_counts
    from seriatim.models.ngram.on_disk import save_counts as save_counts
    from seriatim.models.ngram.smoothing import SMOOTHINGS as SMOOTHINGS
    from seriatim.models.ngram.table import NgramTable as NgramTable

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "backoff_model": ["BackoffModel"],
        "counting": ["Counts"],
        "merging": ["merge_counts", "update_counts"],
        "on_disk": ["load_counts", "save_counts"],
        "interpolation": ["SmoothingOptions"],
        "smoothing": ["SMOOTHINGS"],
        "table": ["NgramTable"],
    },
)
