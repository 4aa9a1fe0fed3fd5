"""Several processes for one `seriatim fit`: start them, join them, and end them together.

`--processes P` starts P workers on this machine with torchrun's own agent and the same arguments.
A worker finds RANK, WORLD_SIZE .. in its environment, however it was started: by this module, an
outer torchrun, or Slurm. Rank 0 writes files and messages; the others print nothing. An error that
several ranks meet is printed once. When a rank dies, the others end within seconds: their
connection breaks, and the agent stops the rest. Knows processes, signals and exit codes; no model
and no text.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TextIO

from seriatim.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from seriatim.train.distributed import Group

Say = Callable[[str, int], int]

_PIDS = "SERIATIM_PIDS"  # the folder in which workers leave their process ids
_PATIENCE = 20.0  # seconds that a rank waits for rank 0 to report its error first
_LOST = ("connection", "gloo", "nccl", "timed out", "broken pipe", "process group", "socket")
_INTERRUPTED = 130


class Relaunch(Exception):  # noqa: N818  # a request, not an error
    """Raised to run this command again in several processes."""

    def __init__(self, processes: int) -> None:
        super().__init__(f"to be run by {processes} processes")
        self.processes = processes


def check_processes(processes: int | None, environ: Mapping[str, str] = os.environ) -> None:
    """Check that the requested number of processes runs this command.

    Raises:
        Relaunch: if this is a single process and more are requested.
        ConfigError: if fewer than one are requested, or another number than an outer launcher has
            started.
    """
    if processes is None:
        return
    if processes < 1:
        raise ConfigError(f"--processes {processes}: give 1 or more")
    running = int(environ["WORLD_SIZE"]) if is_worker(environ) else 1
    if running == processes:
        return
    if running > 1:
        raise ConfigError(
            f"--processes {processes} inside a run of {running} processes: leave it out, since the "
            "launcher that started them sets their number"
        )
    raise Relaunch(processes)


# ---- starting -----------------------------------------------------------------------------------


def start(arguments: list[str], processes: int) -> int:
    """Run a command by several processes on this machine, and return its exit code.

    The agent of torchrun (`torch.distributed.run --standalone`) starts and watches them. Ctrl-C
    and SIGTERM go to the workers, which end as a single process would; a second one kills them.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="seriatim-") as pids:
        os.environ.update(_worker_environment(os.environ, processes, pids))
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=str(uuid.uuid4()),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=str(Path(pids) / "agent")),
            signals_to_handle="SIGHUP",
        )
        with _quiet_agent(), _forwarded_signals(Path(pids)):
            try:
                elastic_launch(config, sys.executable)("-m", "seriatim", *arguments)
            except ChildFailedError as error:
                codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
                return _verdict(codes, processes)
    return 0


def num_cores() -> int:
    """Cores of the processor that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _worker_environment(
    environ: Mapping[str, str], processes: int, pids: str
) -> MutableMapping[str, str]:
    variables = {
        _PIDS: pids,
        "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS", str(max(1, num_cores() // processes))),
        "TORCH_CPP_LOG_LEVEL": environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
    }
    if Path("/sys/class/net/lo").exists():  # the host name may not resolve
        variables["GLOO_SOCKET_IFNAME"] = environ.get("GLOO_SOCKET_IFNAME", "lo")
    return variables


@contextlib.contextmanager
def _quiet_agent() -> Iterator[None]:
    """Silence the agent's long reports of failed workers, which have printed what is wrong."""
    import logging

    logger = logging.getLogger("torch.distributed.elastic")
    before, logger.level = logger.level, logging.CRITICAL + 1
    try:
        yield
    finally:
        logger.level = before


@contextlib.contextmanager
def _forwarded_signals(pids: Path) -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on to the workers: the agent would kill them after 30 seconds."""
    is_forwarded = False

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal is_forwarded
        workers = [int(file.name) for file in pids.iterdir() if file.name.isdigit()]
        if is_forwarded or not workers:
            raise KeyboardInterrupt
        is_forwarded = True
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    before = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _verdict(codes: Mapping[int, int], processes: int) -> int:
    """The exit code of a run from those of its workers; reports a worker that was killed."""
    for rank, code in sorted(codes.items()):
        # SIGTERM is what the agent itself ends the remaining workers with.
        if code < 0 and code != -signal.SIGTERM:
            name = signal.Signals(-code).name
            print(
                f"seriatim: process {rank} of {processes} was ended by {name} (out of memory?), "
                "and the others were stopped: run again with a smaller --batch-size, or --resume",
                file=sys.stderr,
            )
            return TrainingError.exit_code
    own = [code for code in codes.values() if code > 0]
    return own[0] if own else 128 + signal.SIGTERM


# ---- working ------------------------------------------------------------------------------------


def is_worker(environ: MutableMapping[str, str] | Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several, by torchrun's variables; see `adopt_slurm`."""
    return int(environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in environ


def adopt_slurm(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set torchrun's variables from those of Slurm if `srun` started this process."""
    size = int(environ.get("SLURM_STEP_NUM_TASKS", environ.get("SLURM_NTASKS", "1")))
    if "RANK" in environ or "SLURM_PROCID" not in environ or size < 2:
        return
    tasks = environ.get("SLURM_STEP_TASKS_PER_NODE", environ.get("SLURM_TASKS_PER_NODE", "1"))
    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_JOB_NODELIST", "localhost"))
    variables = {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": environ.get("SLURM_LOCALID", "0"),
        "LOCAL_WORLD_SIZE": str(_tasks_on_node(tasks, int(environ.get("SLURM_NODEID", "0")))),
        "MASTER_ADDR": environ.get("MASTER_ADDR", first_node(nodes)),
        "MASTER_PORT": environ.get(
            "MASTER_PORT", str(20_000 + int(environ.get("SLURM_JOB_ID", "0")) % 20_000)
        ),
    }
    environ.update(variables)


def first_node(nodes: str) -> str:
    """The first name of a list in the notation of Slurm: node[03-07,9],other gives node03."""
    head, bracket, rest = nodes.partition("[")
    if not bracket or "," in head:
        return nodes.split(",")[0]
    digits = rest.split("]")[0].split(",")[0].split("-")[0]
    return head + digits


def _tasks_on_node(tasks: str, node: int) -> int:
    """The number of tasks on a node: 4(x2),3 stands for 4, 4, 3."""
    counts: list[int] = []
    for part in tasks.split(","):
        number, _, times = part.partition("(x")
        counts += [int(number)] * int(times.rstrip(")") or "1")
    return counts[node] if node < len(counts) else counts[-1]


def work(run: Callable[[Say], int]) -> NoReturn:
    """Join the other processes, do the work, and end this process.

    Args:
        run: the work; it returns an exit code, and passes errors that the user can fix to its
            argument, a function of (message, exit code) that returns the exit code to use.
    """
    from seriatim.train import distributed

    if _PIDS in os.environ:
        (Path(os.environ[_PIDS]) / str(os.getpid())).touch()
    stderr = sys.stderr
    _divide_threads()
    try:
        ranks = distributed.join()
    except ConfigError as error:
        print(f"seriatim: {error}", file=stderr)
        _end(error.exit_code)
    if not isinstance(ranks, distributed.Group):
        raise TypeError("join returns a group in a worker")
    if not ranks.is_main:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    errors = _ErrorReporter(ranks, stderr)
    try:
        code = run(errors.say)
        if code == 0:
            distributed.leave()
    except distributed.LostProcessError:
        code = errors.lost()
    except Exception as error:
        is_lost = isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _LOST)
        code = errors.lost() if is_lost else errors.fault(error)
    _end(code)


def _end(code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    # Not sys.exit: after gloo, torch 2.13 sometimes aborts in the shutdown of the interpreter.
    os._exit(code)


def _divide_threads() -> None:
    """Divide the cores among the processes of this machine, unless OMP_NUM_THREADS is set."""
    if "OMP_NUM_THREADS" in os.environ:
        return
    import torch

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK", max(1, num_cores() // local)))
    torch.set_num_threads(cores)


class _ErrorReporter:
    """Prints each error once: on rank 0 if it can, otherwise on another rank."""

    def __init__(self, ranks: "Group", stderr: TextIO) -> None:
        self._ranks, self._stderr = ranks, stderr

    def say(self, message: str, code: int) -> int:
        """Report an error that the user can fix; returns the exit code to use."""
        ranks = self._ranks
        if not ranks.is_main:
            if code in (TrainingError.exit_code, _INTERRUPTED):
                return 0  # all ranks meet these at the same step, and rank 0 has things to save
            if self._wait_for_other(_PATIENCE) is not None:
                return 0
            message = f"on rank {ranks.rank}: {message}"
        if ranks.report_failure(message, code):
            self._print(message)
        return code

    def lost(self) -> int:
        """Report a broken connection, unless the other rank has reported why it ended."""
        code = self._wait_for_other(3.0)
        if code is not None:
            return code
        message = "another process of the run has ended without a message (killed, out of memory?)"
        if self._ranks.report_failure(message, TrainingError.exit_code):
            self._print(f"{message}: run again, with --resume if there is a checkpoint")
        return TrainingError.exit_code

    def fault(self, error: Exception) -> int:
        """Report a fault of seriatim itself."""
        if self._ranks.report_failure(repr(error), 1):
            self._print(
                f"rank {self._ranks.rank} failed\n" + "".join(traceback.format_exception(error))
            )
        return 1

    def _wait_for_other(self, seconds: float) -> int | None:
        """The exit code of the rank that has reported an error; None: no rank has."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            failure = self._ranks.failure()
            if failure is not None:
                time.sleep(1.0)  # the reporting rank is to end first: the agent stops the rest
                return failure[0]
            time.sleep(0.1)
        return None

    def _print(self, message: str) -> None:
        print(f"seriatim: {message}", file=self._stderr, flush=True)
