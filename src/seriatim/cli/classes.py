"""`--classes FILE.py`, an option of every command: families and cells of the user's own.

The file is executed, as `python FILE.py` would execute it but under another `__name__` than
`__main__`; nothing but what is named here is. Knows files and classes; no command.
"""

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from seriatim.errors import ConfigError

OPTION = "--classes"
HELP = (
    f"{OPTION} FILE.py, with every command: a file of yours that defines families and cells, "
    "which models then have by their names; the file is executed."
)

_EXECUTED: set[Path] = set()  # the files of this process, for the sentence about a fault of theirs


def take_classes(arguments: Sequence[str]) -> list[str]:
    """Execute the files that `--classes` names; returns the other arguments.

    Raises:
        ConfigError: if a file is missing, fails, or defines neither a family nor a cell.
    """
    rest: list[str] = []
    files: list[str] = []
    tokens = iter(arguments)
    for token in tokens:
        name, equals, value = token.partition("=")
        if token == "--":
            rest += [token, *tokens]
        elif name != OPTION:
            rest.append(token)
        else:
            files.append(value if equals else next(tokens, ""))
    for file in files:
        _register_classes(file)
    if files and "seriatim.cli.options" in sys.modules:  # of a command before, in this process
        from seriatim.cli.options import renew_options

        renew_options()
    return rest


def _register_classes(file: str) -> None:
    if not file or file.startswith("-"):
        raise ConfigError(f"{OPTION} needs a file: {OPTION} FILE.py")
    path = Path(file)
    if path.is_dir():
        raise ConfigError(f"{OPTION} {file} is a folder: give the file in it that has the classes")
    if not path.is_file():
        raise ConfigError(f"{OPTION} {file}: there is no such file")
    from seriatim.layers.cells import Cell
    from seriatim.models.options.base import ModelConfig
    from seriatim.models.options.registry import register

    module = _execute(path)
    own = [
        v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__
    ]
    usable = [cls for cls in own if issubclass(cls, (ModelConfig, Cell))]
    if not usable:
        raise ConfigError(
            f"{OPTION} {file} defines neither a subclass of seriatim.ModelConfig nor of "
            "seriatim.Cell: give the file in which they are"
        )
    for cls in usable:
        register(cls)


def _execute(path: Path) -> ModuleType:
    """A file as a module; its own folder is searched for what it imports."""
    name = f"seriatim_classes_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{OPTION} {path} is not a Python file: give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their annotations up there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{OPTION} {path}: {_place_and_error(error, path)}") from error
    _EXECUTED.add(path)
    return module


def own_fault(error: BaseException) -> str | None:
    """Where the code of `--classes` raised an error, and which; None if it had no part in it."""
    for path in _EXECUTED:
        if _own_frames(error, path):
            return f"{OPTION} {path}: {_place_and_error(error, path)}; mend it there"
    return None


def _own_frames(error: BaseException, path: Path) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]


def _place_and_error(error: BaseException, path: Path) -> str:
    """`line 9, in forward: NameError: name 'a' is not defined`."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == path:
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = _own_frames(error, path)
    if not frames:
        return what
    inside = "" if frames[-1].name == "<module>" else f", in {frames[-1].name}"
    return f"line {frames[-1].lineno}{inside}: {what}"
