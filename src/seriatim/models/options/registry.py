"""Families by name: `configure` checks options, `describe` writes them and `restore` reads them.

The one place that maps a name to a class of options. `models.build` maps that to a model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

from seriatim.core.records import Json, from_json
from seriatim.core.validation import did_you_mean, unknown_option
from seriatim.errors import ConfigError
from seriatim.models.options.autoregressive import Autoregressive
from seriatim.models.options.base import EQUIVALENTS, ModelConfig
from seriatim.models.options.encoder_decoder import LABELLER_DEFAULTS, EncoderConfig, Seq2Seq
from seriatim.models.options.latent import Latent
from seriatim.models.options.ngram import Markov
from seriatim.models.options.presets import PRESETS
from seriatim.models.options.recurrent import GRU, LSTM, RNN
from seriatim.models.options.transformer import Transformer

Config = TypeVar("Config", bound=ModelConfig | EncoderConfig)
Class = TypeVar("Class", bound=type)

# Families of language models.
FAMILIES: Mapping[str, type[ModelConfig]] = {
    config.family: config
    for config in (Markov, Autoregressive, RNN, LSTM, GRU, Transformer, Latent)
}
# Families of models that predict a sequence from a source.
PAIR_FAMILIES: Mapping[str, type[ModelConfig]] = {Seq2Seq.family: Seq2Seq}
# Options that models saved by version 0.1.0 have under another name.
_RENAMED = {"quantise_bits": "quantize_bits"}


# What families are called elsewhere.
_OTHER_NAMES = {
    **dict.fromkeys(("ngram", "n-gram", "ngrams", "kenlm", "counting", "kneser-ney"), "markov"),
    **dict.fromkeys(("bigram", "trigram"), "markov (with its option order)"),
    **dict.fromkeys(("gpt", "gpt2", "gpt-2", "attention", "llama", "decoder"), "transformer"),
    **dict.fromkeys(("bilstm", "bi-lstm"), "lstm"),
    **dict.fromkeys(("elman", "srn"), "rnn"),
    **dict.fromkeys(("mlp", "nplm", "ffn", "feedforward", "ar"), "autoregressive"),
    **dict.fromkeys(("encoder-decoder", "s2s"), "seq2seq"),
}


@dataclass(frozen=True)
class ModelRecord:
    """A configuration as a saved model keeps it.

    Attributes:
        family: the name of the family.
        options: JSON values by name; {"class": name} stands for a class of the user's.
    """

    family: str
    options: Json


def configure(family: str, options: Mapping[str, Any], *, preset: str | None = None) -> ModelConfig:
    """The configuration of a family by name, from strings or JSON values.

    Args:
        family: a name in `FAMILIES` or `PAIR_FAMILIES`.
        options: the options of the family; they override those of the preset.
        preset: the name of a preset of the family.

    Raises:
        ConfigError: if there is no such family, preset or option, or a value is out of range.
    """
    config = {**FAMILIES, **PAIR_FAMILIES}.get(family)
    if config is None:
        raise ConfigError(unknown_model(family))
    if preset is not None:
        presets = PRESETS.get(family, {})
        if preset not in presets:
            names = ", ".join(presets) or "none"
            raise ConfigError(f"{family} has no preset {preset!r}; it has {names}")
        options = {**presets[preset], **options}
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


def unknown_model(family: str) -> str:
    """The sentence that refuses the name of a family."""
    suggestion = did_you_mean(family, {**FAMILIES, **PAIR_FAMILIES})
    plain = family.lower().replace("_", "-")
    meant = plain if plain in FAMILIES else _OTHER_NAMES.get(plain)
    if meant is not None:
        suggestion = f"; did you mean {meant}?"
    return f"no such model {family!r}{suggestion or '; choose from ' + ', '.join(FAMILIES)}"


def _checked(config: type[Config], owner: str, options: Mapping[str, Any]) -> Config:
    """The configuration, whose options must exist and be in range."""
    names = _option_names(config)
    families = (*FAMILIES.values(), *PAIR_FAMILIES.values())
    others = {name for family in families for name in _option_names(family)}
    for name in options:
        if name not in names:
            raise ConfigError(unknown_option(name, owner, names, EQUIVALENTS, others))
    return config(**options)


def describe(config: ModelConfig) -> Json:
    """A configuration as JSON values, which `restore` reads; a user's class is kept by its name."""
    options = {
        name: {"class": value.__name__} if isinstance(value, type) else value
        for name, value in used_options(config).items()
    }
    return {"family": config.family, "options": options}


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
    known = {c.__name__: c for c in (*_REGISTERED, *classes)}
    options = {_RENAMED.get(name, name): value for name, value in saved.options.items()}
    for option, value in options.items():
        if isinstance(value, Mapping) and value.keys() == {"class"}:
            name = value["class"]
            if name not in known:
                raise ConfigError(
                    f"this model's {option} is of the class {name}, which is not known here: pass "
                    f"it, load(path, classes=[{name}]), or decorate it with seriatim.register "
                    "before loading"
                )
            options[option] = known[name]
    return configure(saved.family, options)


_REGISTERED: list[type] = []


def register(cls: Class) -> Class:
    """Class decorator: let models that use this class, such as a cell, be loaded by its name."""
    _REGISTERED.append(cls)
    return cls


def _option_names(config: type) -> list[str]:
    return [f.name for f in fields(cast(Any, config))]
