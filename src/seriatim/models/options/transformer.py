"""Options of Transformers: what all of them have, and the decoder-only language model."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from seriatim.models.options import presets
from seriatim.models.options.base import (
    BudgetRecipe,
    Fraction,
    ModelConfig,
    Positive,
    Size,
    TrainingDefaults,
    option_class,
)
from seriatim.models.options.numbers import NumberOptions


@option_class
class TransformerConfig:
    """What all Transformers have in common: language models, encoders, decoders.

    Attributes:
        model_size: the width d_model of embeddings and of states.
        num_heads: the number of attention heads h.
        key_size: the width d_k of queries and keys of one head; None: model_size / num_heads.
        value_size: the width d_v of values of one head; None: key_size.
        feedforward_size: the inner width; None: 4 d_model, and 8/3 d_model for swiglu.
        positions: "rotary" (Su et al. 2021) or "sinusoidal" (Vaswani et al. 2017, 3.5).
        rotary_base: the base of the wavelengths of rotary positions.
        norm: "rms" (Zhang, Sennrich 2019) or "layer" (Ba et al. 2016).
        norm_epsilon: what is added to a variance before its root; None: 1e-6 for rms and 1e-5
            for layer.
        norm_first: normalize before each sublayer (and once at the end), or after each
            residual sum as in Vaswani et al. 2017.
        feedforward: "swiglu" (Shazeer 2020), "relu" or "gelu".
        bias: biases in the feed-forward network and the norms.
        attention_bias: biases in the attention's projections (Vaswani et al. 2017, 3.2.2, has
            none; many later models do).
        scale_embeddings: multiply embeddings by sqrt(d_model) (Vaswani et al. 2017, 3.4).
        dropout: the fraction dropped of each sublayer's output and of the embedded input.
    """

    model_size: Size = 256
    num_heads: Size = 4
    key_size: Size | None = None
    value_size: Size | None = None
    feedforward_size: Size | None = None
    positions: Literal["rotary", "sinusoidal"] = "rotary"
    rotary_base: Positive = 10000.0
    norm: Literal["rms", "layer"] = "rms"
    norm_epsilon: Positive | None = None
    norm_first: bool = True
    feedforward: Literal["swiglu", "relu", "gelu"] = "swiglu"
    bias: bool = False
    attention_bias: bool = False
    scale_embeddings: bool = False
    dropout: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.key_size is None and self.model_size % self.num_heads:
            raise ValueError(
                f"model_size {self.model_size} is not a multiple of num_heads {self.num_heads}; "
                "choose another, or give key_size"
            )
        if self.positions == "rotary" and self.head_size % 2:
            raise ValueError(f"rotary positions need an even key_size, got {self.head_size}")
        if self.positions == "sinusoidal" and self.model_size % 2:
            raise ValueError(f"sinusoidal positions need an even model_size, got {self.model_size}")

    @property
    def head_size(self) -> int:
        """d_k, from key_size or model_size."""
        return self.key_size or self.model_size // self.num_heads


@option_class
class Transformer(NumberOptions, TransformerConfig, ModelConfig):
    """A decoder of masked self-attention (Vaswani et al. 2017), by default in Llama's shape.

    Attributes:
        num_layers: the number of blocks of attention and feed-forward network.
        context: the number of positions that a query sees, its own included.
        tie_embeddings: let the output layer use the embedding's weights.
    """

    family: ClassVar[str] = "transformer"
    number_defaults: ClassVar[Mapping[str, Any]] = {
        "model_size": 64,
        "num_layers": 2,
        "context": 192,
    }
    number_recipe: ClassVar[TrainingDefaults] = {
        "learning_rate": 2e-3,
        "warmup": 50,
        "batch_size": 32,
        "length": 96,
        "steps": 600,
    }
    recipe: ClassVar[TrainingDefaults] = {"learning_rate": 2e-3, "warmup": 100}
    widths: ClassVar[tuple[str, ...]] = ("model_size", "feedforward_size")
    sizes: ClassVar[tuple[Mapping[str, int], ...]] = (
        {"model_size": 64, "num_layers": 2, "context": 64},
        {"model_size": 128, "num_layers": 2, "context": 64},
        {"model_size": 128, "num_layers": 4, "context": 64},
        {"model_size": 192, "num_layers": 4, "context": 64},
        {"model_size": 256, "num_layers": 4, "context": 128},
        {"model_size": 384, "num_layers": 6, "context": 128},
    )
    budget_recipe: ClassVar[BudgetRecipe | None] = BudgetRecipe(
        rate=3e-3,
        width_option="model_size",
        width=128,
        length=128,
        warmup=100,
        rows=32,
        fewest=1_200,
    )

    model_size: Size = 128
    num_layers: Size = 4
    context: Size = 128
    tie_embeddings: bool = True

    @property
    def chunk(self) -> int | None:
        """The context: further symbols of a row would be seen by none of its queries at once."""
        return self.context

    @classmethod
    def classic(cls, **options: Any) -> Self:
        """Vaswani et al. 2017 to the letter: sinusoids, post-norm, ReLU, biases, shared weights."""
        return cls(**{**presets.CLASSIC, **options})
