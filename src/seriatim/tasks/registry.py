"""A model folder as the task that wrote it.

The one place that maps the name of a task to its class.
"""

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from seriatim.errors import ModelError
from seriatim.tasks import storage

if TYPE_CHECKING:
    from seriatim.tasks.labeller import Labeller
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.translator import Translator

Task: TypeAlias = "LanguageModel | Translator | Labeller"


def load(
    path: str | PathLike[str], *, classes: Iterable[type] = (), device: str | None = None
) -> Task:
    """The language model, translator or labeller that a folder holds.

    Args:
        path: the folder.
        classes: classes of your own that the model uses, such as a cell.
        device: where to compute; None: a GPU if there is one.

    Raises:
        ModelError: no model, a damaged one, or one of a newer version or of an unknown task.
    """
    task = str(storage.read_config(Path(path)).get("task"))
    if task not in LOADERS:
        raise ModelError(
            f"{path} holds a model of the task {task!r}, and this seriatim knows "
            f"{', '.join(LOADERS)}: update seriatim"
        )
    return LOADERS[task](path, classes, device)


def _language(path: str | PathLike[str], classes: Iterable[type], device: str | None) -> Task:
    from seriatim.tasks.language_model import LanguageModel

    return LanguageModel.load(path, classes=classes, device=device)


def _translation(path: str | PathLike[str], classes: Iterable[type], device: str | None) -> Task:
    from seriatim.tasks.translator import Translator

    return Translator.load(path, classes=classes, device=device)


def _labelling(path: str | PathLike[str], classes: Iterable[type], device: str | None) -> Task:
    from seriatim.tasks.labeller import Labeller

    return Labeller.load(path, device=device)


LOADERS: Mapping[str, Callable[[str | PathLike[str], Iterable[type], str | None], Task]] = {
    "language": _language,
    "translation": _translation,
    "labelling": _labelling,
}
