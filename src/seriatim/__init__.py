"""seriatim: every classic sequence model, from the Markov chain to the Transformer.

    import seriatim as st

    lm = st.LanguageModel(st.LSTM(hidden_size=256), symbols="char").fit("train.txt", minutes=5)
    lm.score("test.txt")            # bits per symbol and per character, perplexity
    lm.generate("Once upon", 200)   # and .next(), .surprisal(), .stream()
    lm.save("model/"); lm = st.load("model/")

The public names are imported on first use: importing torch takes over a second, which
`seriatim --help` must not cost. Each package (`seriatim.metrics`, `seriatim.decode`, ...) offers
its more specialized names in the same way.
"""

from typing import TYPE_CHECKING

from seriatim._lazy import attach
from seriatim._version import __version__ as __version__

if TYPE_CHECKING:
    from seriatim.analysis.recorder import record as record
    from seriatim.comparison.backtests import BacktestComparison as BacktestComparison
    from seriatim.comparison.backtests import backtest as backtest
    from seriatim.comparison.entrants import Entrant as Entrant
    from seriatim.comparison.result import ModelComparison as ModelComparison
    from seriatim.comparison.runner import compare as compare
    from seriatim.core.batch import Batch as Batch
    from seriatim.core.distributions import Categorical as Categorical
    from seriatim.core.distributions import Discrete as Discrete
    from seriatim.core.distributions import Distribution as Distribution
    from seriatim.core.elements import Numbers as Numbers
    from seriatim.core.elements import Symbols as Symbols
    from seriatim.core.ensembles import Mixture as Mixture
    from seriatim.core.ensembles import Product as Product
    from seriatim.core.ensembles import Scorer as Scorer
    from seriatim.core.model import SequenceModel as SequenceModel
    from seriatim.core.model import State as State
    from seriatim.core.values import NumberInput as NumberInput
    from seriatim.core.values import Values as Values
    from seriatim.data.labels import open_labelled as open_labelled
    from seriatim.data.pairs import open_pairs as open_pairs
    from seriatim.data.series.opening import open_series as open_series
    from seriatim.data.sources import open_source as open_source
    from seriatim.data_profile.profile import look as look
    from seriatim.decode.beam import beam_search as beam_search
    from seriatim.decode.sampling import Sampling as Sampling
    from seriatim.decode.sampling import sample as sample
    from seriatim.decode.settings import Decoding as Decoding
    from seriatim.decode.stream import Stream as Stream
    from seriatim.errors import SeriatimError as SeriatimError
    from seriatim.export.pretrained import from_pretrained as from_pretrained
    from seriatim.export.torch_layers import from_torch as from_torch
    from seriatim.laws.check import check_model as check_model
    from seriatim.layers.cells import Cell as Cell
    from seriatim.models.build import build_model as build_model
    from seriatim.models.options.autoregressive import Autoregressive as Autoregressive
    from seriatim.models.options.base import ModelConfig as ModelConfig
    from seriatim.models.options.encoder_decoder import EncoderConfig as EncoderConfig
    from seriatim.models.options.encoder_decoder import Seq2Seq as Seq2Seq
    from seriatim.models.options.hmm import HMM as HMM
    from seriatim.models.options.latent import Latent as Latent
    from seriatim.models.options.linear import AR as AR
    from seriatim.models.options.linear import VAR as VAR
    from seriatim.models.options.linear import Drift as Drift
    from seriatim.models.options.linear import Naive as Naive
    from seriatim.models.options.linear import SeasonalNaive as SeasonalNaive
    from seriatim.models.options.linear_gaussian import LinearGaussian as LinearGaussian
    from seriatim.models.options.ngram import Markov as Markov
    from seriatim.models.options.recurrent import GRU as GRU
    from seriatim.models.options.recurrent import LSTM as LSTM
    from seriatim.models.options.recurrent import RNN as RNN
    from seriatim.models.options.registry import register as register
    from seriatim.models.options.transformer import Transformer as Transformer
    from seriatim.tasks.forecasting.backtest import Backtest as Backtest
    from seriatim.tasks.forecasting.forecast import Forecast as Forecast
    from seriatim.tasks.forecasting.forecaster import Forecaster as Forecaster
    from seriatim.tasks.inspection import inspect as inspect
    from seriatim.tasks.labeller import Labeller as Labeller
    from seriatim.tasks.language_model import LanguageModel as LanguageModel
    from seriatim.tasks.precision import at_precision as at_precision
    from seriatim.tasks.registry import load as load
    from seriatim.tasks.translator import Translator as Translator
    from seriatim.train.callbacks.callbacks import Callbacks as Callbacks
    from seriatim.train.callbacks.callbacks import StopTraining as StopTraining
    from seriatim.train.checkpoint.store import Checkpoints as Checkpoints
    from seriatim.train.options import TrainingOptions as TrainingOptions
    from seriatim.train.symbols import train as train

if not TYPE_CHECKING:
    from seriatim import train as train  # a package that can be called

__all__, __getattr__, __dir__ = attach(
    __name__,
    {  # in the order in which the packages build on one another
        "_version": ["__version__"],
        "errors": ["SeriatimError"],
        "core.batch": ["Batch"],
        "core.distributions": ["Categorical", "Discrete", "Distribution"],
        "core.values": ["NumberInput", "Values"],
        "core.elements": ["Numbers", "Symbols"],
        "core.model": ["SequenceModel", "State"],
        "core.ensembles": ["Mixture", "Product", "Scorer"],
        "data.series.opening": ["open_series"],
        "data.sources": ["open_source"],
        "data.pairs": ["open_pairs"],
        "data.labels": ["open_labelled"],
        "layers.cells": ["Cell"],
        "models.options.base": ["ModelConfig"],
        "models.options.ngram": ["Markov"],
        "models.options.autoregressive": ["Autoregressive"],
        "models.options.recurrent": ["GRU", "LSTM", "RNN"],
        "models.options.hmm": ["HMM"],
        "models.options.latent": ["Latent"],
        "models.options.linear_gaussian": ["LinearGaussian"],
        "models.options.linear": ["AR", "VAR", "Drift", "Naive", "SeasonalNaive"],
        "models.options.transformer": ["Transformer"],
        "models.options.encoder_decoder": ["EncoderConfig", "Seq2Seq"],
        "models.options.registry": ["register"],
        "models.build": ["build_model"],
        "train.options": ["TrainingOptions"],
        "train.symbols": ["train"],
        "train.callbacks.callbacks": ["Callbacks", "StopTraining"],
        "train.checkpoint.store": ["Checkpoints"],
        "decode.sampling": ["Sampling", "sample"],
        "decode.beam": ["beam_search"],
        "decode.settings": ["Decoding"],
        "decode.stream": ["Stream"],
        "laws.check": ["check_model"],
        "analysis.recorder": ["record"],
        "data_profile.profile": ["look"],
        "tasks.language_model": ["LanguageModel"],
        "tasks.translator": ["Translator"],
        "tasks.labeller": ["Labeller"],
        "tasks.forecasting.forecast": ["Forecast"],
        "tasks.forecasting.backtest": ["Backtest"],
        "tasks.forecasting.forecaster": ["Forecaster"],
        "tasks.inspection": ["inspect"],
        "tasks.precision": ["at_precision"],
        "tasks.registry": ["load"],
        "comparison.backtests": ["BacktestComparison", "backtest"],
        "comparison.entrants": ["Entrant"],
        "comparison.result": ["ModelComparison"],
        "comparison.runner": ["compare"],
        "export.pretrained": ["from_pretrained"],
        "export.torch_layers": ["from_torch"],
    },
)
