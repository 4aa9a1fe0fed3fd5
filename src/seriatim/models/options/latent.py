"""Options of a latent autoregressive model with a cell that the user writes."""

from dataclasses import field
from typing import Any, ClassVar

from seriatim.models.options.base import (
    BudgetRecipe,
    ModelConfig,
    Size,
    TrainingDefaults,
    option_class,
)
from seriatim.models.options.numbers import NumberOptions


@option_class
class Latent(NumberOptions, ModelConfig):
    """A latent autoregressive model with any cell g(h, x) that you write.

    Attributes:
        cell: the cell, a subclass of `seriatim.Cell`; it is called as cell(input_size,
            hidden_size, **options).
        hidden_size: the width of the hidden state.
        embedding_size: the width of a symbol's embedding; None: hidden_size.
        options: further arguments of the cell; must be JSON values.
    """

    family: ClassVar[str] = "latent"
    recipe: ClassVar[TrainingDefaults] = {"learning_rate": 3e-3}
    widths: ClassVar[tuple[str, ...]] = ("hidden_size", "embedding_size")
    budget_recipe: ClassVar[BudgetRecipe | None] = BudgetRecipe(rate=4e-3)

    cell: type
    hidden_size: Size = 256
    embedding_size: Size | None = None
    options: dict[str, Any] = field(default_factory=dict)
