"""From options to a model: the only module that knows which class each family has.

A model of your own needs nothing of this: a subclass of `SequenceModel` with `empty`, `advance` and
`emit` can be passed to `check_model`, to training, to beam search and to every analysis as it is.
A family inside seriatim is three pieces:

    models/options/NAME.py     the options: a subclass of `ModelConfig` under `@option_class`,
                               listed in `FAMILIES` (models/options/registry.py)
    models/NAME.py             the model: a `SequenceModel` made as Model(config, num_symbols,
                               boundary)
    models/build.py            one line in `_MODELS`, from the first to the second

and a configuration in tests/laws/test_families.py. The command line, comparison, saving and loading
follow from the options.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError
from seriatim.models.autoregressive import AutoregressiveModel
from seriatim.models.encoder_decoder import Seq2SeqModel
from seriatim.models.encoders import make_encoder
from seriatim.models.latent import LatentModel
from seriatim.models.markov import MarkovModel
from seriatim.models.options.autoregressive import Autoregressive
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.encoder_decoder import EncoderConfig, Seq2Seq
from seriatim.models.options.latent import Latent
from seriatim.models.options.ngram import Markov
from seriatim.models.options.recurrent import GRU, LSTM, RNN
from seriatim.models.options.transformer import Transformer
from seriatim.models.readouts import ElementLabels, SequenceLabels
from seriatim.models.recurrent import Recurrent
from seriatim.models.transformer import TransformerModel

LabelModel: TypeAlias = SequenceLabels | ElementLabels

# A model of symbols is made as Model(config, num_symbols, boundary).
_MODELS: Mapping[type[ModelConfig], Callable[[Any, int, int], SequenceModel]] = {
    Markov: MarkovModel,
    Autoregressive: AutoregressiveModel,
    RNN: Recurrent,
    LSTM: Recurrent,
    GRU: Recurrent,
    Latent: LatentModel,
    Transformer: TransformerModel,
}


def build_model(
    config: ModelConfig, num_symbols: int, boundary: int, num_source_symbols: int | None = None
) -> SequenceModel:
    """The model that a configuration describes, with fresh weights from torch's global generator.

    Args:
        config: the configuration of any family.
        num_symbols: V, the size of the vocabulary; of an encoder-decoder, of the target's.
        boundary: the id of the symbol that begins and ends a sequence.
        num_source_symbols: the size of the source's vocabulary; None: source and target have the
            same symbols.

    Raises:
        ConfigError: if the configuration is of no known family, or sizes of a source are given to
            a family that takes none.
    """
    if isinstance(config, Seq2Seq):
        return Seq2SeqModel(config, num_symbols, boundary, num_source_symbols)
    model = _MODELS.get(type(config))
    if model is None:
        known: list[type[ModelConfig]] = [*_MODELS, Seq2Seq]
        raise ConfigError(
            f"{type(config).__name__} is not the configuration of a known family: give one of "
            f"{', '.join(c.__name__ for c in known)}"
        )
    if num_source_symbols is not None:
        raise ConfigError(f"{config.family} takes no source: leave out num_source_symbols")
    return model(config, num_symbols, boundary)


def build_labeller(
    config: EncoderConfig, num_symbols: int, num_labels: int, per: Literal["sequence", "element"]
) -> LabelModel:
    """An encoder and a readout of labels, with fresh weights from torch's global generator.

    Args:
        config: the configuration of the encoder.
        num_symbols: V, the size of the vocabulary.
        num_labels: C, the number of labels.
        per: whether a whole sequence has a label, or each of its elements.
    """
    readout = SequenceLabels if per == "sequence" else ElementLabels
    return readout(make_encoder(config, num_symbols), num_labels)
