"""The models of a comparison, and the budget that each of them may spend.

Knows configurations, vocabularies and training options; no statistics and no files.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import torch

from seriatim.comparison.record import BudgetRecord
from seriatim.comparison.sizing import sized, weightless
from seriatim.data.corpus import Corpus
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, SeriatimError
from seriatim.metrics.cost import BACKWARD, operations_per_symbol
from seriatim.models.build import build_model
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import configure, families
from seriatim.tasks.language_model import LanguageModel
from seriatim.train.closed_form import ClosedForm
from seriatim.train.estimate import Estimate
from seriatim.train.loop import batches_of
from seriatim.train.options import BUDGETS, TrainingOptions
from seriatim.train.seeding import seeded

DEFAULT_MINUTES = 2.0
_LIMITS = ("minutes", "tokens", "operations", "steps", "epochs")  # of which at most one is given
_LONGEST_NAME = 100


class TooSmallError(SeriatimError):
    """A budget in which a model cannot be trained at all."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One model of a comparison.

    Attributes:
        config: the model; under a budget of parameters its widths are solved for.
        symbols: its own vocabulary, as `LanguageModel` takes it; None: the comparison's.
        training: its own training options, by name.
        preset: the preset that `config` was made from, which may have training options of its own.
        may_resize: whether a budget in minutes chooses the size, which was not given.
    """

    config: ModelConfig
    symbols: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    may_resize: bool = False


Models = Mapping[str, ModelConfig | Entrant] | list[str] | tuple[str, ...] | None


def name_entrants(models: Models) -> dict[str, Entrant]:
    """The models of a comparison by name.

    Args:
        models: configurations by name; or a list of families or of configurations, each of
            another family; None: every family of symbols that a budget bounds and whose options
            all have defaults.

    Raises:
        ConfigError: if there is no model, or a name is unknown or unusable.
    """
    if models is None:
        models = [name for name, f in families().items() if f.is_entrant and _is_ready(f)]
    if isinstance(models, Mapping):
        entrants = {
            name: model if isinstance(model, Entrant) else Entrant(config=model)
            for name, model in models.items()
        }
    else:
        configs = [configure(m, {}) if isinstance(m, str) else m for m in models]
        entrants = {
            config.family: Entrant(config=config, may_resize=isinstance(given, str))
            for config, given in zip(configs, models, strict=True)
        }
        if len(entrants) < len(configs):
            raise ConfigError("two models of one family need names: give {name: configuration}")
    if not entrants:
        raise ConfigError("no model was given to compare: give two or more")
    for name in entrants:
        if not name.strip() or len(name) > _LONGEST_NAME or any(c in "/\\\0\n" for c in name):
            raise ConfigError(
                f"{name!r} cannot be the name of a model: it must be usable as a folder name"
            )
    return entrants


def _is_ready(family: type[ModelConfig]) -> bool:
    """Whether a family is of symbols and has defaults; a class of the user's own has none."""
    options = fields(family)  # type: ignore[arg-type]
    return "symbols" in family.elements and all(
        f.default is not MISSING or f.default_factory is not MISSING for f in options
    )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every model may spend.

    Attributes:
        minutes: from a model's first step of preparation to its last update, evaluations included.
        tokens: symbols trained on, in those of the first model; models of other vocabularies are
            trained on as much text.
        operations: floating-point operations of training; a backward pass counts as two forward
            passes.
        steps: updates of the weights.
        epochs: passes over the training text.
        parameters: the size of each model, within 2 %, whatever its training costs.
    """

    minutes: float | None = None
    tokens: float | None = None
    operations: float | None = None
    steps: int | None = None
    epochs: float | None = None
    parameters: int | None = None

    def __post_init__(self) -> None:
        limits = self._limits()
        if len(limits) > 1:
            raise ConfigError(f"{' and '.join(limits)} are two budgets: give one of them")
        for name in (*limits, "parameters"):
            amount = getattr(self, name)
            if amount is not None and not 0 < amount < float("inf"):
                raise ConfigError(f"{name} = {amount}: give a number above 0")

    @classmethod
    def of(cls, **amounts: float | None) -> "Budget":
        """The budget of the amounts that are not None; `DEFAULT_MINUTES` if all are."""
        amounts = {name: amount for name, amount in amounts.items() if amount is not None}
        return cls(**(amounts or {"minutes": DEFAULT_MINUTES}))  # type: ignore[arg-type]

    def _limits(self) -> list[str]:
        return [name for name in _LIMITS if getattr(self, name) is not None]

    @property
    def kind(self) -> str:
        """What is limited: the training if it is, else the parameters."""
        return next(iter(self._limits()), "parameters")

    def record(self) -> BudgetRecord:
        """The budget as it is written down."""
        return BudgetRecord(
            kind=self.kind,
            amount=getattr(self, self.kind),
            parameters=self.parameters,
            sentence=self.sentence(),
        )

    def sentence(self) -> str:
        """The budget in words."""
        amount = getattr(self, self.kind)
        words = f"{amount:g} {self.kind}" if amount < 1e4 else f"{amount:,.0f} {self.kind}"
        words = words.removesuffix("s") if amount == 1 else words
        if self.kind == "parameters":
            return f"{words} each"
        training = " of training" if self.kind == "minutes" else ""
        sizes = "" if self.parameters is None else f" and {self.parameters:,} parameters"
        return f"{words}{training}{sizes} each"


@dataclass(frozen=True)
class Prepared:
    """A model that is about to be trained.

    Attributes:
        lm: the model, not fitted.
        options: how it is trained; by name where a budget in minutes chooses what is not there.
        estimate: a callback that receives the cost of a step before the first one.
    """

    lm: LanguageModel
    options: TrainingOptions | Mapping[str, Any]
    estimate: Callable[[Estimate], None] | None = None


def prepare(
    entrant: Entrant,
    budget: Budget,
    vocabulary: Vocabulary,
    train: Corpus,
    *,
    epochs_of_tokens: float,
    training: Mapping[str, Any],
    seed: int,
    device: str | None,
) -> Prepared:
    """A model of the budget's size, and training options of the budget's length.

    Args:
        entrant: the model.
        budget: what it may spend.
        vocabulary: its vocabulary.
        train: the training text.
        epochs_of_tokens: a budget in tokens, as a multiple of the training text.
        training: the training options of all models.
        seed: the seed of training.
        device: where to compute; None: a GPU if there is one.

    Raises:
        TooSmallError: if the budget is too small for one step.
        NoWidthError: if no width gives the number of parameters.
        ConfigError: if an option cannot be used.
    """
    config, alphabet = entrant.config, (vocabulary.num_symbols, vocabulary.boundary)
    is_counted = isinstance(weightless(config, *alphabet), ClosedForm)
    if budget.parameters is not None and not is_counted:
        config = sized(config, *alphabet, budget.parameters)
    lm = LanguageModel(config, symbols=vocabulary, device=device)

    def options(**limit: float) -> TrainingOptions:
        given = {**training, **entrant.training, "seed": seed, **limit}
        return lm.training_options(given, preset=entrant.preset)

    if is_counted:  # it reads the text once, whatever the budget
        return Prepared(lm, options())
    if budget.kind in ("tokens", "operations"):
        targets = epochs_of_tokens * train.num_scored
        if budget.operations is not None:
            targets = _targets(config, vocabulary, budget.operations)
        steps = _steps(config, vocabulary, train, options(), targets, budget)
        return Prepared(lm, options(steps=steps))
    if budget.minutes is not None:
        lm.leave_open(entrant.preset, entrant.may_resize and budget.parameters is None)
        given = {**training, **entrant.training, "seed": seed, "minutes": budget.minutes}
        return Prepared(lm, given, _refuse_slow(budget.minutes))
    limits = {name: getattr(budget, name) for name in BUDGETS if getattr(budget, name) is not None}
    return Prepared(lm, options(**limits))


def _targets(config: ModelConfig, vocabulary: Vocabulary, operations: float) -> float:
    """The symbols that can be trained on with so many operations."""
    with seeded(torch.device("cpu"), 0):
        model = build_model(config, vocabulary.num_symbols, vocabulary.boundary)
    return operations / ((1 + BACKWARD) * operations_per_symbol(model))


def _steps(
    config: ModelConfig,
    vocabulary: Vocabulary,
    train: Corpus,
    options: TrainingOptions,
    targets: float,
    budget: Budget,
) -> int:
    """The steps in which so many symbols are trained on."""
    model = weightless(config, vocabulary.num_symbols, vocabulary.boundary)
    step = batches_of(model, train, options).targets_per_step
    if targets < step:
        raise TooSmallError(
            f"the budget of {budget.sentence()} holds {targets:,.0f} symbols, and one step of "
            f"training takes {step:,.0f}: raise it, or lower batch_size or length"
        )
    return round(targets / step)


def _refuse_slow(minutes: float) -> Callable[[Estimate], None]:
    """A callback that refuses a model of which one step takes longer than the budget."""

    def check(estimate: Estimate) -> None:
        seconds = estimate.seconds / estimate.steps
        if seconds > 60 * minutes:
            raise TooSmallError(
                f"one step of training takes {seconds:.2g} seconds, more than the budget of "
                f"{60 * minutes:.2g}: raise it, or lower the size of the model or of the batch"
            )

    return check
