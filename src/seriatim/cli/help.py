"""The help of commands: the options that people need, in groups; with --help-all every option.

Our own layout instead of the parser's, which draws boxes, needs a tenth of a second to import and
cannot leave anything out. Knows the parser's arguments; no command but those of the tables here.
"""

import inspect
import shutil
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import App, Argument

from seriatim.cli import classes

HELP = ("--help", "-h", "--help-all")

# Commands with so many options that --help shows only these.
ESSENTIAL: Mapping[str, Mapping[str, Sequence[str]]] = {
    "fit": {
        "Data": ("--valid", "--symbols", "--column", "--source", "--target", "--task"),
        "Model": ("--model", "--hidden-size", "--num-layers", "--order"),
        "Training": ("--minutes", "--steps", "--seed"),
        "Output": ("--out", "--resume", "--overwrite", "--json"),
    },
    "compare": {
        "Data": ("--valid", "--test", "--symbols", "--sequences", "--column"),
        "Models": ("--models", "--seeds", "--seed"),
        "Budget of each model": ("--minutes", "--steps", "--tokens", "--parameters"),
        "Output": ("--out", "--resume", "--overwrite", "--json"),
    },
    "translate": {
        "Data": ("--source-column", "--format"),
        "Search": ("--beam", "--num-best", "--max-length", "--sample", "--seed", "--ensemble"),
        "Output": ("--alignment", "--quiet", "--json"),
    },
    "evaluate": {
        "Data": ("--source", "--target", "--source-column", "--target-column", "--each-pair"),
        "Search": ("--beam", "--max-length", "--ensemble"),
        "Metrics": ("--lowercase", "--tokenize"),
        "Output": ("--json",),
    },
}
# Usage where what is needed can be given in several ways.
_USAGE = {
    "fit": "DATA --out FOLDER",
    "look": "DATA",
    "score": "MODEL DATA",
    "evaluate": "MODEL DATA",
    "robustness": "MODEL DATA",
    "generate": "MODEL [PROMPT..]",
}
_METAVARS = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH", bool: ""}
_COLUMN = 26  # where the descriptions begin
_FAMILY = "Model: "  # before the names of families in the name of a group


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the arguments of a command ask for its help."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(argument in HELP for argument in before)


def command_help(app: App, name: str, summary: str, arguments: Sequence[str]) -> str:
    """The help of a command.

    Args:
        app: the parser.
        name: the command.
        summary: what it does, in a line.
        arguments: what else was typed; a family among it shows the options of that family.
    """
    options = [o for o in app[name].assemble_argument_collection(parse_docstring=True) if o.show]
    options = [o for o in options if o.name.strip("*")]
    positional = [o for o in options if o.field_info.is_positional]
    named = [o for o in options if not o.field_info.is_positional]
    family = _family_in(arguments)
    is_all = "--help-all" in arguments or name not in ESSENTIAL
    parts = [
        f"Usage: seriatim {name} {usage(name, options)} [OPTIONS]",
        _about(app, name) or summary,
    ]
    if positional:
        parts.append("\n".join(_entry(o) for o in positional))
    groups = _all_groups(named) if is_all else _essential_groups(name, named, family)
    for title, group in groups.items():
        heading = title.replace(_FAMILY, "Options of ", 1)
        only = family if family is not None and heading == f"Options of {family}" else None
        parts.append("\n".join([f"{heading}:", *(_entry(option, only) for option in group)]))
    if not is_all:
        parts.append(_more(name, len(named), has_families="--hidden-size" in _names(named)))
    parts.append(_wrapped(classes.HELP, 0))
    return "\n\n".join(parts)


def _more(name: str, count: int, *, has_families: bool) -> str:
    more = f"seriatim {name} --help-all lists all {count} options"
    return more + (f"; seriatim {name} --model gru --help those of a family" * has_families)


def _about(app: App, name: str) -> str:
    """The docstring of a command up to its arguments."""
    command = app[name].default_command
    text = inspect.cleandoc(command.__doc__ or "") if command is not None else ""
    about, _, _ = text.partition("\n\nArgs:")
    return "\n\n".join(_wrapped(" ".join(part.split()), 0) for part in about.split("\n\n"))


def usage(name: str, options: Iterable[Argument]) -> str:
    """What follows the name of a command: its arguments, and the options that it needs."""
    if name in _USAGE:
        return _USAGE[name]
    words = []
    for option in options:
        if option.field_info.is_positional:
            words.append(option.name if option.required else f"[{option.name}]")
        elif option.required:
            words.append(f"{option.name} {_metavar(option)}")
    return " ".join(words)


def _family_in(arguments: Sequence[str]) -> str | None:
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in ("--model", "-m"):
            return value if equals else next(iter(arguments[i + 1 : i + 2]), None)
    return None


def _names(options: Sequence[Argument]) -> Collection[str]:
    return {name for option in options for name in option.names}


def _all_groups(named: Sequence[Argument]) -> dict[str, list[Argument]]:
    groups: dict[tuple[int, str], list[Argument]] = {}
    for option in named:
        group = option.parameter.group[0] if option.parameter.group else None  # type: ignore[index]
        title = getattr(group, "name", "Options").replace("Parameters", "Options")
        key = getattr(group, "sort_key", None)
        groups.setdefault((key if isinstance(key, int) else 0, title), []).append(option)
    return {title: group for (_, title), group in sorted(groups.items(), key=lambda i: i[0][0])}


def _essential_groups(
    name: str, named: Sequence[Argument], family: str | None
) -> dict[str, list[Argument]]:
    by_name = {n: option for option in named for n in option.names}
    groups = {
        title: [by_name[n] for n in names if n in by_name]
        for title, names in ESSENTIAL[name].items()
    }
    of_family = [
        option
        for title, group in reversed(_all_groups(named).items())
        if family in title.removeprefix(_FAMILY).split(", ") and title.startswith(_FAMILY)
        for option in group
    ]
    if of_family:
        groups["Model"] = [by_name["--model"]]
        groups[f"Options of {family}"] = of_family
    return groups


def _entry(option: Argument, family: str | None = None) -> str:
    """An option and its description, side by side; in the words of one family, if it has any."""
    names = sorted(option.names, key=lambda n: (n.startswith("--"), n))  # -m before --model
    names = [n for n in names if n not in option.negatives]
    head = "  " + " ".join([", ".join(names), *([m] if (m := _metavar(option)) else [])])
    if option.field_info.is_positional:
        head = f"  {option.name}"
    lines = _wrapped(_description(option, family), _COLUMN).lstrip()
    if len(head) > _COLUMN - 2:
        return f"{head}\n{' ' * _COLUMN}{lines}"
    return f"{head.ljust(_COLUMN)}{lines}"


def _description(option: Argument, family: str | None) -> str:
    from seriatim.cli.options import family_help

    own = None if family is None else family_help(family, option.name)
    if own is not None:
        return own
    text = " ".join((option.parameter.help or "").split())
    default = option.field_info.default
    shown = option.parameter.show_default
    nothing = (None, False, inspect.Parameter.empty)
    has_default = not any(default is one for one in nothing) and default not in ((), "")
    if "[default" in text or shown is False or not has_default:
        return text
    return f"{text} [default: {shown if isinstance(shown, str) else _plain(default)}]"


def _plain(value: Any) -> str:
    if value is True:
        return "on"
    return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def _metavar(option: Argument) -> str:
    hint = option.hint
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    parts = [part for part in get_args(hint) if part is not NoneType]
    if parts and NoneType in get_args(hint):
        hint = parts[0]
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple and Ellipsis not in get_args(hint):
        return " ".join(_METAVARS.get(part, "VALUE") for part in get_args(hint))
    if get_origin(hint) is not None and get_args(hint):
        return _METAVARS.get(get_args(hint)[0], "VALUE") + ".."
    return _METAVARS.get(hint, "VALUE")


def _wrapped(text: str, indent: int) -> str:
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    space = " " * indent
    return textwrap.fill(
        text,
        max(width, indent + 40),
        initial_indent=space,
        subsequent_indent=space,
        break_on_hyphens=False,
    )
