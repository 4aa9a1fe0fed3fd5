"""Options of the linear-Gaussian state-space model."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from annotated_types import Interval

from seriatim.models.options.base import ModelConfig, Size, option_class

Matrix: TypeAlias = tuple[tuple[float, ...], ...]


@option_class
class LinearGaussian(ModelConfig):
    """The linear-Gaussian state-space model, filtered and smoothed by Kalman's equations.

        x_t+1 = F x_t + w_t,   y_t = c + H x_t + v_t,   w ~ N(0, Q),   v ~ N(0, R)

    Gaps are exact: of a moment those values count that were observed.

    Attributes:
        structure: what the state is: a "local-level" (a random walk seen in noise), a
            "local-linear-trend" (a level and its slope), or whatever the "matrices" say.
        season_length: s, the moments of a season of s - 1 more states, for a level or a trend;
            None: there is none.
        num_states: m, the size of the state, of "matrices" that are not given; None: as many as
            channels.
        transition: F, (m, m).
        observation: H, (D, m).
        transition_covariance: Q, (m, m).
        observation_covariance: R, (D, D).
        initial_mean: of the first state, (m,); None: 0 for matrices, otherwise the series' mean.
        initial_covariance: of the first state, (m, m); None: the stationary one where there is one,
            otherwise a wide one.
        estimator: how what is not given is fitted: by maximum "likelihood", diffuse, of each
            series for itself, which needs a structure, or by "em", expectation-maximization;
            None: likelihood for a structure, em for matrices (which all series share).
        max_iterations: the most iterations of either estimator.
    """

    family: ClassVar[str] = "linear-gaussian"
    elements: ClassVar[frozenset[str]] = frozenset({"numbers"})

    structure: Literal["local-level", "local-linear-trend", "matrices"] = "local-level"
    season_length: Annotated[int, Interval(ge=2)] | None = None
    num_states: Size | None = None
    transition: Matrix | None = None
    observation: Matrix | None = None
    transition_covariance: Matrix | None = None
    observation_covariance: Matrix | None = None
    initial_mean: tuple[float, ...] | None = None
    initial_covariance: Matrix | None = None
    estimator: Literal["likelihood", "em"] | None = None
    max_iterations: Size = 200

    def __post_init__(self) -> None:
        given = [name for name in _MATRICES if getattr(self, name) is not None]
        if self.structure != "matrices":
            if given or self.num_states is not None:
                name = (given or ["num_states"])[0]
                raise ValueError(
                    f"{name} is of a model by matrices, and this one is a {self.structure}: leave "
                    'it out, or say structure="matrices"'
                )
            return
        if self.season_length is not None:
            raise ValueError(
                "season_length is of a level or a trend: put the season into the matrices"
            )
        if self.estimator == "likelihood":
            raise ValueError('matrices are fitted by estimator="em"')
        for name in given:
            self._check_shape(name)

    def _check_shape(self, name: str) -> None:
        m = self.size_of_state
        value = getattr(self, name)
        if name == "initial_mean":
            if len(value) != m:
                raise ValueError(f"initial_mean has {len(value)} numbers for {m} states")
            return
        widths = {len(row) for row in value}
        is_of_values = name.startswith("observation")
        height = len(value) if is_of_values else m
        width = len(value) if name == "observation_covariance" else m
        if widths != {width} or len(value) != height:
            raise ValueError(
                f"{name} has rows of {sorted(widths)} numbers, {len(value)} of them, and should be "
                f"{height} x {width}"
            )

    @property
    def size_of_state(self) -> int | None:
        """m, if a matrix or num_states says it."""
        if self.num_states is not None:
            return self.num_states
        for name in ("transition", "transition_covariance", "initial_covariance", "initial_mean"):
            if getattr(self, name) is not None:
                return len(getattr(self, name))
        return None if self.observation is None else len(self.observation[0])


_MATRICES = (
    *("transition", "observation", "transition_covariance", "observation_covariance"),
    *("initial_mean", "initial_covariance"),
)
