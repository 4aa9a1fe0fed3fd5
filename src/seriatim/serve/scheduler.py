"""The scheduler: one thread that computes, in which requests take turns and continuations share.

torch is entered by this thread alone. Work is of two kinds. A *call* is a function that is run once
(a score, a translation, a push to a session). A *row* is a continuation that joins the running
batch of its model when its prompt has been read, takes a symbol at every step of the batch, and
leaves when it ends.

Calls wait in a queue for each client, and clients take turns, so that one with many requests does
not keep others from theirs. A long call gives the running batches a step whenever it says that it
has got further (`Turn.breathe`), and stops there if its client has left.

Knows threads, states through `rows.RunningBatch`, and time; no protocol, no text, no family.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from seriatim.core.model import SequenceModel
from seriatim.serve.refusals import GoneError, TimedOutError, as_refusal, busy
from seriatim.serve.rows import Row, RunningBatch

T = TypeVar("T")

_PATIENCE = 0.005  # seconds of calls between two steps of the batches


@dataclass(eq=False)
class Ticket:
    """The right of a client to have something computed, until it leaves or time is up.

    Attributes:
        client: whose work it is; clients take turns.
        deadline: when it is given up, by `time.monotonic`.
        is_gone: whether the client has left.
    """

    client: str
    deadline: float
    is_gone: bool = False

    def check(self) -> None:
        """Stop here if nobody waits for the result any more.

        Raises:
            GoneError: if the client has left, or time is up.
        """
        if self.is_gone:
            raise GoneError
        if time.monotonic() > self.deadline:
            raise TimedOutError


@dataclass(frozen=True)
class Turn:
    """What a call may do with its turn.

    Attributes:
        scheduler: whose turn it is.
        ticket: of the client that the call is for.
    """

    scheduler: "Scheduler"
    ticket: Ticket

    def breathe(self, done: object = None) -> None:
        """Let the running batches take a step; to be called often by what takes long.

        Raises:
            GoneError: if the client has left, or time is up.
        """
        self.ticket.check()
        self.scheduler.step()
        self.ticket.check()

    def join(self, model: SequenceModel, row: Row) -> None:
        """Let a row join the running batch of its model."""
        self.scheduler.join(model, row)

    def is_running(self, model: SequenceModel) -> bool:
        """Whether a batch of a model runs anyway."""
        return self.scheduler.is_running(model)


@dataclass(eq=False)
class _Call(Generic[T]):
    ticket: Ticket
    run: Callable[[Turn], T]
    result: "Future[T]" = field(default_factory=Future)


class Scheduler:
    """The thread that computes."""

    def __init__(
        self, *, max_waiting: int, batch_rows: int, on_fault: Callable[[BaseException], None]
    ) -> None:
        """
        Args:
            max_waiting: the number of calls that may wait.
            batch_rows: the rows of a running batch; more wait for one to leave.
            on_fault: callback that receives what a model raises in a step.
        """
        self._on_fault = on_fault
        self._max_waiting, self._batch_rows = max_waiting, batch_rows
        self._lock = threading.Condition()
        self._queues: OrderedDict[str, deque[_Call[object]]] = OrderedDict()
        self._batches: dict[int, RunningBatch] = {}
        self._is_open = True
        self._waiting = 0
        self._thread = threading.Thread(target=self._run, name="seriatim-model", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """The number of calls that wait."""
        return self._waiting

    @property
    def num_rows(self) -> int:
        """The number of continuations that run or wait to join."""
        return sum(batch.num_rows for batch in list(self._batches.values()))

    def submit(self, ticket: Ticket, run: Callable[[Turn], T]) -> "Future[T]":
        """Queue a call; its result is set by the thread that computes.

        Raises:
            RefusalError: if too much waits already.
        """
        call = _Call(ticket, run)
        with self._lock:
            if self._waiting >= self._max_waiting:
                raise busy("too much work waits for the models")
            self._queues.setdefault(ticket.client, deque()).append(call)  # type: ignore[arg-type]
            self._waiting += 1
            self._lock.notify()
        return call.result

    def close(self) -> None:
        """End the thread; what waits is given up."""
        with self._lock:
            self._is_open = False
            self._lock.notify()
        self._thread.join(timeout=10)

    # ---- on the thread that computes ------------------------------------------------------------

    def join(self, model: SequenceModel, row: Row) -> None:
        """Let a row join the running batch of its model."""
        batch = self._batches.get(id(model))
        if batch is None:
            batch = self._batches[id(model)] = RunningBatch(model, self._batch_rows)
        batch.add(row)

    def is_running(self, model: SequenceModel) -> bool:
        """Whether there are rows in the batch of a model."""
        batch = self._batches.get(id(model))
        return batch is not None and batch.num_rows > 0

    def step(self) -> None:
        """Every running batch takes a step."""
        for batch in self._batches.values():
            try:
                batch.step()
            except Exception as error:  # of the model: every row of the batch learns of it
                self._on_fault(error)
                batch.fail(as_refusal(error))

    def _run(self) -> None:
        with torch.inference_mode():
            while (call := self._next()) is not _CLOSED:
                began = time.monotonic()
                while call is not None:
                    self._answer(call)
                    # What waits joins together, but a batch that runs does not wait for long.
                    is_late = time.monotonic() - began > _PATIENCE
                    call = None if is_late else self._waiting_call()
                self.step()

    def _next(self) -> "_Call[object] | None":
        """The next call of the client whose turn it is; None: there is a batch to go on with."""
        with self._lock:
            while self._is_open:
                if self._queues:
                    return self._pop()
                if any(batch.num_rows for batch in self._batches.values()):
                    return None
                self._lock.wait()
            for queue in self._queues.values():
                for call in queue:
                    call.result.cancel()
            return _CLOSED

    def _waiting_call(self) -> "_Call[object] | None":
        """The next call, if one waits."""
        with self._lock:
            return self._pop() if self._queues else None

    def _pop(self) -> "_Call[object]":
        client, queue = self._queues.popitem(last=False)
        call = queue.popleft()
        if queue:
            self._queues[client] = queue  # behind the others
        self._waiting -= 1
        return call

    def _answer(self, call: "_Call[object]") -> None:
        if not call.result.set_running_or_notify_cancel():
            return
        try:
            call.ticket.check()
            result = call.run(Turn(self, call.ticket))
        except BaseException as error:
            call.result.set_exception(error)
        else:
            call.result.set_result(result)


_CLOSED: _Call[object] = _Call(Ticket("", 0.0), lambda turn: None)
