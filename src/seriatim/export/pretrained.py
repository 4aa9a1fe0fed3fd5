"""Models from the Hugging Face Hub or a folder, of seriatim or in the shape of Llama and Mistral.

Knows which files say what a folder holds; the formats are read elsewhere.
"""

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from seriatim.export.huggingface_import import from_huggingface
from seriatim.tasks.hub import Hub, fetch_folder
from seriatim.tasks.registry import load

if TYPE_CHECKING:
    from seriatim.tasks.forecasting.forecaster import Forecaster
    from seriatim.tasks.labeller import Labeller
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.translator import Translator


def from_pretrained(
    name: str | PathLike[str],
    *,
    revision: str | None = None,
    classes: Iterable[type] = (),
    device: str | None = None,
    hub: Hub | None = None,
) -> "LanguageModel | Translator | Labeller | Forecaster":
    """The model in a folder, or in a repository of the hub that `push` has filled.

    Args:
        name: a folder, or OWNER/NAME.
        revision: a branch, tag or commit of the repository; None: the newest.
        classes: your own classes that the model uses, such as a cell.
        device: where to compute; None: a GPU if there is one.
        hub: where from; None: huggingface.co, as who is logged in.

    Raises:
        ModelError: there is no model, or it is damaged.
        ConfigError: the name is neither, or the model is of a shape that cannot be imported.
        DataError: the hub does not give the repository.
        MissingExtraError: huggingface-hub is not installed.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = fetch_folder(str(name), revision=revision, hub=hub)
    if is_of_transformers(folder):
        return from_huggingface(folder, device=device)
    return load(folder, classes=classes, device=device)


def is_of_transformers(folder: Path) -> bool:
    """Whether config.json is one of the library transformers."""
    try:
        return "model_type" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False
