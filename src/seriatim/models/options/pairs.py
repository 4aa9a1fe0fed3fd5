"""The configurations of what answers to a source: encoders, encoder-decoders, their recipes.

A part of `families.configuration`, which has their names. Knows option values; no torch.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic.dataclasses import dataclass

from seriatim.models.options import presets
from seriatim.models.options.base import ModelConfig, Share, Size, TransformerConfig, strict

if TYPE_CHECKING:
    pass

Layered = Literal["transformer", "rnn", "lstm", "gru"]

# What labellers have where nothing is given: one recurrent layer in both directions sees
# everything, and lacks data rather than depth.
LABELLERS: Mapping[str, Mapping[str, Any]] = {
    "transformer": {"encoder_layers": 2, "dropout": 0.4},
    **{kind: {"encoder_layers": 1, "dropout": 0.5} for kind in ("rnn", "lstm", "gru")},
}


@dataclass(frozen=True, kw_only=True, config=strict)
class EncoderConfig(TransformerConfig):
    """How a whole sequence is read, every position seeing all of it.

    Attributes:
        encoder: "transformer" (Vaswani et al. 2017, 3.1), or "rnn", "lstm" or "gru" in both
            directions (Schuster, Paliwal 1997), each with half of model_size.
        encoder_layers: layers of the encoder.
        dropout: share dropped of each sublayer's output and of the embedded input; in recurrent
            layers before, between and after them.
    """

    encoder: Layered = "transformer"
    encoder_layers: Size = 3
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
        super().__post_init__()

    @property
    def parts(self) -> tuple[str, ...]:
        """The kinds of layers there are."""
        return (self.encoder,)

    @property
    def unread(self) -> Collection[str]:
        """Options of Transformers where there is none."""
        return () if "transformer" in self.parts else _OF_TRANSFORMERS

    @property
    def labelling_recipe(self) -> Mapping[str, Any]:
        """Training options that suit a labeller."""
        rate = 4e-3 if self.encoder in ("lstm", "gru") else 2e-3
        return {"epochs": 10.0, "warmup": 100, "learning_rate": rate}


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
        dropout: as of encoders, in the decoder as well. The default suits up to some 100,000
            pairs, where 0.3 is what small translators are trained with (Sennrich, Zhang 2019;
            Wu et al. 2021); with millions of pairs 0.1 is better.
    """

    family: ClassVar[str] = "seq2seq"

    decoder: Layered = "transformer"
    decoder_layers: Size = 3
    attention: Literal["additive", "multiplicative", "none"] | None = None
    share_embeddings: bool | None = None
    tie_embeddings: bool = True
    dropout: Share = 0.3

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
        "average": 0.995,  # the rate is still high at the end; theirs average checkpoints (6.1)
    }
