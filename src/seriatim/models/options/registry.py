"""Families by name: `configure` checks options, `describe` writes them and `restore` reads them.

The one place that maps a name to a class of options. `models.build` maps that to a model.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, cast

from seriatim.core.records import Json, from_json
from seriatim.core.validation import did_you_mean, unknown_option
from seriatim.errors import ConfigError
from seriatim.models.options.autoregressive import Autoregressive
from seriatim.models.options.base import EQUIVALENTS, ModelConfig, option_class
from seriatim.models.options.encoder_decoder import LABELLER_DEFAULTS, EncoderConfig, Seq2Seq
from seriatim.models.options.hmm import HMM
from seriatim.models.options.latent import Latent
from seriatim.models.options.linear import AR, VAR, Drift, Naive, SeasonalNaive
from seriatim.models.options.linear_gaussian import LinearGaussian
from seriatim.models.options.ngram import Markov
from seriatim.models.options.own import (
    ReadyModel,
    add,
    class_options,
    file_of,
    find_class,
    own_families,
)
from seriatim.models.options.presets import PRESETS
from seriatim.models.options.recurrent import GRU, LSTM, RNN
from seriatim.models.options.transformer import Transformer

Config = TypeVar("Config", bound=ModelConfig | EncoderConfig)
Class = TypeVar("Class", bound=type)

# Families that explain a sequence one element after another, symbols or numbers.
FAMILIES: Mapping[str, type[ModelConfig]] = {
    config.family: config
    for config in (
        *(Markov, HMM, Autoregressive, RNN, LSTM, GRU, Transformer, Latent),
        *(Naive, SeasonalNaive, Drift, AR, VAR, LinearGaussian),
    )
}
# Families of models that predict a sequence from a source.
PAIR_FAMILIES: Mapping[str, type[ModelConfig]] = {Seq2Seq.family: Seq2Seq}
BUILT_IN = {**FAMILIES, **PAIR_FAMILIES}
# Options that models saved by version 0.1.0 have under another name.
_RENAMED = {"quantise_bits": "quantize_bits"}


# What families are called elsewhere.
_OTHER_NAMES = {
    **dict.fromkeys(("ngram", "n-gram", "ngrams", "kenlm", "counting", "kneser-ney"), "markov"),
    **dict.fromkeys(("bigram", "trigram"), "markov (with its option order)"),
    **dict.fromkeys(("gpt", "gpt2", "gpt-2", "attention", "llama", "decoder"), "transformer"),
    **dict.fromkeys(("bilstm", "bi-lstm"), "lstm"),
    **dict.fromkeys(("elman", "srn"), "rnn"),
    **dict.fromkeys(("hidden-markov", "latent-markov", "hidden-markov-model"), "hmm"),
    **dict.fromkeys(("kalman", "state-space", "structural", "local-level"), "linear-gaussian"),
    **dict.fromkeys(("mlp", "nplm", "ffn", "feedforward"), "autoregressive"),
    **dict.fromkeys(("encoder-decoder", "s2s"), "seq2seq"),
}

_OTHER_NAMES_OF_SERIES = {
    **dict.fromkeys(("arima", "autoarima", "auto-arima", "sarima", "ardl"), "ar"),
    **dict.fromkeys(("snaive", "seasonalnaive", "seasonal_naive"), "seasonal-naive"),
    **dict.fromkeys(("randomwalk", "random-walk", "last"), "naive"),
    **dict.fromkeys(("kalman", "ets", "local-level", "structural", "ucm"), "linear-gaussian"),
    **dict.fromkeys(("deepar",), "lstm"),
    **dict.fromkeys(("dlinear", "nlinear", "linear"), "ar"),
    **dict.fromkeys(("tft", "chronos", "patchtst", "attention"), "transformer"),
}


@dataclass(frozen=True)
class ModelRecord:
    """A configuration as a saved model keeps it.

    Attributes:
        family: the name of the family.
        options: JSON values by name; {"class": name} stands for a class of the user's.
        own_class: the name of the user's class that has these options; None: one of seriatim's.
        file: the name of the file that defined it, for people; it is never read.
    """

    family: str
    options: Json
    own_class: str | None = None
    file: str | None = None


def register(cls: Class) -> Class:
    """Class decorator: make a family or a cell of your own known by its name.

    Models that use the class can then be loaded. A subclass of `ModelConfig` becomes a class of
    options, and its family can be used by its name: in `LanguageModel`, in `compare` and on the
    command line. A class that is defined again, as when a notebook's cell is executed again,
    replaces the one before.

    Raises:
        ConfigError: if another class has the same name, or the family has no name of its own.
    """
    if issubclass(cls, ModelConfig):
        name = getattr(cls, "family", None)
        if not isinstance(name, str) or not name:
            raise ConfigError(f'{cls.__name__} has no name: write family = "a-name" in it')
        if name in {*BUILT_IN, ReadyModel.family}:
            raise ConfigError(
                f"{name} is a family of seriatim: give that of {cls.__name__} another"
            )
        if "__dataclass_fields__" not in cls.__dict__:
            option_class(cls)  # changes the class in place
    add(cls)
    return cls


def families(element: Literal["symbols", "numbers"] = "symbols") -> dict[str, type[ModelConfig]]:
    """The families that can be of an element by name, those of the user's own included."""
    every = {**FAMILIES, **own_families()}
    return {name: config for name, config in every.items() if element in config.elements}


def configure(family: str, options: Mapping[str, Any], *, preset: str | None = None) -> ModelConfig:
    """The configuration of a family by name, from strings or JSON values.

    Args:
        family: a name in `families()` or `PAIR_FAMILIES`.
        options: the options of the family; they override those of the preset.
        preset: the name of a preset of the family.

    Raises:
        ConfigError: if there is no such family, preset or option, or a value is out of range.
    """
    config = {**FAMILIES, **own_families(), **PAIR_FAMILIES}.get(family)
    if config is None:
        raise ConfigError(unknown_model(family))
    if preset is not None:
        presets = PRESETS.get(family, {})
        if preset not in presets:
            names = ", ".join(presets) or "none"
            raise ConfigError(f"{family} has no preset {preset!r}; it has {names}")
        options = {**presets[preset], **options}
    options = dict(options)
    for name in class_options(config):
        if isinstance(options.get(name), str):  # on the command line, a class of the user's
            options[name] = find_class(options[name], (), f"{name} is the class {options[name]}")
    return _checked(config, family, options)


def configure_encoder(kind: str, options: Mapping[str, Any] | None = None) -> EncoderConfig:
    """The configuration of a labeller's encoder by name, with the defaults that suit its kind.

    Args:
        kind: a name in `LABELLER_DEFAULTS`.
        options: options of the encoder; they override the defaults.

    Raises:
        ConfigError: if there is no such encoder or option, or a value is out of range.
    """
    defaults = LABELLER_DEFAULTS.get(kind)
    if defaults is None:
        choice = did_you_mean(kind, LABELLER_DEFAULTS)
        choice = choice or f"; choose from {', '.join(LABELLER_DEFAULTS)}"
        raise ConfigError(f"no such encoder {kind!r}{choice}")
    chosen = {**defaults, **(options or {}), "encoder": kind}
    return _checked(EncoderConfig, f"the {kind} encoder", chosen)


def unknown_model(family: str, element: Literal["symbols", "numbers"] = "symbols") -> str:
    """The sentence that refuses the name of a family where models of an element are asked for."""
    choices = families(element)
    if family in {**FAMILIES, **own_families()}:  # asked where it is no choice
        what = {
            "symbols": "a model of numbers in time, and symbols are modelled here",
            "numbers": "a model of symbols, and numbers in time are modelled here",
        }[element]
        return f"{family} is {what}: choose from {', '.join(choices)}"
    pairs = PAIR_FAMILIES if element == "symbols" else {}
    suggestion = did_you_mean(family, {**choices, **pairs})
    plain = family.lower().replace("_", "-")
    meant = plain if plain in choices else _OTHER_NAMES.get(plain)
    if element == "numbers":
        meant = plain if plain in choices else _OTHER_NAMES_OF_SERIES.get(plain)
    if meant is not None:
        suggestion = f"; did you mean {meant}?"
    return f"no such model {family!r}{suggestion or '; choose from ' + ', '.join(choices)}"


def _checked(config: type[Config], owner: str, options: Mapping[str, Any]) -> Config:
    """The configuration, whose options must exist and be in range."""
    names = _option_names(config)
    known = (*FAMILIES.values(), *own_families().values(), *PAIR_FAMILIES.values())
    others = {name for family in known for name in _option_names(family)}
    for name in options:
        if name not in names:
            raise ConfigError(unknown_option(name, owner, names, EQUIVALENTS, others))
    return config(**options)


def describe(config: ModelConfig) -> Json:
    """A configuration as JSON values, which `restore` reads; a user's class is kept by its name.

    Raises:
        ConfigError: if an option is no JSON value.
    """
    options = {}
    for name, value in used_options(config).items():
        options[name] = {"class": value.__name__} if isinstance(value, type) else value
        try:
            json.dumps(options[name])
        except (TypeError, ValueError):
            raise ConfigError(
                f"{config.family} could not be saved: its option {name} is a "
                f"{type(value).__name__}, and options are numbers, strings, lists of them or "
                "registered classes"
            ) from None
    record: Json = {"family": config.family, "options": options}
    if type(config) in BUILT_IN.values():
        return record
    own = type(config)
    return {**record, "own_class": own.__name__, "file": file_of(own)}


def used_options(config: ModelConfig | EncoderConfig) -> Json:
    """The options of a configuration that have an effect, by name."""
    names = _option_names(type(config))
    return {name: getattr(config, name) for name in names if name not in config.unused_options}


def restore(record: Json, classes: Iterable[type] = ()) -> ModelConfig:
    """The inverse of `describe`; nothing is ever imported by its name.

    Args:
        record: the JSON object that `describe` returned.
        classes: classes of the user's own that the options name, beside the registered ones.

    Raises:
        ModelError: if the record is damaged.
        ConfigError: if a class was not given, or there is no such family, option or value.
    """
    saved = from_json(ModelRecord, record, name="the model's configuration")
    classes = tuple(classes)
    options = {_RENAMED.get(name, name): value for name, value in saved.options.items()}
    for option, value in options.items():
        if isinstance(value, Mapping) and value.keys() == {"class"}:
            name = value["class"]
            what = f"this model's {option} is of the class {name}"
            options[option] = find_class(name, classes, what)
    if saved.own_class is None:
        return configure(saved.family, options)
    what = f"this model is of the family {saved.family}, your class {saved.own_class}"
    config = find_class(saved.own_class, classes, what, saved.file)
    if not issubclass(config, ModelConfig):
        raise ConfigError(
            f"{saved.own_class} is not a ModelConfig, and this model's options need one"
        )
    return _checked(config, saved.family, options)


def _option_names(config: type) -> list[str]:
    return [f.name for f in fields(cast(Any, config))]
