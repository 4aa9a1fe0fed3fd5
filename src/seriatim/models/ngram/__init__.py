"""N-grams: counted exactly (`counting`), smoothed (`smoothing`), looked up (`table`).

The three steps share one form, a trie in flat arrays. The n-gram w_1 .. w_m has an id, its rank
among all n-grams ordered by m and then by

    key(w_1 .. w_m) = id(w_1 .. w_{m-1}) shifted left by the bits of a symbol, plus w_m
    id(w_1) = w_1

so keys are exact (nothing is hashed into them), children of a context stand side by side, and
every step is an operation on whole arrays.
"""

from seriatim.models.ngram.counting import Counts
from seriatim.models.ngram.layout import count_ngrams
from seriatim.models.ngram.merging import merge_counts
from seriatim.models.ngram.smoothing import SMOOTHINGS, Backoffs, Options
from seriatim.models.ngram.table import NgramTable

__all__ = [
    "SMOOTHINGS",
    "Backoffs",
    "Counts",
    "NgramTable",
    "Options",
    "count_ngrams",
    "merge_counts",
]
