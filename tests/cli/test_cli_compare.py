"""`seriatim compare` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.cli.compare import parse_models
from seriatim.errors import ConfigError

TINY = ["--batch-size", "4", "--length", "32", "--threads", "1", "-q"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta"]
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text("\n".join(" ".join(rng.choice(words, 8)) for _ in range(3000)) + "\n")
    return path


def test_models_are_written_as_families_with_options_of_their_own() -> None:
    entrants = parse_models(
        "lstm,markov:order=4,smoothing=witten-bell,gru:hidden-size=32,learning_rate=0.01,"
        "symbols=bpe:300,gru"
    )
    assert list(entrants) == [
        "lstm",
        "markov",
        "gru:hidden-size=32,learning_rate=0.01,symbols=bpe:300",
        "gru",
    ]
    assert entrants["lstm"].config == st.LSTM()
    assert entrants["markov"].config == st.Markov(order=4, smoothing="witten-bell")
    sized = entrants["gru:hidden-size=32,learning_rate=0.01,symbols=bpe:300"]
    assert sized.config == st.GRU(hidden_size=32)
    assert (sized.symbols, dict(sized.training)) == ("bpe:300", {"learning_rate": "0.01"})


def test_a_preset_brings_its_options() -> None:
    entrant = parse_models("transformer:preset=classic,num_layers=2")["transformer"]
    assert entrant.config == st.Transformer.classic(num_layers=2)
    assert entrant.preset == "classic"


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ("lsmt", "no such model 'lsmt'; did you mean lstm"),
        ("hidden_size=3", "is an option without a model before it"),
        ("lstm:hidden_size", "'hidden_size' is not an option"),
        ("lstm:hidden_size=", "is not an option"),
        ("lstm:order=3", "order is not an option of lstm; choose from hidden_size"),
        ("lstm:hidden_size=x", "hidden_size = 'x'"),
        ("lstm,lstm", "lstm occurs twice"),
        ("lstm:minutes=3", "unknown option minutes; lstm takes"),
        ("", "no such model ''"),
    ],
)
def test_malformed_models_are_refused_with_the_syntax(models: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_models(models)


@pytest.mark.parametrize("names", ["ds,y", "YEAR,SUNSPOTS"])
def test_series_are_sent_to_backtest(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "y.csv"
    path.write_text(f"{names}\n" + "".join(f"{1900 + t},{t % 7}.5\n" for t in range(40)))
    assert main(["compare", str(path), *TINY]) == 2
    assert "seriatim backtest" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_two_statements_and_advice_are_printed(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c"
    models = "markov:order=3,lstm:hidden_size=8"
    code = main(["compare", str(text), "-m", models, "--steps", "3", "--out", str(out), *TINY])
    printed = capsys.readouterr().out
    assert code == 0
    assert "3 steps each" in printed.splitlines()[0]
    assert "bits per character" in printed and "operations" in printed
    assert "markov beats lstm on text like this" in printed
    assert "One seed cannot show that a family is better; use --seeds 3" in printed
    assert "The best mixture" in printed
    assert "Take markov" in printed
    assert {"plan.json", "compare.json", "runs", "models"} <= {p.name for p in out.iterdir()}
    assert main(["generate", str(out / "models" / "lstm"), "-n", "5"]) == 0


def test_json_is_the_whole_comparison_and_nothing_else_is_printed(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["compare", str(text), "-m", "markov,rnn:hidden_size=4", "--steps", "2", "--json", *TINY]
    )
    record = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {"format", "budget", "models", "texts", "families", "mixture", "recommendation"} <= set(
        record
    )
    assert [m["name"] for m in record["models"]] == ["markov", "rnn"]


def test_a_model_that_was_not_run_is_in_the_table_with_the_reason(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(text), "-m", "markov,lstm", "--tokens", "3", *TINY]) == 0
    printed = capsys.readouterr().out
    assert "not run" in printed
    assert "lstm was not run: the budget of 3 tokens each holds 3 symbols" in printed


def test_a_comparison_without_a_trainable_model_says_so(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(text), "-m", "rnn,lstm", "--tokens", "3", *TINY]) == 0
    assert "No model was trained: raise the budget." in capsys.readouterr().out


def test_wrong_commands_end_with_a_sentence_and_an_exit_code(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(text), "--minutes", "1", "--tokens", "5", *TINY]) == 2
    assert "--minutes and --tokens are two budgets" in capsys.readouterr().err
    assert main(["compare", str(text), "--resume", *TINY]) == 2
    assert main(["compare", str(tmp_path / "none.txt"), *TINY]) == 3
    (tmp_path / "short.txt").write_text("ab")
    assert main(["compare", str(tmp_path / "short.txt"), *TINY]) == 3
    assert "too few to split" in capsys.readouterr().err
    (tmp_path / "short.txt").write_text("a short text\n")
    assert main(["compare", str(tmp_path / "short.txt"), *TINY]) == 3
    assert "too few to compare models by" in capsys.readouterr().err
    assert main(["compare", str(text), "-m", "markov", "--out", str(text.parent), *TINY]) == 5


@pytest.mark.slow
def test_ctrl_c_saves_what_is_finished_and_says_how_to_resume(text: Path, tmp_path: Path) -> None:
    """In a process of its own, interrupted while the second model trains."""
    out = tmp_path / "c"
    arguments = ["compare", str(text), "-m", "markov,lstm:hidden_size=8", "--steps", "100000"]
    arguments += ["--out", str(out), "--batch-size", "2", "--length", "8", "--threads", "1"]
    code = (
        "import os, signal, sys\n"
        "from seriatim.cli import main, compare\n"
        "progress_of = compare.ComparisonReporter.progress\n"
        "def progress(self, name, p):\n"
        "    if p.step >= 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "    progress_of(self, name, p)\n"
        "compare.ComparisonReporter.progress = progress\n"
        f"sys.exit(main({arguments!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 130, done.stderr
    assert "continue with the same command and --resume" in done.stderr
    assert (out / "runs" / "markov.0.json").is_file()
    assert (out / "models" / "lstm" / "checkpoints").is_dir()


def test_the_help_does_not_need_torch() -> None:
    code = (
        "import sys, seriatim.cli; seriatim.cli.main(['compare', '--help']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 0
