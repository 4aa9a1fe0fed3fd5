"""How long a run is and how often it looks at the validation corpus.

Knows numbers of steps, symbols and seconds. A budget in minutes becomes a number of steps here,
by measuring a copy of the model; afterwards nothing depends on the clock any more.
"""

import math
import statistics
from dataclasses import dataclass

from seriatim.core.model import TargetModel
from seriatim.data.batches.corpus import BatchSource, EvaluationPass
from seriatim.train.callbacks.callbacks import Clock
from seriatim.train.distributed import ALONE, Ranks
from seriatim.train.evaluation import mean_nats
from seriatim.train.options import DEFAULT_STEPS, TrainingOptions
from seriatim.train.trainer import Trainer

NUM_EVALUATIONS = 20
MIN_EVALUATED = 16_384  # fewer validation symbols than this say little
CALIBRATION_FRACTION = 0.06  # of the time given, for measuring steps
MAX_CALIBRATION = 20.0  # seconds
MAX_MEASURED = 500  # steps


@dataclass(frozen=True)
class Plan:
    """A run of `steps` updates, judged before them, at every evaluate_every-th and at the last."""

    steps: int
    evaluate_every: int
    evaluate_symbols: int

    def is_due(self, step: int) -> bool:
        """Whether the weights are judged after `step` updates."""
        return step % self.evaluate_every == 0 or step == self.steps


@dataclass(frozen=True)
class Planner:
    """Turns a number of steps, or a deadline, into a plan."""

    source: BatchSource
    valid: EvaluationPass | None
    options: TrainingOptions
    ranks: Ranks = ALONE

    def plan(self, steps: int) -> Plan:
        """About 20 evaluations, each of a quarter of the symbols trained on between two."""
        per_step = self.source.targets_per_step
        rare = max(math.ceil(steps / NUM_EVALUATIONS), math.ceil(MIN_EVALUATED / per_step))
        every = min(self.options.evaluate_every or rare, steps)
        most = self.options.evaluate_symbols or max(MIN_EVALUATED, round(every * per_step / 4))
        return Plan(steps, every, most)

    def plan_until(self, deadline: float, trial: TargetModel, clock: Clock) -> Plan:
        """As many steps as end by the deadline, evaluations included; at least one.

        Args:
            trial: a copy of the model, spoilt by the measurement.
        """
        left = self.ranks.longest(deadline - clock())
        allowance = min(CALIBRATION_FRACTION * left, MAX_CALIBRATION)
        step_seconds = self._seconds_per_step(trial, allowance, clock)
        symbol_seconds = self._seconds_per_symbol(trial, clock)
        left = self.ranks.longest(deadline - clock())

        def ends_in_time(steps: int) -> bool:
            plan = self.plan(steps)
            looks = 1 + math.ceil(steps / plan.evaluate_every)
            read = min(plan.evaluate_symbols, self._num_valid)
            return steps * step_seconds + looks * read * symbol_seconds <= left

        low, high = 1, max(1, int(left / step_seconds))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if ends_in_time(middle) else (low, middle - 1)
        return self.plan(low)

    @property
    def _num_valid(self) -> int:
        return 0 if self.valid is None else self.valid.num_targets

    def _seconds_per_symbol(self, trial: TargetModel, clock: Clock) -> float:
        """Of evaluation, measured over about as many targets as four training steps have."""
        if self.valid is None:
            return 0.0
        limit = math.ceil(4 * self.source.targets_per_step)
        mean_nats(trial, self.valid, limit=1, ranks=self.ranks)  # the first pass sets kernels up
        began = clock()
        mean_nats(trial, self.valid, limit=limit, ranks=self.ranks)
        return self.ranks.longest((clock() - began) / min(limit, self._num_valid))

    def _seconds_per_step(self, trial: TargetModel, allowance: float, clock: Clock) -> float:
        """The median of the later half of as many steps as the allowance holds; at least one.

        The median, because something else on the machine slows some steps many times over.
        """
        trainer = Trainer(trial.train(), self.source, self.options, DEFAULT_STEPS, self.ranks)
        seconds: list[float] = []
        while not seconds or (sum(seconds) < allowance and len(seconds) < MAX_MEASURED):
            began = clock()
            trainer.update()
            trainer.flush()
            seconds.append(self.ranks.longest(clock() - began))
        later = seconds[len(seconds) // 2 :]  # the first steps set kernels and memory up
        return max(statistics.median(later), 1e-9)


def requested_steps(options: TrainingOptions, source: BatchSource) -> int:
    """The number of updates that the options name, where they name no time."""
    if options.epochs is not None:
        return max(1, round(options.epochs * source.steps_per_epoch))
    return options.steps or DEFAULT_STEPS


def evaluation_size(options: TrainingOptions) -> tuple[int, int]:
    """(rows, length): an evaluation takes no more memory than a training batch."""
    budget = options.token_budget
    return (options.batch_size if budget is None else budget // options.length), options.length
