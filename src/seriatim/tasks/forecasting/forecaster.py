"""The forecaster: a model of numbers bound to series in time.

It binds a configuration to data; it holds no logic of its own and never asks which family it has.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import torch
from torch import nn

from seriatim.core.elements import Numbers
from seriatim.core.ensembles import Mixture
from seriatim.core.forecasting import FitsSeries
from seriatim.core.model import SequenceModel
from seriatim.core.records import Json, from_json, to_json
from seriatim.core.validation import checked_arguments
from seriatim.data.series.column_roles import as_names
from seriatim.data.splits import SplitRecord
from seriatim.errors import ConfigError
from seriatim.metrics.pieces import SampleLimit
from seriatim.metrics.size import num_parameters
from seriatim.models.build import build_number_model, number_model_class
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import configure, describe, restore
from seriatim.tasks import storage
from seriatim.tasks.base import Log, Task, not_fitted
from seriatim.tasks.budget_policy import BudgetChoice
from seriatim.tasks.forecasting.config import (
    KnownSeries,
    SavedForecaster,
    SeriesFacts,
    with_season,
)
from seriatim.tasks.forecasting.given_series import (
    Data,
    GivenSeries,
    check_same_columns,
    density_of,
    facts_of,
    known_series,
    open_part,
    split_by_time,
)
from seriatim.tasks.forecasting.memory import SeriesMemory
from seriatim.tasks.forecasting.score import ForecastScore, score_series
from seriatim.tasks.forecasting.states import stand_at_end
from seriatim.tasks.forecasting.text import forecaster_rows
from seriatim.tasks.forecasting.use import SeriesUser
from seriatim.tasks.language_defaults import suited_options
from seriatim.tasks.options import TEXT_FIELDS, DataFiles, SeriesReading, TaskOptions, refuse
from seriatim.tasks.own_module import config_of
from seriatim.tasks.parts import Fractions
from seriatim.tasks.protocols import NOUNS
from seriatim.tasks.sequence_surprisal import COLUMNS
from seriatim.tasks.training_record import TrainingRecord
from seriatim.tasks.unknown import UnknownCount
from seriatim.train.callbacks.history import History
from seriatim.train.options import TrainingOptions
from seriatim.train.seeding import seeded

if TYPE_CHECKING:
    from seriatim.analysis.context.series import SeriesContext
    from seriatim.analysis.robustness.result import Robustness
    from seriatim.laws.check import LawReport
    from seriatim.tasks.analyses import OutputMetricName
    from seriatim.tasks.job import TrainingJob


# Options of files that are about texts and pairs.
OF_TEXT = ("source", "target", "source_column", *TEXT_FIELDS)


class Forecaster(
    SeriesUser,
    Task[Data, GivenSeries, GivenSeries, SeriesFacts, ForecastScore],
):
    """A model of series: fit, predict, update, backtest, impute, detect, score, save.

        st.Forecaster(st.AR(order=24)).fit(frame).predict(48)

    Data are a file (.csv, .tsv, .jsonl, .parquet, .tsf), a data frame of pandas, polars or pyarrow,
    an array (T,) or (T, D), or a list of series; missing values are NaN. Parts are split off in
    time: if no fractions are given, the last tenth of each series for the early stopping of a model
    that is trained by gradients, and nothing of others. A model that is fitted at once is fitted
    anew by a further `fit`, as its parameters are those of the series.

    Attributes:
        config: the configuration of the model.
        model: the `SequenceModel`; None before fitting.
        series: the names of the series it was fitted to; None before fitting.
        reading: how tables are read.
        alarm: the threshold of `detect` that `threshold` has set; None: there is none yet.
        training: the record of how the model came about; empty before fitting.
    """

    name = "forecasting"
    noun = NOUNS["forecasting"]
    reads = "series"
    unit = "value"
    example = "forecast {folder} --horizon 24"
    runs_in_processes = False
    each_columns = COLUMNS
    record_type = TrainingRecord[SeriesFacts, ForecastScore]
    document_names = ("series",)
    model: SequenceModel | None

    @checked_arguments
    def __init__(
        self,
        model: ModelConfig | SequenceModel | str = "ar",
        *,
        season_length: int | None = None,
        freq: str | int | None = None,
        target: str | Sequence[str] = (),
        known: Sequence[str] = (),
        static: Sequence[str] = (),
        id_column: str | None = None,
        time_column: str | None = None,
        time_zone: str | None = None,
        time_format: str | None = None,
        multivariate: bool | None = None,
        decimal: Literal[".", ","] | None = None,
        calendar: bool | str | Sequence[str] = False,
        density: str = "auto",
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: a configuration, the name of a family for its defaults, or a module of your own.
            season_length: the number of moments of a season, such as 24 for hours of a day; None:
                as usual for the frequency of the data, or found where times are whole numbers.
            freq: the step between moments, such as "h", "D" or "MS"; None: inferred.
            target: the columns of values; empty: found by the names that people use.
            known: the columns of inputs that are known ahead, such as a price.
            static: the columns that are constant in a series.
            id_column: the column that names the series of a row; None: found.
            time_column: the column of times; None: found.
            time_zone: the zone of times that name none, in which days are counted.
            time_format: how times are written, as `strptime` takes it; None: as they look.
            multivariate: True if the columns of a wide table are the channels of one series.
            decimal: the sign before the fraction in text; None: as the numbers show it.
            calendar: cycles of the calendar as known inputs, among minute, hour, weekday, day (of
                the month), yearday, month and quarter; they are computed for the coming moments
                too. True: those usual for the frequency of which the series have two.
            density: the distribution of a network: "normal", "student-t", "negative-binomial" or
                "mixture"; "auto": negative binomial for small counts, else the network's own.
            device: the device on which to compute; None: a GPU if there is one.
        """
        super().__init__(device)
        config = configure(model, {}) if isinstance(model, str) else config_of(model)
        if season_length is not None and season_length < 1:
            raise ConfigError(f"season_length = {season_length}: give 1 or more")
        self.config = config
        self._given_config = config
        self._module = model if isinstance(model, SequenceModel) else None
        self._season_length, self._density = season_length, density
        self.reading = SeriesReading(
            target=(target,) if isinstance(target, str) else tuple(target),
            known=tuple(known),
            static=tuple(static),
            id_column=id_column,
            time_column=time_column,
            freq=None if freq is None else str(freq),
            time_zone=time_zone,
            time_format=time_format,
            multivariate=multivariate,
            decimal=decimal,
            calendar=calendar if isinstance(calendar, bool) else as_names(calendar),
        )
        self.series: KnownSeries | None = None
        self._law: str | None = None
        self._support: Any = "real"
        self._num_series = 0
        self._whole: GivenSeries | None = None

    @classmethod
    def from_options(cls, options: TaskOptions) -> Self:
        """A forecaster from the options of the command line; see `Task.from_options`."""
        others = ("source_symbols", "joint", "symbols", "min_count", "max_symbols", "sequences")
        refuse(options, others, cls.noun)
        own, family = dict(options.model_options), options.model or "ar"
        season_length = own.pop("season_length", None)
        config = configure(family, own, preset=options.preset)
        return cls(config, season_length=season_length, **asdict(options.series))

    # ---- fitting --------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Be as before the first fit."""
        self.model, self.series, self._memory, self.correction = None, None, None, None
        self.config, self.training = self._given_config, TrainingRecord()

    def _anew(self) -> Self:
        own = asdict(self.reading)
        model = copy.deepcopy(self._module) if self._module is not None else self._given_config
        return type(self)(
            model,
            season_length=self._season_length,
            density=self._density,
            device=self.device,
            **own,
        )

    def _default_split(self) -> Fractions:
        return (1.0, 0.0, 0.0) if self.is_fitted_at_once else (0.9, 0.1, 0.0)

    @property
    def is_fitted_at_once(self) -> bool:
        """Whether the model is fitted without the training loop, by least squares or the like."""
        if self.model is not None or self._module is not None:
            return isinstance(self.model or self._module, FitsSeries)
        return issubclass(number_model_class(self.config), FitsSeries)

    def training_options(
        self, given: Mapping[str, Any], *, preset: str | None = None
    ) -> TrainingOptions:
        """Training options: those given, then those that suit the model, then the defaults."""
        recipe = {**self.config.recipe_for(preset), **self.config.number_recipe}
        return suited_options(recipe, given)

    def open_files(self, files: DataFiles) -> GivenSeries:
        """The series in a file; see `Task.open_files`."""
        refuse(files, OF_TEXT, self.noun)
        if files.data is None:
            raise ConfigError("a forecaster needs a file of series: give one")
        return open_part(
            files.data,
            self.reading,
            self.series,
            format=files.format,
            encoding=None if files.encoding == "utf-8" else files.encoding,  # found by itself
        )

    def _open_training(self, data: Data) -> GivenSeries:
        if self.model is not None and isinstance(self.model, FitsSeries):
            self._forget()
        whole = open_part(data, self.reading, self.series)
        if self.series is None:
            self.series = known_series(whole, self._season_length, self.reading.calendar)
            typical = int(np.median(np.diff(whole.offsets)))
            season = self.series.season_length
            self.config = with_season(self.config, season, self._season_length, typical)
            self._law, self._support = density_of(whole, self._density)
            if self._density == "auto" and self.is_fitted_at_once:
                self._law = None  # what suits counts is for networks; other families know it
        self._whole = whole
        return whole

    def _open(self, data: Data) -> GivenSeries:
        return open_part(data, self.reading, self.series)

    def _split(
        self, part: GivenSeries, fractions: Fractions
    ) -> tuple[Sequence[GivenSeries | None], SplitRecord]:
        return split_by_time(part, fractions)

    def _encode(self, parts: Mapping[str, GivenSeries], log: Log) -> dict[str, GivenSeries]:
        for part in parts.values():
            check_same_columns(part, self._names())
        if self.model is None and self.series is not None:
            trained = parts["train"].ids
            self._num_series = len(trained)
            season = self.series.season_length
            whole = self._whole
            if self._season_length is None and whole is not None and whole.has_hidden_season:
                log(f"season: {season:,} moments, found in the values, as times are whole numbers")
            untrained = tuple(name for name in self.series.ids if name not in trained)
            self.series = replace(self.series, untrained=untrained)
        return dict(parts)

    def _build(self, seed: int, corpus: GivenSeries | None) -> SequenceModel:
        if self._module is not None:
            return self._module
        names = self._names()
        element = Numbers(len(names.channels), len(names.inputs), self._support)
        with seeded(torch.device("cpu"), seed):
            return build_number_model(self.config, element, self._num_series, self._law)

    def _learn(self, corpora: Mapping[str, GivenSeries], job: "TrainingJob") -> History | Json:
        model, train = self._fitted(), corpora["train"]
        found: History | Json
        if isinstance(model, FitsSeries):
            job.check_closed_form(self.config.family)
            job.callbacks.log("fitting")
            found = model.fit_series(train)
        else:
            from seriatim.tasks.forecasting.training import train_on_series

            season = self._names().season_length
            valid, context = corpora.get("valid"), self._least_context()
            found = train_on_series(model, train, valid, context, season, job)
            self._keep_members(model)
        self._remember(job.callbacks.log)
        return found

    def _keep_members(self, model: SequenceModel) -> None:
        """The members that training has left, in the options and in place of a mixture of one."""
        if isinstance(model, Mixture) and hasattr(self.config, "members"):
            number = len(model.members)
            self.config = replace(cast(Any, self.config), members=number)
            self.model = model if number > 1 else cast(SequenceModel, model.members[0])

    def _choose(
        self, given: Mapping[str, Any], corpora: Mapping[str, GivenSeries], seconds: float
    ) -> BudgetChoice:
        is_open = getattr(self.config, "members", None) == 1 and self._module is None
        if self.model is not None or not is_open:
            return BudgetChoice()
        from seriatim.tasks.forecasting.training import choose_members

        options, train = self._merged(given, {}, corpora["train"]), corpora["train"]
        trial = self._build(options.seed, train).to(self.device)
        return choose_members(trial, train, options, self._least_context(), seconds)

    def _adapted(self, choice: BudgetChoice, given: Mapping[str, Any]) -> Mapping[str, Any]:
        self.config = choice.of_model(self.config)
        return super()._adapted(choice, given)

    def _least_context(self) -> int:
        """The moments that training reads before those that it scores, at least."""
        lags = getattr(self.config, "lags", None) or (1,)
        return int(max(2 * self._names().season_length, *lags))

    def _remember(self, log: Log) -> None:
        """Read the whole series, so that what follows them can be predicted."""
        model, whole = self._fitted(), self._whole
        assert whole is not None
        log("reading the series to their ends")
        names, index = self._names(), self.numbers_of(whole.ids)
        if names.ids != whole.ids:  # trained further, on other series
            others = tuple(name for name in whole.ids if name not in names.ids)
            self.series = replace(names, ids=whole.ids, untrained=(*names.untrained, *others))
        standing = stand_at_end(model, whole, index)
        self._stand(standing, SeriesMemory.of(model, standing, whole, whole.times))
        self._whole = None

    def _score_part(
        self,
        part: GivenSeries,
        corpus: GivenSeries,
        limit: SampleLimit | None,
        progress: Callable[[int], None],
    ) -> ForecastScore:
        return self._score(corpus, progress)

    def _unknown(self, corpus: GivenSeries) -> list[UnknownCount]:
        return []

    def _facts(self, corpus: GivenSeries) -> SeriesFacts:
        return facts_of(corpus)

    def _described(self) -> TrainingRecord[SeriesFacts, ForecastScore]:
        return TrainingRecord()

    def _identity(self) -> Json:
        return {
            "model": describe(self._given_config),
            "density": self._density,
            "season_length": self._season_length,
            "reading": to_json(self.reading),
        }

    def _fingerprint(self) -> str:
        return self._fitted().fingerprint()

    def _documents(self) -> dict[str, Json]:
        return {"series": to_json(self._names())}

    def _adopt(self, documents: Sequence[Any]) -> None:
        self.series = from_json(KnownSeries, documents[0], name="the series of the run")

    def _names(self) -> KnownSeries:
        if self.series is None:
            raise not_fitted(self)
        return self.series

    def _fitted(self) -> SequenceModel:
        if self.model is None:
            raise not_fitted(self)
        return self.model

    # ---- using ----------------------------------------------------------------------------------

    def score(
        self,
        data: Data,
        *,
        restart_every: int | None = None,
        exact: bool = False,
        limit: int | None = None,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> ForecastScore:
        """How well the model predicts each value of series from all before it.

        Args:
            data: what `fit` takes.
            restart_every: not an option of a forecaster.
            exact, limit, allow_unknown: series are read as wholes, whatever these are.
            progress: callback that receives the number of moments scored so far.

        Raises:
            DataError: if no value is observed.
        """
        if restart_every is not None:
            raise ConfigError("--restart-every is for texts that are streams, not for a forecaster")
        return self._score(self._open(data), progress)

    def _score(self, part: GivenSeries, progress: Callable[[int], None] | None) -> ForecastScore:
        index = self.numbers_of(part.ids)
        return score_series(
            self._fitted(), part, index, part.first, name=part.name, progress=progress
        )

    def effective_context(
        self,
        data: Data,
        *,
        contexts: Sequence[int] = (),
        limit: int | None = None,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> "SeriesContext":
        """How many of the last values the model uses; see `analysis.context.series`.

        Args:
            data: what `fit` takes.
            contexts: rising numbers of moments; empty: the usual ones, from 0 to 336.
            limit: the number of moments whose values are predicted; None: 1,000.
            seed: of their choice.
            progress: callback that receives the fraction of the work done so far.

        Raises:
            DataError: if too few values have so much past.
        """
        from seriatim.analysis.context.series import NUM_VALUES, SERIES_CONTEXTS, series_context

        given = self._open(data)
        return series_context(
            self._fitted(),
            given,
            self.numbers_of(given.ids),
            contexts=contexts or SERIES_CONTEXTS,
            num_values=limit or NUM_VALUES,
            seed=seed,
            progress=progress,
        )

    def robustness(
        self,
        data: Data,
        *,
        metric: "OutputMetricName | None" = None,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> "Robustness":
        """What missing values cost, in bits for each value that is kept."""
        from seriatim.tasks.forecasting.robustness import measure_omissions

        if metric is not None:
            raise ConfigError("--metric is an option of a translator; series are measured in bits")
        given = self._open(data)
        index = self.numbers_of(given.ids)
        return measure_omissions(self._fitted(), given, index, seed=seed, progress=progress)

    def check(self, *, seconds: float = 60.0) -> "LawReport":
        """Hold the fitted model to the laws of the contract."""
        from seriatim.laws.check import check_model

        return check_model(self._fitted(), seconds=seconds)

    def info(self) -> Json:
        """What it is, how large, and how it came about; JSON values."""
        model, names = self._fitted(), self._names()
        return {
            "task": self.name,
            "model": describe(self.config),
            "density": self._law,
            "series": len(names.ids),
            "channels": list(names.channels),
            "known": list(names.inputs),
            "freq": names.freq,
            "season_length": names.season_length,
            "parameters": num_parameters(model),
            "reach": model.reach,
            "fingerprint": model.fingerprint(),
            "threshold": None if self.alarm is None else self.alarm.to_json(),
            "bands": None if self.correction is None else self.correction.text(),
            "training": self.training.to_json(),
        }

    def describe(self) -> list[tuple[str, str]]:
        """The rows of a table of `info` for people."""
        return forecaster_rows(
            self.config, self._fitted(), self._names(), self.training, self.alarm, self.correction
        )

    def headline(self) -> str:
        """The kind and the size of the model, in a line."""
        model, names = self._fitted(), self._names()
        return (
            f"{self.config.family}: {num_parameters(model):,} fitted numbers, "
            f"{len(names.ids):,} series"
        )

    def describe_score(self, score: ForecastScore) -> list[str]:
        """A score for people, in lines."""
        return score.lines()

    # ---- on disk --------------------------------------------------------------------------------

    def _config(self) -> SavedForecaster:
        if self.config.unsavable is not None:
            raise ConfigError(self.config.unsavable)
        return SavedForecaster(
            model=describe(self.config),
            support=self._support,
            density=self._law,
            season_length=self._season_length,
            num_series=self._num_series,
            reading=self.reading,
            memory=self._kept().sizes,
            threshold=self.alarm,
            correction=self.correction,
        )

    def is_training_data(self, source: GivenSeries) -> bool:
        """Whether series are what the model was fitted to, or what its training part came from."""
        run, split = self.training.run or {}, self.training.split or {}
        known = dict(run.get("data", {})).get("train"), split.get("source")
        return source.fingerprint() in known

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self._fitted(), "memory": self._kept()}

    @classmethod
    def _restored(cls, path: Path, classes: tuple[type, ...], device: str | None) -> Self:
        saved = storage.read_config(SavedForecaster, path)
        forecaster = cls(
            restore(saved.model, classes), season_length=saved.season_length, device=device
        )
        forecaster.reading, forecaster.alarm = saved.reading, saved.threshold
        forecaster.correction = saved.correction
        forecaster._law, forecaster._support = saved.density, saved.support
        forecaster._num_series = saved.num_series
        document = storage.read_document(path, "series")
        forecaster.series = from_json(KnownSeries, document, name=str(path / "series.json"))
        forecaster._memory = SeriesMemory(saved.memory)
        return forecaster
