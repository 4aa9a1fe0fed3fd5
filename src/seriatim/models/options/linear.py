"""Options of the linear models of numbers: the naive ones, AR and VAR."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from annotated_types import Interval

from seriatim.models.options.base import ModelConfig, Size, option_class

Criterion: TypeAlias = Literal["aic", "bic", "aicc"]
Trend: TypeAlias = Literal["none", "constant", "linear"]
NonNegative: TypeAlias = Annotated[float, Interval(ge=0.0)]


@option_class
class Naive(ModelConfig):
    """The last observed value: x_t = x_{t-1} + e_t, a random walk."""

    family: ClassVar[str] = "naive"
    elements: ClassVar[frozenset[str]] = frozenset({"numbers"})


@option_class
class SeasonalNaive(ModelConfig):
    """The value of one season ago: x_t = x_{t-s} + e_t.

    Attributes:
        season_length: s, in moments, such as 24 for hours of a day.
    """

    family: ClassVar[str] = "seasonal-naive"
    elements: ClassVar[frozenset[str]] = frozenset({"numbers"})

    season_length: Size = 24

    @property
    def follows_season(self) -> bool:
        return True


@option_class
class Drift(ModelConfig):
    """The last value and the mean step of the series: x_t = x_{t-1} + d + e_t."""

    family: ClassVar[str] = "drift"
    elements: ClassVar[frozenset[str]] = frozenset({"numbers"})


STEPS_OF_A_DAY = (24, 48, 96)  # hours, their halves and quarters, which have weeks too
# By the season: what depends on a week and a day before, for hours lags of 168 + 24 and their
# neighbours; and weeks, of which a series seldom has so many years that 52 coefficients are told.
_ORDERS: Mapping[int, int] = {1: 24, 52: 8, **{s: 8 * s + 3 for s in STEPS_OF_A_DAY}}


@option_class
class AR(ModelConfig):
    """The autoregressive model: every channel is explained by its own last values.

        x_t = c + b t + season_t + w . known_t + sum_i a_i x_{t-i} + e_t,    e_t ~ N(0, s^2)

    Attributes:
        order: p, the number of last values; or "aic", "bic" or "aicc", which choose it from 0 to
            max_order; None: eight days and three moments of a season of 24, 48 or 96, as hours,
            their halves and quarters have weeks too (of short series those of a day and of a
            week without those between); 8 and the season of 52 weeks; otherwise two seasons of
            up to 24 moments, or one longer one, and a moment; 24 without a season; at most a
            third of the length of a series, and as few as leave ten complete windows for each.
        max_order: the largest order among which a criterion chooses.
        trend: "none", "constant" (c), or "linear" (c + b t); None: "none" for steps, otherwise
            "constant".
        season_length: s, the moments of a season; None: there is none, but in a forecaster with
            order None the usual one of the frequency, or one that is found in the values.
        season: how a season enters: as "lags" s - 1 to s + 1 besides the last values, or as
            "dummies", a constant for each moment of it (counted from the start of the series).
        difference: fit the steps x_t - x_{t-1} instead of the values, which is the same as to
            subtract the last value from the window: levels may then wander. None: where the
            order is None as well.
        transform: "log" fits ln x, for positive numbers that grow by factors.
        estimator: conditional "least-squares"; "yule-walker" (Levinson 1947), "burg" (Burg 1967),
            or "exact" maximum likelihood, in which gaps are exact as well. All but the first are
            stationary, and take no season, known inputs, or pooling.
        pooling: whether series share their coefficients: "none": each has its own; "shrunk": its
            own, drawn to the shared ones; "full": all have the shared ones; None: shrunk.
        shrinkage: the moments that the shared coefficients weigh as much as, in "shrunk"; None:
            chosen by the one-step error in the last part of every series.
        ridge: the penalty of shared coefficients, as a fraction of the variance of a regressor.
    """

    family: ClassVar[str] = "ar"
    positional: ClassVar[tuple[str, ...]] = ("order",)
    elements: ClassVar[frozenset[str]] = frozenset({"numbers"})

    order: Annotated[int, Interval(ge=0)] | Criterion | None = None
    max_order: Size = 24
    trend: Trend | None = None
    season_length: Size | None = None
    season: Literal["lags", "dummies"] = "lags"
    difference: bool | None = None
    transform: Literal["none", "log"] = "none"
    estimator: Literal["least-squares", "yule-walker", "burg", "exact"] = "least-squares"
    pooling: Literal["none", "shrunk", "full"] | None = None
    shrinkage: NonNegative | None = None
    ridge: NonNegative = 0.0

    @property
    def follows_season(self) -> bool:
        return self.order is None and self.estimator == "least-squares"

    @property
    def largest_order(self) -> int:
        """The largest order that a fit may choose."""
        if isinstance(self.order, str):
            return self.max_order
        if self.order is not None:
            return self.order
        season = self.season_length or 1
        if season in _ORDERS:
            return _ORDERS[season]
        return 2 * season + 1 if season <= 24 else season + 1

    @property
    def lags_of_week(self) -> frozenset[int]:
        """The lags of a day and of a week alone, without those between; none without weeks."""
        day = self.season_length or 0
        if self.order is not None or day not in STEPS_OF_A_DAY:
            return frozenset()
        return frozenset({*range(1, day + 4), 7 * day - 1, 7 * day, 7 * day + 1})

    @property
    def fits_steps(self) -> bool:
        """Whether x_t - x_{t-1} is fitted."""
        is_default = self.order is None and self.estimator == "least-squares"
        return is_default if self.difference is None else self.difference

    @property
    def fitted_trend(self) -> Trend:
        """The trend that is fitted."""
        return self.trend or ("none" if self.fits_steps else "constant")

    def __post_init__(self) -> None:
        if self.estimator == "least-squares":
            return
        if self.season_length is not None:
            raise ValueError(
                f"a season cannot be fitted by estimator {self.estimator!r}: take least-squares, "
                "or raise order above season_length"
            )
        if self.trend == "linear":
            raise ValueError(
                f"a linear trend cannot be fitted by estimator {self.estimator!r}: take "
                "least-squares, or difference=True"
            )
        if self.pooling in ("shrunk", "full"):
            raise ValueError(
                f"series cannot be pooled by estimator {self.estimator!r}: take least-squares"
            )


@option_class
class VAR(ModelConfig):
    """The vector autoregressive model: every channel is explained by the last values of all.

        x_t = c + sum_i A_i x_{t-i} + e_t,    e_t ~ N(0, S)

    Attributes:
        order: p, the number of last moments; or "aic", "bic" or "aicc", which choose it from 0 to
            max_order.
        max_order: the largest order among which a criterion chooses.
        trend: "none", "constant" (c), or "linear" (c + b t).
    """

    family: ClassVar[str] = "var"
    positional: ClassVar[tuple[str, ...]] = ("order",)
    elements: ClassVar[frozenset[str]] = frozenset({"numbers"})

    order: Annotated[int, Interval(ge=0)] | Criterion = 1
    max_order: Size = 8
    trend: Trend = "constant"
