"""The first call of a model that a user wrote: whether its three methods return what they should.

The laws find everything; this finds in a millisecond what would otherwise be an error deep inside
of training. Knows the contract; no family.

Shapes: B rows, L elements of a chunk.
"""

import sys
import traceback
from pathlib import Path

import torch

from seriatim.core import tree
from seriatim.core.densities import Density
from seriatim.core.distributions import Discrete
from seriatim.core.elements import Symbols
from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberInput
from seriatim.errors import ContractError

_ROWS, _LENGTH = 2, 3


def check_first_call(given: object) -> None:
    """Call `empty`, `advance` and `emit` once, on two rows of three elements.

    Models whose weights have no values, as on the device meta, are not called.

    Raises:
        ContractError: if it is no model, or a method returns something else than the contract says,
            or raises.
    """
    if not isinstance(given, SequenceModel):
        raise ContractError(
            f"a SequenceModel is needed, and a {type(given).__name__} was given: build one with "
            "build_model, or write one with empty, advance and emit"
        )
    model = given
    if model.device.type == "meta":
        return
    name = type(model).__name__
    was_training = model.training
    model.eval()  # so that no dropout draws random numbers
    try:
        with torch.no_grad():
            _call(model, name)
    finally:
        model.train(was_training)


def _place(error: Exception, model: SequenceModel) -> str:
    """` (my_models.py, line 9)`: the last line of the model's own code that ran."""
    module = sys.modules.get(type(model).__module__)
    file = getattr(module, "__file__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _call(model: SequenceModel, name: str) -> None:
    x = model.element.sample_input((_ROWS, _LENGTH), model.device, model.dtype)
    targets = x.values if isinstance(x, NumberInput) else x
    is_of_symbols = isinstance(model.element, Symbols)
    method = "empty"
    try:
        carry = model.empty(_ROWS)
        method = "advance"
        returned = model.advance(carry, x, None)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise ContractError(
                f"{name}.advance returns a {type(returned).__name__}: return (features, carry)"
            )
        features = returned[0]
        _check_features(features, name)
        method = "emit"
        distribution = model.emit(features)
        if not isinstance(distribution, Discrete if is_of_symbols else Density):
            example = "seriatim.Categorical(logits)" if is_of_symbols else "Normal(mean, scale)"
            kind = "Distribution" if is_of_symbols else "Density"
            raise ContractError(
                f"{name}.emit returns a {type(distribution).__name__}: return a {kind}, such as "
                f"{example}"
            )
        method = "log_prob of what emit returns"
        shape = tuple(distribution.log_prob(targets).shape)
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            f"{name}: {method} fails on {_ROWS} rows of {_LENGTH} elements{_place(error, model)}: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    if shape != (_ROWS, _LENGTH):
        raise ContractError(
            f"{name}.emit gives log-probabilities of shape {shape} for {_ROWS} rows of {_LENGTH} "
            f"elements: give {(_ROWS, _LENGTH)}, one for each element"
        )


def _check_features(features: object, name: str) -> None:
    for leaf in tree.leaves(features):
        if tuple(leaf.shape[:2]) != (_ROWS, _LENGTH):
            raise ContractError(
                f"{name}.advance returns features of shape {tuple(leaf.shape)} for {_ROWS} rows of "
                f"{_LENGTH} elements: give ({_ROWS}, {_LENGTH}, ...), one for each element"
            )
