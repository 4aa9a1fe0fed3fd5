"""The effective context: how far back a model looks, and what each past position gives."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.analysis.context.influence import measure_gradient_decay as measure_gradient_decay
    from seriatim.analysis.context.influence import measure_influence as measure_influence
    from seriatim.analysis.context.measure import effective_context as effective_context
    from seriatim.analysis.context.page import context_plots as context_plots
    from seriatim.analysis.context.page import context_table as context_table
    from seriatim.analysis.context.page import gradient_plots as gradient_plots
    from seriatim.analysis.context.restarts import read_elements as read_elements
    from seriatim.analysis.context.result import ContextCurve as ContextCurve
    from seriatim.analysis.context.result import ContextRecord as ContextRecord
    from seriatim.analysis.context.result import EffectiveContext as EffectiveContext
    from seriatim.analysis.context.result import GradientDecay as GradientDecay
    from seriatim.analysis.context.result import Influence as Influence
    from seriatim.analysis.context.text import summary as summary
    from seriatim.analysis.context.text import tables as tables

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "influence": ["measure_gradient_decay", "measure_influence"],
        "measure": ["effective_context"],
        "page": ["context_plots", "context_table", "gradient_plots"],
        "restarts": ["read_elements"],
        "result": [
            "ContextCurve",
            "ContextRecord",
            "EffectiveContext",
            "GradientDecay",
            "Influence",
        ],
        "text": ["summary", "tables"],
    },
)
