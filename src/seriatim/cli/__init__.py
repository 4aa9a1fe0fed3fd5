"""The command line: `seriatim COMMAND`. Commands are imported when they are called.

Results go to stdout, for people or with --json for programs; progress and errors to stderr.
Exit codes: 0 done; 1 an internal error; 2 the command or an option; 3 the data; 4 the
model folder; 5 the place to write; 6 training; 7 a broken law; 8 an extra that is not installed;
130 interrupted.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import CycloptsError

COMMANDS = {
    "look": ("seriatim.cli.look:look", "What data is, what is unusual about it, what to run next."),
    "fit": ("seriatim.cli.fit:fit", "Fit a model to data and save it."),
    "score": ("seriatim.cli.language:score", "How well a model predicts data."),
    "compare": (
        "seriatim.cli.compare:compare",
        "Models under one budget: which is better, how sure.",
    ),
    "report": (
        "seriatim.cli.report:report",
        "The page of a comparison, with how far back its models look.",
    ),
    "context": ("seriatim.cli.analyse:context", "How far back a model looks on a text."),
    "robustness": (
        "seriatim.cli.analyse:robustness",
        "What trimmed, missing and permuted elements do to a model.",
    ),
    "inspect": (
        "seriatim.cli.inspect:inspect",
        "What happens inside of a model that reads a text.",
    ),
    "translate": ("seriatim.cli.translate:translate", "Translate a file line by line."),
    "evaluate": ("seriatim.cli.translate:evaluate", "Compare translations with their references."),
    "label": ("seriatim.cli.label:label", "Label a file line by line."),
    "generate": ("seriatim.cli.language:generate", "Sample text from a model."),
    "next": (
        "seriatim.cli.language:next_symbols",
        "The most probable next symbols after a prompt.",
    ),
    "surprisal": (
        "seriatim.cli.language:surprisal",
        "The surprisal of every symbol of a text, in bits.",
    ),
    "export": ("seriatim.cli.export:export", "Write a model in the format of another tool."),
    "info": (
        "seriatim.cli.language:info",
        "What a model folder holds, and how the model came about.",
    ),
    "check": ("seriatim.cli.language:check", "Check a model against the laws of the contract."),
    "demo": ("seriatim.cli.demo:demo", "Six families on real text, compared, in minutes."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) in ([], ["-h"], ["--help"]):
        # Before the parser is imported, which takes longer than all the rest.
        return _print(_overview())
    from seriatim.cli import launch

    if arguments[0] != "fit":
        return _run(arguments, _say)
    launch.adopt_slurm()
    if launch.is_worker():
        launch.work(lambda say: _run(arguments, say))
    try:
        return _run(arguments, _say)
    except launch.Relaunch as order:
        return launch.start(list(arguments), order.processes)


def _run(arguments: Sequence[str], say: Callable[[str, int], int]) -> int:
    """Run a command in this process; `say` prints an error and returns the exit code."""
    from cyclopts import App, CycloptsError

    from seriatim._version import __version__
    from seriatim.cli.output import replace_unencodable
    from seriatim.cli.verify import VerifyRequest, verify_fit
    from seriatim.errors import SeriatimError

    replace_unencodable()
    app = App(
        name="seriatim",
        help="Every classic sequence model, from the Markov chain to the Transformer.",
        version=__version__,
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
        result_action="return_value",
    )
    for name, (place, summary) in COMMANDS.items():
        app.command(place, name=name, help=summary)
    try:
        try:
            app(arguments)
        except VerifyRequest:
            verify_fit(arguments[1:])
    except CycloptsError as error:
        return say(_command_error(error), 2)
    except SeriatimError as error:
        return say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return say("interrupted", 130)
    except BrokenPipeError:
        return _end_silently()
    except MemoryError:
        return say("there is not enough memory: lower --batch-size, --length or the sizes", 1)
    return 0


def _command_error(error: "CycloptsError") -> str:
    """The message of the parser, in the words of the command line."""
    message = " ".join(str(error).split())
    unused = getattr(error, "unused_tokens", None)
    if unused and error.command_chain:
        command = error.command_chain[-1]
        hint = "; give the targets with --target" if command == "evaluate" else ""
        return f"{command} does not take {' '.join(map(repr, unused))}{hint}"
    return message


def _overview() -> str:
    commands = "\n".join(f"  {name:13s} {summary}" for name, (_, summary) in COMMANDS.items())
    return (
        "seriatim: every classic sequence model, from the Markov chain to the Transformer.\n\n"
        f"Usage: seriatim COMMAND [OPTIONS]\n\n{commands}\n\n"
        "seriatim COMMAND --help shows what a command takes; seriatim --version, its version."
    )


def _print(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        return _end_silently()
    return 0


def _end_silently() -> int:
    """The reader of our output is gone: end silently."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _say(message: str, code: int) -> int:
    print(f"seriatim: {message}", file=sys.stderr)
    return code
