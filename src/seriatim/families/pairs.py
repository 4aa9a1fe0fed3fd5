"""The configurations of what answers to a source: encoders, encoder-decoders, their recipes.

A part of `families.configuration`, which has their names. Knows option values; no torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic.dataclasses import dataclass

from seriatim.families import presets
from seriatim.families.bases import ModelConfig, Share, Size, strict

if TYPE_CHECKING:
    from seriatim.families.readout import ElementLabels, SequenceLabels
    from seriatim.model import SequenceModel

Layered = Literal["transformer", "rnn", "lstm", "gru"]


@dataclass(frozen=True, kw_only=True, config=strict)
class EncoderConfig:
    """How a whole sequence is read, every position seeing all of it.

    Attributes:
        encoder: "transformer" (Vaswani et al. 2017, 3.1), or "rnn", "lstm" or "gru" in both
            directions (Schuster, Paliwal 1997), each with half of model_size.
        encoder_layers: layers of the encoder.
        model_size: width of embeddings and of states.
        num_heads: attention heads h of a Transformer.
        key_size: width d_k of queries and keys of one head; None: model_size / num_heads.
        value_size: width d_v of values of one head; None: key_size.
        feedforward_size: inner width; None: 4 d_model, and 8/3 d_model for swiglu.
        positions: "rotary" (Su et al. 2021) or "sinusoidal" (Vaswani et al. 2017, 3.5).
        norm: "rms" (Zhang, Sennrich 2019) or "layer" (Ba et al. 2016).
        norm_first: normalise before each sublayer (and once at the end), or after each
            residual sum as in Vaswani et al. 2017.
        feedforward: "swiglu" (Shazeer 2020), "relu" or "gelu".
        bias: biases in the feed-forward network and the norms.
        attention_bias: biases in the attention's projections (Vaswani et al. 2017, 3.2.2, has
            none; many later models do).
        scale_embeddings: multiply embeddings by sqrt(d_model) (Vaswani et al. 2017, 3.4).
        dropout: share dropped of each sublayer's output and of the embedded input; in recurrent
            layers before, between and after them.
    """

    encoder: Layered = "transformer"
    encoder_layers: Size = 3
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
    dropout: Share = 0.1

    def __post_init__(self) -> None:
        if self.encoder != "transformer" and self.model_size % 2:
            raise ValueError(
                f"an encoder of two directions needs an even model_size, got {self.model_size}"
            )
        if "transformer" not in self.parts:
            _refuse_given(
                self, _OF_TRANSFORMERS, f"Transformers, not to {' and '.join(self.parts)}"
            )
            return
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
    def parts(self) -> tuple[str, ...]:
        """The kinds of layers there are."""
        return (self.encoder,)

    @property
    def head_size(self) -> int:
        """d_k, given or derived."""
        return self.key_size or self.model_size // self.num_heads

    def labeller(
        self, num_symbols: int, num_labels: int, per: Literal["sequence", "element"]
    ) -> "SequenceLabels | ElementLabels":
        """An encoder from which labels are read, with fresh weights.

        Args:
            num_symbols: V.
            num_labels: C.
            per: what has a label.
        """
        from seriatim.families.encoders import make_encoder
        from seriatim.families.readout import ElementLabels, SequenceLabels

        kind = SequenceLabels if per == "sequence" else ElementLabels
        return kind(make_encoder(self, num_symbols), num_labels)


@dataclass(frozen=True, kw_only=True, config=strict)
class Seq2Seq(EncoderConfig, ModelConfig):
    """An encoder-decoder: a distribution over sequences that answer to a source.

    Attributes:
        decoder: "transformer" (Vaswani et al. 2017, 3.1), "rnn", "lstm" or "gru".
        decoder_layers: layers of the decoder.
        attention: what a recurrent decoder looks at the source with: "additive" (Bahdanau et
            al. 2015), "multiplicative" (Luong et al. 2015), or "none" (Sutskever et al. 2014);
            None: additive.
        share_embeddings: one embedding for source, target and output (Vaswani et al. 2017,
            3.4), for which both must have the same symbols; None: where they have.
        tie_embeddings: let the output layer use the target's embedding.
    """

    family: ClassVar[str] = "seq2seq"

    decoder: Layered = "transformer"
    decoder_layers: Size = 3
    attention: Literal["additive", "multiplicative", "none"] | None = None
    share_embeddings: bool | None = None
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder == "transformer" and self.attention is not None:
            raise ValueError(
                f"attention {self.attention!r} belongs to recurrent decoders; a Transformer looks "
                "at the source with heads of its own: leave it out"
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """The kinds of layers there are."""
        return (self.encoder, self.decoder)

    @property
    def recipe(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Training options that suit this model: norms after the sum need a long warm-up."""
        if "transformer" not in self.parts:
            return RECURRENT_RECIPE
        return MODERN_RECIPE if self.norm_first else classic_recipe(self.model_size)

    @classmethod
    def classic(cls, **options: Any) -> Self:
        """Vaswani et al. 2017, sections 3.1 to 3.5, to the letter: the base model of table 3.

        Six layers each, d_model 512, 8 heads, d_ff 2048, sinusoids, ReLU, norms after the
        sums, one shared embedding, dropout 0.1. Any option may be given instead.
        """
        return cls(**{**presets.CLASSIC_PAIRS, **options})

    def build(
        self, num_symbols: int, boundary: int, num_source_symbols: int | None = None
    ) -> "SequenceModel":
        """The model.

        Args:
            num_symbols: V of the target.
            boundary: of the target.
            num_source_symbols: of the source; None: it has the symbols of the target.
        """
        from seriatim.families.seq2seq import Seq2SeqModel

        return Seq2SeqModel(self, num_symbols, boundary, num_source_symbols)


# What only a Transformer reads.
_OF_TRANSFORMERS = [
    *("num_heads", "key_size", "value_size", "feedforward_size", "positions", "norm"),
    *("norm_first", "feedforward", "bias", "attention_bias"),
]


def _refuse_given(config: Any, names: Iterable[str], owner: str) -> None:
    """
    Raises:
        ValueError: one of these options was given.
    """
    for f in fields(config):
        if f.name in names and getattr(config, f.name) != f.default:
            raise ValueError(f"{f.name} belongs to {owner}: leave it out")


MODERN_RECIPE: Mapping[str, Any] = {
    "learning_rate": 1e-3,
    "warmup": 400,
    "label_smoothing": 0.1,
    "betas": (0.9, 0.98),
}
RECURRENT_RECIPE: Mapping[str, Any] = {"learning_rate": 2e-3, "label_smoothing": 0.1}


def classic_recipe(model_size: int) -> Mapping[str, Any]:
    """The training of Vaswani et al. 2017, 5.3 and 5.4.

    rate = d_model^-0.5 min(step^-0.5, step warmup^-1.5) is highest at the end of the warm-up,
    (d_model warmup)^-0.5.
    """
    warmup = 4000
    return {
        "schedule": "inverse-sqrt",
        "warmup": warmup,
        "learning_rate": (model_size * warmup) ** -0.5,
        "betas": (0.9, 0.98),
        "label_smoothing": 0.1,
        "weight_decay": 0.0,
    }
