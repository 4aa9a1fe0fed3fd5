"""Package faces: public names that are imported on first use.

Importing torch takes over a second, which neither `seriatim --help` nor `import seriatim` may
cost. A package's `__init__.py` lists its public names for the type checker and for `attach`:

    if TYPE_CHECKING:
        from seriatim.core.batch import Batch as Batch

    __all__, __getattr__, __dir__ = attach(__name__, {"batch": ["Batch"]})
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attach(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of a package that imports its names on first use.

    Args:
        package: the `__name__` of the package.
        modules: the public names of each module, keyed by the module's path within the package.
    """
    homes = {name: module for module, names in modules.items() for name in names}
    public = sorted(homes)

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return public, get, lambda: public
