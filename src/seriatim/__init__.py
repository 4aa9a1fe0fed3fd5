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

__version__ = "0.1.0"

_HOME = {
    "Autoregressive": "families.configuration",
    "Batch": "batch",
    "Categorical": "distributions",
    "Cell": "layers.cells",
    "Checkpoints": "train.checkpoint",
    "Decoding": "tasks.searching",
    "Discrete": "distributions",
    "Distribution": "distributions",
    "Entrant": "comparing.entrants",
    "EncoderConfig": "families.configuration",
    "GRU": "families.configuration",
    "LSTM": "families.configuration",
    "Labeller": "tasks.labelling",
    "LanguageModel": "tasks.language",
    "Latent": "families.configuration",
    "Markov": "families.configuration",
    "Mixture": "compose",
    "ModelComparison": "comparing.comparison",
    "Product": "compose",
    "RNN": "families.configuration",
    "Sampling": "decode.sample",
    "Scorer": "compose",
    "Seq2Seq": "families.configuration",
    "SequenceModel": "model",
    "SeriatimError": "errors",
    "State": "model",
    "Stream": "decode.stream",
    "TrainingOptions": "train.options",
    "Transformer": "families.configuration",
    "Translator": "tasks.translation",
    "beam_search": "decode.beam",
    "check_model": "contract",
    "compare": "comparing.compare",
    "inspect": "tasks.inspecting",
    "load": "tasks.loading",
    "look": "doctor.look",
    "open_labelled": "data.labels",
    "open_pairs": "data.pairs",
    "open_source": "data.readers",
    "record": "trace.record",
    "register": "families.configuration",
    "sample": "decode.sample",
}

__all__ = [*sorted(_HOME), "__version__"]  # noqa: PLE0604  # names are imported when used

if TYPE_CHECKING:
    from seriatim.batch import Batch as Batch
    from seriatim.comparing.compare import compare as compare
    from seriatim.comparing.comparison import ModelComparison as ModelComparison
    from seriatim.comparing.entrants import Entrant as Entrant
    from seriatim.compose import Mixture as Mixture
    from seriatim.compose import Product as Product
    from seriatim.compose import Scorer as Scorer
    from seriatim.contract import check_model as check_model
    from seriatim.data.labels import open_labelled as open_labelled
    from seriatim.data.pairs import open_pairs as open_pairs
    from seriatim.data.readers import open_source as open_source
    from seriatim.decode.beam import beam_search as beam_search
    from seriatim.decode.sample import Sampling as Sampling
    from seriatim.decode.sample import sample as sample
    from seriatim.decode.stream import Stream as Stream
    from seriatim.distributions import Categorical as Categorical
    from seriatim.distributions import Discrete as Discrete
    from seriatim.distributions import Distribution as Distribution
    from seriatim.doctor.look import look as look
    from seriatim.errors import SeriatimError as SeriatimError
    from seriatim.families.configuration import GRU as GRU
    from seriatim.families.configuration import LSTM as LSTM
    from seriatim.families.configuration import RNN as RNN
    from seriatim.families.configuration import Autoregressive as Autoregressive
    from seriatim.families.configuration import EncoderConfig as EncoderConfig
    from seriatim.families.configuration import Latent as Latent
    from seriatim.families.configuration import Markov as Markov
    from seriatim.families.configuration import Seq2Seq as Seq2Seq
    from seriatim.families.configuration import Transformer as Transformer
    from seriatim.families.configuration import register as register
    from seriatim.layers.cells import Cell as Cell
    from seriatim.model import SequenceModel as SequenceModel
    from seriatim.model import State as State
    from seriatim.tasks.inspecting import inspect as inspect
    from seriatim.tasks.labelling import Labeller as Labeller
    from seriatim.tasks.language import LanguageModel as LanguageModel
    from seriatim.tasks.loading import load as load
    from seriatim.tasks.searching import Decoding as Decoding
    from seriatim.tasks.translation import Translator as Translator
    from seriatim.trace.record import record as record
    from seriatim.train.checkpoint import Checkpoints as Checkpoints
    from seriatim.train.options import TrainingOptions as TrainingOptions


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'seriatim' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"seriatim.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
