"""Series of numbers in time: read from anything, on regular grids, with gaps."""

from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.frequency import Frequency
from seriatim.data.series.opening import open_series
from seriatim.data.series.output import SeriesTable, forecast_table

__all__ = ["Frequency", "SeriesCollection", "SeriesTable", "forecast_table", "open_series"]
