"""Options of the autoregressive window, a feed-forward network over the last symbols."""

from collections.abc import Mapping
from typing import Any, ClassVar

from seriatim.models.options.base import (
    BudgetRecipe,
    Fraction,
    ModelConfig,
    Size,
    TrainingDefaults,
    option_class,
)
from seriatim.models.options.numbers import NumberOptions


@option_class
class Autoregressive(NumberOptions, ModelConfig):
    """A feed-forward network over the last `window` symbols (Bengio et al. 2003).

    Attributes:
        window: the number of symbols that a prediction depends on.
        embedding_size: the width of a symbol's embedding.
        hidden_size: the width of the hidden layers.
        num_layers: the number of hidden layers.
        direct: connect the embeddings to the output directly as well (W of equation 1).
        dropout: the fraction of hidden units dropped in training.
    """

    family: ClassVar[str] = "autoregressive"
    number_defaults: ClassVar[Mapping[str, Any]] = {
        "window": 24,
        "embedding_size": 16,
        "hidden_size": 64,
    }
    recipe: ClassVar[TrainingDefaults] = {"learning_rate": 2e-3}
    widths: ClassVar[tuple[str, ...]] = ("hidden_size", "embedding_size")
    sizes: ClassVar[tuple[Mapping[str, int], ...]] = (
        {"window": 6, "embedding_size": 32, "hidden_size": 128},
        {"window": 8, "embedding_size": 64, "hidden_size": 512},
        {"window": 8, "embedding_size": 64, "hidden_size": 1024},
    )
    budget_recipe: ClassVar[BudgetRecipe | None] = BudgetRecipe(rate=4e-3, width=512, rows=32)

    window: Size = 8
    embedding_size: Size = 64
    hidden_size: Size = 512
    num_layers: Size = 1
    direct: bool = False
    dropout: Fraction = 0.0
