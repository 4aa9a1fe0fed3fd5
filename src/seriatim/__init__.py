"""seriatim: every classic sequence model, from the Markov chain to the Transformer.

    import seriatim as st

    lm = st.LanguageModel(st.LSTM(hidden_size=256), symbols="char").fit("train.txt", minutes=5)
    lm.score("test.txt")            # bits per symbol and per character, perplexity
    lm.generate("Once upon", 200)   # and .next(), .surprisal(), .stream()
    lm.save("model/"); lm = st.load("model/")

The names below are the public door. They are imported when first used, because torch takes
over a second to import and `seriatim --help` must not.
"""

import importlib
from typing import TYPE_CHECKING, Any

from seriatim._version import __version__ as __version__

_HOME = {
    "Autoregressive": "models.options.autoregressive",
    "Batch": "core.batch",
    "Callbacks": "train.callbacks.callbacks",
    "Categorical": "core.distributions",
    "Cell": "layers.cells",
    "Checkpoints": "train.checkpoint.store",
    "Decoding": "decode.batched",
    "Discrete": "core.distributions",
    "Distribution": "core.distributions",
    "Entrant": "comparison.entrants",
    "EncoderConfig": "models.options.encoder_decoder",
    "GRU": "models.options.recurrent",
    "LSTM": "models.options.recurrent",
    "Labeller": "tasks.labeller",
    "LanguageModel": "tasks.language_model",
    "Latent": "models.options.latent",
    "Markov": "models.options.ngram",
    "Mixture": "core.ensembles",
    "ModelComparison": "comparison.result",
    "Product": "core.ensembles",
    "RNN": "models.options.recurrent",
    "Sampling": "decode.sampling",
    "Scorer": "core.ensembles",
    "Seq2Seq": "models.options.encoder_decoder",
    "SequenceModel": "core.model",
    "SeriatimError": "errors",
    "State": "core.model",
    "Stream": "decode.stream",
    "TrainingOptions": "train.options",
    "Transformer": "models.options.transformer",
    "Translator": "tasks.translator",
    "beam_search": "decode.beam",
    "build_model": "models.build",
    "check_model": "laws.check",
    "compare": "comparison.runner",
    "inspect": "tasks.inspection",
    "load": "tasks.registry",
    "look": "data_profile.profile",
    "open_labelled": "data.labels",
    "open_pairs": "data.pairs",
    "open_source": "data.sources",
    "record": "analysis.recorder",
    "register": "models.options.registry",
    "sample": "decode.sampling",
}

__all__ = [*sorted(_HOME), "__version__"]  # noqa: PLE0604  # names are imported when used

if TYPE_CHECKING:
    from seriatim.analysis.recorder import record as record
    from seriatim.comparison.entrants import Entrant as Entrant
    from seriatim.comparison.result import ModelComparison as ModelComparison
    from seriatim.comparison.runner import compare as compare
    from seriatim.core.batch import Batch as Batch
    from seriatim.core.distributions import Categorical as Categorical
    from seriatim.core.distributions import Discrete as Discrete
    from seriatim.core.distributions import Distribution as Distribution
    from seriatim.core.ensembles import Mixture as Mixture
    from seriatim.core.ensembles import Product as Product
    from seriatim.core.ensembles import Scorer as Scorer
    from seriatim.core.model import SequenceModel as SequenceModel
    from seriatim.core.model import State as State
    from seriatim.data.labels import open_labelled as open_labelled
    from seriatim.data.pairs import open_pairs as open_pairs
    from seriatim.data.sources import open_source as open_source
    from seriatim.data_profile.profile import look as look
    from seriatim.decode.batched import Decoding as Decoding
    from seriatim.decode.beam import beam_search as beam_search
    from seriatim.decode.sampling import Sampling as Sampling
    from seriatim.decode.sampling import sample as sample
    from seriatim.decode.stream import Stream as Stream
    from seriatim.errors import SeriatimError as SeriatimError
    from seriatim.laws.check import check_model as check_model
    from seriatim.layers.cells import Cell as Cell
    from seriatim.models.build import build_model as build_model
    from seriatim.models.options.autoregressive import Autoregressive as Autoregressive
    from seriatim.models.options.encoder_decoder import EncoderConfig as EncoderConfig
    from seriatim.models.options.encoder_decoder import Seq2Seq as Seq2Seq
    from seriatim.models.options.latent import Latent as Latent
    from seriatim.models.options.ngram import Markov as Markov
    from seriatim.models.options.recurrent import GRU as GRU
    from seriatim.models.options.recurrent import LSTM as LSTM
    from seriatim.models.options.recurrent import RNN as RNN
    from seriatim.models.options.registry import register as register
    from seriatim.models.options.transformer import Transformer as Transformer
    from seriatim.tasks.inspection import inspect as inspect
    from seriatim.tasks.labeller import Labeller as Labeller
    from seriatim.tasks.language_model import LanguageModel as LanguageModel
    from seriatim.tasks.registry import load as load
    from seriatim.tasks.translator import Translator as Translator
    from seriatim.train.callbacks.callbacks import Callbacks as Callbacks
    from seriatim.train.checkpoint.store import Checkpoints as Checkpoints
    from seriatim.train.options import TrainingOptions as TrainingOptions


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'seriatim' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"seriatim.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
