"""What every test shares: no cache of the user's is touched, and data that may not be there."""

import collections
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seriatim.models.options import own

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
# The only reasons for which a test may be skipped where everything else is installed.
NO_GPU = "needs a GPU"
NO_DATA = "needs the real data in ../shared/data"
NO_DOWNLOAD = "needs a download"  # of what no index of Python packages has, or what fits no extra


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data beside the repository; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(NO_DATA)
    return SHARED


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser, for tests that open a page in it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium (on Debian and Ubuntu: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


def _skips(config: pytest.Config) -> collections.Counter[str]:
    """How many tests were skipped, by reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    reasons = (report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    return collections.Counter(reason.removeprefix("Skipped: ") for reason in reasons)


def _unexplained(config: pytest.Config) -> list[str]:
    allowed = NO_GPU, NO_DATA, NO_DOWNLOAD
    return [reason for reason in _skips(config) if not reason.startswith(allowed)]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    skips = _skips(config)
    if skips:
        reasons = "; ".join(f"{number} {reason}" for reason, number in skips.most_common())
        terminalreporter.write_line(f"skipped by reason: {reasons}")
    if _unexplained(config) and os.environ.get("CI"):
        terminalreporter.write_line("in CI only a GPU, data or a download may be missing")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI everything is installed, so a test that skips for another reason has lost its check."""
    is_controller = not hasattr(session.config, "workerinput")
    if is_controller and exitstatus == 0 and os.environ.get("CI") and _unexplained(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _own_classes() -> Iterator[None]:
    """Classes that a test registers are known to no other test."""
    before = dict(own._REGISTERED)
    yield
    own._REGISTERED.clear()
    own._REGISTERED.update(before)
