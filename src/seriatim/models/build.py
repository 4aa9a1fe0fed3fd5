"""From options to a model: the only module that knows which class each family has.

A model of your own needs nothing of this: a subclass of `SequenceModel` with `empty`, `advance` and
`emit` can be passed to `check_model`, to training, to beam search and to every analysis as it is,
and a family of your own brings its `build` (`models.options.own`). A family inside seriatim is
three pieces:

    models/options/NAME.py     the options: a subclass of `ModelConfig` under `@option_class`,
                               listed in `FAMILIES` (models/options/registry.py)
    models/NAME.py             the model: a `SequenceModel` made as Model(config, num_symbols,
                               boundary)
    models/build.py            one line in `_MODELS`, from the first to the second

and a configuration in tests/laws/test_families.py. The command line, comparison, saving and loading
follow from the options.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from seriatim.core.elements import Numbers
from seriatim.core.ensembles import Mixture
from seriatim.core.first_call import check_first_call
from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError, ContractError
from seriatim.models.options.autoregressive import Autoregressive
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.encoder_decoder import EncoderConfig, Seq2Seq
from seriatim.models.options.hmm import HMM
from seriatim.models.options.latent import Latent
from seriatim.models.options.linear import AR, VAR, Drift, Naive, SeasonalNaive
from seriatim.models.options.linear_gaussian import LinearGaussian
from seriatim.models.options.ngram import Markov
from seriatim.models.options.numbers import NumberOptions
from seriatim.models.options.recurrent import GRU, LSTM, RNN
from seriatim.models.options.registry import unknown_model
from seriatim.models.options.transformer import Transformer

if TYPE_CHECKING:
    from seriatim.models.readouts import ElementLabels, SequenceLabels

LabelModel: TypeAlias = "SequenceLabels | ElementLabels"

# A model of symbols is made as Model(config, num_symbols, boundary); only its module is imported.
_MODELS: Mapping[type[ModelConfig], str] = {
    Markov: "markov:MarkovModel",
    HMM: "hmm:SymbolHMM",
    Autoregressive: "autoregressive:AutoregressiveModel",
    RNN: "recurrent:Recurrent",
    LSTM: "recurrent:Recurrent",
    GRU: "recurrent:Recurrent",
    Latent: "latent:LatentModel",
    Transformer: "transformer:TransformerModel",
}

# A model of numbers is made as Model(config, element, num_series, density).
_NUMBER_MODELS: Mapping[type[ModelConfig], str] = {
    LinearGaussian: "linear_gaussian:LinearGaussianModel",
    **dict.fromkeys((Naive, SeasonalNaive, Drift, AR), "linear.ar:ARModel"),
    VAR: "linear.var:VARModel",
    HMM: "hmm:NumberHMM",
    **dict.fromkeys(
        (Autoregressive, RNN, LSTM, GRU, Latent, Transformer), "number_network:NumberNetwork"
    ),
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
        ConfigError: if the configuration does not say how to build its model, an option is of
            numbers, or sizes of a source are given to a family that takes none.
        ContractError: if the model of a family of the user's own is none, or of other symbols.
    """
    if isinstance(config, ModelConfig) and "symbols" not in config.elements:
        raise ConfigError(
            f"{config.family} is a model of numbers, and here are symbols: choose one of "
            f"{', '.join(c.family for c in _MODELS)}, or fit numbers with --task forecast"
        )
    if isinstance(config, NumberOptions):
        given = [name for name in config.last_options if name not in config.unused_options]
        if given:
            raise ConfigError(
                f"{' and '.join(given)} of {config.family} apply to numbers, and here are symbols: "
                "leave them out"
            )
    if isinstance(config, Seq2Seq):
        from seriatim.models.encoder_decoder import Seq2SeqModel

        return Seq2SeqModel(config, num_symbols, boundary, num_source_symbols)
    if num_source_symbols is not None:
        raise ConfigError(f"{config.family} takes no source: leave out num_source_symbols")
    if type(config) in _NUMBER_MODELS and type(config) not in _MODELS:
        raise ConfigError(unknown_model(config.family))
    place = _MODELS.get(type(config))
    if place is None:
        return _built_by_itself(config, num_symbols, boundary)
    module, name = place.split(":")
    model: Callable[[Any, int, int], SequenceModel]
    model = getattr(import_module(f"seriatim.models.{module}"), name)
    return model(config, num_symbols, boundary)


def build_number_model(
    config: ModelConfig, element: Numbers, num_series: int = 0, density: str | None = None
) -> SequenceModel:
    """The model of numbers that a configuration describes, with fresh weights.

    Args:
        config: the configuration of a family of numbers.
        element: what the series consist of.
        num_series: S, the number of series in the training data, of which a model may keep
            parameters of each; see `SequenceModel.of_series`.
        density: the name of the distribution of the next value, for a family that has a choice;
            None: its own.

    Raises:
        ConfigError: if the family has no model of numbers, or not this distribution.
    """
    model = cast(
        Callable[[Any, Numbers, int, str | None], SequenceModel], number_model_class(config)
    )
    members: int = getattr(config, "members", 1)
    if members == 1:
        return model(config, element, num_series, density)
    one = replace(cast(Any, config), members=1)
    return Mixture([model(one, element, num_series, density) for _ in range(members)])


def number_model_class(config: ModelConfig) -> type[SequenceModel]:
    """The class of the model of numbers that a configuration describes, to be asked what it can do.

    Raises:
        ConfigError: if the family has no model of numbers.
    """
    place = _NUMBER_MODELS.get(type(config))
    if place is None:
        names = sorted(c.family for c in _NUMBER_MODELS)
        raise ConfigError(
            f"{config.family} has no model of numbers: choose one of {', '.join(names)}"
        )
    module, name = place.split(":")
    return cast(type[SequenceModel], getattr(import_module(f"seriatim.models.{module}"), name))


def _built_by_itself(config: ModelConfig, num_symbols: int, boundary: int) -> SequenceModel:
    """The model of a family of the user's own."""
    owner = f"{type(config).__name__}.build"
    if not isinstance(config, ModelConfig):
        raise ConfigError(
            f"{config!r:.60} is not the configuration of a model: give a ModelConfig, such as "
            "LSTM()"
        )
    try:
        model = config.build(num_symbols, boundary)
    except TypeError as error:
        if "abstract" not in str(error):
            raise
        raise ContractError(f"{owner}: {error}; a model has empty, advance and emit") from None
    if not isinstance(model, SequenceModel):
        raise ContractError(f"{owner} returns a {type(model).__name__}: return a SequenceModel")
    if (model.num_symbols, model.boundary) != (num_symbols, boundary):
        raise ContractError(
            f"{owner} returns a model of {model.num_symbols} symbols with boundary "
            f"{model.boundary}, and was asked for {num_symbols} with {boundary}: pass both on"
        )
    check_first_call(model)
    return model


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
    from seriatim.models.encoders import make_encoder
    from seriatim.models.readouts import ElementLabels, SequenceLabels

    readout = SequenceLabels if per == "sequence" else ElementLabels
    return readout(make_encoder(config, num_symbols), num_labels)
