"""Our ARPA files in `kenlm` (PyPI): log10 p of every word, sequence by sequence."""

from pathlib import Path

import numpy as np
import pytest

from seriatim.data.vocab.vocabulary import LINE_END
from seriatim.export.arpa import language_model_from_arpa, language_model_to_arpa
from seriatim.models import Markov
from seriatim.tasks.language_model import LanguageModel

kenlm = pytest.importorskip("kenlm", reason="needs kenlm: pip install seriatim[refs]")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "kenlm"


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[str]]:
    """Training and test lines: Treasure Island where it is, else a made-up language."""
    if SHARED.is_dir():
        return tuple((SHARED / n).read_text().splitlines() for n in ("train.txt", "test.txt"))
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(300)])
    p = 1 / np.arange(1, 301)
    lines = [" ".join(rng.choice(words, rng.integers(0, 15), p=p / p.sum())) for _ in range(2000)]
    return lines[:1800], lines[1800:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"order": 1},
        {"order": 2},
        {"order": 5},
        {"order": 6},
        {"order": 5, "prune": (0, 0, 1)},
        {"order": 4, "prune_entropy": 1e-6},
        {"order": 4, "smoothing": "witten-bell"},
        {"order": 3, "smoothing": "stupid-backoff"},
        {"order": 3, "smoothing": "maximum-likelihood"},
        {"order": 3, "smoothing": "add-k"},
    ],
    ids=str,
)
def test_every_word_has_the_log10_that_kenlm_reads_from_our_file(
    options: dict, texts: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    train, test = texts
    lm = LanguageModel(Markov(**options), symbols="word", sequences="line").fit(train, valid=test)
    language_model_to_arpa(lm, tmp_path / "model.arpa")
    if options["order"] == 1:  # kenlm reads no file of order 1
        return
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    back = language_model_from_arpa(tmp_path / "model.arpa")
    for line in test[:150]:
        expected = [p for p, _, _ in theirs.full_scores(line)]
        for model in (lm, back):
            bits = [s.bits - s.spelling_bits for s in model.surprisal(line + LINE_END)]
            log10 = [-b * np.log10(2) for b in bits]
            np.testing.assert_allclose(log10, expected, rtol=0, atol=1e-4)
