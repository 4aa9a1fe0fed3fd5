"""Robustness: how much worse a model predicts when sequences are trimmed, omitted or permuted."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.analysis.robustness.measure import measure_robustness as measure_robustness
    from seriatim.analysis.robustness.measure import pair_robustness as pair_robustness
    from seriatim.analysis.robustness.page import robustness_plots as robustness_plots
    from seriatim.analysis.robustness.perturbations import PERTURBATIONS as PERTURBATIONS
    from seriatim.analysis.robustness.perturbations import STRENGTHS as STRENGTHS
    from seriatim.analysis.robustness.perturbations import Perturbation as Perturbation
    from seriatim.analysis.robustness.result import PerturbationResult as PerturbationResult
    from seriatim.analysis.robustness.result import Robustness as Robustness
    from seriatim.analysis.robustness.text import summary as summary
    from seriatim.analysis.robustness.text import table as table

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "measure": ["measure_robustness", "pair_robustness"],
        "page": ["robustness_plots"],
        "perturbations": ["PERTURBATIONS", "Perturbation", "STRENGTHS"],
        "result": ["PerturbationResult", "Robustness"],
        "text": ["summary", "table"],
    },
)
