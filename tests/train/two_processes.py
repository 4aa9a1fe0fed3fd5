"""What one process of `test_distributed` does: run by torchrun, it prints one line of JSON.

    python -m torch.distributed.run ... tests/two_processes.py NAME OUT [ARGUMENT]

Each function here is run by every process; what it returns is written to OUT.RANK.json.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.batch import TokenSequences
from seriatim.core.model import SequenceModel
from seriatim.data.batches.corpus import BatchSource, CorpusPass, batch_source
from seriatim.models import GRU, LSTM, Transformer
from seriatim.models.build import build_model
from seriatim.train import distributed
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import Progress
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.distributed import Ranks, join, leave
from seriatim.train.loop import train
from seriatim.train.options import TrainingOptions
from seriatim.train.parallel import make_parallelism
from seriatim.train.trainer import Trainer

V = 11


@dataclass(frozen=True)
class Corpus:
    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    is_stream: bool


def lines(num_lines: int = 23) -> TokenSequences:
    """Lines of 1 to 12 symbols."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 13, num_lines)
    tokens = rng.integers(2, V, int(sizes.sum())).astype(np.int64)
    return Corpus(tokens, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), False)


def stream(size: int = 400) -> TokenSequences:
    """One sequence of a pattern with noise."""
    rng = np.random.default_rng(4)
    tokens = (np.arange(size) * 3 + rng.integers(0, 2, size)) % V
    return Corpus(tokens.astype(np.int64), np.array([0, size]), True)


MODELS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: LSTM(hidden_size=16, num_layers=2, dropout=0.0),
    "gru": lambda: GRU(hidden_size=16, dropout=0.0, learn_initial_state=True),
    "transformer": lambda: Transformer(
        model_size=16, num_layers=2, num_heads=2, context=16, dropout=0.0
    ),
}


def model(name: str, dtype: torch.dtype) -> SequenceModel:
    """A small model with weights of its own seed."""
    torch.manual_seed(1)
    built: SequenceModel = build_model(MODELS[name](), V, 1).to(dtype)
    return built


def source(kind: str, batch_size: int, seed: int = 5) -> BatchSource:
    """Batches of lines, of a stream with a carried state, or of random windows."""
    corpus = lines() if kind == "lines" else stream()
    return batch_source(
        corpus, 1, batch_size=batch_size, length=7, carry=kind == "carried", seed=seed
    )


def trained(
    ranks: Ranks, name: str, kind: str, batch_size: int, dtype: str, options: TrainingOptions
) -> dict[str, Any]:
    """Losses, norms, the last gradient and the weights of a few updates."""
    network = model(name, getattr(torch, dtype))
    parallelism = make_parallelism(options, ranks)
    losses, norms = [], []
    with parallelism.distribute(network) as wrapped:
        trainer = Trainer(wrapped, source(kind, batch_size), options, 100, ranks)
        for _ in range(5):
            trainer.update()
            trainer.flush()
            losses.append(trainer.loss)
            norms.append(trainer.gradient_norm)
            trainer.forget()
        state = trainer.state()
    return {
        "losses": losses,
        "norms": norms,
        "weights": {n: t.tolist() for n, t in network.state_dict().items()},
        "moments": {n: parallelism.full(t).tolist() for n, t in state.moments.items()},
    }


def update(ranks: Ranks, argument: str) -> Any:
    """`trained` for each case of a JSON list."""
    return [
        trained(ranks, name, kind, size, dtype, TrainingOptions(**options))
        for name, kind, size, dtype, options in json.loads(argument)
    ]


def run(
    folder: str | None, name: str, kind: str, until: int | None, options: TrainingOptions
) -> dict[str, Any]:
    """A whole run, or one that is stopped `until` some step and keeps a checkpoint."""
    network = model(name, torch.float64)
    seen: list[Progress] = []
    stops = None if until is None else lambda: bool(seen) and seen[-1].step >= until
    where = None if folder is None else Checkpoints(folder=Path(folder), minutes=0.0, resume=True)
    history = train(
        network,
        source(kind, 5),
        CorpusPass(lines(9), 1, batch_size=3, length=5),
        options,
        checkpoints=where,
        callbacks=Callbacks(
            progress=seen.append,
            should_stop=stops,
            estimate=lambda estimate: None,  # measured on a copy
        ),
    )
    return {
        "steps": history.steps_done,
        "resumed": list(history.resumed_at),
        "valid": [e.valid_nats for e in history.evaluations],
        "best": history.best_step,
        "weights": {n: t.tolist() for n, t in network.state_dict().items()},
    }


def runs(ranks: Ranks, argument: str) -> Any:
    """`run` for each case of a JSON list, each in its own folder."""
    distributed.SECONDS_BETWEEN_VOTES = 0.0  # steps this short would end before they are asked
    return [
        run(folder, name, kind, until, TrainingOptions(**options))
        for folder, name, kind, until, options in json.loads(argument)
    ]


def _main() -> int:
    torch.set_num_threads(1)
    name, out, *rest = sys.argv[1:]
    ranks = join()
    try:
        result = globals()[name](ranks, *rest)
        with open(f"{out}.{ranks.rank}.json", "w") as file:
            json.dump(result, file)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = _main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == 0:
        leave()
    os._exit(code)
