"""Models of numbers beside their peers, in one run: `python -m benchmarks.series`.

Ours and the peer's compute the same figures in turn, with one thread; what is printed is the median
of the ratios of pairs, and the greatest difference between the figures.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.processor import processor_name
from seriatim.models.state_space.likelihood import diffuse_log_likelihoods
from seriatim.models.state_space.structures import structure

Array = NDArray[np.float64]
# (name, ours, the peer's, how much more the peer would have to do)
Pair = tuple[str, Callable[[], Array], Callable[[], Array], float]


def pairs(rows: int, length: int, peer_rows: int) -> Iterator[Pair]:
    """Exact diffuse likelihoods of many series, and of some by statsmodels."""
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    y = rng.normal(size=(rows, length)).cumsum(1) + rng.normal(size=(rows, length))
    for name, slope, season_length in (
        ("local level", False, None),
        ("local linear trend", True, None),
        ("local level, season of 4", False, 4),
        ("local level, season of 12", False, 12),
    ):
        form = structure(slope=slope, season_length=season_length)
        variances = rng.uniform(0.02, 1.0, (rows, len(form.noisy)))
        noise = rng.uniform(0.1, 2.0, rows)
        models = [
            sm.tsa.UnobservedComponents(
                y[i],
                "local linear trend" if slope else "local level",
                seasonal=season_length,
                use_exact_diffuse=True,
            )
            for i in range(peer_rows)
        ]

        def ours(form=form, variances=variances, noise=noise) -> Array:  # type: ignore[no-untyped-def]
            return diffuse_log_likelihoods(form, variances, noise, y)

        def theirs(models=models, variances=variances, noise=noise) -> Array:  # type: ignore[no-untyped-def]
            each = zip(models, noise, variances, strict=False)
            return np.array([m.loglike(np.concatenate([[n], v])) for m, n, v in each])

        yield name, ours, theirs, rows / peer_rows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--peer-rows", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor_name()}; {given.rows} series of {given.length}")
    for name, ours, theirs, more in pairs(given.rows, given.length, given.peer_rows):
        ratios, own = [], []
        for _ in range(given.rounds):
            began = time.perf_counter()
            found = ours()
            middle = time.perf_counter()
            expected = theirs()
            own.append(middle - began)
            ratios.append((time.perf_counter() - middle) * more / own[-1])
        worst = float(np.abs(found[: len(expected)] - expected).max())
        print(
            f"{name:28} {statistics.median(own) * 1e3:8.1f} ms, statsmodels takes "
            f"{statistics.median(ratios):5.1f} times as long; differs by {worst:.1e}"
        )


if __name__ == "__main__":
    main()
