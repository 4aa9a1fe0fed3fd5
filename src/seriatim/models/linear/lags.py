"""Which of the past values a linear model looks at, and its deterministic terms."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TypeAlias

from seriatim.models.options.linear import AR, Drift, Naive, SeasonalNaive

AROptions: TypeAlias = AR | Naive | SeasonalNaive | Drift


@dataclass(frozen=True)
class Lags:
    """The regressors of an autoregressive model.

    Attributes:
        lags: those of the fitted values (of the steps, if steps are fitted), ascending.
        window: q, the values that the model keeps, 1 or more.
        num_dummies: s, the moments of a season that have a constant each; 0: there are none.
        has_constant: whether a constant is fitted.
        has_slope: whether a linear trend is fitted.
    """

    lags: tuple[int, ...]
    window: int
    num_dummies: int = 0
    has_constant: bool = True
    has_slope: bool = False

    @classmethod
    def of(cls, config: AROptions) -> "Lags":
        """Those of a configuration; where a criterion chooses the order, of the largest."""
        if isinstance(config, SeasonalNaive):
            return cls((config.season_length,), config.season_length, has_constant=False)
        if not isinstance(config, AR):
            return cls((1,), 1, has_constant=isinstance(config, Drift))
        order = config.largest_order
        season = config.season_length or 0
        lags = set(range(1, order + 1))
        if season and config.season == "lags":
            lags |= {lag for lag in (season - 1, season, season + 1) if lag > 0}
        dummies = season if config.season == "dummies" else 0
        return cls(
            tuple(sorted(lags)),
            max(1, max(lags, default=0) + config.fits_steps),
            dummies,
            config.fitted_trend != "none",
            config.fitted_trend == "linear",
        )

    def only(self, chosen: Collection[int]) -> "Lags":
        """Without the lags that are not among some; the window stays."""
        return replace(self, lags=tuple(lag for lag in self.lags if lag in chosen))

    def up_to(self, deepest: int) -> "Lags":
        """Without the lags that are further back; the window stays."""
        return replace(self, lags=tuple(lag for lag in self.lags if lag <= deepest))
