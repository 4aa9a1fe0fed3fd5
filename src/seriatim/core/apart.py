"""Work on arrays of integers in a process of its own, beside this one.

Three things make it faster there. It has its own interpreter, so it runs while this one imports
torch. It keeps the memory that it frees for its next step, which is otherwise cleared by the system
again and again. And on Zen 4 processors numpy sorts integers by AVX-512 instructions that are
written in microcode (compressed stores to memory): 60 ns an element where its AVX2 kernel takes 11.
Which kernel is used is decided when numpy is imported, and would change the last bits of logarithms
too; so only integers are computed there, which are the same everywhere.

A job is a function by name, `module:function`, from facts and arrays to facts and arrays. Arrays
are passed in memory that both processes map (Linux alone has it; elsewhere there is no such
process, and callers do the work themselves). A job may name another one that will follow on its
own result: it is begun at once, before this process asks for it.

    python -m seriatim.core.apart SOCKET [MODULE ...]

Knows processes and arrays; no specific job.
"""

import atexit
import contextlib
import importlib
import json
import mmap
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from seriatim import errors
from seriatim.core.records import Json

Array: TypeAlias = npt.NDArray[Any]
Work: TypeAlias = Callable[[Json, list[Array]], tuple[Json, list[Array]]]

IS_POSSIBLE = hasattr(os, "memfd_create")
_MOST_ARRAYS = 64  # of a message
_IDLE_SECONDS = 30.0  # after which the process ends
_KEPT: "list[_Helper]" = []
_LOCK = threading.Lock()


@dataclass(frozen=True)
class NextJob:
    """A job that is begun on the result of another one, since it will probably be asked for.

    Attributes:
        job: "module:function".
        facts: its facts, to which come those that the result has under the name "next".
        arrays: which arrays of the result it takes.
    """

    job: str
    facts: Json
    arrays: tuple[int, ...]


def prepare(*modules: str) -> None:
    """Start the process for the next job, which then imports these modules, while this one goes on;
    it ends if there is no job within some seconds."""
    if IS_POSSIBLE:
        with contextlib.suppress(OSError):
            helper = _Helper(*modules)
            with _LOCK:
                _KEPT.append(helper)


def ask(
    job: str,
    facts: Json,
    arrays: Sequence[Array] = (),
    *,
    keep: bool = False,
    then: NextJob | None = None,
) -> tuple[Json, list[Array]] | None:
    """What a job makes of facts and arrays, in the other process; None if there can be none.

    Args:
        job: "module:function".
        facts: JSON values.
        arrays: one-dimensional arrays; they are copied.
        keep: whether the process is to wait for the next job, at most some seconds.
        then: the job that the process is to begin meanwhile, with `keep`; its result is that of
            the next call, if that asks for the same.

    Raises:
        SeriatimError: whatever the job raises.
    """
    if not IS_POSSIBLE:
        return None
    for helper in (_take_kept(), None):
        try:
            if helper is not None and helper.has_begun(job, facts, arrays):
                answer, found = helper.receive()
            else:
                helper = _unused(helper) or _Helper()
                answer, found = helper.ask({"job": job, "facts": facts}, list(arrays), then)
        except (OSError, EOFError):  # it could not be started, was killed, or has waited too long
            continue
        if keep:
            with _LOCK:
                _KEPT.append(helper)
        else:
            helper.end()
        if "error" in answer:
            name, message = answer["error"]
            raise getattr(errors, name)(message)
        return answer["facts"], found
    return None


def sorts_slowly() -> bool:
    """Whether numpy's AVX-512 sort is slow on this processor: a Zen 4 (AMD family 25)."""
    with contextlib.suppress(OSError):
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        facts = {
            name.strip(): value.split()
            for name, _, value in (line.partition(":") for line in info.splitlines())
        }
        family = ["AuthenticAMD"], ["25"]
        is_zen_4 = (facts.get("vendor_id"), facts.get("cpu family")) == family
        return is_zen_4 and "avx512f" in facts.get("flags", [])
    return False


def _take_kept() -> "_Helper | None":
    with _LOCK:
        return _KEPT.pop() if _KEPT else None


def _unused(helper: "_Helper | None") -> "_Helper | None":
    """A process, unless it does a job that nobody asks for."""
    if helper is None or helper.next is None:
        return helper
    helper.end()
    return None


@atexit.register
def _end_kept() -> None:
    while helper := _take_kept():
        helper.end()


class _Helper:
    """The other process, seen from this one.

    Attributes:
        next: the job, facts and arrays of what it does unasked; None: nothing.
    """

    def __init__(self, *modules: str) -> None:
        self.next: tuple[str, Json, list[Array]] | None = None
        self._socket, other = socket.socketpair()
        number = other.fileno()
        command = [sys.executable, "-W", "ignore", "-m", "seriatim.core.apart", str(number)]
        command += modules
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[number],
                env=_environment(),
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            other.close()

    def ask(
        self, message: Json, arrays: list[Array], then: NextJob | None = None
    ) -> tuple[Json, list[Array]]:
        """The answer to a message, and its arrays."""
        if then is not None:
            message = {**message, "then": [then.job, then.facts, then.arrays]}
        try:
            _send(self._socket, message, arrays)
        except BaseException:  # an interruption too
            self.end()
            raise
        answer, found = self.receive()
        if then is not None and "error" not in answer:
            facts = {**then.facts, **answer["facts"].pop("next")}
            self.next = then.job, facts, [found[i] for i in then.arrays]
        return answer, found

    def receive(self) -> tuple[Json, list[Array]]:
        """The next answer, and its arrays."""
        self.next = None
        try:
            return _receive(self._socket)
        except BaseException:
            self.end()
            raise

    def has_begun(self, job: str, facts: Json, arrays: Sequence[Array]) -> bool:
        """Whether a job is what it does already."""
        return (
            self.next is not None
            and self.next[:2] == (job, facts)
            and len(arrays) == len(self.next[2])
            and all(map(_is_same, arrays, self.next[2]))
        )

    def end(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _is_same(array: Array, other: Array) -> bool:
    """Whether arrays are equal; those of the same memory are not compared."""
    if (array.dtype, array.shape) != (other.dtype, other.shape):
        return False
    facts, others = array.__array_interface__, other.__array_interface__
    is_one = (facts["data"], facts["strides"]) == (others["data"], others["strides"])
    return is_one or np.array_equal(array, other)


def _environment() -> dict[str, str]:
    changes = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        # Large arrays are given back at once; small ones are kept, and their pages used again.
        "MALLOC_MMAP_THRESHOLD_": str(1 << 22),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
        "MALLOC_ARENA_MAX": "1",
    }
    if sorts_slowly():
        names: Sequence[str] = np._core._multiarray_umath.__cpu_dispatch__  # type: ignore[attr-defined]
        wide = [name for name in names if name.startswith("AVX512") or name == "X86_V4"]
        changes["NPY_DISABLE_CPU_FEATURES"] = " ".join(wide)
    return os.environ | changes


# ---- messages -----------------------------------------------------------------------------------


def _send(
    to: socket.socket, message: Json, arrays: list[Array], keep: Sequence[int] = ()
) -> list[Array]:
    """Send a message with arrays; the list is emptied, to free each as soon as it is copied.

    Returns:
        The arrays of some numbers, in the memory that is shared.
    """
    memories: list[int] = []
    try:
        layout = []
        while arrays:
            array = arrays.pop(0)
            layout.append((array.dtype.str, len(array)))
            memories.append(os.memfd_create("seriatim"))  # each is freed by itself
            with open(memories[-1], "wb", closefd=False) as file:
                if len(array):
                    file.write(np.ascontiguousarray(array).data.cast("B"))
        text = json.dumps({**message, "arrays": layout}).encode()
        socket.send_fds(to, [len(text).to_bytes(8, "little")], memories)
        to.sendall(text)
        return [_mapped(memories[i], *layout[i]) for i in keep]
    finally:
        for memory in memories:
            os.close(memory)


def _receive(source: socket.socket) -> tuple[Json, list[Array]]:
    """A message and its arrays, in shared memory.

    Raises:
        EOFError: the other process has ended.
    """
    head, memories, _, _ = socket.recv_fds(source, 8, _MOST_ARRAYS)
    try:
        if len(head) < 8:
            raise EOFError
        with contextlib.closing(source.makefile("rb", buffering=0)) as stream:
            text, size = b"", int.from_bytes(head, "little")
            while len(text) < size:
                piece = stream.read(size - len(text))
                if not piece:
                    raise EOFError
                text += piece
        message = json.loads(text)
        pairs = zip(memories, message["arrays"], strict=True)
        return message, [_mapped(memory, *layout) for memory, layout in pairs]
    finally:
        for memory in memories:
            os.close(memory)


def _mapped(memory: int, kind: str, length: int) -> Array:
    """An array in shared memory."""
    if length == 0:
        return np.zeros(0, kind)
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    return np.frombuffer(mmap.mmap(memory, 0, flags), kind, length)


# ---- the other process --------------------------------------------------------------------------


def _serve(own: socket.socket, modules: Sequence[str]) -> None:
    """Do one job after another until the asking process closes its end, or asks no more."""
    for module in modules:
        importlib.import_module(module)
    while select.select([own], [], [], _IDLE_SECONDS)[0]:
        try:
            message, arrays = _receive(own)
        except EOFError:
            return
        answer, result = _done(message["job"], message["facts"], arrays)
        if "then" not in message or "error" in answer:
            _send(own, answer, result)
            continue
        job, facts, which = message["then"]
        facts = {**facts, **answer["facts"]["next"]}
        answer, result = _done(job, facts, _send(own, answer, result, which))
        _send(own, answer, result)


def _done(job: str, facts: Json, arrays: list[Array]) -> tuple[Json, list[Array]]:
    """The answer, and the arrays of a job; those that it was given are forgotten."""
    module, name = job.split(":")
    work: Work = getattr(importlib.import_module(module), name)
    try:
        facts, result = work(facts, arrays)
        return {"facts": facts}, result
    except errors.SeriatimError as error:
        return {"error": (type(error).__name__, str(error))}, []
    finally:
        arrays.clear()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        _serve(channel, sys.argv[2:])
    os._exit(0)
