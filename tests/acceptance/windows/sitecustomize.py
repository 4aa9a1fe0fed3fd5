"""Python as Windows has it, as far as Linux can imitate it: what it lacks and what it refuses.

A process that is started with this folder on PYTHONPATH has no POSIX-only functions, and cannot
remove, rename or cut a file that it has open or mapped itself. Every refusal is noted in the file
that IMITATION_REFUSALS names, so that a test sees those that were suppressed, too. Knows nothing
of seriatim but its name.
"""

import builtins
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "readline"}
_RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10))}
_import, _fsync, _rename = builtins.__import__, os.fsync, os.rename


def _refuse(kind: int, what: str, path: object) -> None:
    with open(os.environ["IMITATION_REFUSALS"], "a", encoding="utf-8") as file:
        file.write(f"{what} {path}\n")
    raise OSError(kind, what, str(path))


def import_as_windows(name, importer=None, *rest, **named):  # type: ignore[no-untyped-def]
    if name in _MODULES and (importer or {}).get("__name__", "").startswith("seriatim"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _import(name, importer, *rest, **named)


def fsync(handle: int) -> None:
    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        _refuse(errno.EBADF, "fsync of a read-only file", os.readlink(f"/proc/self/fd/{handle}"))
    _fsync(handle)


def rename(source, target, **folders):  # type: ignore[no-untyped-def]
    if os.path.lexists(target):
        _refuse(errno.EEXIST, "rename onto", target)
    _rename(source, target, **folders)


def _in_use(path: str) -> bool:
    """Whether this process has a file, or one in a folder, open or mapped."""
    path = os.path.realpath(path)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    used = {line.split(maxsplit=5)[-1] for line in maps}
    for handle in os.listdir("/proc/self/fd"):
        try:
            used.add(os.readlink(f"/proc/self/fd/{handle}"))
        except OSError:  # that of the listing itself
            continue
    return any(name == path or name.startswith(path + os.sep) for name in used)


def _check_name(path: str) -> None:
    name = os.path.basename(os.path.realpath(path))
    is_reserved = name.partition(".")[0].lower() in _RESERVED
    if is_reserved or any(c in '<>:"|?*\\' or c < " " for c in name) or name.rstrip(". ") != name:
        _refuse(errno.EINVAL, "no name of a file:", path)


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        path, mode, flags = arguments
        if not isinstance(path, (str, os.PathLike)) or str(path).startswith("/dev/"):
            return
        if isinstance(flags, int) and flags & os.O_CREAT:
            _check_name(os.fspath(path))
        if mode is None and os.path.isdir(path):
            # Nobody's fault: what opens a folder must do without. It is not noted.
            raise PermissionError(errno.EACCES, "open of a folder", str(path))
    elif event == "os.mkdir":
        _check_name(os.fsdecode(arguments[0]))  # type: ignore[arg-type]
    elif event == "os.rename":
        source, target = (os.fsdecode(a) for a in arguments[:2])  # type: ignore[arg-type]
        _check_name(target)
        if os.path.isdir(target):
            _refuse(errno.EACCES, "rename onto the folder", target)
        for path in (source, target):
            if _in_use(path):
                _refuse(errno.EACCES, "rename of what is in use:", path)
    elif event in ("os.remove", "os.truncate"):
        path = arguments[0]
        if isinstance(path, (str, bytes, os.PathLike)) and _in_use(os.fsdecode(path)):
            _refuse(errno.EACCES, f"{event} of what is in use:", path)


for name in ("fork", "forkpty", "killpg", "getuid", "geteuid", "getpgid", "setsid", "nice"):
    delattr(os, name)
for name in ("sched_getaffinity", "sysconf", "posix_fallocate", "mkfifo"):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM", "SIGCHLD", "SIGPIPE"):
    delattr(signal, name)
# What needs the names above on POSIX, and works without them on Windows.
subprocess.Popen.kill = lambda process: os.kill(process.pid, 9)  # type: ignore[method-assign]
shutil._use_fd_functions = False  # type: ignore[attr-defined]
builtins.__import__, os.fsync, os.rename = import_as_windows, fsync, rename
warnings.simplefilter("ignore", EncodingWarning)
warnings.filterwarnings("error", category=EncodingWarning, module="seriatim")
assert Path(os.environ["IMITATION_REFUSALS"]).parent.is_dir()
sys.addaudithook(watch)
