"""`seriatim serve`: fitted models behind HTTP."""

import os
import sys
from pathlib import Path

from seriatim.cli.launch import num_cores
from seriatim.cli.output import Flag, use_threads
from seriatim.cli.rounding import Precision
from seriatim.errors import ConfigError

_EXTRA = "serve needs FastAPI and uvicorn: pip install 'seriatim[serve]'"


def serve(
    model: str,
    /,
    *models: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: Path | None = None,
    batch_rows: int = 64,
    max_tokens: int = 4096,
    max_symbols: int = 65_536,
    session_minutes: float = 30.0,
    session_megabytes: int = 1024,
    precision: Precision = "float32",
    threads: int | None = None,
    quiet: Flag = False,
) -> None:
    """Serve models over HTTP: OpenAI's completions, scores, labels, translations, and sessions.

    Open the address that it prints in a browser for a page, or point a client of OpenAI's
    completions to ADDRESS/v1. Ctrl-C ends it.

    Args:
        model: a model folder, or NAME=FOLDER; clients ask for the name, by default the folder's.
        models: further ones.
        host: the address to listen on; beyond this machine, such as 0.0.0.0, keys are required.
        port: the port; 0: a free one.
        api_key_file: a file with a key on each line; clients send one as Authorization: Bearer KEY.
        batch_rows: the number of continuations that a model advances side by side.
        max_tokens: the number of symbols of a continuation at most.
        max_symbols: the number of symbols of the prompts or texts of a request at most.
        session_minutes: the time after which an unused session expires.
        session_megabytes: the size of all sessions at most.
        precision: the precision of the weights: float32 as they were fitted, or rounded to int8 or
            fp16 for speed.
        threads: the number of processor threads that compute; the others are left to the protocol.
            [default: half of the cores]
        quiet: log no line for each request.
    """
    from seriatim.core.extras import import_extra

    for name in ("fastapi", "uvicorn", "websockets"):
        import_extra(name, _EXTRA)
    from seriatim.serve.app import make_app
    from seriatim.serve.counters import log_to_stderr
    from seriatim.serve.keys import Keys, is_open_to_others
    from seriatim.serve.listen import listen
    from seriatim.serve.served import load_models
    from seriatim.serve.settings import ServeSettings
    from seriatim.tasks.precision import at_precision

    limits = ServeSettings(
        host=host,
        port=port,
        batch_rows=batch_rows,
        max_tokens=max_tokens,
        max_symbols=max_symbols,
        session_seconds=60 * session_minutes,
        session_bytes=session_megabytes << 20,
    )
    keys = Keys() if api_key_file is None else Keys.read(api_key_file)
    if not limits.is_loopback and not keys.digests:
        raise ConfigError(
            f"--host {host} lets other machines in: name the keys that they need with "
            "--api-key-file, or leave --host out"
        )
    if api_key_file is not None and is_open_to_others(api_key_file):
        print(f"note: other users can read {api_key_file}: chmod 600", file=sys.stderr)
    is_named = threads is not None or "OMP_NUM_THREADS" in os.environ
    use_threads(threads if is_named else max(1, num_cores() // 2))
    served = load_models((model, *models), lambda task: at_precision(task, precision))
    log_to_stderr(is_quiet=quiet)

    def ready(address: str) -> None:
        for name, task in served:
            print(f"serving {name}: {task.headline()}")
        print(f"on {address}", flush=True)

    listen(make_app(served, limits, keys), limits, ready)
