"""`seriatim.train(model, data)`: train any model of symbols on arrays, without text.

Knows arrays of symbols, options and the loop; no vocabulary and no folder of a model.
"""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from seriatim.core.first_call import check_first_call
from seriatim.core.model import SequenceModel
from seriatim.data.symbol_arrays import Symbols, symbol_corpus
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import History
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.loop import fit
from seriatim.train.options import TrainingOptions, configure_training


def train(
    model: SequenceModel,
    data: Symbols,
    valid: Symbols | None = None,
    options: TrainingOptions | Mapping[str, Any] | None = None,
    callbacks: Callbacks | None = None,
    *,
    checkpoints: Checkpoints | str | PathLike[str] | None = None,
    resume: bool = False,
) -> History:
    """Train a model of symbols; it ends with its best weights on `valid`, in evaluation mode.

    The loop is that of every `fit`: the same seed gives the same weights, and a run with
    checkpoints may be killed at any instant and resumed to the bit.

    Args:
        model: any `SequenceModel`, also your own.
        data: ids 0 .. V - 1: (T,) for one stream without an end, (N, T) or a list of sequences for
            sequences that end; an array (also one that numpy maps from a file), a tensor, a list,
            or the path of a .npy file, which is mapped.
        valid: validation data of the same kinds; None: the last weights are kept.
        options: training options, such as {"steps": 1000, "learning_rate": 0.003}.
        callbacks: functions to be called while it trains.
        checkpoints: a folder in which the run is saved every minute, or `Checkpoints`.
        resume: whether to resume the run in that folder, if there is one.

    Returns:
        The history of the run.

    Raises:
        ConfigError: if an option cannot be used.
        ContractError: if the model is no `SequenceModel`, or a method of it returns something else
            than the contract says.
        DataError: if the data holds no symbol, or something that is no symbol of the model.
        TrainingError: if a loss is not a number; the model then has its best weights.
        OutputError: if there is a run in the folder, and it is not to be resumed.
    """
    check_first_call(model)
    if not isinstance(options, TrainingOptions):
        options = configure_training(options or {})
    if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
        checkpoints = Checkpoints(folder=Path(checkpoints))
    if checkpoints is not None:
        checkpoints = replace(checkpoints, resume=checkpoints.resume or resume)
    corpus = symbol_corpus(data, model.num_symbols, "the training data")
    valid_corpus = None
    if valid is not None:
        valid_corpus = symbol_corpus(valid, model.num_symbols, "the validation data")
    return fit(model, corpus, valid_corpus, options, callbacks=callbacks, checkpoints=checkpoints)
