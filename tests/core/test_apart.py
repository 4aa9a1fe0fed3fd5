"""Work in a process of its own: what comes back, what fails, and that processes end."""

import os
import signal

import numpy as np
import pytest

from seriatim.core import apart
from seriatim.core.records import Json
from seriatim.errors import DataError

pytestmark = pytest.mark.skipif(
    not apart.IS_POSSIBLE, reason="needs memory that processes share, which Linux has"
)


def echo(facts: Json, arrays: list[apart.Array]) -> tuple[Json, list[apart.Array]]:
    """The facts, the number of the process, and the arrays once more."""
    if facts.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if facts.get("refuses"):
        raise DataError("no such text")
    return {**facts, "process": os.getpid()}, [*arrays, np.zeros(0, np.int32)]


ECHO = f"{__name__}:echo"


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    apart._end_kept()


def test_facts_and_arrays_of_every_type_come_back() -> None:
    arrays = [np.arange(5), np.arange(3, dtype=np.uint16), np.array([0.5]), np.arange(20_000)[::2]]
    answer = apart.ask(ECHO, {"name": "a b"}, arrays)
    assert answer is not None
    facts, found = answer
    assert facts["name"] == "a b"
    assert facts["process"] != os.getpid()
    for array, copy in zip([*arrays, np.zeros(0, np.int32)], found, strict=True):
        assert copy.dtype == array.dtype
        np.testing.assert_array_equal(copy, array)
    found[0][0] = 7  # memory of this process, which it may write


def test_a_process_that_is_kept_does_the_next_job_and_one_that_is_not_ends() -> None:
    processes = []
    for keep in (True, False, False):
        answer = apart.ask(ECHO, {}, keep=keep)
        assert answer is not None
        processes.append(answer[0]["process"])
    assert processes[0] == processes[1] != processes[2]
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_errors_of_a_job_are_raised_here() -> None:
    with pytest.raises(DataError, match="no such text"):
        apart.ask(ECHO, {"refuses": True})


def test_a_job_whose_process_is_killed_is_none() -> None:
    assert apart.ask(ECHO, {"dies": True}) is None


def test_a_kept_process_that_has_ended_is_replaced() -> None:
    answer = apart.ask(ECHO, {}, keep=True)
    assert answer is not None
    os.kill(answer[0]["process"], signal.SIGKILL)
    again = apart.ask(ECHO, {})
    assert again is not None
    assert again[0]["process"] != answer[0]["process"]


def halves(facts: Json, arrays: list[apart.Array]) -> tuple[Json, list[apart.Array]]:
    """A number for the job after this one, and two arrays."""
    return {"next": {"size": 3}}, [np.arange(3), np.full(facts["length"], 7)]


HALVES = f"{__name__}:halves"
THEN = apart.NextJob(ECHO, {"name": "a"}, (1,))
NEXT = {"name": "a", "size": 3}


def test_the_next_job_is_begun_unasked_and_its_result_is_that_of_the_call_for_it() -> None:
    apart.prepare("json")
    first = apart.ask(HALVES, {"length": 5}, keep=True, then=THEN)
    assert first is not None
    (helper,) = apart._KEPT
    assert helper.has_begun(ECHO, NEXT, [first[1][1]])
    assert helper.has_begun(ECHO, NEXT, [np.full(5, 7)])
    answer = apart.ask(ECHO, NEXT, [first[1][1]])
    assert answer is not None
    assert answer[0] == {**NEXT, "process": helper._process.pid}
    np.testing.assert_array_equal(answer[1][0], np.full(5, 7))


@pytest.mark.parametrize(
    ("facts", "array"),
    [({"name": "b", "size": 3}, [7] * 5), (NEXT, [7] * 4), (NEXT, [7] * 4 + [8])],
)
def test_a_next_job_that_is_not_asked_for_is_given_up(facts: Json, array: list[int]) -> None:
    apart.ask(HALVES, {"length": 5}, keep=True, then=THEN)
    (helper,) = apart._KEPT
    answer = apart.ask(ECHO, facts, [np.array(array)])
    assert answer is not None
    assert answer[0]["process"] != helper._process.pid
    np.testing.assert_array_equal(answer[1][0], array)
    with pytest.raises(ProcessLookupError):
        os.kill(helper._process.pid, 0)


def test_an_error_of_the_next_job_is_raised_where_it_is_asked_for() -> None:
    then = apart.NextJob(ECHO, {"refuses": True}, ())
    assert apart.ask(HALVES, {"length": 5}, keep=True, then=then) is not None
    with pytest.raises(DataError, match="no such text"):
        apart.ask(ECHO, {"refuses": True, "size": 3})
