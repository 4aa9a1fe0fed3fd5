"""Optional packages, imported when something needs them. Knows none in particular."""

import importlib
from typing import Any

from seriatim.errors import MissingExtraError


def import_extra(module: str, message: str) -> Any:
    """A module of an optional package.

    Args:
        module: its full name.
        message: what needs it, and how it is installed.

    Raises:
        MissingExtraError: with the message, if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise MissingExtraError(message) from missing
