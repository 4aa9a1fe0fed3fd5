"""Errors in the words of the command line: `--hidden-size 0: give 1 or more`.

The parser's errors get sentences of our own, with the nearest name; errors from Python, which name
parameters (`hidden_size = 0`), name the options of the command instead. Knows cyclopts and the form
of messages; no command but those whose arguments are often mistaken.
"""

import os
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

from seriatim.cli.help import ESSENTIAL, usage
from seriatim.core.validation import FORMER_NAMES, did_you_mean
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
# What is given by its place, and not by a name.
_NAMED_DATA = {
    *("--data", "--train", "--train-file", "--input", "--file", "--text", "--prompt", "--model"),
    *("--model-dir", "--model-path", "--folder", "--training-data", "--corpus", "--path"),
}
# Commands under the names that other tools have for them.
_COMMANDS = {
    **dict.fromkeys(("train", "learn", "build", "finetune", "fine-tune", "lmplz"), "fit"),
    **dict.fromkeys(("predict", "infer"), "next, label or translate"),
    **dict.fromkeys(("test", "eval", "perplexity", "ppl", "query"), "score"),
    **dict.fromkeys(("sample", "gen", "complete", "write"), "generate"),
    **dict.fromkeys(("tag", "classify"), "label"),
    **dict.fromkeys(("decode",), "translate"),
    **dict.fromkeys(("describe", "show", "summary", "stats"), "info or look"),
    **dict.fromkeys(("benchmark", "bench", "tune"), "compare"),
    **dict.fromkeys(("analyse", "analyze", "visualize", "plot", "explain"), "inspect or context"),
    **dict.fromkeys(("version",), "--version"),
    **dict.fromkeys(("convert", "save"), "export"),
    **dict.fromkeys(("anomaly", "anomalies", "outliers"), "detect"),
}
_TEXT_COMMANDS = ("generate", "next")  # whose second argument is a text
_MAY_BE_EMPTY = ("--stop", "--target", "--text")
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
        return unknown_option(error.token.keyword or error.token.value, command, options)
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
    if name in _COMMANDS:
        suggestion = f"; did you mean {_COMMANDS[name]}?"
    elif "." in name or "/" in name:
        suggestion = f"; a command comes first: seriatim fit {name} --out FOLDER"
    return f"unknown command {name}{suggestion}"


def unknown_option(token: str, command: str, options: ArgumentCollection) -> str:
    """What to say of an option that a command does not have."""
    name = token.partition("=")[0]
    names = [name for option in options for name in option.names if name.startswith("--")]
    names.append("--classes")  # taken off before, see `classes`
    suggestion = did_you_mean(name, names)
    meant = FORMER_NAMES.get(name.lstrip("-").replace("-", "_"), ())
    known = [option for n in meant if (option := "--" + n.replace("_", "-")) in names]
    if known:
        suggestion = f"; did you mean {' and '.join(known[:2])}?"
    elif not suggestion and name in _NAMED_DATA:
        suggestion = f"; give it by its place: seriatim {command} {usage(command, options)}"
    elif not suggestion and len(begun := _begun(name, names)) == 1:
        suggestion = f"; did you mean {begun[0]}?"
    elif not suggestion:
        suggestion = f"; seriatim {command} {_help_of(command)} lists the options"
    return f"unknown option {name}{suggestion}"


def _begun(name: str, names: Collection[str]) -> list[str]:
    """The options that begin as a shortened one does."""
    return [n for n in names if n.startswith(name)] if len(name) > 3 else []


def _help_of(command: str) -> str:
    return "--help-all" if command in ESSENTIAL else "--help"


def _missing(
    error: MissingArgumentError, argument: Argument, command: str, options: ArgumentCollection
) -> str:
    count, _ = argument.token_count()
    name = error.keyword or argument.name
    if error.keyword is not None or argument.tokens:
        return f"{name} needs {'a value' if count == 1 else f'{count} values'}"
    return f"{command} needs {name}: seriatim {command} {usage(command, options)}"


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


def check_options(app: App, arguments: Sequence[str]) -> None:
    """Refuse unknown options, which would be taken for the file that may begin with a hyphen.

    Raises:
        ConfigError: if there is one.
    """
    command, *rest = arguments
    if command.startswith("-") or command not in app:
        return
    options = app[command].assemble_argument_collection()
    takes_value = {n: o.hint is not bool for o in options for n in o.names}
    for before, token in zip(arguments, rest, strict=False):
        if token == "--":
            return
        name = token.partition("=")[0]
        is_value = takes_value.get(before, False)
        if token.startswith("--") and name.replace("_", "-") not in takes_value and not is_value:
            raise ConfigError(unknown_option(token, command, options))


def check_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty value where a file, a folder or a name is expected.

    Raises:
        ConfigError: if there is one.
    """
    command, *rest = arguments
    for i, value in enumerate(rest):
        before = rest[i - 1] if i else ""
        if value.startswith("--") and value.find("=") == len(value) - 1:
            raise ConfigError(f"{value[:-1]} needs a value")
        if value or before in _MAY_BE_EMPTY:
            continue
        if before.startswith("-") and before not in ("-", "--"):
            raise ConfigError(f"{before} '': give a value that is not empty")
        if i == 0 or command not in _TEXT_COMMANDS:
            raise ConfigError(f"{command}: an empty text was given in place of a file or folder")


def swapped(arguments: Sequence[str]) -> str:
    """The end of a message where a model folder was given after the data; otherwise nothing."""
    names = [a for a in arguments[1:3] if not a.startswith("-")]
    if (
        len(names) == 2
        and os.path.isfile(names[0])
        and os.path.isfile(os.path.join(names[1], "config.json"))
    ):
        return f"; the model comes first: seriatim {arguments[0]} {names[1]} {names[0]}"
    return ""


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
_BEFORE_QUOTE = re.compile(r"^(\w+) (?=')")  # freq 'x' is not known
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

    # What Python calls target is --target-column where --target is a file.
    assigned = dict(names)
    if "target_column" in names:
        assigned["target"] = names["target_column"]

    def before_value(match: re.Match[str]) -> str:
        return f"{assigned[match[1]]} " if match[1] in assigned else match[0]

    message = _ASSIGNED.sub(before_value, message)
    message = _BEFORE_QUOTE.sub(before_value, message)
    message = _WITH_NUMBER.sub(before_value, message)
    message = _SUBJECTS.sub(several, message)
    if re.search(r"\boption\b", message):
        message = _LISTED.sub(several, message)
    return _WITH_UNDERSCORE.sub(one, message)


def option_names(app: App, command: str) -> set[str]:
    """The options of a command, such as --hidden-size."""
    options = app[command].assemble_argument_collection()
    return {name for option in options for name in option.names if name.startswith("--")}
