"""N-grams: counted exactly (`counting`), smoothed (`smoothing`), looked up (`table`).

The three steps share one form, a trie kept order by order. The n-gram w_1 .. w_m has an id, its
rank among the n-grams of order m, ordered by

    key(w_1 .. w_m) = id(w_1 .. w_{m-1}) * V + w_m,        id(w_1) = w_1

so keys are exact (nothing is hashed into them), children of a context stand side by side, and
every step is an operation on whole arrays.
"""

from seriatim.families.ngrams.counting import Counts, Level, count_ngrams
from seriatim.families.ngrams.smoothing import SMOOTHINGS, Backoffs, Shares, interpolate
from seriatim.families.ngrams.table import NgramTable

__all__ = [
    "SMOOTHINGS",
    "Backoffs",
    "Counts",
    "Level",
    "NgramTable",
    "Shares",
    "count_ngrams",
    "interpolate",
]
