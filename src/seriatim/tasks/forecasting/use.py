"""What a fitted forecaster does: predict, go on with new values, fill gaps, judge values.

The half of `Forecaster` that uses what it was fitted to; it calls the functions of
`forecaster_predict`, `forecaster_states` and the like, and holds no logic of its own.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core import tree
from seriatim.core.model import SequenceModel
from seriatim.core.validation import checked_arguments
from seriatim.errors import ConfigError
from seriatim.models.options.base import ModelConfig
from seriatim.tasks.alarm_judge import AlarmJudge
from seriatim.tasks.anomalies import AlarmUnit
from seriatim.tasks.forecasting.backtest import Backtest, FittedSeries, run_backtest
from seriatim.tasks.forecasting.config import KnownSeries
from seriatim.tasks.forecasting.cutoffs import place_cutoffs
from seriatim.tasks.forecasting.forecast import Forecast, quantiles_of
from seriatim.tasks.forecasting.given_series import (
    Data,
    GivenSeries,
    Where,
    find_series,
    future_known,
    open_part,
    open_update,
    times_after,
    where_of,
)
from seriatim.tasks.forecasting.memory import SeriesMemory
from seriatim.tasks.forecasting.predict import check_horizon, path_rows, predict_rows
from seriatim.tasks.forecasting.shifts import EDGES, BandCorrection
from seriatim.tasks.forecasting.states import Standing, begin, follow, replaced, stand_at_end
from seriatim.tasks.forecasting.stream_inputs import stream_inputs
from seriatim.tasks.options import SeriesReading
from seriatim.tasks.sequence_surprisal import SequenceBits
from seriatim.train.callbacks.callbacks import Callbacks

if TYPE_CHECKING:
    from seriatim.tasks.forecasting.gaps import Imputed
    from seriatim.tasks.forecasting.inspection import SeriesInspection
    from seriatim.tasks.series_stream import SeriesStream

QUANTILES = (0.1, 0.5, 0.9)
NUM_SAMPLES = 200


class SeriesUser(AlarmJudge):
    """A fitted forecaster.

    Attributes:
        series: the names of the series it was fitted to; None before fitting.
        reading: how tables are read.
        correction: how `predict(conformal=True)` moves quantiles; None: not measured yet.
    """

    model: Any
    config: ModelConfig
    series: KnownSeries | None
    reading: SeriesReading
    _season_length: int | None
    alarm_unit: ClassVar[AlarmUnit] = "event"
    _num_series: int
    _memory: SeriesMemory | None = None
    _standing: Standing | None = None
    correction: BandCorrection | None = None
    training: Any

    @property
    @abstractmethod
    def is_fitted_at_once(self) -> bool:
        """Whether the model is fitted without the training loop."""

    @abstractmethod
    def _fitted(self) -> SequenceModel: ...

    @abstractmethod
    def _names(self) -> KnownSeries: ...

    @abstractmethod
    def _anew(self) -> Any:
        """A copy that is not fitted."""

    def _stand(self, standing: Standing, memory: SeriesMemory) -> None:
        """Keep where the series stand."""
        self._standing, self._memory = standing, memory

    def _stands(self) -> Standing:
        """Where the series stand; of a forecaster that was loaded, read when it is needed."""
        if self._standing is None:
            self._standing = self._kept().read(self._fitted())
        return self._standing

    def _kept(self) -> SeriesMemory:
        self._fitted()
        assert self._memory is not None  # it is there as soon as a model is fitted
        return self._memory

    def numbers_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(B,) the numbers of series in the training data, -1 for others."""
        names = self._names()
        trained = [name for name in names.ids if name not in names.untrained]
        numbers = {name: i for i, name in enumerate(trained[: self._num_series])}
        return np.array([numbers.get(name, -1) for name in ids], np.int64)

    # ---- the future -----------------------------------------------------------------------------

    @checked_arguments
    def predict(
        self,
        horizon: int,
        *,
        quantiles: Sequence[float] = QUANTILES,
        level: float | Sequence[float] | None = None,
        num_samples: int = NUM_SAMPLES,
        seed: int = 0,
        data: Data | None = None,
        known: Any = None,
        conformal: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Forecast:
        """The distributions of the coming values of every series.

        Args:
            horizon: the number of moments ahead.
            quantiles: the quantiles to compute.
            level: the probabilities, in percent, of intervals to compute in place of quantiles,
                such as 80 or (80, 95).
            num_samples: the number of paths, for a model that must be sampled.
            seed: of the paths.
            data: series whose ends are continued, read as those of `fit`; None: the series that it
                was fitted to, and updated with.
            known: the known inputs of the coming moments, if the model takes some: a table, or an
                array (H, K) for all series or (S, H, K).
            conformal: whether quantiles are corrected by what they would have missed in the past,
                by `correction`, which is measured on `data`, or on the history that is kept, if it
                does not reach so far; the raw ones stand beside them.
            progress: callback that receives the number of series predicted so far.

        Raises:
            ConfigError: if an argument is out of range, or known inputs are missing.
            DataError: if known inputs end before the horizon; the message names the series. If the
                history is too short to correct bands.
        """
        check_horizon(horizon)
        levels, columns = quantiles_of(quantiles, level)
        if data is not None:
            data = self._open(data)
        if conformal and (self.correction is None or self.correction.horizon < horizon):
            self.correct_bands(horizon, data, num_samples=num_samples, seed=seed)
        where, names = self._where(data), self._names()
        times = times_after(names, where.ends, horizon)
        ahead = future_known(known, names, self.reading, where.ids, times, where.last_known)
        computed = sorted({*levels, *EDGES}) if conformal else levels
        mean, bands = predict_rows(
            self._fitted(),
            where.standing,
            horizon,
            ahead,
            quantiles=computed,
            num_samples=num_samples,
            seed=seed,
            progress=progress,
        )
        raw = None
        if conformal and self.correction is not None:
            chosen = [computed.index(q) for q in levels]
            moved = self.correction.apply(bands, computed, levels, where.past.numbers)
            raw, bands = bands[:, chosen], moved
        return Forecast(
            output_ids(where.ids, names),
            names.channels,
            times,
            mean,
            levels,
            bands,
            raw=raw,
            notes=() if raw is None or self.correction is None else (self.correction.text(),),
            columns=columns,
            past=where.past,
            zone=names.zone,
            backend=where.backend,
        )

    @checked_arguments
    def sample_paths(
        self,
        horizon: int,
        *,
        num_samples: int = NUM_SAMPLES,
        seed: int = 0,
        data: Data | None = None,
        known: Any = None,
    ) -> NDArray[np.float64]:
        """(S, num_samples, H, D) possible courses of every series; arguments as of `predict`."""
        check_horizon(horizon)
        where, names = self._where(data), self._names()
        times = times_after(names, where.ends, horizon)
        ahead = future_known(known, names, self.reading, where.ids, times, where.last_known)
        return path_rows(
            self._fitted(), where.standing, horizon, ahead, num_samples=num_samples, seed=seed
        )

    @checked_arguments
    def correct_bands(
        self,
        horizon: int,
        data: Data | None = None,
        *,
        origins: int | None = None,
        num_samples: int = NUM_SAMPLES,
        seed: int = 0,
    ) -> BandCorrection:
        """Measure how wrong bands would have been in the past; `correction`, and `save`, keep it.

        Forecasts are made from origins in the last third (or half) of the history, at best by a
        copy that was not fitted to it: of a model that is fitted at once, if all that it was fitted
        to is there. A network, which held values out of its training, and a model of which only the
        end of the history is kept, are taken as they are, which `correction` says.

        Args:
            horizon: the moments ahead whose bands are corrected.
            data: the series that it was fitted to, or later values of them; None: what is kept of
                them, at most the last 512 moments of each.
            origins: the past forecasts of each series; None: about 100 of all.
            num_samples, seed: as of `predict`.

        Raises:
            ConfigError: if the model takes known inputs and no data are given.
            DataError: if the history is too short.
        """
        from seriatim.tasks.forecasting.correction import (
            kept_series,
            measure_correction,
            place_origins,
        )

        check_horizon(horizon)
        names, memory = self._names(), self._kept()
        is_whole = data is not None or self._keeps_all(memory)
        given = kept_series(memory, names) if data is None else self._open(data)
        can_be_apart = is_whole and self.is_fitted_at_once
        placed = place_origins(given, horizon, origins, is_fitted=can_be_apart, is_cut=not is_whole)
        is_new = not self._overlap(given, horizon, *placed)
        is_apart = can_be_apart and not is_new

        def fit(part: GivenSeries) -> FittedSeries:
            if not is_apart:
                return self
            fresh: FittedSeries = self._anew().fit(part, callbacks=Callbacks(), score=False)
            return fresh

        self.correction = measure_correction(
            fit,
            given,
            horizon,
            origins=placed,
            num_samples=num_samples,
            seed=seed,
            is_held_out=is_apart or is_new,
        )
        return self.correction

    def _keeps_all(self, memory: SeriesMemory) -> bool:
        """Whether the kept history is all that the model was fitted to."""
        trained = self.training.data.get("train")
        return trained is not None and memory.sizes.moments >= trained.moments

    def _where(self, data: Data | None) -> Where:
        """Where the series of the forecaster stand, or those that are given."""
        names = self._names()
        if data is None:
            memory, rows = self._kept(), range(len(names.ids))
            return Where(
                names.ids,
                self._stands(),
                memory.ends(names.times),
                memory.past(rows, names.times),
                memory.last_known(),
                names.backend,
            )
        part = open_part(data, self.reading, names)
        standing = stand_at_end(self._fitted(), part, self.numbers_of(part.ids))
        return where_of(part, standing)

    # ---- the past -------------------------------------------------------------------------------

    @checked_arguments
    def backtest(
        self,
        data: Data,
        horizon: int,
        *,
        origins: int = 1,
        step: int | None = None,
        refit: bool | int = False,
        quantiles: Sequence[float] = QUANTILES,
        level: float | Sequence[float] | None = None,
        num_samples: int = NUM_SAMPLES,
        seed: int = 0,
        steps: int | None = None,
        minutes: float | None = None,
        options: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Backtest:
        """Forecasts from many origins, beside what came.

        Without `refit`, one pass reads the series and keeps the state at each origin. A forecaster
        that is not fitted yet is fitted to what comes before the first origin, as a copy; one that
        is fitted is taken as it is.

        Args:
            data: what `fit` takes.
            horizon: the number of moments that are predicted from each origin.
            origins: the number of origins; the last is a horizon before the end of a series.
            step: the moments between two origins; None: the horizon.
            refit: whether a copy is fitted again at each origin; a number k: at every k-th.
            quantiles, level, num_samples: as of `predict`.
            seed: of paths, and of the training of copies.
            steps, minutes, options: the training of copies that are trained by gradients.
            progress: callback that receives the number of forecasts made so far.

        Raises:
            DataError: if no series is long enough.
        """
        given, every = self._open(data), int(refit)
        levels, columns = quantiles_of(quantiles, level)
        is_kept = self.model is not None and not every
        budget = {"steps": steps, "minutes": minutes}

        def fit(part: GivenSeries) -> FittedSeries:
            if is_kept:
                return self
            fresh: FittedSeries = self._anew().fit(
                part, seed=seed, options=options, callbacks=Callbacks(), score=False, **budget
            )
            return fresh

        return run_backtest(
            fit,
            given,
            horizon,
            name=self.config.family,
            season_length=self._season(given),
            origins=origins,
            step=step,
            refit=every or None,
            quantiles=levels,
            columns=columns,
            num_samples=num_samples,
            seed=seed,
            notes=self._overlap(given, horizon, origins, step) if is_kept else (),
            progress=progress,
        )

    def _season(self, given: GivenSeries) -> int:
        if self.series is not None:
            return self.series.season_length
        return self._season_length or given.usual_season

    def _overlap(
        self, given: GivenSeries, horizon: int, origins: int, step: int | None
    ) -> tuple[str, ...]:
        """A sentence if the model was fitted to what it is tested on."""
        names = self._names()
        ends = dict(zip(names.ids, self._kept().ends(names.times), strict=True))
        first = place_cutoffs(given, horizon, origins, step).earliest()
        for name, place in zip(given.ids, first, strict=True):
            if place >= 0 and name in ends and ends[name] >= given.times[place]:
                return (
                    f"the model knows series {name!r} beyond the first origin: expect worse of "
                    "values that it was not fitted to, or backtest one that is not fitted",
                )
        return ()

    @checked_arguments
    def impute(
        self,
        data: Data,
        *,
        quantiles: Sequence[float] = QUANTILES,
        level: float | Sequence[float] | None = None,
        only_missing: bool = False,
    ) -> "Imputed":
        """Series with their gaps filled: the distribution of each missing value given all others.

        A model that cannot look ahead, such as a network, fills gaps by what came before them;
        `notes` of the result says so.

        Args:
            data: what `fit` takes.
            quantiles, level: as of `predict`.
            only_missing: whether moments without a gap are left out.
        """
        from seriatim.tasks.forecasting.gaps import impute_series

        given = self._open(data)
        levels, columns = quantiles_of(quantiles, level)
        index = self.numbers_of(given.ids)
        return impute_series(
            self._fitted(), given, index, levels, columns, only_missing=only_missing
        )

    def sequence_bits(
        self,
        data: Data,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[SequenceBits]:
        """Every series with the surprisal of each of its observed values; see `detect`.

        Bits are those of a density, -log2 p(value | everything before it): they depend on the units
        of the values, and may be negative.
        """
        from seriatim.tasks.forecasting.surprisal import bits_of_series

        given = self._open(data)
        return bits_of_series(self._fitted(), given, self.numbers_of(given.ids))

    def inspect(
        self,
        data: Data,
        *,
        title: str = "the model",
        series: str | None = None,
        start: int | None = None,
        length: int | None = None,
        only: Sequence[str | int] | None = None,
    ) -> "SeriesInspection":
        """What happens inside the model while it reads a part of one series.

        Args:
            data: what `fit` takes.
            title: the name of the model in the findings.
            series: the name of the series; None: the first.
            start: the moments before the part; None: the part is the end.
            length: the moments in it; None: at most 336.
            only: numbers of layers and patterns of what is recorded; None: all.

        Raises:
            DataError: if the series ends before the part, or nothing in it was observed.
        """
        from seriatim.tasks.forecasting.inspection import inspect_series

        given = self._open(data)
        return inspect_series(
            self._fitted(),
            given,
            self.numbers_of(given.ids),
            title=title,
            series=series,
            start=start,
            length=length,
            only=only,
        )

    # ---- new values -----------------------------------------------------------------------------

    @checked_arguments
    def update(self, new: Data) -> Self:
        """Go on with new values of the series: filtering, without fitting anything again.

        Fitting to a and going on with b gives the parameters that a gave, and the states that
        reading a and b gives. Moments that are missing in between are gaps. A series with a new
        name begins from nothing.

        Args:
            new: what `fit` takes, with the moments after those that are known.

        Raises:
            DataError: if a series begins before the end of what is known of it.
        """
        model, names = self._fitted(), self._names()
        part = open_update(new, names, self.reading, self._kept())
        fresh = [name for name in part.ids if name not in names.ids]
        standing = self._stands()
        if fresh:
            others = begin(model, torch.full((len(fresh),), -1))
            standing = tree.cat([standing, others])
            names = replace(names, ids=(*names.ids, *fresh))
        rows = {name: i for i, name in enumerate(names.ids)}
        index = np.array([rows[name] for name in part.ids], np.int64)
        offsets = np.asarray(part.offsets)
        with torch.inference_mode():
            moved = follow(
                model, part, standing.select(index), offsets[:-1].copy(), offsets[1:].copy()
            )
            standing = replaced(standing, moved, index)
        memory = self._kept()
        memory = memory.updated(model, standing, part, part.times, index, len(names.ids))
        self._stand(standing, memory)
        self.series = names
        return self

    def stream(self, series: str | int | None = None) -> "SeriesStream":
        """Push one value of a series at a time, and get its surprisal.

        Args:
            series: the name of the series that is continued; None: the only one; of a forecaster
                of several, another series, which begins from nothing.
        """
        from seriatim.tasks.series_stream import SeriesStream

        model, names = self._fitted(), self._names()
        if series is None and len(names.ids) > 1:
            if names.calendar or names.static:
                raise ConfigError(
                    "the model reads the calendar or static inputs, which a series that it does "
                    "not know has none of: name one of its series"
                )
            return SeriesStream(model, begin(model, torch.tensor([-1])))
        row, memory = 0 if series is None else find_series(str(series), names.ids), self._kept()
        inputs = stream_inputs(names, memory.ends(names.times)[row], memory.last_known()[row])
        return SeriesStream(model, self._stands().select([row]), inputs)


def output_ids(ids: Sequence[str], names: KnownSeries) -> list[str] | list[int]:
    """The names of series as they came in, text or whole numbers."""
    return [int(name) for name in ids] if names.has_integer_ids else list(ids)
