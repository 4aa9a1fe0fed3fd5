"""Errors in the words of the command line: `--hidden-size 0: give 1 or more`.

The parser's errors get sentences of our own, with the nearest name; errors from Python, which name
parameters (`hidden_size = 0`), name the options of the command instead. Knows cyclopts and the form
of messages; no command but those whose arguments are often mistaken.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from cyclopts import (
    App,
    Argument,
    ArgumentCollection,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
)

from seriatim.core.validation import did_you_mean
from seriatim.errors import ConfigError

# What to do instead of giving a command one argument more than it takes.
_TARGET = "takes one file; give the targets with --target"
_QUOTES = "takes one text; put a text of several words in quotes"
_SURPLUS = {
    "fit": "takes one file or folder; give other parts with --valid and --test",
    "compare": "takes one file or folder; give other parts with --valid and --test",
    "look": _TARGET,
    "score": _TARGET,
    "robustness": _TARGET,
    "evaluate": _TARGET,
    "generate": _QUOTES,
    "next": _QUOTES,
    "inspect": "takes one file; give a text itself with --text",
}
_FRACTION = re.compile(r"[-+]?\d*\.\d+")
_TYPES = {int: "an integer", float: "a number"}

_LONGEST_VALUE = 400  # characters of a value in a message; longer ones are no paths


# ---- the parser ---------------------------------------------------------------------------------


def parser_message(error: CycloptsError, app: App, commands: Collection[str]) -> str:
    """What is wrong with a command line, and what to type instead."""
    command = " ".join(error.command_chain or ())
    if isinstance(error, UnknownCommandError) or not command:
        return _unknown_command((error.unused_tokens or [""])[0], commands)
    options = app[command].assemble_argument_collection()
    if isinstance(error, UnknownOptionError):
        return _unknown_option(error, command, options)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return _missing(error, error.argument, command, options)
    if isinstance(error, CoercionError) and error.argument is not None:
        return _not_converted(error, error.argument)
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given twice: give it once"
    if error.unused_tokens:
        surplus = f"does not take {' '.join(map(repr, error.unused_tokens))}"
        return f"{command} {_SURPLUS.get(command, surplus)}"
    return " ".join(str(error).split())


def clean_values(message: str, arguments: Sequence[str]) -> str:
    """A message in which values of the command line are cut off and have no control characters."""
    for value in arguments:
        shown = value if len(value) <= _LONGEST_VALUE else f"{value[:60]}..."
        shown = shown if shown.isprintable() else repr(shown)[1:-1]
        if shown != value:
            message = message.replace(value, shown)
    return message


def _unknown_command(name: str, commands: Collection[str]) -> str:
    if name.startswith("-"):
        suggestion = did_you_mean(name, ("--help", "--version"))
        return f"unknown option {name}{suggestion or '; write seriatim COMMAND [OPTIONS]'}"
    # Short names: fti and fit have two letters of three in common.
    suggestion = did_you_mean(name, commands, 0.6) or "; choose from " + ", ".join(commands)
    return f"unknown command {name}{suggestion}"


def _unknown_option(error: UnknownOptionError, command: str, options: ArgumentCollection) -> str:
    name = (error.token.keyword or error.token.value).partition("=")[0]
    names = [name for option in options for name in option.names if name.startswith("--")]
    suggestion = did_you_mean(name, names) or f"; seriatim {command} --help lists the options"
    return f"unknown option {name}{suggestion}"


def _missing(
    error: MissingArgumentError, argument: Argument, command: str, options: ArgumentCollection
) -> str:
    count, _ = argument.token_count()
    name = error.keyword or argument.name
    if error.keyword is not None or argument.tokens:
        return f"{name} needs {'a value' if count == 1 else f'{count} values'}"
    required = [option for option in options if option.required]
    words = [o.name if o.field_info.is_positional else f"{o.name} {_label(o)}" for o in required]
    return f"{command} needs {name}: seriatim {' '.join([command, *words])}"


def _label(option: Argument) -> str:
    """What stands for the value of an option in a usage line."""
    choices = _choices(option.hint)
    return "|".join(choices) if choices else option.name.removeprefix("--").upper()


def _not_converted(error: CoercionError, argument: Argument) -> str:
    token = error.token or (argument.tokens[0] if argument.tokens else None)
    name = argument.name if token is None or token.keyword is None else token.keyword
    value = "" if token is None else f" {token.value}"
    choices = _choices(argument.hint)
    if choices:
        suggestion = did_you_mean(value.strip(), choices)
        return f"{name}{value}: choose {' or '.join(_listed(choices))}{suggestion}"
    kind = error.target_type
    return f"{name}{value}: give {_TYPES.get(kind, 'another value') if kind else 'another value'}"


def _choices(hint: Any) -> list[str]:
    literals = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
    return [str(value) for literal in literals for value in get_args(literal)]


def _listed(choices: list[str]) -> Iterator[str]:
    """The two sides of the `or`: all but the last choice, and the last."""
    if len(choices) > 1:
        yield ", ".join(choices[:-1])
    yield choices[-1]


def check_integers(app: App, arguments: Sequence[str]) -> None:
    """Refuse fractions for options that take integers, which the parser would round.

    Raises:
        ConfigError: if there is one.
    """
    values = [token.rpartition("=")[2] for token in arguments]
    if not any(map(_FRACTION.fullmatch, values)) or arguments[0] not in app:
        return
    options = app[arguments[0]].assemble_argument_collection()
    integers = {n for o in options if int in (o.hint, *get_args(o.hint)) for n in o.names}
    for token, after in zip(arguments, (*arguments[1:], ""), strict=True):
        name, equals, value = token.partition("=")
        value = value if equals else after
        if name in integers and _FRACTION.fullmatch(value) and not float(value).is_integer():
            raise ConfigError(f"{name} {value}: give an integer")


# ---- errors from Python -------------------------------------------------------------------------


# Where a word is the name of a parameter, in the forms that messages have.
_ASSIGNED = re.compile(r"(?<![\w.'/-])(\w+) ?= ?(?=\S)")  # hidden_size = 0
_WITH_NUMBER = re.compile(r"^(\w+) (?:is )?(?=-?\d)")  # length -5 is negative
_SUBJECTS = re.compile(r"^()(\w+(?:, \w+)*(?: and \w+)?)(?= (?:are|is|cannot|needs?) )")
_LISTED = re.compile(  # did you mean order? choose from order, k
    r"((?:unknown option|choose from|did you mean|use|takes) )(\w+(?:(?:, | and )\w+)*)"
)
_WITH_UNDERSCORE = re.compile(r"(?<![\w.'/-])[a-z]+(?:_[a-z]+)+(?![\w'/.=-]\w)")


def in_option_names(message: str, options: Collection[str]) -> str:
    """A message with the options of a command in place of the parameters of functions.

    Names with an underscore are found anywhere; others, which may be words of a sentence, only
    where they are written as names.

    Args:
        message: the message of an error.
        options: the options of the command, such as --hidden-size.
    """
    names = {option[2:].replace("-", "_"): option for option in options if option.startswith("--")}

    def one(match: re.Match[str]) -> str:
        return names.get(match[0], match[0])

    def several(match: re.Match[str]) -> str:
        return match[1] + re.sub(r"\w+", one, match[2])

    def before_value(match: re.Match[str]) -> str:
        return f"{names[match[1]]} " if match[1] in names else match[0]

    message = _ASSIGNED.sub(before_value, message)
    message = _WITH_NUMBER.sub(before_value, message)
    message = _SUBJECTS.sub(several, message)
    if re.search(r"\boption\b", message):
        message = _LISTED.sub(several, message)
    return _WITH_UNDERSCORE.sub(one, message)


def option_names(app: App, command: str) -> set[str]:
    """The options of a command, such as --hidden-size."""
    options = app[command].assemble_argument_collection()
    return {name for option in options for name in option.names if name.startswith("--")}
