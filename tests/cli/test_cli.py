"""The command line as a newcomer uses it; mistakes are refused in one clear sentence."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seriatim.cli import COMMANDS, help, main

TEXT = "the cat sat on the mat\nthe dog sat on the cat\na dog and a cat\n" * 30
_MAIN = "import sys, seriatim.cli; sys.exit(seriatim.cli.main(sys.argv[1:]))"
FIT = ["--hidden-size", "8", "--steps", "3", "--batch-size", "4", "--length", "8", "--quiet"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, with the training text beside it."""
    place = tmp_path_factory.mktemp("cli")
    (place / "text.txt").write_text(TEXT)
    os.environ["SERIATIM_CACHE"] = str(place / "cache")
    assert main(["fit", str(place / "text.txt"), "--out", str(place / "model"), *FIT]) == 0
    return place / "model"


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    out = capsys.readouterr().out.strip()
    assert "\n" not in out, "one JSON value, nothing else"
    return json.loads(out)


def test_fit_writes_a_model_and_prints_the_command_to_run_next(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = model.parent / "text.txt"
    out = tmp_path / "new" / "model"
    assert main(["fit", str(text), "--model", "gru", "--out", str(out), *FIT]) == 0
    output = capsys.readouterr().out
    assert "bits per character" in output
    assert f"seriatim generate {out}" in output
    assert {p.name for p in out.iterdir()} - {"loss.png"} == {
        "config.json",
        "symbols.json",
        "weights.safetensors",
        "training.json",
        "log.jsonl",
    }


def test_every_step_is_logged_when_asked_for(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fit = ["fit", str(model.parent / "text.txt"), "--out", str(tmp_path / "m"), *FIT, "--overwrite"]
    assert main([*fit, "--log-every", "1"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(line["train_nats"] > 0 and line["learning_rate"] > 0 for line in steps)
    capsys.readouterr()
    assert main([*fit, "--log-every", "0"]) == 2
    assert "--log-every 0: give 1 or more" in capsys.readouterr().err


def test_help_lists_every_command_and_each_has_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        output = capsys.readouterr().out
        assert all(f"  {name} " in output for name in COMMANDS)
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert "Usage: seriatim" in capsys.readouterr().out
    assert main(["fit", "--help-all"]) == 0
    output = capsys.readouterr().out
    for option in ("--hidden-size", "--order", "--window", "--context", "--minutes", "--clip"):
        assert option in output


def test_the_help_of_fit_shows_what_people_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    output = capsys.readouterr().out
    options = [line for line in output.splitlines() if line.startswith("  -")]
    assert 10 <= len(options) <= 20
    assert "--minutes NUMBER" in output
    assert "[default: lstm; ar for series]" in " ".join(output.split())
    assert "--clip" not in output
    assert "--help-all" in output
    assert main(["fit", "text.txt", "--model", "gru", "--help"]) == 0
    assert "--reset before|after" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(help.ESSENTIAL))
def test_essential_options_exist(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the short help is every option of its table, and all of them are in the long one."""
    assert main([name, "--help"]) == 0
    short = capsys.readouterr().out
    assert main([name, "--help-all"]) == 0
    whole = capsys.readouterr().out
    for options in help.ESSENTIAL[name].values():
        for option in options:
            assert f"{option} " in short or f"{option}\n" in short
            assert f"{option} " in whole or f"{option}\n" in whole


def test_help_is_found_wherever_it_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    shown = set()
    for arguments in (["score", "--help"], ["help", "score"], ["--help", "score"], ["score", "-h"]):
        assert main(arguments) == 0
        shown.add(capsys.readouterr().out)
    assert len(shown) == 1
    assert main(["help"]) == 0
    assert "  fit " in capsys.readouterr().out


def test_score_as_json_has_the_promised_fields(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(model), str(model.parent / "text.txt"), "--json"]) == 0
    result = _json(capsys)
    assert {"bits_per_symbol", "bits_per_character", "perplexity", "symbols"} <= result.keys()
    assert result["symbols"] == len(TEXT)


def test_generate_is_the_same_for_the_same_seed(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        assert main(["generate", str(model), "the", "-n", "20", "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the")


def test_next_surprisal_info_and_check_answer_in_json(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["next", str(model), "the", "--top", "3", "--json"]) == 0
    assert len(_json(capsys)) == 3
    assert main(["surprisal", str(model), "--text", "the", "--json"]) == 0
    result = _json(capsys)
    assert result["bits"] == pytest.approx(sum(s["bits"] for s in result["symbols"]))
    assert main(["info", str(model), "--verify", "--json"]) == 0
    assert _json(capsys)["verified"] is True
    assert main(["check", str(model), "--seconds", "1", "--json"]) == 0
    assert _json(capsys)["ok"] is True


def test_the_same_commands_print_tables_for_people(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, expected in {
        ("score", str(model), str(model.parent / "text.txt")): "bits per character",
        ("next", str(model), "the"): "probability",
        ("surprisal", str(model), "--text", "the"): "bits in total",
        ("info", str(model)): "reach",
        ("check", str(model), "--seconds", "1"): "16  holds",
    }.items():
        assert main(list(arguments)) == 0
        assert expected in capsys.readouterr().out


@pytest.mark.slow
def test_surprisal_reads_a_file_and_stdin(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(b"\xef\xbb\xbfthe cat\r\n")
    assert main(["surprisal", str(model), "--file", str(path), "--json"]) == 0
    from_file = _json(capsys)
    assert "".join(s["symbol"] for s in from_file["symbols"]) == "the cat\\n"
    done = subprocess.run(
        [sys.executable, "-c", _MAIN, "surprisal", str(model), "--json"],
        input="the cat\n",
        text=True,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["bits"] == pytest.approx(from_file["bits"], rel=1e-4)


def test_init_trains_a_model_further(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = str(model.parent / "text.txt")
    arguments = ["fit", text, "--init", str(model), "--out", str(tmp_path / "m"), "--json"]
    assert main([*arguments, "--steps", "2", "--batch-size", "4", "--length", "8"]) == 0
    assert _json(capsys)["model"]["options"]["hidden_size"] == 8


def test_tables_of_events_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "events.csv"
    rows = [f"s{i},{t},{'open' if t == 0 else 'read'}" for i in range(30) for t in (0, 1)]
    table.write_text("session,time,event\n" + "\n".join(rows) + "\n")
    out = tmp_path / "m"
    arguments = ["fit", str(table), "--model", "markov", "--symbols", "word", "--out", str(out)]
    arguments += ["--column", "event", "--sequence-column", "session", "--order-column", "time"]
    everything = ["--valid", str(table)]  # every session is the same, so no part can be split off
    assert main([*arguments, *everything, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["next", str(out), "--top", "1", "--json"]) == 0
    assert _json(capsys)[0]["symbol"] == "open"


def test_a_model_exported_as_arpa_and_read_back_scores_the_same(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = str(model.parent / "text.txt")
    words = ["--symbols", "word", "--sequences", "line", "--model", "markov", "--order", "3"]
    assert main(["fit", text, "--out", str(tmp_path / "m"), "--valid", text, *words, "-q"]) == 0
    arpa = str(tmp_path / "m.arpa.gz")
    assert main(["export", str(tmp_path / "m"), "--to", "arpa", "--out", arpa]) == 0
    assert main(["fit", "--from-arpa", arpa, "--out", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    scores = []
    for name in ("m", "again"):
        assert main(["score", str(tmp_path / name), text, "--json"]) == 0
        scores.append(_json(capsys)["perplexity"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    _refused(["export", str(tmp_path / "m"), "--to", "arpa", "--out", arpa], 5, capsys, "exists")
    _refused(
        ["fit", text, "--from-arpa", arpa, "--out", str(tmp_path / "x")],
        2,
        capsys,
        "leave out data",
    )
    _refused(
        ["export", str(model), "--to", "arpa", "--out", str(tmp_path / "y")], 2, capsys, "lstm"
    )
    _refused(["fit", "--out", str(tmp_path / "z")], 2, capsys, "nothing to fit to")


# ---- what goes wrong ----------------------------------------------------------------------------


def _refused(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str], *expected: str
) -> None:
    capsys.readouterr()
    assert main(arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    lines = [line for line in output.err.splitlines() if line.startswith("seriatim: ")]
    assert len(lines) == 1
    for part in expected:
        assert part in lines[0], lines[0]


def test_mistyped_commands_and_options_are_recognized(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text, out = str(model.parent / "text.txt"), str(tmp_path / "m")
    _refused(["fti", text], 2, capsys, "did you mean fit?")
    _refused(["fit", text, "--out", out, "--hiden-size", "3"], 2, capsys, "--hidden-size")
    _refused(
        ["fit", text, "--out", out, "--model", "lstmm"], 2, capsys, "lstmm", "did you mean lstm?"
    )
    _refused(["fit", text], 2, capsys, "--out")
    _refused(["fit", text, "--out", out, "--steps", "0"], 2, capsys, "steps")
    _refused(["fit", text, "--out", out, "--steps", "5", "--epochs", "1"], 2, capsys, "two budgets")
    _refused(["fit", text, "--out", out, "--symbols", "chars"], 2, capsys, "char")
    _refused(["fit", text, "--out", out, "--threads", "0"], 2, capsys, "--threads 0")
    _refused(["fit", text, "--out", out, "--split", "0.5", "0.1", "0.1"], 2, capsys, "0.5")
    _refused(["generate", str(model), "--temperature", "-1"], 2, capsys, "temperature -1")


def test_options_of_another_model_are_refused(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text, out = str(model.parent / "text.txt"), str(tmp_path / "m")
    for arguments in (["--window", "3"], ["--order", "3"], ["--preset", "classic"]):
        _refused(["fit", text, "--model", "lstm", "--out", out, *arguments], 2, capsys, "lstm")
    _refused(
        ["fit", text, "--init", str(model), "--out", out, "--hidden-size", "9"], 2, capsys, "--init"
    )


def test_data_that_cannot_be_used_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = str(tmp_path / "m")

    def fit(name: str, content: bytes | None, *expected: str) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        _refused(["fit", str(path), "--out", out, *FIT], 3, capsys, *expected)
        assert not Path(out).exists()

    fit("missing.txt", None, "missing.txt")
    fit("empty.txt", b"", "empty")
    fit("one.txt", b"a", "too few to split")
    fit("latin.txt", "caf\xe9\n".encode("latin-1") * 50, "offset 3", "--encoding")
    fit("broken.jsonl", b'{"text": "a"}\n{"text": \n', "line 2")
    (tmp_path / "table.csv").write_bytes(b"a,b\n1,2\n")
    _refused(["fit", str(tmp_path / "table.csv"), "--out", out], 2, capsys, "a, b")


def test_an_existing_output_is_never_overwritten_silently(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = str(model.parent / "text.txt")
    before = (model / "weights.safetensors").read_bytes()
    _refused(["fit", text, "--out", str(model), *FIT], 5, capsys, "--overwrite")
    assert (model / "weights.safetensors").read_bytes() == before
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("years of work")
    _refused(
        ["fit", text, "--out", str(tmp_path / "own"), "--overwrite", *FIT],
        5,
        capsys,
        "not a model folder",
    )


def test_an_exploding_loss_stops_and_keeps_the_last_good_weights(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text, out = str(model.parent / "text.txt"), tmp_path / "m"
    arguments = ["fit", text, "--model", "rnn", "--nonlinearity", "relu", "--out", str(out)]
    arguments += ["--optimizer", "sgd", "--learning-rate", "1e30", "--steps", "50", "--quiet"]
    _refused(arguments, 6, capsys, "step", f"saved in {out}")
    assert main(["generate", str(out), "-n", "5"]) == 0


def test_a_disk_that_fills_up_at_the_end_of_training_loses_nothing(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    from seriatim.tasks import storage

    honest = storage._put

    def full(temporary: Path, path: Path) -> None:
        if path == tmp_path / "m":
            raise OSError(28, "No space left on device")
        honest(temporary, path)

    monkeypatch.setattr(storage, "_put", full)
    text = str(model.parent / "text.txt")
    capsys.readouterr()
    assert main(["fit", text, "--out", str(tmp_path / "m"), *FIT]) == 5
    output = capsys.readouterr().err
    elsewhere = output.split("saved in ")[1].split(" instead")[0]
    assert main(["generate", elsewhere, "-n", "5"]) == 0


@pytest.mark.slow
def test_ctrl_c_keeps_the_model(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    arguments = ["fit", str(model.parent / "text.txt"), "--out", str(out), "--steps", "100000"]
    with subprocess.Popen(
        [sys.executable, "-c", _MAIN, *arguments, "--batch-size", "2", "--length", "8"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step"):
                process.send_signal(signal.SIGINT)
                break
        process.stderr.read()
    assert process.returncode == 130  # a script has to know, though the model is saved
    training = json.loads((out / "training.json").read_text())
    assert training["fit"]["stopped"] == "interrupted"


def test_a_folder_that_is_no_model_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _refused(["generate", str(tmp_path / "nothing")], 4, capsys, "there is no model folder")
    _refused(["generate", str(tmp_path)], 4, capsys, "no config.json")
    _refused(["generate", str(model.parent / "text.txt")], 4, capsys, "there is no model folder")


def test_unknown_symbols_of_a_prompt_are_said(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("generate", "next"):
        assert main([command, str(model), "€"]) == 0
        assert "never seen ('€'), read as <unk>" in capsys.readouterr().err


@pytest.mark.slow
def test_naughty_strings_pass_through_every_command(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """742 lines ended by LF; control characters and other line ends must not be lost."""
    blns = shared_data / "blns" / "blns.txt"
    for i, symbols in enumerate(("byte", "char", "word", "bpe:300")):
        for sequences in ("line", "stream", "document"):
            out = tmp_path / f"m{i}{sequences}"
            arguments = ["fit", str(blns), "--model", "markov", "--order", "3", "--quiet"]
            arguments += ["--symbols", symbols, "--sequences", sequences, "--valid", str(blns)]
            assert main([*arguments, "--out", str(out)]) == 0
            capsys.readouterr()
            assert main(["score", str(out), str(blns), "--json"]) == 0
            result = _json(capsys)
            if symbols != "word":
                assert result["bits_per_character"] is not None, result["not_spelled"]
            assert main(["generate", str(out), "-n", "50"]) == 0
            capsys.readouterr()
    for line in filter(None, blns.read_text("utf-8").split("\n")):  # an empty text is refused
        assert main(["surprisal", str(tmp_path / "m0stream"), "--json", f"--text={line}"]) == 0
        assert _json(capsys)["bits"] >= 0
