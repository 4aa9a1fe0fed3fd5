"""The command line: `seriatim COMMAND`. A command is imported when it is called.

Results go to stdout, for people or with --json for programs; progress and errors to stderr.
Exit codes: 0 done; 1 an internal error, or training that improved nothing; 2 the command, an
option, or the code of --classes; 3 the data; 4 the model folder; 5 the output path; 6 training; 7 a
broken law; 8 an extra that is not installed; 130 interrupted.
"""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cyclopts import App

# Before numpy and torch are imported. The threads of numpy's BLAS and torch's would wait for one
# another, and a product with one row is read by one thread as fast (see `core.products`). Torch's
# sleep after 10,000 turns of active waiting, not after libgomp's 300,000: while a step is prepared
# the waiting thread takes from the one that works, as two threads of a core share it.
THREAD_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"}
for _name, _value in THREAD_SETTINGS.items():
    os.environ.setdefault(_name, _value)

# In the order in which they are used.
COMMANDS = {
    "look": (
        "seriatim.cli.look:look",
        "Report what data is, what is unusual about it, and what to run next.",
    ),
    "fit": ("seriatim.cli.fit:fit", "Fit a model to data and save it."),
    "score": ("seriatim.cli.language:score", "Measure how well a model predicts data."),
    "generate": ("seriatim.cli.generate:generate", "Sample text from a model."),
    "next": (
        "seriatim.cli.language:next_symbols",
        "Show the most probable next symbols after a prompt.",
    ),
    "surprisal": (
        "seriatim.cli.surprisal:surprisal",
        "Show the surprisal of every symbol or word of a text, in bits.",
    ),
    "threshold": (
        "seriatim.cli.detect:threshold",
        "Choose on normal data the surprisal above which events are anomalies.",
    ),
    "detect": ("seriatim.cli.detect:detect", "Say which events and sequences are anomalies."),
    "forecast": (
        "seriatim.cli.forecast:forecast",
        "Predict the coming values of series, with bands, and draw them.",
    ),
    "backtest": (
        "seriatim.cli.backtest:backtest",
        "Compare models of series by what they would have predicted.",
    ),
    "impute": (
        "seriatim.cli.forecast:impute",
        "Fill the gaps of series, with bands.",
    ),
    "translate": ("seriatim.cli.translate:translate", "Translate a file line by line."),
    "evaluate": ("seriatim.cli.translate:evaluate", "Compare translations with their references."),
    "label": ("seriatim.cli.label:label", "Label a file line by line."),
    "info": (
        "seriatim.cli.language:info",
        "Show what a model folder holds and how the model was trained.",
    ),
    "check": ("seriatim.cli.language:check", "Check a model against the laws of the contract."),
    "compare": (
        "seriatim.cli.compare:compare",
        "Train models under one budget and say which is better, and how sure that is.",
    ),
    "report": (
        "seriatim.cli.report:report",
        "Write the page of a comparison, with how far back its models look.",
    ),
    "context": ("seriatim.cli.analyse:context", "Measure how far back a model looks on a text."),
    "robustness": (
        "seriatim.cli.analyse:robustness",
        "Measure what trimmed, missing and permuted symbols do to a model.",
    ),
    "inspect": (
        "seriatim.cli.inspect:inspect",
        "Show what happens inside a model while it reads a text.",
    ),
    "serve": (
        "seriatim.cli.serve:serve",
        "Serve models over HTTP: completions, scores, sessions, and a page.",
    ),
    "export": ("seriatim.cli.export:export", "Write a model in the format of another tool."),
    "import": (
        "seriatim.cli.import_model:import_model",
        "Read a model in the format of another tool.",
    ),
    "demo": ("seriatim.cli.demo:demo", "Train and compare six families on real text, in minutes."),
}


def run_and_exit() -> NoReturn:
    """Run the command of this process and end the process: what a shell calls.

    Of a short command most is torch: importing it, looking for garbage among the million objects
    that this makes (0.2 s), and freeing them one by one at the end (0.35 s). So garbage is only
    collected from `use_threads` on, when all is imported, and the system frees the memory.
    """
    gc.disable()
    try:
        code = main()
    except KeyboardInterrupt:  # while something was imported
        code = _say("interrupted", 130)
    if threading.active_count() > 1:
        sys.exit(code)  # which waits for the other threads
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # which reports it
    atexit._run_exitfuncs()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command in this process; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in ("help", "-h", "--help", "--help-all"):
        arguments = [*arguments[1:2], "--help"] if len(arguments) > 1 else []
    if not arguments:
        # Before the parser is imported, which takes longer than all the rest.
        return _print(_overview())
    if list(arguments) == ["--version"]:
        from seriatim._version import __version__

        return _print(__version__)
    if arguments[0] != "fit":
        return _run(arguments, _say)
    from seriatim.cli import launch

    launch.adopt_slurm()
    if "word" in arguments and not launch.is_worker():
        _prepare_to_read_words()
    if launch.is_worker():
        launch.work(lambda say: _run(arguments, say))
    try:
        return _run(arguments, _say)
    except launch.Relaunch as order:
        return launch.start(list(arguments), order.processes)


def _prepare_to_read_words() -> None:
    """Start the process that reads words, which takes as long as parsing the command."""
    from seriatim.core.apart import prepare

    prepare("seriatim.data.word_corpus", "seriatim.models.ngram.apart")


def _run(arguments: Sequence[str], say: Callable[[str, int], int]) -> int:
    """Run a command in this process, and end the progress that it shows, also if it fails."""
    from seriatim.train.callbacks.console import end_progress

    try:
        return _run_command(arguments, say)
    finally:
        end_progress()


def _run_command(arguments: Sequence[str], say: Callable[[str, int], int]) -> int:
    """Run a command in this process; `say` prints an error and returns the exit code."""
    from cyclopts import CycloptsError

    from seriatim.cli import classes, help, messages
    from seriatim.cli.output import replace_unencodable
    from seriatim.cli.verify import VerifyRequest, verify_fit
    from seriatim.errors import SeriatimError

    replace_unencodable()

    def refuse(message: str, code: int) -> int:
        return say(messages.clean_values(message, arguments), code)

    app = _parser()
    try:
        try:
            rest = classes.take_classes(arguments)
            if rest[0] in COMMANDS and help.asks_for_help(rest):
                summary = COMMANDS[rest[0]][1]
                return _print(help.command_help(app, rest[0], summary, rest[1:]))
            messages.check_options(app, rest)
            messages.check_empty(rest)
            messages.check_integers(app, rest)
            app(rest)
        except VerifyRequest:
            verify_fit(arguments[1:])
        sys.stdout.flush()  # here, where a closed pipe is no error
    except CycloptsError as error:
        return refuse(messages.parser_message(error, app, COMMANDS), 2)
    except SeriatimError as error:
        command = next((token for token in arguments if token in COMMANDS), "fit")
        message = messages.in_option_names(str(error), messages.option_names(app, command))
        return refuse(message + messages.swapped(arguments), error.exit_code)
    except KeyboardInterrupt:
        return say("interrupted", 130)
    except BrokenPipeError:
        return _end_silently()
    except SystemExit as error:  # of rich, which prints the help
        if isinstance(error.__context__, BrokenPipeError):
            return _end_silently()
        raise
    except Exception as error:
        if (fault := classes.own_fault(error)) is not None:
            return say(fault, 2)
        if isinstance(error, MemoryError):
            return say(_out_of_memory(arguments[0]), 1)
        if isinstance(error, OSError) and error.strerror is not None:
            return refuse(_system_error(error), 5)
        raise
    return 0


def _parser() -> "App":
    """The parser of all commands, whose functions are imported when they are asked for."""
    from cyclopts import App

    from seriatim._version import __version__

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
    return app


def _system_error(error: OSError) -> str:
    """What the operating system says of a file, or of stdout."""
    if error.filename is None:
        return f"the output cannot be written: {error.strerror}"
    return f"{str(error.filename)!r} cannot be read or written: {error.strerror}"


def _out_of_memory(command: str) -> str:
    """What to do about too little memory, in the options that a command has."""
    advice = {
        "fit": "lower --batch-size, --length or the sizes",
        "compare": "give a smaller --parameters, or fewer --models",
        "look": "lower --megabytes, the size of the sample",
    }
    return f"there is not enough memory: {advice.get(command, 'give less data at once')}"


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
    except OSError as error:  # a full disk; the buffer would be written again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _say(_system_error(error), 5)
    return 0


def _end_silently() -> int:
    """The reader of our output is gone: end silently."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _say(message: str, code: int) -> int:
    print(f"seriatim: {message}", file=sys.stderr)
    return code
