"""Series of numbers in time: read from anything, on regular grids, with gaps."""

from seriatim.data.series.calendar import calendar_values, usual_cycles, with_calendar
from seriatim.data.series.checks import check_horizon
from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.frequency import Frequency, parse_frequency
from seriatim.data.series.opening import open_series

__all__ = [
    "Frequency",
    "SeriesCollection",
    "calendar_values",
    "check_horizon",
    "open_series",
    "parse_frequency",
    "usual_cycles",
    "with_calendar",
]
