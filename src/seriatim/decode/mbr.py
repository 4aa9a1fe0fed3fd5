"""Minimum Bayes risk (MBR): of several candidates, the one that the others agree with most.

    y* = argmax_i  sum_j u(c_i, c_j) / M          (Eikema, Aziz 2020, equation 5)

With M samples of a model as candidates this estimates the expected utility under the model. Knows
candidates and the similarity of two of them; no model, no search.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError

C = TypeVar("C", bound=Hashable)


def minimum_bayes_risk(
    candidates: Sequence[C], utility: Callable[[C, C], float]
) -> list[tuple[int, float]]:
    """Candidates ranked by falling expected utility, each against all of them.

    Equal candidates are compared once, and count as often as they were drawn.

    Args:
        candidates: the candidates, strings for the usual utilities.
        utility: a function u(candidate, reference); greater is better, need not be symmetric.

    Returns:
        (index of its first occurrence, expected utility) of each distinct candidate, best
        first; ties to the earlier one.

    Raises:
        ConfigError: if there is no candidate.
    """
    if not candidates:
        raise ConfigError("minimum Bayes risk needs candidates: give at least one")
    counts = Counter(candidates)

    def expected(candidate: C) -> float:
        return sum(n * utility(candidate, c) for c, n in counts.items()) / len(candidates)

    scored = [(candidates.index(c), expected(c)) for c in counts]
    return sorted(scored, key=lambda pair: -pair[1])


class ChrF:
    """chrF of one string against another, 0 to 100 (Popović 2015, equation 1).

        chrF = (1 + beta^2) P R / (beta^2 P + R)

    P and R are the means over n = 1 .. order of the fractions of character n-grams, without
    whitespace, that are in the other string; an n for which either string is too short is left
    out of the mean. The n-grams of a string are counted once, so n^2 comparisons cost n counts.
    """

    def __init__(self, order: int = 6, beta: float = 2.0) -> None:
        self.order, self.beta = order, beta
        self._counted: dict[str, list[Counter[str]]] = {}

    def __call__(self, candidate: str, reference: str) -> float:
        """The score of a candidate against a reference."""
        return float(self.score(self.statistics(candidate, reference)[None])[0])

    def statistics(self, candidate: str, reference: str) -> NDArray[np.float64]:
        """(3 order,) n-grams of the candidate, of the reference, and common to both, for each n.

        Sums of them over sentences are the statistics of a corpus.
        """
        rows = []
        for c, r in zip(self._ngrams(candidate), self._ngrams(reference), strict=True):
            common = sum(min(n, r[gram]) for gram, n in c.items() if gram in r)
            rows.append((c.total() if r else 0, r.total(), common))
        return np.array(rows, np.float64).reshape(-1)

    def score(self, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R,) chrF of R rows of statistics (R, 3 order)."""
        candidate, reference, common = np.moveaxis(statistics.reshape(-1, self.order, 3), 2, 0)
        counts = (candidate > 0) & (reference > 0)
        effective = np.maximum(counts.sum(1), 1)
        precision = np.where(counts, common / np.maximum(candidate, 1), 0).sum(1) / effective
        recall = np.where(counts, common / np.maximum(reference, 1), 0).sum(1) / effective
        factor = self.beta**2
        below = factor * precision + recall
        above = 100 * (1 + factor) * precision * recall
        return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1), 0.0))

    def _ngrams(self, text: str) -> list[Counter[str]]:
        if text not in self._counted:
            if len(self._counted) > 4096:
                self._counted.clear()
            solid = "".join(text.split())
            self._counted[text] = [
                Counter(solid[i : i + n] for i in range(len(solid) - n + 1))
                for n in range(1, self.order + 1)
            ]
        return self._counted[text]
