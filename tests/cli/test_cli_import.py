"""`seriatim import` reads what other tools have written."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import seriatim as st
from seriatim.cli import main
from seriatim.export import language_model_to_arpa


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_weights_of_torch_layers_with_a_file_of_symbols(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = nn.ModuleDict({"embed": nn.Embedding(4, 5), "rnn": nn.GRU(5, 7), "head": nn.Linear(7, 4)})
    path, out = tmp_path / "net.safetensors", tmp_path / "model"
    safetensors.torch.save_file(net.state_dict(), path)
    (tmp_path / "symbols.txt").write_text("a\n\\n\nb\n \n", "utf-8")
    assert run("import", path, "--out", out) == 2
    assert "give --symbols FILE" in capsys.readouterr().err
    assert run("import", path, "--symbols", tmp_path / "symbols.txt", "--out", out) == 0
    lm = st.load(out)
    assert {lm.vocabulary.decode([i]) for i in range(1, 5)} == {"a", "\n", "b", " "}
    with torch.no_grad():
        h, _ = net["rnn"](net["embed"](torch.tensor([[1]])))
        expected = net["head"](h)[0, 0].log_softmax(-1)
    ours = {one.symbol: one.probability for one in lm.next("", top=4)}
    assert ours["a"] == pytest.approx(float(expected[0].exp()), abs=1e-6)


def test_an_arpa_file(tmp_path: Path) -> None:
    lm = st.LanguageModel(st.Markov(order=2), symbols="word", sequences="line")
    lm.fit([f"a b{i} c" for i in range(20)])
    language_model_to_arpa(lm, tmp_path / "words.arpa")
    assert run("import", tmp_path / "words.arpa", "--out", tmp_path / "model") == 0
    assert st.load(tmp_path / "model").surprisal("a c").bits == pytest.approx(
        lm.surprisal("a c").bits, abs=1e-4
    )


def test_an_export_makes_the_folder_that_it_is_written_to(tmp_path: Path) -> None:
    lm = st.LanguageModel(st.Markov(order=2), symbols="word", sequences="line")
    lm.fit([f"a b{i} c" for i in range(20)]).save(tmp_path / "model")
    out = tmp_path / "new" / "words.arpa"
    assert run("export", tmp_path / "model", "--to", "arpa", "--out", out) == 0
    assert out.is_file()


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", tmp_path / "nothing", "--out", tmp_path / "model") == 2
    assert "neither a folder nor a repository" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("a text\n")
    assert run("import", tmp_path / "notes.txt", "--out", tmp_path / "model") == 2
    assert "is a file of no format that is read: give an .arpa" in capsys.readouterr().err
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    (tmp_path / "symbols.txt").write_text("a\n", "utf-8")
    arguments = ("--symbols", tmp_path / "symbols.txt", "--out", tmp_path / "model")
    assert run("import", tmp_path / "bad.safetensors", *arguments) == 3
    assert "cannot be read as weights" in capsys.readouterr().err
