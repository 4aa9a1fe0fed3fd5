"""What suits a number of minutes: size of the model, batch, learning rate and warm-up.

The rule, from the measurements in docs/decisions/2026-11-28-budget.md: a model learns little in
fewer than a thousand updates, and from then on larger beats longer.

    size     the largest with which the family's fewest updates of the smallest batch fit into the
             time, about a thousand, and which has at most 2.5 weights for each symbol of the text
    rows     the smallest batch, doubled as long as 1,600 updates remain; at most an eighth of the
             text, so that a pass has some updates
    rate     the family's, times (width / its width)^-1/2 (rows / its rows)^1/4, and falling with
             the root of the root of the updates beyond 1,600

Steps are timed on the spot, so the choice depends on the machine; it is written into the record of
the run, and a run that is resumed or repeated takes what is written there. What was given is never
changed. Knows options and numbers; builds nothing and asks no family.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from seriatim.core.records import Json
from seriatim.models.options.base import BudgetRecipe, ModelConfig
from seriatim.report.terminal import count_noun
from seriatim.train.options import TrainingOptions

MANY_STEPS = 1_600  # from which larger batches are worth more than further updates
WEIGHTS_PER_SYMBOL = 2.5
MOST_ROWS = 128  # of a stream; of lines, eight times the smallest batch
TARGETS = 1_024  # of the smallest batch of lines or documents
FEWEST_BATCHES = 8  # of a pass
OVERHEAD = 0.12  # of the time: evaluations, final scores, saving
_BATCH = ("batch_size", "token_budget")


@dataclass(frozen=True)
class Timed:
    """A model and its training as they were tried.

    Attributes:
        seconds: of a step.
        targets: the mean number of targets of a step.
        parameters: the number of trained parameters.
    """

    seconds: float
    targets: float
    parameters: int


Probe = Callable[[ModelConfig, TrainingOptions], Timed]


@dataclass(frozen=True)
class TextLength:
    """What the choice asks of a text.

    Attributes:
        symbols: the number of scored symbols.
        sequences: the number of sequences.
        is_stream: whether it is read as one stream.
    """

    symbols: int
    sequences: int
    is_stream: bool


@dataclass(frozen=True)
class BudgetChoice:
    """What was chosen for a budget, as it is recorded.

    Attributes:
        model: the chosen options of the model, by name.
        training: the chosen training options, by name.
        sentence: the choice for people.
        symbols: the kind of symbols, where that was chosen too.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    sentence: str = ""
    symbols: str | None = None

    def to_json(self) -> Json:
        """A JSON object."""
        return asdict(self)

    def of_model(self, config: ModelConfig) -> ModelConfig:
        """The configuration with the chosen options."""
        return replace(config, **self.model)  # type: ignore[type-var]

    def of_training(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The chosen training options, and over them those that were given."""
        return {**self.training, **given}


def choose(
    config: ModelConfig,
    suited: Callable[[Mapping[str, Any]], TrainingOptions],
    given: Mapping[str, Any],
    text: TextLength,
    seconds: float,
    probe: Probe,
    *,
    may_resize: bool,
) -> BudgetChoice:
    """What suits a model, a text and the seconds that are left.

    Args:
        config: the model as it was asked for.
        suited: returns training options from those given.
        given: the training options that were given, by name.
        text: the size of the training text.
        seconds: the time until the run is over.
        probe: times a step of a model.
        may_resize: whether the size of the model may be chosen.
    """
    recipe = config.budget_recipe
    if recipe is None:
        return BudgetChoice()
    search = _Search(config, recipe, suited, given, text, (1.0 - OVERHEAD) * seconds, probe)
    size, timed = search.size() if may_resize and config.sizes else ({}, None)
    return search.batch(size, timed)


@dataclass(frozen=True)
class _Search:
    """One choice; each thing that is tried costs a few steps."""

    config: ModelConfig
    recipe: BudgetRecipe
    suited: Callable[[Mapping[str, Any]], TrainingOptions]
    given: Mapping[str, Any]
    text: TextLength
    seconds: float
    probe: Probe

    def size(self) -> tuple[Mapping[str, Any], Timed | None]:
        """The size, and how fast it is with the smallest batch."""
        best: tuple[Mapping[str, Any], Timed | None] = (self.config.sizes[0], None)
        for size in self.config.sizes:
            timed = self._time(size, self._smallest(size))
            fits = self.seconds / timed.seconds >= self.recipe.fewest
            is_learnable = timed.parameters <= WEIGHTS_PER_SYMBOL * self.text.symbols
            if best[1] is not None and not (fits and is_learnable):
                break
            best = size, timed
            if not fits:
                break
        return best

    def batch(self, size: Mapping[str, Any], timed: Timed | None) -> BudgetChoice:
        """The batch, and what follows from it."""
        training = self._smallest(size)
        timed = timed or self._time(size, training)
        if "batch_size" in training:
            most = MOST_ROWS if self.text.is_stream else 8 * training["batch_size"]
            most = min(most, self._most_rows(training))
            while 2 * training["batch_size"] <= most:
                wider = {**training, "batch_size": 2 * training["batch_size"]}
                if self.seconds / timed.seconds < 2 * MANY_STEPS / 1.8:
                    break  # a batch of twice the rows takes at least as long as 1.2 of this
                wider_timed = self._time(size, wider)
                if self.seconds / wider_timed.seconds < MANY_STEPS:
                    break
                training, timed = wider, wider_timed
        steps = max(1, int(self.seconds / timed.seconds))
        training |= self._rate_and_warmup(size, timed, steps)
        chosen = {name: value for name, value in training.items() if name not in self.given}
        return BudgetChoice(size, chosen, self._sentence(size, training, timed, steps))

    def _smallest(self, size: Mapping[str, Any]) -> dict[str, Any]:
        """The smallest batch, as far as it was not given."""
        recipe, free = self.recipe, {}
        if self.text.is_stream and "length" not in self.given:
            free["length"] = min(self._sized(size).chunk or recipe.length, recipe.length)
        if not any(name in self.given for name in _BATCH):
            rows = recipe.rows
            if not self.text.is_stream:
                mean = self.text.symbols / max(self.text.sequences, 1)
                rows = 2 ** max(2, round(math.log2(TARGETS / min(max(mean, 1.0), 128.0))))
                rows = min(rows, max(4, 2 ** int(math.log2(max(self._most_rows(free), 1.0)))))
            free["batch_size"] = rows
        return free

    def _most_rows(self, training: Mapping[str, Any]) -> float:
        """The rows of which `FEWEST_BATCHES` batches are a pass over the text."""
        if not self.text.is_stream:
            return self.text.sequences / FEWEST_BATCHES
        length = int(training.get("length", self.given.get("length", self.recipe.length)))
        return self.text.symbols / (FEWEST_BATCHES * length)

    def _rate_and_warmup(self, size: Mapping[str, Any], timed: Timed, steps: int) -> dict[str, Any]:
        recipe, free = self.recipe, {}
        if self.given.get("optimizer", "adamw") == "adamw" and "learning_rate" not in self.given:
            width = getattr(self._sized(size), recipe.width_option)
            rows = timed.targets / (recipe.rows * recipe.length)
            rate = recipe.rate * (recipe.width / width) ** 0.5 * min(max(rows, 0.25), 8.0) ** 0.25
            rate *= min(1.0, (MANY_STEPS / steps) ** 0.25)
            free["learning_rate"] = float(f"{rate:.2g}")
        if "warmup" not in self.given:
            free["warmup"] = min(recipe.warmup, steps // 20)
        return free

    def _sized(self, size: Mapping[str, Any]) -> ModelConfig:
        return replace(self.config, **size)  # type: ignore[type-var]

    def _time(self, size: Mapping[str, Any], training: Mapping[str, Any]) -> Timed:
        return self.probe(self._sized(size), self.suited({**training, **self.given}))

    def _sentence(
        self, size: Mapping[str, Any], training: Mapping[str, Any], timed: Timed, steps: int
    ) -> str:
        options = self.suited({**training, **self.given})
        model = " ".join(f"{name} {value}" for name, value in size.items())
        if options.token_budget is None:
            batch = f"batches of {options.batch_size} x {options.length}"
        else:
            batch = f"batches of {options.token_budget:,} positions"
        epochs = steps * timed.targets / max(self.text.symbols, 1)
        parts = [
            f"{self.config.family} {model}".strip(),
            batch,
            f"learning rate {options.peak_rate:g}",
            f"warm-up {options.warmup}",
        ]
        return (
            f"chosen for the time: {', '.join(parts)}; about {count_noun(steps, 'step')} of "
            f"{1000 * timed.seconds:.3g} ms, {format_epochs(epochs)}"
        )


def format_epochs(epochs: float) -> str:
    """`2,200 epochs`, `1.5 epochs`, `less than 0.01 epochs`."""
    if epochs < 0.01:
        return "less than 0.01 epochs"
    return f"{round(epochs):,} epochs" if epochs >= 10.0 else f"{epochs:.2g} epochs"


def leaves_size_open(config: ModelConfig, given: Mapping[str, Any]) -> bool:
    """Whether no option was given that sets the size of a model."""
    return not any(name in given for size in config.sizes for name in size)
