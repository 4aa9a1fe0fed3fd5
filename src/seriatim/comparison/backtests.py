"""Families compared on series: the same origins, the same values, the same seconds for networks.

Every model is fitted to what comes before the first origin; a network has `minutes` for that.
Knows forecasters and backtests; no files.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from seriatim.comparison.conclusions import UNEQUAL
from seriatim.core.records import Json
from seriatim.core.validation import checked_arguments
from seriatim.errors import ConfigError
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import describe
from seriatim.report.terminal import count_noun, text_table
from seriatim.tasks.column_table import ColumnTable
from seriatim.tasks.forecasting.backtest import Backtest, BacktestFigures
from seriatim.tasks.forecasting.forecaster import Forecaster
from seriatim.tasks.forecasting.given_series import Data, GivenSeries, open_part
from seriatim.tasks.options import SeriesReading

if TYPE_CHECKING:
    from seriatim.report.document import Report

Models: TypeAlias = Mapping[str, "ModelConfig | Forecaster | str"] | Iterable[ModelConfig | str]
DEFAULT_MODELS = ("naive", "seasonal-naive", "ar", "lstm")
MINUTES = 0.5


@dataclass(frozen=True)
class BacktestEntry:
    """One model of a comparison on series.

    Attributes:
        name: what it is called.
        model: its family and options.
        figures: the quality of its forecasts.
        seconds_to_fit, seconds_to_predict: the time that it took.
        notes: what to know of it.
    """

    name: str
    model: Json
    figures: BacktestFigures
    seconds_to_fit: float
    seconds_to_predict: float
    notes: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """A dict of JSON values; the figures are not nested."""
        own = asdict(self)
        figures = own.pop("figures")
        return {**own, **figures}


class BacktestComparison:
    """Models that predicted the same values of series, the best first.

    Attributes:
        entries: the models, by wQL.
        tests: the forecasts of each, by name.
        horizon: the moments that were predicted from each origin.
        origins: the number of origins.
        season_length: the moments of a season.
        minutes: the time that each network was trained.
    """

    def __init__(
        self,
        entries: Sequence[BacktestEntry],
        tests: Mapping[str, Backtest],
        given: GivenSeries,
        *,
        horizon: int,
        origins: int,
        season_length: int,
        minutes: float | None,
    ) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry.figures.wql))
        self.tests = {entry.name: tests[entry.name] for entry in self.entries}
        self.horizon, self.origins, self.season_length = horizon, origins, season_length
        self.minutes, self._given = minutes, given

    def __repr__(self) -> str:
        return self.text()

    def __getitem__(self, name: str) -> Backtest:
        return self.tests[name]

    @property
    def best(self) -> BacktestEntry:
        """The model with the smallest wQL."""
        return self.entries[0]

    @property
    def log_scores(self) -> dict[str, float]:
        """Nats per value by name, one moment ahead.

        Raises:
            ConfigError: if some are of densities and others of probabilities, which say nothing
                beside one another: a density depends on the units of the values.
        """
        kinds = {entry.figures.log_score_of for entry in self.entries}
        if len(kinds) > 1:
            raise ConfigError(
                "log scores of densities and of probabilities of counts cannot be compared: take "
                "wQL or CRPS, or fit the models with one density"
            )
        return {entry.name: entry.figures.nats_per_value for entry in self.entries}

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return {
            "data": self._given.name,
            "series": len(self._given.ids),
            "horizon": self.horizon,
            "origins": self.origins,
            "season_length": self.season_length,
            "minutes": self.minutes,
            "crps_estimator": "from 19 quantiles, .05 to .95",
            "models": [entry.to_json() for entry in self.entries],
        }

    def text(self) -> str:
        """The figures for people."""
        head = ["model", "wQL", "MASE", "CRPS", "nats", "80 % holds", "fit s", "predict s"]
        rows = [
            [
                entry.name,
                f"{entry.figures.wql:.4f}",
                f"{entry.figures.mase:.3f}",
                f"{entry.figures.crps:.4g}",
                f"{entry.figures.nats_per_value:.3f}",
                f"{100 * entry.figures.coverage['80']:.1f} %",
                f"{entry.seconds_to_fit:.1f}",
                f"{entry.seconds_to_predict:.2f}",
            ]
            for entry in self.entries
        ]
        kinds = {entry.figures.log_score_of for entry in self.entries}
        kind = kinds.pop() if len(kinds) == 1 else "density or a probability: not comparable"
        lines = [
            text_table([head, *rows]),
            f"{count_noun(len(self._given.ids), 'series', 'series')}, "
            f"{count_noun(self.origins, 'origin')}, {self.horizon} ahead, season "
            f"{self.season_length}; lower is better but of 80 %; nats per value are one moment "
            f"ahead and of a {kind}",
        ]
        notes = [f"{entry.name}: {note}" for entry in self.entries for note in entry.notes]
        return "\n".join([*lines, *notes])

    def table(self) -> ColumnTable:
        """Every forecast of every model, with the column `model` before the others."""
        tables = [(name, test.table) for name, test in self.tests.items()]
        first = tables[0][1]
        columns = {
            column: np.concatenate([table[column] for _, table in tables]) for column in first
        }
        names = np.repeat(
            np.array([name for name, _ in tables], object), [len(t["ds"]) for _, t in tables]
        )
        return ColumnTable({"model": names, **columns}, self._given.collection.time_zone)

    def page(self) -> "Report":
        """A page with forecasts, errors by the step ahead, and calibration."""
        from seriatim.tasks.forecasting.backtest_page import backtest_page

        return backtest_page(list(self.tests.values()))


Say: TypeAlias = Callable[[str], None]


@checked_arguments
def backtest(
    data: Data,
    models: Any = DEFAULT_MODELS,
    *,
    horizon: int,
    season_length: int | None = None,
    origins: int = 10,
    step: int | None = None,
    refit: bool | int = False,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    level: float | Sequence[float] | None = None,
    num_samples: int = 200,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    reading: SeriesReading | None = None,
    say: Say | None = None,
) -> BacktestComparison:
    """Compare models by what they predict of series from many origins.

    Args:
        data: a file, a data frame, an array or a list of series; see `open_series`.
        models: names of families or configurations, or a mapping of names to these or to
            forecasters; one that is fitted is taken as it is.
        horizon: the number of moments that are predicted from each origin.
        season_length: the number of moments of a season; None: as usual for the frequency, or
            found where times are whole numbers.
        origins: the number of origins; the last is a horizon before the end of a series.
        step: the moments between two origins; None: the horizon.
        refit: whether models are fitted again at each origin; a number k: at every k-th.
        quantiles, level, num_samples: as of `Forecaster.predict`.
        minutes, steps: the training of each network; half a minute without either.
        seed: of training and paths.
        reading: which columns of a table are what; None: found.
        say: receives sentences about what is being done.

    Returns:
        The models, the best first by the weighted quantile loss.
    """
    reading = reading or SeriesReading()
    given = open_part(data, reading)
    if steps is None and minutes is None:
        minutes = MINUTES
    entries, tests, number = [], {}, 0
    for name, forecaster in _named(models, season_length, reading).items():
        if say is not None:
            say(f"{name}: fitting and predicting")
        is_trained = not forecaster.is_fitted_at_once
        test = forecaster.backtest(
            given,
            horizon,
            origins=origins,
            step=step,
            refit=refit,
            quantiles=quantiles,
            level=level,
            num_samples=num_samples,
            seed=seed,
            minutes=minutes if is_trained else None,
            steps=steps if is_trained else None,
        )
        is_timed = is_trained and minutes is not None and not refit and forecaster.model is None
        timed = _unequal_time(test.seconds_to_fit, 60.0 * (minutes or 0.0)) if is_timed else ()
        tests[name], number = test, max(number, _origins_of(test))
        entries.append(
            BacktestEntry(
                name,
                describe(forecaster.config),
                test.figures,
                test.seconds_to_fit,
                test.seconds_to_predict,
                (*test.notes, *timed),
            )
        )
    season = season_length or given.usual_season
    return BacktestComparison(
        entries,
        tests,
        given,
        horizon=horizon,
        origins=number,
        season_length=season,
        minutes=minutes,
    )


def _unequal_time(seconds: float, asked: float) -> tuple[str, ...]:
    """A sentence about a network that did not get the time that each was to have."""
    if abs(seconds / asked - 1.0) <= UNEQUAL:
        return ()
    return (f"its fit took {seconds:.0f} s, and each network was to have {asked:.0f} s",)


def _origins_of(test: Backtest) -> int:
    """The largest number of origins of a series."""
    return int(np.bincount(test.scanned.series).max())


def _named(models: Any, season_length: int | None, reading: SeriesReading) -> dict[str, Forecaster]:
    """The forecasters by name.

    Raises:
        ConfigError: if there is none, or two have one name.
    """
    if isinstance(models, (str, ModelConfig, Forecaster)):
        models = [models]
    if not isinstance(models, Mapping):
        listed = list(models)
        names = [m if isinstance(m, str) else _family(m) for m in listed]
        double = {name for name in names if names.count(name) > 1}
        if double:
            raise ConfigError(
                f"{', '.join(sorted(double))} occurs twice: give models of your own names, as "
                '{"short": AR(order=3), "long": AR(order=24)}'
            )
        models = dict(zip(names, listed, strict=True))
    if not models:
        raise ConfigError("there are no models to compare: give some, such as naive and ar")
    own = asdict(reading)
    return {
        name: model
        if isinstance(model, Forecaster)
        else Forecaster(model, season_length=season_length, **own)
        for name, model in models.items()
    }


def _family(model: "ModelConfig | Forecaster") -> str:
    return model.config.family if isinstance(model, Forecaster) else model.family
