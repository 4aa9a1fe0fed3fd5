"""Models in forked processes: a pool made after a model has computed must not hang."""

import subprocess
import sys
from pathlib import Path

import pytest

import seriatim as st

_TEXT = "the cat sat on the mat and the dog on the log\n" * 30
_SCRIPT = """
import multiprocessing, sys
import torch
import seriatim as st

def bits(_):
    return sum(s.bits for s in model.surprisal(text))

torch.set_num_threads(2)
text = sys.argv[2]
model = st.load(sys.argv[1])
expected = bits(0)  # torch's threads now exist
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map_async(bits, range(4)).get(60)
assert all(abs(result - expected) < 1e-3 for result in results), (expected, results)
assert torch.get_num_threads() == 2, "the parent keeps its threads"
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks")
def test_a_pool_forked_after_computing_does_not_hang(tmp_path: Path) -> None:
    source = st.open_source([_TEXT], sequences="stream")
    st.LanguageModel(st.LSTM(hidden_size=256)).fit(source, steps=2).save(tmp_path / "model")
    subprocess.run(
        [sys.executable, "-c", _SCRIPT, tmp_path / "model", _TEXT], check=True, timeout=120
    )
