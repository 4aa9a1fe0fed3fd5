"""Comparing models under one budget: the same text, the same rules, and how sure the result is."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.comparison.entrants import Budget as Budget
    from seriatim.comparison.entrants import Entrant as Entrant
    from seriatim.comparison.page import compare_plots as compare_plots
    from seriatim.comparison.page import compare_report as compare_report
    from seriatim.comparison.record import ComparisonRecord as ComparisonRecord
    from seriatim.comparison.record import MixtureRecord as MixtureRecord
    from seriatim.comparison.record import ModelResult as ModelResult
    from seriatim.comparison.record import NotRun as NotRun
    from seriatim.comparison.record import PairRecord as PairRecord
    from seriatim.comparison.record import Recommendation as Recommendation
    from seriatim.comparison.record import RunRecord as RunRecord
    from seriatim.comparison.result import ModelComparison as ModelComparison
    from seriatim.comparison.runner import ComparisonCallbacks as ComparisonCallbacks
    from seriatim.comparison.runner import compare as compare
    from seriatim.comparison.text import summary as summary

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "entrants": ["Budget", "Entrant"],
        "page": ["compare_plots", "compare_report"],
        "record": [
            "ComparisonRecord",
            "MixtureRecord",
            "ModelResult",
            "NotRun",
            "PairRecord",
            "Recommendation",
            "RunRecord",
        ],
        "result": ["ModelComparison"],
        "runner": ["ComparisonCallbacks", "compare"],
        "text": ["summary"],
    },
)
