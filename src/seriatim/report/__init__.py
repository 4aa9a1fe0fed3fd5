"""Reports: plots, tables and text as data, rendered as HTML pages or as text."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.report.alignment import alignment_svg as alignment_svg
    from seriatim.report.charts import IntervalEstimate as IntervalEstimate
    from seriatim.report.charts import LineSeries as LineSeries
    from seriatim.report.charts import Point as Point
    from seriatim.report.charts import bar_plot as bar_plot
    from seriatim.report.charts import interval_plot as interval_plot
    from seriatim.report.charts import line_plot as line_plot
    from seriatim.report.charts import scatter_plot as scatter_plot
    from seriatim.report.document import Report as Report
    from seriatim.report.document import Section as Section
    from seriatim.report.heat_maps import Verdict as Verdict
    from seriatim.report.heat_maps import heat_map as heat_map
    from seriatim.report.heat_maps import pairwise_matrix as pairwise_matrix
    from seriatim.report.path_plots import path_plot as path_plot
    from seriatim.report.plots import DARK as DARK
    from seriatim.report.plots import LIGHT as LIGHT
    from seriatim.report.plots import LegendEntry as LegendEntry
    from seriatim.report.plots import Plot as Plot
    from seriatim.report.tables import Cell as Cell
    from seriatim.report.tables import Table as Table
    from seriatim.report.terminal import text_table as text_table
    from seriatim.report.text_map import ShadedSymbol as ShadedSymbol
    from seriatim.report.text_map import text_heat_map as text_heat_map

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "alignment": ["alignment_svg"],
        "charts": [
            "IntervalEstimate",
            "LineSeries",
            "Point",
            "bar_plot",
            "interval_plot",
            "line_plot",
            "scatter_plot",
        ],
        "document": ["Report", "Section"],
        "heat_maps": ["Verdict", "heat_map", "pairwise_matrix"],
        "path_plots": ["path_plot"],
        "plots": ["DARK", "LIGHT", "LegendEntry", "Plot"],
        "tables": ["Cell", "Table"],
        "terminal": ["text_table"],
        "text_map": ["ShadedSymbol", "text_heat_map"],
    },
)
