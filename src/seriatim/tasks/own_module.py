"""A module of the user's own in place of a configuration: what is known of it, and what must fit.

Knows models and vocabularies; no text and no family.
"""

from seriatim.core.first_call import check_first_call
from seriatim.core.model import SequenceModel
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.own import ReadyModel


def config_of(model: ModelConfig | SequenceModel) -> ModelConfig:
    """The configuration of a module: its attribute `config`, or a stand-in for want of one.

    Raises:
        ConfigError: if it is neither a configuration nor a `SequenceModel`.
    """
    if isinstance(model, ModelConfig):
        return model
    if isinstance(model, SequenceModel):
        config = getattr(model, "config", None)
        return config if isinstance(config, ModelConfig) else ReadyModel(type(model).__name__)
    given = f"the class {model.__name__}" if isinstance(model, type) else f"{model!r:.60}"
    raise ConfigError(
        f"a language model cannot be made of {given}: give the name of a family, a ModelConfig "
        "such as LSTM(), or a SequenceModel"
    )


def check_module(model: SequenceModel, vocabulary: Vocabulary) -> None:
    """See that a module predicts the symbols of a vocabulary.

    Raises:
        ConfigError: if their number or the boundary differs.
        ContractError: if a method returns something else than the contract says.
    """
    of_model = (model.num_symbols, model.boundary)
    of_vocabulary = (vocabulary.num_symbols, vocabulary.boundary)
    if of_model != of_vocabulary:
        raise ConfigError(
            f"this {type(model).__name__} has {of_model[0]} symbols and the boundary {of_model[1]},"
            f" and the vocabulary has {of_vocabulary[0]} and {of_vocabulary[1]}: build the model "
            "with vocabulary.num_symbols and vocabulary.boundary"
        )
    check_first_call(model)
