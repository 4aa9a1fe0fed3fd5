"""Options of recurrent networks: RNN, LSTM and GRU."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

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
class RecurrentConfig(NumberOptions, ModelConfig):
    """What RNN, LSTM and GRU have in common.

    Every fraction is dropped in training only. Where a stream is trained with carried state, each
    chunk draws anew.

    Attributes:
        hidden_size: the width D of the hidden state of each layer.
        num_layers: the number of layers, each reading the hidden states of the one below.
        embedding_size: the width of a symbol's embedding; None: hidden_size.
        dropout: the fraction of units dropped before, between and after the layers
            (Zaremba et al. 2014).
        variational_dropout: drop the same units at every step of a chunk (Gal, Ghahramani 2016,
            section 4) instead of drawing anew at each step.
        recurrent_dropout: the fraction of units of h dropped where the gates read it, the same
            ones at every step of a chunk (Gal, Ghahramani 2016, equation 7); cells, and what gates
            let through of h, are not dropped.
        weight_dropout: the fraction of the recurrent weights U dropped, the same ones at every
            step and in every row of a chunk (DropConnect, as in Merity et al. 2017, section 2).
        embedding_dropout: the fraction of symbols whose embedding is dropped, wherever they occur
            in a chunk (Gal, Ghahramani 2016, section 4.2; Merity et al. 2017, section 4.3).
        layer_norm: normalize the inputs of the gates (Ba et al. 2016).
        tie_embeddings: let the output layer use the embedding's weights (needs
            embedding_size = hidden_size).
        learn_initial_state: learn the state before the first element instead of zeros.
        init_uniform: draw all initial weights and biases from U(-a, a), whatever forget_bias says
            (Zaremba et al. 2014: 0.1, 0.05 and 0.04); None: the default of each parameter.
    """

    recipe: ClassVar[TrainingDefaults] = {"learning_rate": 3e-3}
    widths: ClassVar[tuple[str, ...]] = ("hidden_size", "embedding_size")
    sizes: ClassVar[tuple[Mapping[str, int], ...]] = tuple(
        {"hidden_size": size} for size in (64, 128, 256, 512, 1024)
    )
    budget_recipe: ClassVar[BudgetRecipe | None] = BudgetRecipe(rate=6e-3)

    hidden_size: Size = 256
    num_layers: Size = 1
    embedding_size: Size | None = None
    dropout: Fraction = 0.0
    variational_dropout: bool = False
    recurrent_dropout: Fraction = 0.0
    weight_dropout: Fraction = 0.0
    embedding_dropout: Fraction = 0.0
    layer_norm: bool = False
    tie_embeddings: bool = False
    learn_initial_state: bool = False
    init_uniform: Annotated[float, Interval(gt=0.0)] | None = None

    def __post_init__(self) -> None:
        if self.variational_dropout and not self.dropout:
            raise ValueError("variational_dropout has no effect while dropout is 0: give dropout")
        if self.tie_embeddings and self.embedding_size not in (None, self.hidden_size):
            raise ValueError(
                f"tie_embeddings needs embedding_size = hidden_size, got {self.embedding_size} "
                f"and {self.hidden_size}"
            )


@option_class
class RNN(RecurrentConfig):
    """The simple recurrent network (Elman 1990).

    Attributes:
        nonlinearity: the function applied to W x + U h + b.
    """

    family: ClassVar[str] = "rnn"
    recipe: ClassVar[TrainingDefaults] = {"learning_rate": 1e-3}
    budget_recipe: ClassVar[BudgetRecipe | None] = BudgetRecipe(rate=3e-3, rows=32, fewest=700)

    nonlinearity: Literal["tanh", "relu"] = "tanh"


@option_class
class LSTM(RecurrentConfig):
    """Long short-term memory (Hochreiter, Schmidhuber 1997; forget gate: Gers et al. 2000).

    Attributes:
        forget_bias: the initial bias of the forget gate; 1 lets the cell remember at first
            (Jozefowicz et al. 2015).
    """

    family: ClassVar[str] = "lstm"

    forget_bias: float = 1.0


@option_class
class GRU(RecurrentConfig):
    """The gated recurrent unit (Cho et al. 2014).

    Attributes:
        reset: where the reset gate acts: "before" the product U (r * h), as Cho et al. 2014
            write it, or "after" it, r * (U h), as fused kernels do.
    """

    family: ClassVar[str] = "gru"
    budget_recipe: ClassVar[BudgetRecipe | None] = BudgetRecipe(rate=5.5e-3, rows=32, fewest=800)

    reset: Literal["before", "after"] = "after"
