"""What every configuration of a family has, and the ranges of their options.

Knows option values; no family, and no torch.
"""

from abc import ABC
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from seriatim.models.options import presets

if TYPE_CHECKING:
    pass

Size = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]

strict = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ModelConfig(ABC):
    """What to build. Subclasses are frozen dataclasses, validated when they are made."""

    family: ClassVar[str]
    recipe: ClassVar[Mapping[str, Any]] = {}  # training options that suit the family, by name
    widths: ClassVar[tuple[str, ...]] = ()  # options that size it, coarse to fine; none: counts do

    @property
    def unread(self) -> Collection[str]:
        """Options that nothing reads beside the others given: they stand at their defaults."""
        return ()

    def recipe_for(self, preset: str | None) -> dict[str, Any]:
        """Training options that suit this model, and those of the preset it was made from."""
        return {**self.recipe, **presets.TRAINING.get(preset or "", {})}


@dataclass(frozen=True, kw_only=True, config=strict)
class TransformerConfig:
    """What all Transformers have in common, on either side of a pair or on none.

    Attributes:
        model_size: width d_model of embeddings and of states.
        num_heads: attention heads h of a Transformer.
        key_size: width d_k of queries and keys of one head; None: model_size / num_heads.
        value_size: width d_v of values of one head; None: key_size.
        feedforward_size: inner width; None: 4 d_model, and 8/3 d_model for swiglu.
        positions: "rotary" (Su et al. 2021) or "sinusoidal" (Vaswani et al. 2017, 3.5).
        norm: "rms" (Zhang, Sennrich 2019) or "layer" (Ba et al. 2016).
        norm_first: normalize before each sublayer (and once at the end), or after each
            residual sum as in Vaswani et al. 2017.
        feedforward: "swiglu" (Shazeer 2020), "relu" or "gelu".
        bias: biases in the feed-forward network and the norms.
        attention_bias: biases in the attention's projections (Vaswani et al. 2017, 3.2.2, has
            none; many later models do).
        scale_embeddings: multiply embeddings by sqrt(d_model) (Vaswani et al. 2017, 3.4).
        dropout: share dropped of each sublayer's output and of the embedded input.
    """

    model_size: Size = 256
    num_heads: Size = 4
    key_size: Size | None = None
    value_size: Size | None = None
    feedforward_size: Size | None = None
    positions: Literal["rotary", "sinusoidal"] = "rotary"
    norm: Literal["rms", "layer"] = "rms"
    norm_first: bool = True
    feedforward: Literal["swiglu", "relu", "gelu"] = "swiglu"
    bias: bool = False
    attention_bias: bool = False
    scale_embeddings: bool = False
    dropout: Share = 0.0

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
        """d_k, given or derived."""
        return self.key_size or self.model_size // self.num_heads
