"""From a configuration to a model: the only module that knows which class each family has.

Knows every family and its options. Whoever needs a model of a configuration calls this; whoever
has a model never asks which family it is.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError
from seriatim.models.autoregressive import AutoregressiveModel
from seriatim.models.encoder_decoder import Seq2SeqModel
from seriatim.models.encoders import make_encoder
from seriatim.models.heads import ElementLabels, SequenceLabels
from seriatim.models.latent import LatentModel
from seriatim.models.markov import MarkovModel
from seriatim.models.options.autoregressive import Autoregressive
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.encoder_decoder import EncoderConfig, Seq2Seq
from seriatim.models.options.latent import Latent
from seriatim.models.options.ngram import Markov
from seriatim.models.options.recurrent import GRU, LSTM, RNN
from seriatim.models.options.transformer import Transformer
from seriatim.models.recurrent import Recurrent
from seriatim.models.transformer import TransformerModel

MODELS: Mapping[type[ModelConfig], Callable[..., SequenceModel]] = {
    Markov: MarkovModel,
    Autoregressive: AutoregressiveModel,
    RNN: Recurrent,
    LSTM: Recurrent,
    GRU: Recurrent,
    Latent: LatentModel,
    Transformer: TransformerModel,
    Seq2Seq: Seq2SeqModel,
}


def build_model(
    config: ModelConfig, num_symbols: int, boundary: int, num_source_symbols: int | None = None
) -> SequenceModel:
    """The model that a configuration describes, with fresh weights from torch's global generator.

    Args:
        config: of any family.
        num_symbols: V, the size of the vocabulary; of an encoder-decoder, of the target's.
        boundary: the id of the symbol that begins and ends a sequence.
        num_source_symbols: the size of the source's vocabulary; None: the same as the target's.

    Raises:
        ConfigError: a configuration of no known family, or a source for a family that takes none.
    """
    model = MODELS.get(type(config))
    if model is None:
        raise ConfigError(f"{type(config).__name__} is not the configuration of a known family")
    more: tuple[Any, ...] = ()
    if num_source_symbols is not None:
        if not isinstance(config, Seq2Seq):
            raise ConfigError(f"{config.family} takes no source: leave out num_source_symbols")
        more = (num_source_symbols,)
    return model(config, num_symbols, boundary, *more)


def build_labeller(
    config: EncoderConfig, num_symbols: int, num_labels: int, per: Literal["sequence", "element"]
) -> SequenceLabels | ElementLabels:
    """An encoder with a head that reads labels from its states, with fresh weights.

    Args:
        config: of the encoder.
        num_symbols: V, the size of the vocabulary.
        num_labels: C.
        per: what has a label, a whole sequence or each of its elements.
    """
    head = SequenceLabels if per == "sequence" else ElementLabels
    return head(make_encoder(config, num_symbols), num_labels)
