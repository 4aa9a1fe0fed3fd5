"""The one place that maps the name of a task to its class, and a model folder to its task."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from seriatim.core.validation import checked_arguments, did_you_mean
from seriatim.errors import ConfigError, ModelError
from seriatim.tasks import storage
from seriatim.tasks.base import AnyTask, check_task

if TYPE_CHECKING:
    from seriatim.tasks.forecasting.forecaster import Forecaster
    from seriatim.tasks.labeller import Labeller
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.translator import Translator

TaskT = TypeVar("TaskT", bound=AnyTask)

# By the name of the task; only the module of the one that is needed is imported.
TASKS: Mapping[str, str] = {
    "language": "language_model:LanguageModel",
    "translation": "translator:Translator",
    "labelling": "labeller:Labeller",
    "forecasting": "forecasting.forecaster:Forecaster",
}


def task_class(name: str) -> type[AnyTask]:
    """The class of a task of `TASKS`."""
    module, cls = TASKS[name].split(":")
    return cast("type[AnyTask]", getattr(import_module(f"seriatim.tasks.{module}"), cls))


def find_task(name: str | None, *, has_pairs: bool) -> type[AnyTask]:
    """The class of a task.

    Args:
        name: the name, or "label" for "labelling"; None: by the data.
        has_pairs: whether the data are sources and targets.

    Raises:
        ConfigError: if there is no such task.
    """
    if name is None:
        return task_class("translation" if has_pairs else "language")
    short = {"label": "labelling", "forecast": "forecasting"}
    name = short.get(name, name)
    if name not in TASKS:
        near = did_you_mean(name, ("language", "translation", "label", "forecast"), 0.5)
        raise ConfigError(
            f"unknown task {name!r}: choose language, translation, label or forecast{near}"
        )
    return task_class(name)


@checked_arguments
def load(
    path: str | PathLike[str],
    *,
    classes: Iterable[type] = (),
    device: str | None = None,
    verify: bool = True,
) -> "LanguageModel | Translator | Labeller | Forecaster":
    """The language model, translator, labeller or forecaster in a model folder.

    Args:
        path: the folder.
        classes: your own classes that the model uses, such as a cell.
        device: the device on which to compute; None: a GPU if there is one.
        verify: whether to refuse files that were altered since they were written; large files of
            weights are compared only by `seriatim info --verify`.

    Raises:
        ModelError: if there is no model, or it is damaged, of a newer version or an unknown task.
    """
    path = Path(path)
    name = storage.read_header(path).task
    if name not in TASKS:
        raise ModelError(
            f"{path} holds a model of the task {name!r}, and this seriatim knows "
            f"{', '.join(TASKS)}: update seriatim"
        )
    task = task_class(name).load(path, classes=classes, device=device, verify=verify)
    return cast("LanguageModel | Translator | Labeller | Forecaster", task)


def load_as(task: type[TaskT], path: Path, user: str) -> TaskT:
    """The task in a model folder that must be of one kind.

    Args:
        task: the class that is needed.
        path: the folder.
        user: what needs it, for the message, such as the command "translate".

    Raises:
        ModelError: as `load`, or if the folder holds another task.
    """
    check_task(path, storage.read_header(path).task, task, user)
    return task.load(path)
