"""Series of numbers in time: read from anything, on regular grids, with gaps."""

from seriatim.data.series.calendar import calendar_values, usual_cycles, with_calendar
from seriatim.data.series.checks import (
    check_horizon,
    check_quantiles,
    future_known,
    level_quantiles,
    require_values,
)
from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.frequency import Frequency, parse_frequency
from seriatim.data.series.opening import open_series
from seriatim.data.series.output import SeriesTable, forecast_table, make_frame

__all__ = [
    "Frequency",
    "SeriesCollection",
    "SeriesTable",
    "calendar_values",
    "check_horizon",
    "check_quantiles",
    "forecast_table",
    "future_known",
    "level_quantiles",
    "make_frame",
    "open_series",
    "parse_frequency",
    "require_values",
    "usual_cycles",
    "with_calendar",
]
