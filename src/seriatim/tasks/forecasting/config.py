"""What is written about a forecaster beside its weights, as records.

Knows plain values; no model.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, cast

from seriatim.core.elements import Support
from seriatim.core.records import Json
from seriatim.data.series.calendar import calendar_names
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.linear import STEPS_OF_A_DAY
from seriatim.tasks.anomalies import Threshold
from seriatim.tasks.forecasting.memory import MemorySizes
from seriatim.tasks.forecasting.shifts import BandCorrection
from seriatim.tasks.options import SeriesReading


@dataclass(frozen=True)
class KnownSeries:
    """The series that a forecaster was fitted to, and updated with.

    Attributes:
        ids: their names.
        channels: the names of their channels.
        known: the names of the inputs that are known ahead.
        static: the names of those that are constant in a series.
        freq: the step between moments.
        zone: the time zone, in which days are counted.
        times: the type of the times, such as "datetime64[ns]" or "int64".
        backend: the package of the data frame; "own": it was none.
        has_integer_ids: whether the ids were whole numbers.
        season_length: the usual length of a season.
        untrained: series among them that the model has no parameters of.
        calendar: the cycles of the calendar that are known inputs too, after `known`.
    """

    ids: tuple[str, ...]
    channels: tuple[str, ...]
    known: tuple[str, ...]
    static: tuple[str, ...]
    freq: str
    zone: str | None
    times: str
    backend: str
    has_integer_ids: bool
    season_length: int
    untrained: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of all known inputs: those of the data, of the calendar, the static ones."""
        return (*self.known, *calendar_names(self.calendar), *self.static)


@dataclass(frozen=True)
class SeriesFacts:
    """The size of a part of the data.

    Attributes:
        series: the number of series.
        moments: the number of moments of all series.
        values: the number of observed values.
        missing: the number of missing values.
        fingerprint: a hash of the data.
    """

    series: int
    moments: int
    values: int
    missing: int
    fingerprint: str


@dataclass(frozen=True)
class SavedForecaster:
    """The part of config.json that only a forecaster has."""

    model: Json
    support: Support
    density: str | None
    season_length: int | None
    num_series: int
    reading: SeriesReading
    memory: MemorySizes
    threshold: Threshold | None = None
    correction: BandCorrection | None = None


def with_season(
    config: ModelConfig, season_length: int, given: int | None, length: int
) -> ModelConfig:
    """A configuration with what suits numbers and their season, in options left at their defaults.

    Args:
        config: the configuration.
        season_length: the number of moments of a season.
        given: the same, if the user said so; a seasonal model takes the usual one otherwise.
        length: the length of a typical series, beyond two thirds of which no lag goes. In shorter
            ones the values before their beginning are gaps.
    """
    s = season_length
    lags = [1, 2, 3, s - 1, s, s + 1, 2 * s]
    if s in STEPS_OF_A_DAY:  # which have a week too; more lags than these fit noise
        lags += [6 * s, *(week * 7 * s + i for week in (1, 2) for i in (-1, 0, 1))]
    suited: dict[str, Any] = {
        **config.number_defaults,
        "lags": tuple(sorted({lag for lag in lags if 1 <= lag <= max(2, 2 * length // 3)})),
    }
    defaults = {f.name: f.default for f in fields(cast(Any, config))}
    if given is not None or config.follows_season:
        suited["season_length"] = season_length
    changed = {
        name: value
        for name, value in suited.items()
        if name in defaults and getattr(config, name) == defaults[name]
    }
    return replace(cast(Any, config), **changed) if changed else config
