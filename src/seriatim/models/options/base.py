"""What the options of all families have in common: a base class, ranges, names that correspond.

Pure data, as everything in `models.options`: frozen dataclasses that say what to build, one file
for each kind of family. Nothing here imports torch or a model, so the command line reads options
and prints help at once. Knows no family.
"""

from abc import ABC
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    TypeAlias,
    TypeVar,
    cast,
    dataclass_transform,
)

from annotated_types import Interval

from seriatim.core import validation
from seriatim.core.records import Json
from seriatim.errors import ConfigError
from seriatim.models.options import presets

if TYPE_CHECKING:
    from seriatim.core.model import SequenceModel

T = TypeVar("T")
Size = Annotated[int, Interval(ge=1)]
Positive = Annotated[float, Interval(gt=0.0)]
Fraction = Annotated[float, Interval(ge=0.0, lt=1.0)]
TrainingDefaults: TypeAlias = Mapping[str, Any]  # training options by name

# Options that say the same of different families: the name to use where one does not exist.
EQUIVALENTS: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("model_size",),
    "embedding_size": ("model_size",),
    "model_size": ("hidden_size",),
    "order": ("window", "context"),
    "window": ("order", "context"),
    "context": ("order", "window"),
    "num_layers": ("encoder_layers", "decoder_layers"),
    "encoder_layers": ("num_layers",),
    "decoder_layers": ("num_layers",),
}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def option_class(cls: type[T]) -> type[T]:
    """Class decorator of options: `core.validation.option_class` that knows `EQUIVALENTS`.

    People read the names in the order of the fields, those in `last_options` at the end.
    """
    made: Any = validation.option_class(cls, EQUIVALENTS)
    for name in getattr(made, "last_options", ()):
        made.__dataclass_fields__[name] = made.__dataclass_fields__.pop(name)
    return cast(type[T], made)


@dataclass(frozen=True)
class BudgetRecipe:
    """Where the choice of training options for a number of minutes begins.

    Attributes:
        rate: the learning rate of adamw at this width and batch, for some 2,000 updates.
        width_option: the option that holds the width.
        width: the width.
        rows: the rows of the smallest batch that is worth it.
        length: the symbols of a row of a stream.
        warmup: the steps of the warm-up, at most.
        fewest: the updates with the smallest batch without which a larger size is not worth it.
    """

    rate: float
    width_option: str = "hidden_size"
    width: int = 256
    rows: int = 16
    length: int = 64
    warmup: int = 50
    fewest: int = 900


class ModelConfig(ABC):
    """What to build. Subclasses are frozen dataclasses, validated when they are made.

    A family of your own is a subclass under `@seriatim.register`, with annotated fields that have
    defaults, a name, and `build`; those of seriatim are pure data, built by `models.build`.

    Attributes:
        family: the name of the family.
        recipe: training options that suit the family.
        widths: options that set the number of parameters, from coarse to fine; none: it follows
            from the data.
        sizes: options of models from small to large, among which a budget in minutes chooses.
        budget_recipe: how a budget in minutes chooses training options; None: it chooses none.
        elements: what its sequences may consist of: "symbols", "numbers", or both.
        is_entrant: whether a comparison includes it where no models are named: not if no budget
            bounds how long it is fitted.
        number_defaults: options that are other than the defaults of symbols where a series of
            numbers is modelled, and nothing else was said.
        number_recipe: training options that suit series of numbers.
    """

    family: ClassVar[str]
    elements: ClassVar[frozenset[str]] = frozenset({"symbols"})
    is_entrant: ClassVar[bool] = True
    number_defaults: ClassVar[Mapping[str, Any]] = {}
    number_recipe: ClassVar[TrainingDefaults] = {}
    recipe: ClassVar[TrainingDefaults] = {}
    widths: ClassVar[tuple[str, ...]] = ()
    sizes: ClassVar[tuple[Mapping[str, int], ...]] = ()
    budget_recipe: ClassVar[BudgetRecipe | None] = None

    def __init__(self, **options: object) -> None:
        raise ConfigError(
            f"{type(self).__name__} is not a class of options yet: decorate it with "
            "@seriatim.register"
        )

    def build(self, num_symbols: int, boundary: int) -> "SequenceModel":
        """A new model of a family of your own, with fresh weights from torch's global generator.

        Args:
            num_symbols: V, the size of the vocabulary.
            boundary: the id of the symbol that begins and ends a sequence.

        Raises:
            ConfigError: if the family does not define it.
        """
        raise ConfigError(
            f"{type(self).__name__} does not say how its model is built: define "
            "build(self, num_symbols, boundary), which returns a SequenceModel"
        )

    @property
    def unsavable(self) -> str | None:
        """Why the model could not be built again from this configuration; None: it can."""
        return None

    @property
    def first_job(self) -> tuple[str, Json] | None:
        """The work on a corpus of symbols with which fitting surely begins, as the name of a job
        of `core.apart` and its facts, which `num_symbols`, `boundary` and `is_stream` complete;
        None: there is none."""
        return None

    @property
    def chunk(self) -> int | None:
        """The length of the rows that suit it; None: any."""
        return None

    @property
    def follows_season(self) -> bool:
        """Whether `season_length` is the usual season of the series where nobody gave one."""
        return False

    @property
    def unused_options(self) -> Collection[str]:
        """Options without effect beside the values of the others; they keep their defaults."""
        return ()

    def recipe_for(self, preset: str | None) -> TrainingDefaults:
        """Training options that suit this model, and those of the preset it was made from."""
        return {**self.recipe, **presets.TRAINING.get(preset or "", {})}
