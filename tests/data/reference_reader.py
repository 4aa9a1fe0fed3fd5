"""A slow, obvious reader of tables, and random tables on which ours must agree with it.

`python -m tests.data.reference_reader 20000` reads so many tables of every kind and prints how many
were read otherwise than by the reference, refused by ours alone, or ended in another exception.
"""

import csv
import io
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from seriatim.data.labels import open_labelled
from seriatim.data.pairs import open_pairs
from seriatim.data.sources import open_source
from seriatim.errors import SeriatimError

# ---- the reference ------------------------------------------------------------------------------


def text_of(data: bytes) -> str:
    return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")


def csv_rows(text: str) -> list[list[str]]:
    lines = text.split("\n")
    first = re.sub(r'"[^"]*"', "", next((line for line in lines if line.strip()), ""))
    separator = next((mark for mark in ",;\t|" if mark in first), ",")
    rows = []
    for row in csv.reader([f"{line}\n" for line in lines], delimiter=separator, strict=True):
        if any(separator != "\t" and re.match(' +"', cell) for cell in row):
            raise ValueError("a space before a quote")
        if row:
            rows.append(row)
    if "\r" in re.sub(r'"[^"]*"', "", text):
        raise ValueError("a carriage return")
    return rows


def tsv_rows(text: str) -> list[list[str]]:
    if "\r" in text:
        raise ValueError("a carriage return")
    return [line.split("\t") for line in text.split("\n") if line]


def columns(rows: list[list[str]], *names: str) -> list[list[str]]:
    """The values of named columns; of two without such names the first two, and every row."""
    header = [cell.strip().lower() for cell in rows[0]]
    if any(len(row) != len(header) for row in rows):
        raise ValueError("another width")
    if len(names) == 2 and not all(name in header for name in names):
        return [row[:2] for row in rows if len(row) >= 2 or not_two()]
    if any(header.count(name) != 1 for name in names) or not rows[1:]:
        raise ValueError("no such column, or two, or no rows")
    return [[row[header.index(name)] for name in names] for row in rows[1:]]


def not_two() -> bool:
    raise ValueError("one column")


def number_of(text: str) -> str:
    if re.fullmatch(r"-?\d{1,15}\.0+", text, re.A):
        text = text.split(".")[0]
    return "0" if text == "-0" else text


def label_of(text: str) -> str:
    if not text.strip():
        raise ValueError("an empty label")
    return number_of(text.strip())


def tagged(text: str) -> list[tuple[list[str], list[str]]]:
    if "\r" in text:
        raise ValueError("a carriage return")
    lines = [line.rstrip(" \t") for line in text.split("\n")]
    first = next(line for line in lines if line)
    sequences: list[list[list[str]]] = [[]]
    for line in lines:
        if not line:
            sequences.append([])
            continue
        cells = line.split("\t") if "\t" in first else re.split(" +", line.strip(" "))
        sequences[-1].append([cell.strip(" ") for cell in cells])
    sequences = [sequence for sequence in sequences if sequence]
    rows = [row for sequence in sequences for row in sequence]
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        raise ValueError("lines of other widths")
    ids = [[str(i + 1) for i in range(len(sequence))] for sequence in sequences]
    has_ids = len(rows[0]) > 2 and ids == [[row[0] for row in s] for s in sequences]
    if any(not row[int(has_ids)] or not row[-1] for row in rows):
        raise ValueError("no element, or no label")
    return [([row[int(has_ids)] for row in s], [row[-1] for row in s]) for s in sequences]


def events(rows: list[list[str]]) -> list[list[str]]:
    sequences: dict[str, list[tuple[Decimal, str]]] = {}
    if not {"id", "event", "t"} <= set(rows[0]):  # chosen, so as they are
        raise ValueError("no such column")
    for name, event, key in columns(rows, "id", "event", "t"):
        if not re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?\s*", key, re.A | re.I):
            raise ValueError("a key that is no number")
        if not name or not event:
            raise ValueError("an empty id or event")
        sequences.setdefault(number_of(name), []).append((Decimal(key.strip()), number_of(event)))
    return [[e for _, e in sorted(pairs, key=lambda p: p[0])] for pairs in sequences.values()]


def parquet_values(data: bytes) -> list[Any]:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        text = [n for n in names if n == "text"] or [n for n in names if n.lower() == "text"]
        (name,) = names if len(names) == 1 else text
        values = file.read([name]).column(name).to_pylist()
    except Exception as error:  # of many kinds
        raise ValueError("damaged") from error
    return [
        [symbol_of(item) for item in value] if isinstance(value, list) else symbol_of(value)
        for value in values
    ] or not_two()


def symbol_of(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value != value:
        raise ValueError("no symbol")
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value).replace("\r\n", "\n")


def reference(kind: str, data: bytes) -> list[Any]:
    """The values in a file; ValueError and the like where it must be refused."""
    if kind == "parquet":
        return parquet_values(data)
    text = text_of(data)
    if kind == "events":
        return events(csv_rows(text))
    if kind in ("csv", "tsv"):
        return [
            cell for (cell,) in columns((csv_rows if kind == "csv" else tsv_rows)(text), "text")
        ]
    if kind == "pairs":
        return [tuple(row) for row in columns(tsv_rows(text), "source", "target")]
    if kind == "labels":
        pairs = columns(csv_rows(text), "text", "label")
        return [(value, label_of(label)) for value, label in pairs]
    if kind == "jsonl":
        records = [json.loads(line) for line in text.split("\n") if line.strip()]
        records = [{"text": r} if isinstance(r, str) else r for r in records]
        values = [{k.strip().lower(): v for k, v in r.items()}["text"] for r in records]
        if not values or not all(isinstance(value, (str, int)) for value in values):
            raise ValueError("no text")
        return [str(value).replace("\r\n", "\n") for value in values]
    return tagged(text)


# ---- random tables ------------------------------------------------------------------------------

LETTERS = "ab ,;\"'\n|é\u2028\x85\u00a0\U0001f600#.-0"
MARKS = [",", ";", "\t", "|", '"', "\r", "\n", " ", "\x00", "é", '""', "\ufeff", "{", "\\"]


def random_value(rng: random.Random, letters: str) -> str:
    if rng.random() < 0.15:
        return rng.choice(["", "17", "17.0", "-0.0", "a", "text", '"', "NULL", " a", "a "])
    return "".join(rng.choice(letters) for _ in range(rng.randrange(1, 9)))


def random_events(rng: random.Random) -> str:
    keys = ["1", "10", "9", "2.5", "1e1", " 3", "-1", "", "nan", "1_0", "9:05", "0.1", "0.10"]
    ids, kinds = ["a", "1", "1.0", "b"], ["x", "17", "17.0", "-0.0", "y, z", ""]
    keys, kinds = keys[: rng.choice([7, 7, 7, 99])], kinds[: rng.choice([5, 5, 9])]
    rows = [[rng.choice(ids), rng.choice(kinds), rng.choice(keys)] for _ in range(8)]
    out = io.StringIO()
    csv.writer(out, delimiter=rng.choice(",;\t")).writerows([["id", "event", "t"], *rows])
    return out.getvalue()


def random_parquet(rng: random.Random) -> bytes:
    import pyarrow
    from pyarrow import parquet

    kinds: list[Callable[[], Any]] = [
        lambda: random_value(rng, LETTERS),
        lambda: rng.randrange(-9, 99),
        lambda: rng.choice([17.0, 0.5, -0.0, 1e300, float("nan")][: rng.choice([4, 5])]),
        lambda: [random_value(rng, LETTERS) for _ in range(rng.randrange(3))],
        lambda: [rng.randrange(9)],
        lambda: rng.random() < 0.5,
    ]
    kind = rng.choice(kinds)
    values = [None if rng.random() < 0.02 else kind() for _ in range(rng.randrange(1, 9))]
    names = rng.choice([["text"], ["text", "n"], ["n", "text"], ["text", "text"], ["Text", "text"]])
    table = pyarrow.table([pyarrow.array(values) for _ in names], names=names)
    out = io.BytesIO()
    parquet.write_table(table, out)
    data = bytearray(out.getvalue())
    for _ in range(rng.choice([0, 0, 0, 1, 9])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def random_file(rng: random.Random, kind: str) -> bytes:
    """A file of a kind, most often a good one."""
    if kind == "parquet":
        return random_parquet(rng)
    number = rng.randrange(1, 6)
    names = {"pairs": ["source", "target"], "labels": ["text", "label"]}.get(kind, ["text"])
    names = [rng.choice([n, n.title(), n.upper()]) for n in names] + ["n"] * rng.randrange(2)
    rng.shuffle(names)
    end = rng.choice(["\n", "\r\n"])
    if kind == "events":
        text = random_events(rng)
    elif kind in ("csv", "labels"):
        rows = [names] + [[random_value(rng, LETTERS) for _ in names] for _ in range(number)]
        out = io.StringIO()
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        mark = rng.choice(",,;\t|") if len(names) > 1 else ","
        csv.writer(out, delimiter=mark, quoting=quoting, lineterminator=end).writerows(rows)
        text = out.getvalue()
    elif kind in ("tsv", "pairs"):
        plain = LETTERS.replace("\n", "")
        rows = [names] + [[random_value(rng, plain) for _ in names] for _ in range(number)]
        text = "".join("\t".join(row) + end for row in rows)
    elif kind == "jsonl":
        values = [random_value(rng, LETTERS + "\t\\") for _ in range(number)]
        records = [{"n": 1, "text": rng.choice([v, v, v, 17])} for v in values]
        text = "".join(json.dumps(r, ensure_ascii=rng.random() < 0.5) + end for r in records)
    else:
        words = LETTERS.replace("\n", "").replace("#", "").replace(" ", "")
        line = lambda: f"{random_value(rng, words).strip() or 'a'}\t{rng.choice('XYZ')}"  # noqa: E731
        sequences = [end.join(line() for _ in range(rng.randrange(1, 4))) for _ in range(number)]
        text = (end * rng.randrange(2, 4)).join(sequences) + end
    for _ in range(rng.choice([0, 0, 1, 2])):  # damage
        at = rng.randrange(len(text) + 1)
        width = rng.choice([0, 0, 1, 2])
        text = text[:at] + rng.choice(["", *MARKS]) + text[at + width :]
    return rng.choice([b"", b"", b"\xef\xbb\xbf"]) + text.encode("utf-8", "surrogatepass")


SUFFIXES = {"csv": ".csv", "tsv": ".tsv", "jsonl": ".jsonl", "pairs": ".tsv", "labels": ".csv"}
SUFFIXES |= {"tagged": ".conll", "events": ".csv", "parquet": ".parquet"}
OURS: dict[str, Callable[[Path], list[Any]]] = {
    "pairs": lambda path: list(open_pairs(path).pairs()),
    "labels": lambda path: list(open_labelled(path).pairs()),
    "tagged": lambda path: list(open_labelled(path).pairs()),
    "events": lambda path: list(
        open_source(path, column="event", sequence_column="id", order_column="t").texts()
    ),
}


def compare(kind: str, data: bytes, folder: Path) -> str:
    """agree, wrong, refused (by ours alone), or traceback."""
    path = folder / f"a{SUFFIXES[kind]}"
    path.write_bytes(data)
    try:
        expected: list[Any] | None = reference(kind, data)
    except (LookupError, ValueError, AttributeError, StopIteration, csv.Error):
        expected = None
    try:
        ours: list[Any] | None = OURS.get(kind, lambda p: list(open_source(p).texts()))(path)
    except SeriatimError:
        ours = None
    except Exception:  # whatever else there is
        return "traceback"
    if ours == expected:
        return "agree" if ours is not None else "both refuse"
    return "refused" if ours is None else "wrong"


KINDS = tuple(SUFFIXES)


def main(number: int, show: int = 3) -> None:
    """Print the counts of every kind, and the first disagreements."""
    for kind in KINDS:
        rng, counts = random.Random(kind), Counter[str]()
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(number):
                data = random_file(rng, kind)
                result = compare(kind, data, Path(folder))
                counts[result] += 1
                if result not in ("agree", "both refuse") and counts[result] <= show:
                    print(f"  {kind} {result}: {data!r}")
        print(kind, dict(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)
