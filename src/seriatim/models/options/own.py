"""Classes of the user's own: families and cells, registered by name so that models load.

A name in a saved model never leads to an import. The classes are those that the user has
registered in this process, or hands to `load`. Knows classes and names; builds nothing.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, cast

from seriatim.errors import ConfigError
from seriatim.models.options.base import ModelConfig

_REGISTERED: dict[str, type] = {}


@dataclass(frozen=True)
class ReadyModel(ModelConfig):
    """Stands for the options of a module that was built without any.

    Attributes:
        name: the name of its class.
    """

    family: ClassVar[str] = "own"

    name: str

    @property
    def unsavable(self) -> str:
        """See `ModelConfig.unsavable`."""
        return (
            f"this {self.name} was given as a module, and nothing says how to build it again: "
            f"give {self.name} an attribute config, a ModelConfig whose build returns it, or keep "
            "its state_dict()"
        )


def add(cls: type) -> None:
    """Make a class known; one that is defined again replaces the one before.

    Raises:
        ConfigError: if another class has its name, or is of its family.
    """
    before = _REGISTERED.get(cls.__name__)
    if before is not None and _place(before) != _place(cls):
        raise ConfigError(
            f"there are two classes named {cls.__name__}, in {_file(before)} and in {_file(cls)}: "
            "rename one"
        )
    if issubclass(cls, ModelConfig):
        other = own_families().get(cls.family)
        if other is not None and _place(other) != _place(cls):
            raise ConfigError(
                f"{other.__name__} and {cls.__name__} are both of the family {cls.family}: "
                "rename one"
            )
    _REGISTERED[cls.__name__] = cls


def has_classes() -> bool:
    """Whether a class that is no family is registered, such as a cell."""
    return any(not issubclass(cls, ModelConfig) for cls in _REGISTERED.values())


def own_families() -> dict[str, type[ModelConfig]]:
    """The registered families by name."""
    configs = [cls for cls in _REGISTERED.values() if issubclass(cls, ModelConfig)]
    return {config.family: config for config in configs}


def find_class(name: str, classes: Iterable[type], what: str, file: str | None = None) -> type:
    """A class of the user's own by its name.

    Args:
        name: the name.
        classes: classes given for this once, beside the registered ones.
        what: what needs it, for the message: "this model's cell is of the class MyCell".
        file: the name of the file that defined it, for the message.

    Raises:
        ConfigError: if there is none.
    """
    known = {**_REGISTERED, **{cls.__name__: cls for cls in classes}}
    if name not in known:
        where = file or "FILE.py"
        raise ConfigError(
            f"{what}, which is not known here: pass it, load(path, classes=[{name}]), or decorate "
            f"it with seriatim.register before loading; on the command line, --classes {where}"
        )
    return known[name]


def file_of(cls: type) -> str | None:
    """The name of the file that defines a class; None: an interactive session."""
    file = _path(cls)
    return None if file is None else Path(file).name


def class_options(config: type[ModelConfig]) -> list[str]:
    """The options of a family whose values are classes."""
    return [f.name for f in fields(cast(type, config)) if f.type in (type, "type")]


def _path(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _place(cls: type) -> tuple[str, str]:
    """Where a class is defined: equal for a file that was executed under two names."""
    path = _path(cls)
    return cls.__module__ if path is None else str(Path(path).resolve()), cls.__qualname__


def _file(cls: type) -> str:
    return file_of(cls) or cls.__module__
