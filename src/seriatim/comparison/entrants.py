"""Who takes part in a comparison, and what everybody may spend.

Knows configurations, alphabets and training options; no statistics and no files.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import torch

from seriatim.comparison.sizing import sized, weightless
from seriatim.data.corpus import Corpus
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, SeriatimError
from seriatim.metrics.cost import BACKWARD, operations_per_symbol
from seriatim.models.build import build_model
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import FAMILIES, configure, describe
from seriatim.tasks.language_model import LanguageModel
from seriatim.train.closed_form import ClosedForm
from seriatim.train.estimate import Estimate
from seriatim.train.loop import batches_of, seeded
from seriatim.train.options import BUDGETS, TrainingOptions

DEFAULT_MINUTES = 2.0


class TooSmallError(SeriatimError):
    """A budget in which a model cannot be trained at all."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One model that takes part.

    Attributes:
        config: what is built; under a budget of parameters its widths are solved for.
        symbols: its own, as `LanguageModel` takes them; None: those of everybody.
        training: training options of its own, by name.
        preset: that the configuration was made from; some have training options of their own.
    """

    config: ModelConfig
    symbols: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values that make it another one when they change."""
        return {
            "config": describe(self.config),
            "symbols": self.symbols,
            "training": dict(self.training),
            "preset": self.preset,
        }


Models = Mapping[str, ModelConfig | Entrant] | list[str] | tuple[str, ...] | None


def entrants(models: Models) -> dict[str, Entrant]:
    """Who takes part, by name.

    Args:
        models: configurations by name, or names of families; None: every family that needs no
            class of the user's own, with its default sizes.

    Raises:
        ConfigError: no model, or a name that is none.
    """
    if models is None:
        models = [name for name, family in FAMILIES.items() if not _needs_more(family)]
    if isinstance(models, Mapping):
        found = {
            name: given if isinstance(given, Entrant) else Entrant(config=given)
            for name, given in models.items()
        }
    else:
        found = {name: Entrant(config=configure(name, {})) for name in models}
    if not found:
        raise ConfigError("no model was given to compare: give two or more")
    for name in found:
        if not name.strip() or len(name) > 100 or any(c in "/\\\0\n" for c in name):
            raise ConfigError(f"{name!r} cannot be the name of a model: it names a folder too")
    return found


def _needs_more(family: type[ModelConfig]) -> bool:
    """Whether an option of the family has no default, such as a class of the user's own."""
    own = fields(family)  # type: ignore[arg-type]
    return any(f.default is MISSING and f.default_factory is MISSING for f in own)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every model may spend.

    Attributes:
        minutes: of training, evaluations included.
        tokens: symbols trained on, in those of the first model; models of other symbols are
            trained on as much text.
        operations: of all products of training; a step back costs twice a step forward.
        parameters: that each model has, within 2 %, whatever the training costs.
        steps, epochs: of training, likewise.
    """

    minutes: float | None = None
    tokens: float | None = None
    operations: float | None = None
    steps: int | None = None
    epochs: float | None = None
    parameters: int | None = None

    def __post_init__(self) -> None:
        given = [n for n in _SPENT if getattr(self, n) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} are two budgets: give one of them")
        for name in (*given, "parameters"):
            amount = getattr(self, name)
            if amount is not None and not 0 < amount < float("inf"):
                raise ConfigError(f"{name} = {amount}: give a number above 0")

    @property
    def kind(self) -> str:
        """What is limited: the training if that is, else the parameters."""
        given = [n for n in _SPENT if getattr(self, n) is not None]
        return given[0] if given else "parameters"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": self.kind,
            "amount": getattr(self, self.kind),
            "parameters": self.parameters,
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """In words."""
        amount = getattr(self, self.kind)
        words = f"{amount:g} {self.kind}" if amount < 1e4 else f"{amount:,.0f} {self.kind}"
        words = words.removesuffix("s") if amount == 1 else words
        if self.kind == "parameters":
            return f"{words} each"
        sizes = "" if self.parameters is None else f" and {self.parameters:,} parameters"
        return (
            f"{words} of training{sizes} each" if self.kind == "minutes" else f"{words}{sizes} each"
        )


_SPENT = ("minutes", "tokens", "operations", "steps", "epochs")


def make_budget(given: Mapping[str, Any]) -> Budget:
    """The budget of the options that were given; without any, two minutes."""
    kept = {name: value for name, value in given.items() if value is not None}
    return Budget(**(kept or {"minutes": DEFAULT_MINUTES}))


@dataclass(frozen=True)
class Prepared:
    """A model that is about to be trained.

    Attributes:
        lm: the model, not fitted.
        options: how it is trained.
        announce: told what a step takes before the first one.
    """

    lm: LanguageModel
    options: TrainingOptions
    announce: Callable[[Estimate], None] | None


def prepare(
    entrant: Entrant,
    budget: Budget,
    vocabulary: Vocabulary,
    train: Corpus,
    *,
    share: float,
    training: Mapping[str, Any],
    seed: int,
    device: str | None,
) -> Prepared:
    """A model of the budget's size, and training options of the budget's length.

    Args:
        entrant: which model.
        budget: what it may spend.
        vocabulary: its alphabet.
        train: the text that it is trained on.
        share: of that text, that a budget in tokens is.
        training: options of everybody.
        seed: of everything.
        device: where to compute.

    Raises:
        TooSmallError: the budget is too small for one step.
        ConfigError: no width gives so many parameters.
    """
    config, alphabet = entrant.config, (vocabulary.num_symbols, vocabulary.boundary)
    is_counted = isinstance(weightless(config, *alphabet), ClosedForm)
    if budget.parameters is not None and not is_counted:
        config = sized(config, *alphabet, budget.parameters)
    lm = LanguageModel(config, symbols=vocabulary, device=device)
    given = {**training, **entrant.training, "seed": seed}
    spent = {name: getattr(budget, name) for name in BUDGETS if getattr(budget, name) is not None}
    if is_counted:  # it reads the text once, whatever the budget
        return Prepared(lm, lm.training_options(given, preset=entrant.preset), None)
    if budget.kind in ("tokens", "operations"):
        targets = share * train.num_scored
        options = lm.training_options(given, preset=entrant.preset)
        if budget.operations is not None:
            targets = _targets(config, vocabulary, budget.operations)
        spent = {"steps": _steps(config, vocabulary, train, options, targets, budget)}
    options = lm.training_options({**given, **spent}, preset=entrant.preset)
    announce = None
    if budget.minutes is not None:
        announce = _refusing(budget.minutes)
    return Prepared(lm, options, announce)


def _targets(config: ModelConfig, vocabulary: Vocabulary, operations: float) -> float:
    """Symbols that can be trained on with so many operations."""
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
    """Of training, on so many symbols."""
    model = weightless(config, vocabulary.num_symbols, vocabulary.boundary)
    step = batches_of(model, train, options).targets_per_step
    if targets < step:
        raise TooSmallError(
            f"the budget of {budget.sentence()} holds {targets:,.0f} symbols, and one step of "
            f"training takes {step:,.0f}: raise it, or lower batch_size or length"
        )
    return round(targets / step)


def _refusing(minutes: float) -> Callable[[Estimate], None]:
    def announce(found: Estimate) -> None:
        seconds = found.seconds / found.steps
        if seconds > 60 * minutes:
            raise TooSmallError(
                f"one step of training takes {seconds:.2g} seconds, more than the budget of "
                f"{60 * minutes:.2g}: raise it, or lower the size of the model or of the batch"
            )

    return announce
