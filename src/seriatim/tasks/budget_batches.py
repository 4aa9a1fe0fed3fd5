"""Batches and warm-up of translators and labellers for a number of minutes.

Their sizes follow the data, so only what wastes a small budget is changed: batches so large that
fewer than a thousand updates fit are halved, and a warm-up takes at most a tenth of the updates.
Knows models, batches and options; knows no task.
"""

from collections.abc import Callable, Mapping
from typing import Any

from seriatim.core.model import TargetModel
from seriatim.data.batches.corpus import BatchSource
from seriatim.report.terminal import count_noun
from seriatim.tasks.budget_policy import OVERHEAD, BudgetChoice
from seriatim.train.budget import timed_step
from seriatim.train.options import TrainingOptions

ENOUGH = 1_000  # updates
LEAST = {"token_budget": 512, "batch_size": 8}


def choose_batches(
    suited: Callable[[Mapping[str, Any]], TrainingOptions],
    given: Mapping[str, Any],
    seconds: float,
    build: Callable[[int, None], TargetModel],
    batches: Callable[[TrainingOptions], BatchSource],
    device: str,
) -> BudgetChoice:
    """What suits the seconds that are left.

    Args:
        suited: returns training options from those given.
        given: the training options that were given, by name.
        seconds: the time until the run is over.
        build: returns a new model, given a seed and no data; it is thrown away.
        batches: returns the batches that the options ask for.
        device: the device on which to compute.
    """

    def probe(options: TrainingOptions) -> float:
        return timed_step(build(options.seed, None).to(device), batches(options), options)

    training: dict[str, Any] = {}
    options = suited(given)
    step = probe(options)
    name = "batch_size" if options.token_budget is None else "token_budget"
    while not given.keys() & LEAST.keys() and (1 - OVERHEAD) * seconds / step < ENOUGH:
        half = getattr(options, name) // 2
        if half < LEAST[name]:
            break
        training[name] = half
        options = suited({**given, **training})
        step = probe(options)
    steps = max(1, int((1 - OVERHEAD) * seconds / step))
    if "warmup" not in given and options.warmup > steps // 10:
        training["warmup"] = steps // 10
        options = suited({**given, **training})
    unit = "rows" if name == "batch_size" else "positions"
    sentence = (
        f"chosen for the time: batches of {getattr(options, name):,} {unit}, learning rate "
        f"{options.peak_rate:g}, warm-up {options.warmup}; about {count_noun(steps, 'step')} of "
        f"{1000 * step:.3g} ms"
    )
    return BudgetChoice(training=training, sentence=sentence)
