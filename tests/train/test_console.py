"""Progress is silent for two seconds, then says how far something has come or that it goes on."""

import threading
import time

import pytest

from seriatim.train.callbacks import console
from seriatim.train.callbacks.console import Reporter, shown_in_python
from seriatim.train.callbacks.history import Progress


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0.05)
    monkeypatch.setattr(console, "_LINE_SECONDS", 0.05)
    monkeypatch.setattr(console, "_BEAT", 0.01)


def _threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if "_watch" in t.name]


def test_what_is_over_at_once_is_not_mentioned(capfd: pytest.CaptureFixture[str]) -> None:
    with Reporter(is_patient=True) as reporter:
        reporter.say("building the vocabulary")
        reporter.counted("scored 5 symbols")
    assert capfd.readouterr().err == ""


def test_what_counts_nothing_shows_that_it_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with Reporter() as reporter:
        reporter.doing("counting")
        deadline = time.monotonic() + 10
        while not (shown := capfd.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert shown.splitlines()[0] == "counting (0 s)"


def test_the_seconds_stand_beside_what_was_counted_last(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Reporter() as reporter:
        reporter.doing("reading")
        reporter.counted("measuring: 25%")
        deadline = time.monotonic() + 10
        while not (shown := capfd.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert shown.splitlines()[0] == "measuring: 25% (0 s)"


def test_nothing_goes_on_after_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    with Reporter() as reporter:
        reporter.doing("counting")
    deadline = time.monotonic() + 10  # another test's may be asleep
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _threads()
    capfd.readouterr()
    time.sleep(0.1)
    assert capfd.readouterr().err == ""


def test_a_quiet_reporter_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Reporter(is_quiet=True) as reporter:
        reporter.say("counting")
        time.sleep(0.1)
        reporter.counted("scored 5 symbols")
    assert capfd.readouterr().err == ""


def test_scoring_in_python_is_shown_unless_a_callback_takes_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with shown_in_python(None) as progress:
        progress(1)
        shown, deadline = "", time.monotonic() + 10
        while "scored 1,234 symbols\n" not in shown and time.monotonic() < deadline:
            time.sleep(0.02)
            progress(1234)
            shown += capfd.readouterr().err
    assert "scored 1,234 symbols\n" in shown
    seen: list[int] = []
    with shown_in_python(seen.append) as progress:
        time.sleep(0.1)
        progress(7)
    assert seen == [7]
    assert capfd.readouterr().err == ""


def test_losses_of_numbers_are_nats_per_value(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress(
        step=5,
        steps=10,
        epoch=0.5,
        train_nats=2.0,
        valid_nats=1.5,
        learning_rate=1e-3,
        gradient_norm=1.0,
        tokens_per_second=1234.0,
        seconds=1.0,
        seconds_left=1.0,
        is_best=True,
        is_evaluation=True,
    )
    with Reporter(unit="value") as reporter:
        reporter.progress(progress)
    assert "train 2.000  valid 1.500 nats per value  1,234 values/s" in capfd.readouterr().err
