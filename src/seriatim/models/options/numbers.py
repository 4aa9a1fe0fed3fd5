"""Options that networks have over numbers only."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from seriatim.models.options.base import Fraction, Size, TrainingDefaults, option_class


@option_class
class NumberOptions:
    """What a network reads of a series beside its last value; of no effect on symbols.

    Attributes:
        lags: numbers only: the earlier values that are read at each moment, such as 1, 24 and 168
            for hours: lag 1 is the last value and lag 24 the one a day before the next. They also
            have a linear effect on the prediction. None: lag 1, and those of the season where the
            data has one.
        scale_window: numbers only: about how many of the last values the level and the scale of
            a series, by which it is standardized, are averages of.
        hide_inputs: numbers only: the fraction of observed values that are not read, as if they
            were gaps, in one of four rows of a batch of training: a network that never saw a gap
            predicts badly beside one.
        members: numbers only: the networks that are trained one after another, from other first
            weights, and predict together as a mixture. With a budget in minutes and at the default
            of 1, as many as it holds, up to three.
    """

    elements: ClassVar[frozenset[str]] = frozenset({"symbols", "numbers"})
    number_defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 64}
    number_recipe: ClassVar[TrainingDefaults] = {
        "learning_rate": 5e-3,
        "warmup": 20,
        "batch_size": 32,
        "length": 192,
        "steps": 600,
    }
    last_options: ClassVar[tuple[str, ...]] = ("lags", "scale_window", "hide_inputs", "members")

    lags: tuple[Size, ...] | None = None
    scale_window: Size = 256
    hide_inputs: Fraction = 0.3
    members: Size = 1

    @property
    def unused_options(self) -> Collection[str]:
        """Those that are left at their defaults, as models of symbols leave them."""
        names = self.last_options
        return tuple(n for n in names if getattr(self, n) == getattr(NumberOptions, n))
