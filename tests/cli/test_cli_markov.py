"""Command-line options of Markov models."""

from pathlib import Path

import pytest

from seriatim.cli import main
from seriatim.tasks.registry import load


def test_prune_takes_several_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("a cat ran\n" * 3 + "the cat sat on the mat\nthe dog sat on the rug\n" * 20)
    common = ["-m", "markov", "--order", "3", "-s", "word", "-q"]
    for name, prune in (("all", []), ("pruned", ["--prune", "0", "0", "4"])):
        out = ["--out", str(tmp_path / name)]
        assert main(["fit", str(text), *common, *prune, *out]) in (0, None)
    whole, pruned = load(tmp_path / "all"), load(tmp_path / "pruned")
    assert pruned.config.prune == (0, 0, 4)  # type: ignore[union-attr]
    sizes = [lm.model.table.num_ngrams for lm in (whole, pruned)]  # type: ignore[union-attr]
    assert sizes[0][:2] == sizes[1][:2]
    assert sizes[0][2] > sizes[1][2]
