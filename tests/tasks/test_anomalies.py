"""Thresholds of false alarms, verdicts on events and sequences, columns that are remembered."""

import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.cli.follow import _lines
from seriatim.data.sources import NamedSequence
from seriatim.errors import ConfigError, DataError, OutputError
from seriatim.tasks import Threshold, storage
from seriatim.tasks.anomalies import choose_threshold
from seriatim.tasks.live_detection import LiveDetector
from seriatim.tasks.record_table import csv_cells, tabbed
from seriatim.tasks.sequence_surprisal import SequenceBits


def _visits(count: int, seed: int) -> list[list[str]]:
    pick = random.Random(seed)
    return [
        ["open shop", *(pick.choice(["view item", "search"]) for _ in range(pick.randint(1, 5))),
         pick.choice(["buy", "log out"])]
        for _ in range(count)
    ]  # fmt: skip


ODD = ["open shop", "break in", "log out"]


def _write(path: Path, visits: list[list[str]], *, head: str = "time,visit,action") -> Path:
    """A table of events, whose rows are not in the order of time."""
    rows = [
        f"{100 * i + t},v{i},{event}"
        for i, visit in enumerate(visits)
        for t, event in enumerate(visit)
    ]
    path.write_text("\n".join([head, *reversed(rows)]) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a table of events, with a threshold, and other tables beside it."""
    folder = tmp_path_factory.mktemp("shop")
    _write(folder / "train.csv", _visits(300, 0))
    _write(folder / "normal.csv", _visits(150, 1))
    _write(folder / "today.csv", [*_visits(3, 2), ODD])
    table = st.open_source(
        folder / "train.csv", column="action", sequence_column="visit", order_column="time"
    )
    lm = st.LanguageModel(st.Markov(order=3), symbols="word").fit(table, valid=table)
    lm.save(folder / "model")
    assert main(["threshold", str(folder / "model"), str(folder / "normal.csv")]) == 0
    return folder


# ---- the threshold ------------------------------------------------------------------------------


def _sequences(highest: list[float]) -> list[SequenceBits]:
    return [
        SequenceBits(i, NamedSequence(str(i), ["a"]), ["a", "<end>"], np.array([0.5, bits]),
                     np.zeros(2, bool))
        for i, bits in enumerate(highest, 1)
    ]  # fmt: skip


def _chosen(count: int, rate: float, per: str = "sequence") -> Threshold:
    sequences = _sequences([float(i) for i in range(1, count + 1)])
    return choose_threshold(sequences, false_alarms=rate, per=per, name="x")  # type: ignore[arg-type]


def test_the_threshold_is_the_kth_highest_of_normal_sequences() -> None:
    found = _chosen(199, 0.01)  # k = floor(0.01 * 200) = 2
    assert found.bits == 198.0
    assert found.expected == pytest.approx(2 / 200)
    assert (found.sequences, found.events) == (199, 398)
    assert _chosen(99, 0.01).bits == 99.0
    assert _chosen(199, 0.01, "event").bits == 197.0  # k = floor(0.01 * 399) = 3


def test_the_interval_of_the_rate_is_that_of_the_beta_distribution() -> None:
    low, high = _chosen(99, 0.01).interval  # Beta(1, 99): 1 - (1 - x)^99
    assert low == pytest.approx(1 - 0.975 ** (1 / 99), rel=1e-6)
    assert high == pytest.approx(1 - 0.025 ** (1 / 99), rel=1e-6)
    drawn = np.random.default_rng(0).beta(5, 500 - 5, 200_000)
    low, high = _chosen(499, 0.01).interval
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([low, high], rel=0.02)


def test_new_normal_data_is_flagged_at_the_rate_that_was_asked_for() -> None:
    """Over many draws of normal data, exchangeable with the new ones."""
    draw = np.random.default_rng(0)
    rates = []
    for _ in range(300):
        threshold = choose_threshold(
            _sequences(draw.exponential(size=99).tolist()), false_alarms=0.05, per="sequence",
            name="x",
        )  # fmt: skip
        rates.append(np.exp(-threshold.bits))
    assert np.mean(rates) == pytest.approx(0.05, rel=0.1)


def test_too_few_normal_sequences_are_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match=r"x has 98 sequences, too few .* 0.01: give at least 99"):
        _chosen(98, 0.01)
    with pytest.raises(
        DataError, match=r"at least 999 normal sequences, or allow a rate of 0\.0067"
    ):
        _chosen(150, 0.001)
    with pytest.raises(ConfigError, match="false_alarms = 0: give a rate between 0 and 1"):
        _chosen(98, 0.0)
    with pytest.raises(ConfigError, match="per = 'day'"):
        _chosen(98, 0.1, "day")
    with pytest.raises(DataError, match="4 of 99 normal sequences of x are impossible"):
        choose_threshold(
            _sequences([1.0] * 95 + [np.inf] * 4), false_alarms=0.02, per="sequence", name="x"
        )


def test_a_threshold_is_kept_in_the_folder_and_nothing_else_changes(folder: Path) -> None:
    model = folder / "model"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    lm = st.load(model)
    assert isinstance(lm, st.LanguageModel)
    old = lm.alarm
    assert old is not None
    assert lm.threshold(folder / "normal.csv", false_alarms=0.3).bits < old.bits
    lm.save_threshold(model)
    storage.verify(model)
    again = st.load(model)
    assert isinstance(again, st.LanguageModel)
    assert again.alarm == lm.alarm
    lm.alarm = old
    lm.save_threshold(model)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    lm.save(folder / "copy")
    assert st.load(folder / "copy").alarm == old  # type: ignore[union-attr]


def test_a_threshold_that_cannot_be_written_leaves_the_old_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    before = (folder / "model" / "config.json").read_bytes()
    lm.threshold(folder / "normal.csv", false_alarms=0.3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OutputError, match="No space left on device; nothing was changed"):
            lm.save_threshold(folder / "model")
    assert (folder / "model" / "config.json").read_bytes() == before
    (folder / "model" / "config.json.part").unlink()
    storage.verify(folder / "model")


def test_an_event_that_would_break_a_line_is_escaped_in_text_and_kept_in_csv() -> None:
    cells = ("a\tb\nc", None, 1.0, True, " d")
    assert tabbed(cells) == "a\\tb\\nc\t\t1.000\tyes\t␣d"
    assert csv_cells(cells) == ["a\tb\nc", None, 1.0, "true", " d"]


# ---- verdicts -----------------------------------------------------------------------------------


def test_events_come_with_their_sequence_time_and_verdict(folder: Path) -> None:
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    found = lm.detect(folder / "today.csv")
    assert [row.verdict for row in found.sequences] == ["anomaly", "normal", "normal", "normal"]
    (odd, *rest) = [row for row in found if row.sequence == "v3"]
    assert (odd.event, odd.time, odd.position) == ("open shop", "300", 1)
    assert (rest[0].event, rest[0].unknown, rest[0].verdict) == ("break in", True, "anomaly")
    assert (rest[-1].event, rest[-1].time) == ("<end>", None)
    assert {row.sequence_verdict for row in (odd, *rest)} == {"anomaly"}
    assert odd.verdict == "normal"
    for summary in found.sequences:
        own = [row for row in found if row.sequence == summary.sequence]
        assert summary.bits == pytest.approx(sum(row.bits for row in own))
        assert (summary.verdict == "anomaly") == any(row.verdict == "anomaly" for row in own)
    assert found.summary().startswith("1 of 4 sequences anomalous (25.0 %)")
    assert not lm.detect(folder / "today.csv", threshold=1e9).anomalies


def test_verdicts_are_those_of_a_stream_of_the_same_events(folder: Path) -> None:
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    stream = lm.stream()
    pushed = [*map(stream.push, ODD), stream.end()]
    assert [row.bits for row in lm.detect([ODD])] == pytest.approx(pushed, abs=1e-3)
    after = lm.next(["open shop", "break in"], 3)
    assert after == lm.next(["open shop", "break out"], 3)  # both are `<unk>`


def test_a_model_without_a_threshold_or_of_a_stream_is_refused(folder: Path) -> None:
    lm = st.LanguageModel(st.Markov(order=2), symbols="word").fit(_visits(60, 0))
    with pytest.raises(ConfigError, match="no threshold yet: choose one on normal data"):
        lm.detect([ODD])
    assert lm.detect([ODD], threshold=3.0).threshold == 3.0
    assert next(lm.score_each([ODD])).verdict is None
    with pytest.raises(ConfigError, match="give a number of bits"):
        lm.detect([ODD], threshold=float("nan"))


# ---- remembered columns -------------------------------------------------------------------------


def test_the_columns_of_training_are_remembered(folder: Path) -> None:
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    table = st.open_source(
        folder / "today.csv", column="action", sequence_column="visit", order_column="time"
    )
    assert lm.score(folder / "today.csv").nats == lm.score(table).nats
    (folder / "other.csv").write_text("when,visit,action\n1,a,buy\n")
    expected = (
        r"other.csv has no column 'time', only when, visit, action; the model was fitted to a "
        r"table with event column action, sequence column visit, order column time: name the"
    )
    with pytest.raises(ConfigError, match=expected):
        lm.score(folder / "other.csv")
    options = ["--column", "action", "--sequence-column", "visit", "--order-column", "when"]
    assert main(["score", str(folder / "model"), str(folder / "other.csv"), *options]) == 0


def test_a_text_in_place_of_a_table_of_events_is_refused(folder: Path) -> None:
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    (folder / "visits.txt").write_text("open shop\nlog out\n")
    expected = (
        "visits.txt is a text by its name, and the model was fitted to a table with event column"
    )
    with pytest.raises(ConfigError, match=expected):
        lm.detect(folder / "visits.txt", threshold=1.0)
    (folder / "today.log").write_text((folder / "today.csv").read_text())
    today = ["detect", str(folder / "model"), str(folder / "today.log"), "--threshold", "9"]
    assert main(today) == 2
    assert main([*today, "--format", "csv"]) == 0


def test_lists_in_json_lines_have_no_columns_to_remember(folder: Path) -> None:
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    (folder / "lists.jsonl").write_text(json.dumps(ODD) + "\n")
    assert lm.detect(folder / "lists.jsonl") == lm.detect([ODD])


def test_a_data_frame_of_events_is_read_by_the_remembered_columns(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    frame = arrow.table({
        "time": [3, 1, 2], "visit": ["a", "a", "a"], "action": ["log out", "open shop", "break in"]
    })  # fmt: skip
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    found = lm.detect(frame)
    assert [(row.sequence, row.event, row.time) for row in found][:3] == [
        ("a", "open shop", "1"), ("a", "break in", "2"), ("a", "log out", "3")
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="the data frame has no column 'time'"):
        lm.detect(frame.drop(["time"]))


# ---- the command line ---------------------------------------------------------------------------


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_threshold_is_said_and_given_as_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["threshold", str(folder / "model"), str(folder / "normal.csv")]
    text = _run(capsys, *command)
    assert "of normal sequences whose highest surprisal is above it, expect 0.662 %" in text
    info = _run(capsys, "info", str(folder / "model"))
    assert "event column action, sequence column visit, order column time" in info
    result = json.loads(_run(capsys, *command, "--json"))
    assert result == json.loads(_run(capsys, "info", command[1], "--json"))["threshold"]
    assert result["sequences"] == 150
    assert f"{result['bits']:.3f} bits" in text
    assert main([*command, "--false-alarms", "0.001"]) == DataError.exit_code
    assert "give at least 999 normal sequences" in capsys.readouterr().err


def test_a_threshold_chosen_on_the_training_data_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["--column", "action", "--sequence-column", "visit", "--order-column", "time"]
    fit = ["fit", str(folder / "train.csv"), *columns, "--symbols", "word", "--model", "markov"]
    assert main([*fit, "--order", "3", "--out", str(tmp_path / "m"), "--quiet"]) == 0
    for data, is_said in {"train.csv": True, "normal.csv": False}.items():
        capsys.readouterr()
        assert main(["threshold", str(tmp_path / "m"), str(folder / data)]) == 0
        assert ("the model was fitted to" in capsys.readouterr().err) is is_said


def test_verdicts_are_printed_as_text_csv_and_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["detect", str(folder / "model"), str(folder / "today.csv")]
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    found = lm.detect(folder / "today.csv")
    rows = list(csv.DictReader(io.StringIO(_run(capsys, *command, "--csv"))))
    assert [row["event"] for row in rows] == [row.event for row in found]
    assert [row["verdict"] for row in rows] == [row.verdict for row in found]
    assert [row["time"] for row in rows] == [row.time or "" for row in found]
    records = [json.loads(line) for line in _run(capsys, *command, "--json").splitlines()]
    assert [r["verdict"] for r in records] == [row.verdict for row in found.sequences]
    assert sum(len(r["events"]) for r in records) == len(found)
    assert records[0]["events"][1]["event"] == "break in"
    head, *lines = _run(capsys, *command, "--anomalies").splitlines()
    assert head.split("\t")[2:4] == ["event", "time"]
    assert all(line.endswith("anomaly\tanomaly") for line in lines)
    assert len(lines) == len(found.anomalies)
    summary = _run(capsys, *command, "--by", "sequence", "--anomalies", "--csv").splitlines()
    assert len(summary) == 2
    each = _run(capsys, "score", *command[1:], "--each", "--csv")
    assert [r["verdict"] for r in csv.DictReader(io.StringIO(each))] == [
        row.verdict for row in found.sequences
    ]
    assert not _run(capsys, *command, "--threshold", "1e9", "--anomalies").splitlines()[1:]


def test_stdin_is_read_in_the_format_of_training(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["detect", str(folder / "model")]
    expected = _run(capsys, *command, str(folder / "today.csv"), "--csv")
    for data in ([], ["-"]):
        content = (folder / "today.csv").read_bytes()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert _run(capsys, *command, *data, "--csv") == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    assert main(command) == ConfigError.exit_code
    assert "stdin has no column 'action', only a, b" in capsys.readouterr().err


def test_rows_are_judged_as_they_arrive(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interleaved sequences have the verdicts that they have one after another."""
    command = ["detect", str(folder / "model")]
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    found = [row for row in lm.detect(folder / "today.csv") if row.event != "<end>"]
    arrived = sorted(found, key=lambda row: (row.position, row.sequence))
    rows = [f"{row.time},{row.sequence},{row.event}" for row in arrived]
    content = "\n".join(["time,visit,action", *rows]).encode()  # without a line end
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    live = [json.loads(line) for line in _run(capsys, *command, "--follow", "--json").splitlines()]
    assert [(r["sequence"], r["event"], r["time"], r["verdict"]) for r in live] == [
        (row.sequence, row.event, row.time, row.verdict) for row in arrived
    ]
    assert [r["bits"] for r in live] == pytest.approx([row.bits for row in arrived], abs=1e-3)
    assert live[-1]["sequence_verdict"] == "normal"
    options = ["--follow", "--format", "parquet"]
    assert main([*command, str(folder / "today.csv"), *options]) == ConfigError.exit_code
    assert "--follow reads rows one by one" in capsys.readouterr().err


def test_data_that_is_judged_is_not_kept_in_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path / "cache"))
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    lm.detect(folder / "today.csv")
    assert not (tmp_path / "cache").exists()
    lm.score(folder / "today.csv", allow_unknown=True)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_file_that_grows_is_followed_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_bytes(b"a,b\n1,")
    lines = _lines(file, "utf-8")
    assert next(lines) == "a,b"
    with file.open("ab") as more:
        more.write("é\r\n".encode())
    assert next(lines) == "1,é"


def test_sequences_silent_for_longest_are_forgotten(folder: Path) -> None:
    lm = st.load(folder / "model")
    assert isinstance(lm, st.LanguageModel)
    detector = LiveDetector(lm.stream, 3.0, max_sequences=1)
    assert detector.push("a", "open shop").position == 1
    assert detector.push("b", "open shop").position == 1
    assert detector.push("a", "buy").position == 1
