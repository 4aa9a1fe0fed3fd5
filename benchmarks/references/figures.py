"""Figures that others published or computed, beside ours: a table, and whether all agree."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        what: what was computed.
        expected: the figure of others; or, if `at_most`, what is to be reached.
        found: ours.
        tolerance: the largest difference.
        at_most: whether smaller is better, and need not agree.
    """

    what: str
    expected: float
    found: float
    tolerance: float = 0.0
    at_most: bool = False

    @property
    def holds(self) -> bool:
        """Whether ours is what was expected."""
        above = self.found - self.expected
        return (above if self.at_most else abs(above)) <= self.tolerance


def report(figures: Iterable[Figure]) -> int:
    """Print a table of figures as they come; the exit code is 1 if one is off."""
    print(f"{'what':58} {'expected':>14} {'ours':>14}")
    are_good = True
    for figure in figures:
        are_good &= figure.holds
        expected = f"{'<= ' if figure.at_most else ''}{figure.expected:,.4f}"
        mark = "" if figure.holds else "   OFF"
        print(f"{figure.what:58} {expected:>14} {figure.found:>14,.4f}{mark}", flush=True)
    return 0 if are_good else 1
