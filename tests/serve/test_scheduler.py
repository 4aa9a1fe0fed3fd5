"""The scheduler: the same text in any company, turns for every client, nothing for those gone."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import torch

import seriatim as st
from seriatim.core import tree
from seriatim.decode.sampling import Sampling
from seriatim.serve import ServeSettings
from seriatim.serve.refusals import GoneError, RefusalError
from seriatim.serve.rows import Listed, Row, RunningBatch
from seriatim.serve.scheduler import Scheduler, Ticket, Turn
from tests.serve.running import all_models, language_model, serving

FAMILIES = ["markov", "lstm", "transformer", "stream"]


class _Kept(Row):
    """A row that keeps its symbols."""

    def __init__(self, model: Any, prompt: list[int], length: int, **row: Any) -> None:
        state = model.update(model.start(1), torch.tensor([prompt]))
        super().__init__(state, num_top=2, **row)
        self.length, self.symbols, self.listed = length, [], []
        self.is_left, self.refusal = False, None

    def is_wanted(self) -> bool:
        return not self.is_left

    def take(self, symbol: int, listed: Listed | None) -> bool:
        self.symbols.append(symbol)
        self.listed.append(listed)
        return len(self.symbols) < self.length

    def fail(self, refusal: RefusalError) -> None:
        self.refusal = refusal


def _rows(model: Any, count: int) -> list[_Kept]:
    """Rows of other prompts, lengths, seeds and filters."""
    how = [
        Sampling(),
        Sampling(temperature=0.7, top_k=5),
        Sampling(temperature=0),
        Sampling(top_p=0.8),
        Sampling(min_p=0.1),
    ]
    return [
        _Kept(
            model,
            [2 + i % 7] * (1 + i % 4),
            3 + 5 * i % 17,
            seed=i // 3,
            number=i % 3,
            sampling=how[i % 5],
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("family", ["markov", "lstm", "transformer"])
def test_a_prompt_read_by_the_steps_of_a_batch_is_as_if_read_before(family: str) -> None:
    model = language_model(family).model.double()
    try:
        _hold_prompts_equal(model)
    finally:
        language_model(family).model.float()


@torch.inference_mode()
def _hold_prompts_equal(model: Any) -> None:
    before, within = _rows(model, 9), _rows(model, 9)
    for i, row in enumerate(within):
        row.unread.extend([2 + i % 7] * (1 + i % 4))
        row.state = model.start(1)
    _run(model, before, [0] * 9, 9)
    _run(model, within, [i % 5 for i in range(9)], 5)
    assert [row.symbols for row in within] == [row.symbols for row in before]


def _run(model: Any, rows: list[_Kept], arrivals: list[int], max_rows: int) -> None:
    """Let rows join when their step has come."""
    batch, waiting = RunningBatch(model, max_rows), list(zip(arrivals, rows, strict=True))
    for step in range(1000):
        for at, row in [pair for pair in waiting if pair[0] <= step]:
            batch.add(row)
            waiting.remove((at, row))
        batch.step()
        if not waiting and not batch.num_rows:
            return
    raise AssertionError("it does not end")


@pytest.mark.parametrize("family", ["markov", "lstm", "transformer"])
def test_a_row_is_the_same_alone_and_in_any_company_in_float64(family: str) -> None:
    model = language_model(family).model.double()
    try:
        _hold_rows_equal(model)
    finally:
        language_model(family).model.float()


@torch.inference_mode()
def _hold_rows_equal(model: Any) -> None:
    alone = _rows(model, 12)
    for row in alone:
        _run(model, [row], [0], 1)
    for max_rows in (3, 5, 64):
        together = _rows(model, 12)
        _run(model, together, [(7 * i) % 9 for i in range(12)], max_rows)
        assert [row.symbols for row in together] == [row.symbols for row in alone]
        for one, other in zip(together, alone, strict=True):
            for a, b in zip(one.listed, other.listed, strict=True):
                assert a.log_prob == pytest.approx(b.log_prob, abs=1e-9)


@torch.inference_mode()
def test_a_model_of_ones_own_is_served_like_any_other() -> None:
    class Counting(st.SequenceModel):
        """Which symbol comes depends on how often each has come; its carry is a dict."""

        def empty(self, batch_size: int, *, memory: Any = None, capacity: Any = None) -> Any:
            return {"counts": torch.zeros(batch_size, self.num_symbols)}

        def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
            hot = torch.nn.functional.one_hot(x, self.num_symbols).float()
            counts = carry["counts"][:, None] + hot.cumsum(1)
            return counts, {"counts": counts[:, -1]}

        def emit(self, features: Any) -> Any:
            return st.Categorical((features + 0.5).log())

    model = Counting(st.Symbols(9, 1))
    alone, together = _rows(model, 9), _rows(model, 9)
    for row in alone:
        _run(model, [row], [0], 1)
    _run(model, together, [0, 0, 2, 2, 3, 5, 5, 5, 9], 4)
    assert [row.symbols for row in together] == [row.symbols for row in alone]


@torch.inference_mode()
def test_rows_that_nobody_waits_for_leave() -> None:
    model = language_model("lstm").model
    batch, rows = RunningBatch(model, 8), _rows(model, 6)
    for row in rows:
        row.length = 10**6
        batch.add(row)
    batch.step()
    for row in rows[1:]:
        row.is_left = True
    batch.step()
    assert batch.num_rows == 1 and tree.rows(batch._state.features) == 1
    rows[0].is_left = True
    batch.step()
    assert batch.num_rows == 0 and batch._state is None


def _scheduler(**limits: int) -> Scheduler:
    return Scheduler(on_fault=lambda error: None, **{"max_waiting": 100, "batch_rows": 8, **limits})


def test_clients_take_turns() -> None:
    scheduler, done, go = _scheduler(), [], threading.Event()
    tickets = {name: Ticket(name, time.monotonic() + 60) for name in "abc"}
    scheduler.submit(tickets["a"], lambda turn: go.wait(10))
    while scheduler.num_waiting:
        time.sleep(0.001)
    futures = [
        scheduler.submit(tickets[name], lambda turn, name=name: done.append(name))
        for name in "aaaaaabbc"
    ]
    go.set()
    for future in futures:
        future.result(timeout=10)
    scheduler.close()
    assert "".join(done) == "abcabaaaa"


def test_what_waits_is_bounded_and_what_is_gone_is_not_run() -> None:
    scheduler, go, done = _scheduler(max_waiting=2), threading.Event(), []
    ticket, left = (Ticket("a", time.monotonic() + 60) for _ in range(2))
    scheduler.submit(ticket, lambda turn: go.wait(10))
    while scheduler.num_waiting:
        time.sleep(0.001)
    kept = scheduler.submit(ticket, lambda turn: done.append(1))
    gone = scheduler.submit(left, lambda turn: done.append(2))
    with pytest.raises(RefusalError) as refused:
        scheduler.submit(ticket, lambda turn: done.append(3))
    assert refused.value.status == 429
    left.is_gone = True
    go.set()
    kept.result(timeout=10)
    assert gone.exception(timeout=10) is not None
    scheduler.close()
    assert done == [1]


def test_a_long_call_lets_the_batches_go_on() -> None:
    model = language_model("lstm").model
    scheduler, ticket = _scheduler(), Ticket("a", time.monotonic() + 60)
    with torch.inference_mode():
        (row,) = _rows(model, 1)
    row.length = 20

    def long(turn: Turn) -> int:
        turn.join(model, row)
        for _ in range(20):
            turn.breathe()
        return len(row.symbols)

    assert scheduler.submit(ticket, long).result(timeout=20) == 20
    scheduler.close()


# ---- over HTTP ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_texts_are_the_same_alone_and_together(client: httpx.Client, name: str) -> None:
    bodies = [
        {
            "model": name,
            "prompt": p,
            "seed": s,
            "max_tokens": 8 + s,
            "n": 1 + s % 2,
            "temperature": [1.0, 0.8][s % 2],
            "logprobs": None if s % 3 else 2,
        }
        for s, p in enumerate(["the", "a d", "", "on the mat", "once", "c", "é", "the cat"])
    ]

    def texts(body: dict[str, Any]) -> list[str]:
        answer = client.post("/v1/completions", json=body).json()
        return [choice["text"] for choice in answer["choices"]]

    alone = [texts(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(texts, bodies))
    assert together == alone
    lm = all_models()[name]
    for body, found in zip(bodies, alone, strict=True):
        expected = lm.generate(
            [body["prompt"]],
            body["max_tokens"],
            samples=body["n"],
            seed=body["seed"],
            temperature=body["temperature"],
        )[0]
        assert [body["prompt"] + text for text in found] == expected


def _send(client: httpx.Client, body: dict[str, Any]) -> socket.socket:
    url, content = client.base_url, json.dumps(body).encode()
    one = socket.create_connection((url.host, url.port or 0))
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    one.sendall(head.encode() + content)
    return one


def _gauge(client: httpx.Client, name: str) -> float:
    (line,) = [
        line
        for line in client.get("/metrics").text.split("\n")
        if line.startswith(f"seriatim_{name} ")
    ]
    return float(line.split()[-1])


@pytest.mark.parametrize("is_streamed", [True, False])
def test_work_for_a_client_that_leaves_ends(is_streamed: bool) -> None:
    limits = ServeSettings(max_tokens=10**7)
    with serving({"stream": language_model("lstm", "stream", "byte")}, limits) as client:
        body = {"prompt": "a", "max_tokens": 10**7, "n": 4, "stream": is_streamed}
        clients = [_send(client, body) for _ in range(3)]
        deadline = time.monotonic() + 20
        while _gauge(client, "running_rows") < 12:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for one in clients:
            one.close()
        left = time.monotonic()
        while _gauge(client, "running_rows"):
            time.sleep(0.01)
            assert time.monotonic() < left + 20
        answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3})
        assert answer.status_code == 200


def test_what_waits_beyond_the_queue_gets_429() -> None:
    limits = ServeSettings(max_waiting=1)
    with serving({"lm": language_model("lstm")}, limits) as client:
        body = {"prompt": ["the"] * 60, "max_tokens": 1}
        answer = client.post("/v1/completions", json=body)
        assert answer.status_code in (200, 429)
        if answer.status_code == 429:
            assert answer.headers["retry-after"] == "1"


def test_a_translation_breathes_at_every_step_and_stops_there() -> None:
    steps: list[int] = []

    def breathe() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise GoneError

    task = all_models()["translator"]
    with pytest.raises(GoneError):
        task.translate(["abcabc"], on_advance=breathe)
    assert len(steps) == 3
    free = task.translate(["abcabc"])
    assert task.translate(["abcabc"], on_advance=lambda: None) == free
