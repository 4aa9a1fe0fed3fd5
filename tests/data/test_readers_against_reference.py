"""Our readers agree with a slow, obvious one on random and damaged tables of every kind.

docs/decisions/2026-11-28-faults-readers.md has the counts of larger runs.
"""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.data.reference_reader import KINDS, compare, random_file


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_read_as_by_the_reference_or_refused(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    rng, counts = random.Random(f"a test of {kind}"), Counter[str]()
    for _ in range(100):
        data = random_file(rng, kind)
        result = compare(kind, data, tmp_path)
        assert result not in ("wrong", "traceback"), data
        counts[result] += 1
    assert counts["agree"] > 15
    assert counts["refused"] <= 2  # first lines that two separators fit
