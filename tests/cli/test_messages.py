"""What the command line says when something is wrong: our own sentence, in option names."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import seriatim as st
from seriatim.analysis.robustness.perturbations import list_strengths
from seriatim.cli import main, messages
from seriatim.errors import ConfigError, DataError
from seriatim.models.build import build_model
from seriatim.models.options.registry import configure

TEXT = "the cat sat on the mat\nthe dog sat on the cat\na dog and a cat\n" * 30
FIT = "--steps 2 --batch-size 4 --length 8 --quiet"
LEAKS = ("Command ", "parameter", "Unused Tokens", "validation error", "pydantic", "Traceback")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text.txt, pairs.tsv and a small language model, lm."""
    folder = tmp_path_factory.mktemp("messages")
    (folder / "text.txt").write_text(TEXT)
    (folder / "binary.txt").write_bytes(random.Random(0).randbytes(20_000))
    (folder / "pairs.tsv").write_text("source\ttarget\n" + "ab\tba\n" * 20)
    (folder / "empty.txt").write_text("")
    (folder / "header.csv").write_text("a,b\n")
    os.environ["SERIATIM_CACHE"] = str(folder / "cache")
    lines = f"fit {folder}/text.txt --out {folder}/lines --model markov --sequences line --quiet"
    assert main(lines.split()) == 0
    command = f"fit {folder}/text.txt --out {folder}/lm --hidden-size 8 {FIT}"
    assert main(command.split()) == 0
    return folder


@pytest.mark.parametrize(
    ("command", "message", "code"),
    [
        # Commands, options and values that do not exist.
        ("fti TEXT", "unknown command fti; did you mean fit?", 2),
        ("--hepl", "unknown option --hepl; did you mean --help?", 2),
        ("fit TEXT --hiden-size 3", "unknown option --hiden-size; did you mean --hidden-size?", 2),
        ("generate LM --lenght 5", "unknown option --lenght; did you mean --length?", 2),
        (
            "generate LM --xyz",
            "unknown option --xyz; seriatim generate --help lists the options",
            2,
        ),
        ("fit TEXT OUT --model lstn", "no such model 'lstn'; did you mean lstm?", 2),
        (
            "export LM --to arap OUT",
            "--to arap: choose arpa, ctranslate2, huggingface, onnx or sherpa-onnx; "
            "did you mean arpa?",
            2,
        ),
        ("fit TEXT OUT --hidden-size x", "--hidden-size x: give an integer", 2),
        ("fit TEXT OUT --hidden-size 8.5", "--hidden-size 8.5: give an integer", 2),
        ("generate LM -n=1.5", "-n 1.5: give an integer", 2),
        ("generate LM --temperature hot", "--temperature hot: give a number", 2),
        # The names that other tools have, and names that were shortened.
        ("train TEXT", "unknown command train; did you mean fit?", 2),
        ("predict LM", "unknown command predict; did you mean next, label or translate?", 2),
        ("TEXT", "a command comes first: seriatim fit ", 2),
        ("fit TEXT OUT --model gpt", "no such model 'gpt'; did you mean transformer?", 2),
        ("fit TEXT OUT --lr 0.1", "unknown option --lr; did you mean --learning-rate?", 2),
        ("generate LM --max-tokens 5", "unknown option --max-tokens; did you mean --length?", 2),
        ("generate LM --temp 2", "unknown option --temp; did you mean --temperature?", 2),
        ("translate LM --n-best 2", "unknown option --n-best; did you mean --num-best?", 2),
        ("translate LM --with LM", "unknown option --with; did you mean --ensemble?", 2),
        ("check LM --budget 5", "unknown option --budget; did you mean --seconds?", 2),
        (
            "fit --train TEXT OUT",
            "unknown option --train; give it by its place: seriatim fit DATA --out FOLDER",
            2,
        ),
        ("fit TEXT OUT --optimizer adam2", "choose adamw or sgd; did you mean adamw?", 2),
        ("fit TEXT OUT --task translate", "label or forecast; did you mean translation?", 2),
        # What is missing, and what is too much.
        ("score TEXT LM", "the model comes first: seriatim score LM ", 4),
        ("score LM ''", "score: an empty text was given in place of a file or folder", 2),
        ("fit TEXT OUT --model ''", "--model '': give a value that is not empty", 2),
        ("generate LM --samples 0", "--samples 0: give 1 or more", 2),
        ("generate LM the --stop ''", "stop: an empty text stops before anything", 2),
        ("fit TEXT", "fit needs --out FOLDER: where to save the model", 2),
        ("fit TEXT --out", "--out needs a value", 2),
        ("fit TEXT OUT --split 0.8 0.2", "--split needs 3 values", 2),
        ("score LM", "score needs DATA: seriatim score MODEL DATA", 2),
        (
            "export LM OUT",
            "export needs --to: seriatim export MODEL --to "
            "arpa|ctranslate2|huggingface|onnx|sherpa-onnx --out PATH",
            2,
        ),
        ("evaluate LM a b", "evaluate takes one file; give the targets with --target", 2),
        (
            "next LM the cat",
            "next takes one text; put a text of several words in quotes",
            2,
        ),
        ("info LM LM", "info does not take 'LM'", 2),
        ("fit TEXT OUT --steps 5 --steps 6", "--steps is given twice: give it once", 2),
        (
            "report LM --models lstm --limit 5",
            "--models and --limit need a text: seriatim report FOLDER TEXT",
            2,
        ),
        ("compare TEXT --resume", "--resume and --overwrite need --out FOLDER: where", 2),
        # Options of another model or task, and values out of range.
        (
            "fit TEXT OUT --model transformer --hidden-size 3",
            "--hidden-size is not an option of transformer; use --model-size",
            2,
        ),
        (
            "fit TEXT OUT --order 3",
            "--order is not an option of lstm; choose from --hidden-size, --num-layers, ",
            2,
        ),
        ("fit TEXT OUT --model markov --min-count -1", "--min-count -1: give 1 or more", 2),
        ("fit TEXT OUT --max-symbols 1", "--max-symbols 1: give 3 or more", 2),
        ("fit TEXT OUT --hidden-size 0", "--hidden-size 0: give 1 or more", 2),
        ("fit TEXT OUT --learning-rate -1", "--learning-rate -1.0: give more than 0", 2),
        ("fit TEXT OUT --steps 5 --epochs 1", "--steps and --epochs are two budgets: give one", 2),
        (
            "fit TEXT OUT --sequence-column s",
            "--sequence-column 's' applies to tables, and text has no columns: leave it out",
            2,
        ),
        (
            "score LM PAIRS --sequence-column source --format tsv",
            "--sequence-column needs the column of the events: give --column NAME (or --field",
            2,
        ),
        (
            "score LM PAIRS --order-column source --column target",
            "--order-column sorts the events of sequences: give --sequence-column as well",
            2,
        ),
        ("fit TEXT OUT --order-column t", "--order-column 't' applies to tables", 2),
        (
            "compare TEXT --models lstm:learning_rat=3",
            "unknown option learning_rat; did you mean --learning-rate?",
            2,
        ),
        ("generate LM --top-k 0", "--top-k 0 keeps no symbol: give 1 or more", 2),
        ("generate LM -n -5", "--length -5 is negative: give the number of symbols", 2),
        ("generate LM -n 0", "--length 0 samples nothing: give 1 or more", 2),
        ("generate LM --beam 0", "--beam 0: give 1 (greedy search) or more", 2),
        ("generate LM --num-best 2", "--num-best needs --beam N; for several samples give", 2),
        ("next LM --top 0", "--top 0: give 1 or more", 2),
        ("check LM --seconds -1", "--seconds -1: give 0 or more", 2),
        ("inspect LM --text the --start -3", "--start -3: give 0 or more", 2),
        (
            "inspect LM --text the --only 7",
            "nothing is recorded under layers.7, *.layers.7: leave",
            2,
        ),
        # Data and models.
        ("surprisal LM --text ''", "--text is empty: give a text with --text, or --file", 2),
        ("surprisal LM --file EMPTY", "empty.txt is empty: give a text with --text, or", 2),
        ("surprisal LM --text a --file b.txt", "give --text or --file", 2),
        ("surprisal LM the", "'the' is not a model folder: give a text with --text TEXT", 2),
        ("surprisal LM --by words --text a", "--by words: choose symbol or word", 2),
        ("detect LINES TEXT", "the model has no threshold yet: choose one on normal data", 2),
        ("detect LM TEXT", "the model reads its text as one stream, so there are no sequences", 2),
        ("detect LM TEXT", "fit it with --sequences line or document", 2),
        ("threshold LM FILE --false-alarms 2", "--false-alarms 2: give a rate between 0 and 1", 2),
        ("detect LM FILE --csv --json", "--csv and --json were given: give one of them", 2),
        ("fit BIN OUT", "is not text but binary: ", 3),
        ("score LM BIN", "is not text but binary: ", 3),
        ("compare PAIRS", "holds pairs of source and target, and compare trains language", 2),
        ("info LMX", "did you mean lm?", 4),
        ("fit LM OUT", "LM is a model folder: give a file or a folder with data", 3),
        ("score LM LM", "LM is a model folder: give a file or a folder with data", 3),
        ("look LM", "LM is a model folder: give a file or a folder with data", 3),
        ("fit FOLDER OUT", "which is no data: move that elsewhere, or name a file", 3),
        ("fit PAIRS --task translation --out TEXT/x", "is a file: choose another", 5),
        ("label LM FOLDER", "LM is a language model", 4),
        ("score LINES HEADER --column a", "has a header and no rows: give a file with text", 3),
        ("surprisal LM --file none.txt", "there is no file 'none.txt'", 3),
        ("translate LM TEXT", "is a language model; translate needs a translator", 4),
        (
            "translate LM TEXT --minimum-bayes-risk",
            "--minimum-bayes-risk ranks samples: give --sample too",
            2,
        ),
        ("export LM OUT --to ctranslate2", "write it with --to", 2),
        ("fit PAIRS OUT --task translation --model markov", "markov", 2),
    ],
)
def test_a_mistake_gets_one_sentence_in_option_names(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, message: str, code: int
) -> None:
    stands_for = {
        "TEXT": [str(folder / "text.txt")],
        "BIN": [str(folder / "binary.txt")],
        "LMX": [str(folder / "lmx")],
        "PAIRS": [str(folder / "pairs.tsv")],
        "LM": [str(folder / "lm")],
        "LINES": [str(folder / "lines")],
        "FOLDER": [str(folder)],
        "EMPTY": [str(folder / "empty.txt")],
        "HEADER": [str(folder / "header.csv")],
        "TEXT/x": [str(folder / "text.txt" / "x")],
        "OUT": ["--out", str(folder / "new")],
        "''": [""],
    }
    arguments = [part for word in command.split() for part in stands_for.get(word, [word])]
    capsys.readouterr()
    assert main(arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    last = output.err.splitlines()[-1].removeprefix("seriatim: ").replace(str(folder / "lm"), "LM")
    assert message in last
    assert not any(leak in output.err for leak in LEAKS)
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.LSTM(hiden_size=8), "unknown option hiden_size; did you mean hidden_size?"),
        (lambda: st.LSTM(hidden_size=0), "hidden_size = 0: give 1 or more"),
        (
            lambda: configure("transformer", {"hidden_size": 8}),
            "hidden_size is not an option of transformer; use model_size",
        ),
        (
            lambda: st.open_source("ROMEO: some text"),
            "there is no file 'ROMEO: some text'; to score a text itself, pass a list: [text]",
        ),
        (lambda: build_model(st.LSTM(), 5, 0, num_source_symbols=5), "lstm takes no source"),
        (lambda: list_strengths({"x": [0.1]}, 1), "unknown perturbation 'x': choose one of "),
    ],
)
def test_messages_from_python_keep_the_names_of_parameters(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises((ConfigError, DataError)) as error:
        call()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("hidden_size = 0: give 1 or more", "--hidden-size 0: give 1 or more"),
        ("lower learning_rate, set clip", "lower --learning-rate, set clip"),
        ("order_column = 't' applies to tables", "--order-column 't' applies to tables"),
        ("order = 7: give 6 or less", "--order 7: give 6 or less"),
        ("max_symbols is 1: give 3 or more", "--max-symbols 1: give 3 or more"),
        ("there is no file 'hidden_size'", "there is no file 'hidden_size'"),
        ("data/hidden_size.txt is empty", "data/hidden_size.txt is empty"),
        ("the order of the data has changed", "the order of the data has changed"),
        ("order is not an option of rnn; use k", "--order is not an option of rnn; use k"),
    ],
)
def test_only_names_of_options_are_replaced(message: str, expected: str) -> None:
    options = ("--hidden-size", "--learning-rate", "--clip", "--order", "--order-column")
    assert messages.in_option_names(message, (*options, "--max-symbols")) == expected


def test_no_message_in_the_package_has_the_wording_that_stopped_readers() -> None:
    """Phrases of earlier versions that readers did not understand."""
    phrases = (
        "answers to no",
        "is no option of",
        "fell to training",
        "takes no harm",
        "at its origin",
        "stand only once",
        "What to heed",
        "turned round",
        "turn it round",
        "as if nothing stood",
        "this is a lstm",
    )
    package = Path(st.__file__).parent
    for path in sorted(package.rglob("*.py")):
        content = path.read_text("utf-8")
        assert not [phrase for phrase in phrases if phrase in content], path


def test_what_is_no_error_is_said_in_clear_words(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.txt").write_bytes(b"caf\xe9 and text\n" * 3 + "café\n".encode() * 90)
    said = {
        ("info", str(folder / "lm")): "state per sequence",
        ("inspect", str(folder / "lm"), "--text", "the cat sat on the mat", "--start", "3"): (
            "read without the text before them; choose another part with --start and --length"
        ),
        ("look", str(tmp_path / "broken.txt")): "Fix it at the source",
    }
    for arguments, sentence in said.items():
        assert main(list(arguments)) == 0
        assert sentence in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_an_output_that_is_full_gets_a_sentence_and_no_traceback(folder: Path) -> None:
    for arguments in (["--help"], ["fit", "--help"], ["info", str(folder / "lm"), "--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "seriatim", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 5
        assert done.stderr == "seriatim: the output cannot be written: No space left on device\n"


def test_one_of_a_thing_is_written_as_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "three.txt").write_text("Fir")
    fit = ["fit", str(tmp_path / "three.txt"), "--steps", "1", "--hidden-size", "8"]
    assert main([*fit, "--out", str(tmp_path / "m")]) in (0, 1)
    output = capsys.readouterr()
    said = output.out + output.err
    assert "the stream has 1 symbol, too few" in said and "1 step in about" in said
    assert not re.search(r"(?<![\d,.])1 (symbols|characters|steps)\b", said)
    assert "none perplexity" not in said


def test_messages_about_series_name_options_as_they_are_typed() -> None:
    options = {"--target", "--target-column", "--freq", "--known", "--time-column"}
    for given, typed in {
        "freq 'x' is not known": "--freq 'x' is not known",
        "name it, as target='y'": "name it, as --target-column 'y'",
        "round the times, or give another step, as freq='h'": (
            "round the times, or give another step, as --freq 'h'"
        ),
        "which are known ahead, as known='price'": "which are known ahead, as --known 'price'",
    }.items():
        assert messages.in_option_names(given, options) == typed
