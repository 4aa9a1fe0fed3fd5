"""Fuzzed inputs of every reader: a valid file is damaged, then read to its end and looked at."""

import gzip
import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import seriatim as st
from seriatim.export.arpa import language_model_from_arpa, language_model_to_arpa
from seriatim.models.ngram.on_disk import load_counts, save_counts
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_corpus
from tests.campaign.alterations import alter_json, alter_tensors, damage
from tests.campaign.folders import LINES, original
from tests.campaign.trials import Scenario, attempt

_ROWS = [(line, line.split()[0], str(i % 7), str(i)) for i, line in enumerate(LINES)]
_EVENTS = [
    (f"s{i % 9}", line.split()[0], f"2024-01-{1 + i % 28:02d}T10:00:00Z")
    for i, line in enumerate(LINES)
]
_TAGGED = "\n".join("".join(f"{word}\tN\tB-{word}\n" for word in line.split()) for line in LINES)
_NAMES = ("text", "label", "id", "number")


def _table(separator: str, names: "tuple[str, ...]", rows: "list[Any]") -> bytes:
    lines = [separator.join(names), *(separator.join(row) for row in rows)]
    return "".join(line + "\n" for line in lines).encode()


def _parquet(rows: "list[Any]", names: "tuple[str, ...]") -> bytes:
    arrow: Any = __import__("pyarrow")
    parquet: Any = __import__("pyarrow.parquet").parquet
    out = io.BytesIO()
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(arrow.table(columns), out)
    return out.getvalue()


def _text(path: Path, **options: Any) -> None:
    for sequences in ("line", "stream", "document"):
        for text in st.open_source(path, sequences=sequences, **options).texts():
            "".join(text).encode("utf-8")


def _pairs(path: Path, **options: Any) -> None:
    for source, target in st.open_pairs(path, **options).pairs():
        "".join([*source, *target]).encode("utf-8")


def _labels(path: Path, **options: Any) -> None:
    for source, target in st.open_labelled(path, **options).pairs():
        "".join([*source, *target]).encode("utf-8")


def _arpa_file() -> bytes:
    folder, _ = original("words")
    model: Any = st.load(folder)
    path = folder.parent / "model.arpa"
    language_model_to_arpa(model, path)
    return path.read_bytes()


def _arpa(path: Path) -> None:
    language_model_from_arpa(path).score(st.open_source(LINES[:5], sequences="line"))


FILES: dict[str, tuple[Callable[[], bytes], Callable[[Path], None]]] = {
    "lines.txt": (lambda: "\n".join(LINES).encode(), _text),
    "lines.txt.gz": (lambda: gzip.compress("\n".join(LINES).encode(), mtime=0), _text),
    "records.jsonl": (
        lambda: b"".join(
            b'{"text": "%s", "id": %d}\n' % (line.encode(), i) for i, line in enumerate(LINES)
        ),
        lambda path: _text(path, field="text"),
    ),
    "table.csv": (lambda: _table(",", _NAMES, _ROWS), lambda path: _text(path, column="text")),
    "table.tsv": (lambda: _table("\t", _NAMES, _ROWS), lambda path: _text(path, column="text")),
    "table.parquet": (lambda: _parquet(_ROWS, _NAMES), lambda path: _text(path, column="text")),
    "events.csv": (
        lambda: _table(",", ("session", "event", "at"), _EVENTS),
        lambda path: _text(path, column="event", sequence_column="session", order_column="at"),
    ),
    "events.parquet": (
        lambda: _parquet(_EVENTS, ("session", "event", "at")),
        lambda path: _text(path, column="event", sequence_column="session", order_column="at"),
    ),
    "pairs.tsv": (lambda: _table("\t", ("source", "target"), [row[:2] for row in _ROWS]), _pairs),
    "pairs.csv": (lambda: _table(",", ("source", "target"), [row[:2] for row in _ROWS]), _pairs),
    "labels.tsv": (lambda: _table("\t", ("text", "label"), [row[:2] for row in _ROWS]), _labels),
    "tags.conll": (_TAGGED.encode, _labels),
    "model.arpa": (_arpa_file, _arpa),
}


@cache
def _valid(name: str) -> bytes:
    """The undamaged file, which can be read."""
    make, read = FILES[name]
    data = make()
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        read(path)
    return data


def _write_damaged(name: str, rng: random.Random, place: Path) -> Path:
    path = place / name
    path.write_bytes(damage(_valid(name), rng))
    return path


def _reader(name: str) -> Callable[[random.Random, Path], str]:
    def trial(rng: random.Random, place: Path) -> str:
        path = _write_damaged(name, rng, place)
        return attempt(lambda: FILES[name][1](path), str(path))

    return trial


def _look(rng: random.Random, place: Path) -> str:
    name = rng.choice([name for name in FILES if not name.endswith(".arpa")])
    path = _write_damaged(name, rng, place)
    return attempt(lambda: str(st.look(path)), str(path))


def _checkpoint(rng: random.Random, place: Path) -> str:
    source = st.open_source(LINES)
    where = st.Checkpoints(folder=place / "checkpoints", minutes=0)
    st.LanguageModel(st.LSTM(hidden_size=4)).fit(source, steps=2, checkpoints=where)
    files: list[Path | None] = [None, *sorted(where.folder.iterdir())]  # None: a control
    file = rng.choice(files)
    if file is None:
        st.LanguageModel(st.LSTM(hidden_size=4)).fit(
            source, steps=2, checkpoints=st.Checkpoints(folder=where.folder, resume=True)
        )
        return "unaltered"
    if rng.random() < 0.5:
        file.write_bytes(damage(file.read_bytes(), rng))
    elif file.suffix == ".json":
        alter_json(file, rng)
    else:
        alter_tensors(file, rng)
    again = st.Checkpoints(folder=where.folder, resume=True)
    lm = st.LanguageModel(st.LSTM(hidden_size=4))
    return attempt(lambda: lm.fit(source, steps=2, checkpoints=again))


def _counts(rng: random.Random, place: Path) -> str:
    corpus = PaddedCorpus(
        np.array([1, 2, 3, 2, 1, 2, 2]), np.array([0, 5, 7]), boundary=0, is_stream=False
    )
    save_counts(count_corpus(corpus, order=2, num_symbols=4), place / "counts")
    file = rng.choice(sorted((place / "counts").iterdir()))
    if file.suffix == ".json" and rng.random() < 0.7:
        alter_json(file, rng)
    else:
        file.write_bytes(damage(file.read_bytes(), rng))
    return attempt(lambda: load_counts(place / "counts"), str(place))


SCENARIOS = [
    *(Scenario(f"fuzzed {name}", _reader(name)) for name in FILES),
    Scenario("fuzzed look", _look, weight=0.5),
    Scenario("fuzzed checkpoint", _checkpoint, weight=0.3),
    Scenario("fuzzed counts", _counts),
]
