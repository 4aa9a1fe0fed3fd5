"""The training options that suit a language model.

Knows options; no model and no data.
"""

from collections.abc import Mapping
from typing import Any

from seriatim.data.batches.corpus import check_token_budget
from seriatim.train.options import BUDGETS, TrainingOptions, configure_training


def suited_options(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> TrainingOptions:
    """The options that were given, then those of a recipe, then the defaults.

    Args:
        recipe: the options that suit the model.
        given: the options that were given, by name; a budget replaces that of the recipe.

    Raises:
        ConfigError: if an option or value does not exist, or options contradict each other.
    """
    suited = dict(recipe)
    usual = suited.get("optimizer", "adamw")
    if given.get("optimizer", usual) != usual:
        suited.pop("learning_rate", None)  # a rate of one means nothing to another
    if given.keys() & set(BUDGETS):
        suited = {name: value for name, value in suited.items() if name not in BUDGETS}
    options = configure_training({**suited, **given})
    check_token_budget(options.token_budget, options.length)
    return options
