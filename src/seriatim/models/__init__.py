"""The families: their options, and the models that are built from them."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.models.build import build_labeller as build_labeller
    from seriatim.models.build import build_model as build_model
    from seriatim.models.encoders import CausalEncoder as CausalEncoder
    from seriatim.models.encoders import make_encoder as make_encoder
    from seriatim.models.options.autoregressive import Autoregressive as Autoregressive
    from seriatim.models.options.base import ModelConfig as ModelConfig
    from seriatim.models.options.encoder_decoder import EncoderConfig as EncoderConfig
    from seriatim.models.options.encoder_decoder import Seq2Seq as Seq2Seq
    from seriatim.models.options.hmm import HMM as HMM
    from seriatim.models.options.latent import Latent as Latent
    from seriatim.models.options.linear_gaussian import LinearGaussian as LinearGaussian
    from seriatim.models.options.ngram import Markov as Markov
    from seriatim.models.options.recurrent import GRU as GRU
    from seriatim.models.options.recurrent import LSTM as LSTM
    from seriatim.models.options.recurrent import RNN as RNN
    from seriatim.models.options.recurrent import RecurrentConfig as RecurrentConfig
    from seriatim.models.options.registry import FAMILIES as FAMILIES
    from seriatim.models.options.registry import PAIR_FAMILIES as PAIR_FAMILIES
    from seriatim.models.options.registry import configure as configure
    from seriatim.models.options.registry import configure_encoder as configure_encoder
    from seriatim.models.options.registry import describe as describe
    from seriatim.models.options.registry import families as families
    from seriatim.models.options.registry import register as register
    from seriatim.models.options.registry import restore as restore
    from seriatim.models.options.transformer import Transformer as Transformer
    from seriatim.models.options.transformer import TransformerConfig as TransformerConfig
    from seriatim.models.readouts import ElementLabels as ElementLabels
    from seriatim.models.readouts import SequenceLabels as SequenceLabels
    from seriatim.models.readouts import SequenceNumber as SequenceNumber
    from seriatim.models.vectors import VectorModel as VectorModel

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "build": ["build_labeller", "build_model"],
        "encoders": ["CausalEncoder", "make_encoder"],
        "options.autoregressive": ["Autoregressive"],
        "options.base": ["ModelConfig"],
        "options.encoder_decoder": ["EncoderConfig", "Seq2Seq"],
        "options.hmm": ["HMM"],
        "options.latent": ["Latent"],
        "options.linear_gaussian": ["LinearGaussian"],
        "options.ngram": ["Markov"],
        "options.recurrent": ["GRU", "LSTM", "RNN", "RecurrentConfig"],
        "options.registry": [
            *("FAMILIES", "PAIR_FAMILIES", "configure", "configure_encoder"),
            *("describe", "families", "register", "restore"),
        ],
        "options.transformer": ["Transformer", "TransformerConfig"],
        "readouts": ["ElementLabels", "SequenceLabels", "SequenceNumber"],
        "vectors": ["VectorModel"],
    },
)
