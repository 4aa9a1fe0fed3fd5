"""Options of encoders, and of encoder-decoders, which predict a sequence from a source."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal, Self, TypeAlias

from seriatim.models.options import presets
from seriatim.models.options.base import Fraction, ModelConfig, Size, TrainingDefaults, option_class
from seriatim.models.options.transformer import TransformerConfig

LayerKind: TypeAlias = Literal["transformer", "rnn", "lstm", "gru"]

# The options that have an effect only where some layers are a Transformer's.
_TRANSFORMER_ONLY = (
    *("num_heads", "key_size", "value_size", "feedforward_size", "positions", "norm"),
    *("rotary_base", "norm_epsilon"),
    *("norm_first", "feedforward", "bias", "attention_bias"),
)

# Defaults of labellers, by the kind of encoder: one recurrent layer in both directions sees
# the whole sequence, and data is scarcer than depth.
LABELLER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "transformer": {"encoder_layers": 2, "dropout": 0.4},
    "rnn": {"encoder_layers": 1, "dropout": 0.5},
    "lstm": {"encoder_layers": 1, "dropout": 0.5},
    "gru": {"encoder_layers": 1, "dropout": 0.5},
}


@option_class
class EncoderConfig(TransformerConfig):
    """An encoder: it reads a whole sequence, and every position sees all of it.

    Attributes:
        encoder: "transformer" (Vaswani et al. 2017, 3.1), or "rnn", "lstm" or "gru" in both
            directions (Schuster, Paliwal 1997), each with half of model_size.
        encoder_layers: the number of layers of the encoder.
        dropout: the fraction dropped of each sublayer's output and of the embedded input; in
            recurrent layers before, between and after them.
    """

    encoder: LayerKind = "transformer"
    encoder_layers: Size = 3
    dropout: Fraction = 0.1

    def __post_init__(self) -> None:
        if self.encoder != "transformer" and self.model_size % 2:
            raise ValueError(
                f"an encoder of two directions needs an even model_size, got {self.model_size}"
            )
        if "transformer" in self.parts:
            super().__post_init__()
            return
        for f in fields(self):
            if f.name in self.unused_options and getattr(self, f.name) != f.default:
                kinds = " and ".join(dict.fromkeys(self.parts))
                raise ValueError(
                    f"{f.name} is an option of Transformers, not of {kinds}: leave it out"
                )

    @property
    def parts(self) -> tuple[LayerKind, ...]:
        """The kinds of layers of each part."""
        return (self.encoder,)

    @property
    def unused_options(self) -> Collection[str]:
        """A Transformer's options where no part is one."""
        return () if "transformer" in self.parts else _TRANSFORMER_ONLY

    @property
    def labelling_recipe(self) -> TrainingDefaults:
        """Training options that suit a labeller."""
        rate = 4e-3 if self.encoder in ("lstm", "gru") else 2e-3
        return {"epochs": 10.0, "warmup": 100, "learning_rate": rate}


@option_class
class Seq2Seq(EncoderConfig, ModelConfig):
    """An encoder-decoder: a distribution over target sequences, given a source sequence.

    Attributes:
        decoder: "transformer" (Vaswani et al. 2017, 3.1), "rnn", "lstm" or "gru".
        decoder_layers: the number of layers of the decoder.
        attention: the attention of a recurrent decoder on the source: "additive" (Bahdanau et
            al. 2015), "multiplicative" (Luong et al. 2015), or "none" (Sutskever et al. 2014);
            None: additive.
        share_embeddings: one embedding for source, target and output (Vaswani et al. 2017,
            3.4), which needs the same symbols on both sides; None: share it if they are the same.
        tie_embeddings: let the output layer use the target's embedding.
        dropout: as for encoders, in the decoder as well. The default suits up to some 100,000
            pairs, where 0.3 is what small translators are trained with (Sennrich, Zhang 2019;
            Wu et al. 2021); with millions of pairs 0.1 is better.
    """

    family: ClassVar[str] = "seq2seq"

    decoder: LayerKind = "transformer"
    decoder_layers: Size = 3
    attention: Literal["additive", "multiplicative", "none"] | None = None
    share_embeddings: bool | None = None
    tie_embeddings: bool = True
    dropout: Fraction = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder == "transformer" and self.attention is not None:
            raise ValueError(
                f"attention {self.attention!r} is for recurrent decoders; a Transformer attends to "
                "the source with its own heads: leave it out"
            )

    @property
    def parts(self) -> tuple[LayerKind, ...]:
        """The kinds of layers of the encoder and of the decoder."""
        return (self.encoder, self.decoder)

    @property
    def recipe(self) -> TrainingDefaults:  # type: ignore[override]
        """Training options that suit this model: norms after the sum need a long warm-up."""
        if "transformer" not in self.parts:
            return presets.RECURRENT_PAIRS_TRAINING
        if self.norm_first:
            return presets.PAIRS_TRAINING
        return presets.classic_training(self.model_size)

    @classmethod
    def classic(cls, **options: Any) -> Self:
        """Vaswani et al. 2017, sections 3.1 to 3.5, to the letter: the base model of table 3.

        Six layers each, d_model 512, 8 heads, d_ff 2048, sinusoids, ReLU, norms after the
        sums, one shared embedding, dropout 0.1. Any option may be given instead.
        """
        return cls(**{**presets.CLASSIC_PAIRS, **options})
