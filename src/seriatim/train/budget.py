"""How long a run is and how often it looks at the validation corpus.

Knows numbers of steps, symbols and seconds. A budget in minutes becomes a number of steps that is
measured again at every evaluation; what was found is the pace of the run (`train.pace`), with
which it can be repeated by steps, without a clock.
"""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from seriatim.core.model import TargetModel
from seriatim.data.batches.corpus import BatchSource, EvaluationPass
from seriatim.report.terminal import count_noun
from seriatim.train.callbacks.callbacks import Clock
from seriatim.train.distributed import ALONE, Ranks, current
from seriatim.train.evaluation import mean_nats
from seriatim.train.options import DEFAULT_STEPS, SCORING_FRACTION, TrainingOptions
from seriatim.train.pace import Stretch, read_pace
from seriatim.train.precision import process_settings
from seriatim.train.trainer import Trainer

NUM_EVALUATIONS = 20
MIN_EVALUATED = 16_384  # fewer validation symbols than this say little
LEAST_EVALUATED = 2_048  # in runs so short that more would take too much of their time
EVALUATION_FRACTION = 0.05  # of the time given, for all evaluations together
MOST_EVALUATING = 0.1  # of the time left, where even short evaluations take long
SAVING = 0.3  # seconds left for writing the model
CALIBRATION_FRACTION = 0.02  # of the time given, for measuring steps
MAX_CALIBRATION = 4.0  # seconds
MAX_MEASURED = 500  # steps
WARM, TRIED = 2, 5  # steps of a model that is only tried out: not counted, and counted
FEWEST = 200  # steps: with fewer, next to nothing is learnt
END = 0.01  # fewer steps than this fraction of those done are not begun any more
LATE = 1.5  # times its planned duration, and a stretch ends wherever it is
LATE_SECONDS = 0.5


@dataclass(frozen=True)
class Afterwards:
    """What follows training, for which a budget in minutes leaves time.

    Attributes:
        symbols: the number of symbols that are scored.
        seconds: the time for other things.
    """

    symbols: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A run of `steps` updates, judged before them, at every evaluate_every-th and at the last.

    Attributes:
        steps: the number of updates; of a run in minutes, as far as is known now.
        evaluate_every: the number of steps between evaluations; with a pace, about this.
        evaluate_symbols: the largest number of validation targets of an evaluation.
        pace: the stretches that the schedule follows; empty: it follows the steps.
        is_regular: whether evaluations follow `evaluate_every`, not the pace.
        timing: the clock's part of a run in minutes; None: the run does not follow a clock.
    """

    steps: int
    evaluate_every: int
    evaluate_symbols: int
    pace: tuple[Stretch, ...] = ()
    is_regular: bool = True
    timing: "Timing | None" = None

    def without_clock(self) -> "Plan":
        """The plan as a repetition by steps has it."""
        every = self.evaluate_every if self.is_regular else 0
        return replace(self, timing=None, evaluate_every=every)

    def is_due(self, step: int) -> bool:
        """Whether the weights are judged after `step` updates."""
        if step == self.steps:
            return True
        return step % self.evaluate_every == 0 if self.is_regular else self.is_measured(step)

    def is_measured(self, step: int) -> bool:
        """Whether a stretch of the pace ends and another begins after `step` updates."""
        is_next = self.timing is not None and self.timing.measure_at == step
        return is_next or any(stretch.step == step for stretch in self.pace)


@dataclass(frozen=True)
class Timing:
    """What a run in minutes knows of the clock, in seconds since everything began.

    Attributes:
        since: when the first step began.
        until: when the last step is to end.
        measure_at: the step at which the pace is measured next.
        late: when the present stretch is over, whatever its step.
        epoch: the number of steps of a pass over the training data.
        step_seconds: the seconds of a step, as measured last.
    """

    since: float
    until: float
    measure_at: int = 0
    late: float = math.inf
    epoch: int = 0
    step_seconds: float = math.nan

    def fraction(self, now: float) -> float:
        """The fraction of the time for training that has passed."""
        return min(1.0, max(0.0, (now - self.since) / max(self.until - self.since, 1e-9)))


def measured_again(plan: Plan, step: int, now: float, step_seconds: float, look: float) -> Plan:
    """The plan of a run in minutes from here on.

    Args:
        plan: the plan so far.
        step: the number of updates done.
        now: the seconds since everything began.
        step_seconds: the seconds of a step, as measured last.
        look: the seconds of an evaluation, as measured last.
    """
    timing = plan.timing
    assert timing is not None
    if step == 0:
        timing = replace(timing, since=now)
    fraction = timing.fraction(now)
    left = timing.until - now
    affordable = math.floor(MOST_EVALUATING * left / max(look, 1e-9))
    wanted = NUM_EVALUATIONS - math.floor(fraction * NUM_EVALUATIONS + 0.5)
    looks = max(1, min(wanted, affordable))
    steps_left = math.floor((left - looks * look) / max(step_seconds, 1e-9))
    steps_left = max(0 if step else 1, steps_left)
    if steps_left <= END * step:
        return replace(plan, steps=step)
    stretch = math.ceil(steps_left / looks)
    if timing.epoch:  # after 1, 2, 4 .. passes: a little text is overfitted in a twentieth
        stretch = min(stretch, max(step, timing.epoch))
    before = [earlier for earlier in plan.pace if earlier.step < step]
    planned = stretch * step_seconds + (0.0 if plan.is_regular else look)
    return replace(
        plan,
        steps=step + steps_left,
        evaluate_every=plan.evaluate_every if plan.is_regular else stretch,
        pace=(*before, Stretch(step, fraction, step + steps_left)),
        timing=replace(
            timing,
            measure_at=step + stretch,
            late=min(now + LATE * planned + LATE_SECONDS, timing.until - look),
            step_seconds=step_seconds,
        ),
    )


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
        pace = read_pace(self.options.pace)
        is_regular = self.options.evaluate_every is not None or not pace
        return Plan(steps, every, most, pace, is_regular)

    def plan_until(
        self,
        seconds: float,
        trial: TargetModel,
        clock: Clock,
        began: float,
        after: Afterwards,
    ) -> Plan:
        """As many steps as end in time, evaluations and final scores included; at least one.

        Args:
            seconds: the time for everything, from `began`.
            trial: a copy of the model, spoilt by the measurement.
            clock: returns seconds, from any origin.
            began: the time on the clock at which everything began.
            after: what follows training.
        """
        left = self.ranks.longest(began + seconds - clock())
        allowance = min(CALIBRATION_FRACTION * left, MAX_CALIBRATION)
        step_seconds = self._seconds_per_step(trial, allowance, clock)
        symbol_seconds = self._seconds_per_symbol(trial, clock)
        scoring = min(SCORING_FRACTION * seconds, after.symbols * symbol_seconds)
        saving = min(SAVING, 0.01 * seconds) + after.seconds
        now = self.ranks.longest(clock() - began)
        timing = Timing(now, seconds - scoring - saving, epoch=self.source.steps_per_epoch)
        most = self.options.evaluate_symbols or self._affordable(seconds, symbol_seconds)
        every = self.options.evaluate_every
        plan = Plan(1, every or 1, most, (), every is not None, timing)
        look = min(most, self._num_valid) * symbol_seconds
        return measured_again(plan, 0, now, step_seconds, look)

    def _affordable(self, seconds: float, symbol_seconds: float) -> int:
        """The symbols of an evaluation such that all of them take a twentieth of the time."""
        look = EVALUATION_FRACTION * seconds / (NUM_EVALUATIONS + 1)
        most = max(self._num_valid, LEAST_EVALUATED)
        return max(LEAST_EVALUATED, min(most, round(look / max(symbol_seconds, 1e-12))))

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
        for update in islice(update_seconds(trainer, self.ranks, clock), MAX_MEASURED):
            seconds.append(update)
            if sum(seconds) >= allowance:
                break
        later = seconds[len(seconds) // 2 :]  # the first steps set kernels and memory up
        return max(statistics.median(later), 1e-9)


def too_few(minutes: float, steps: int, step_seconds: float) -> str | None:
    """A sentence about a budget in which next to nothing can be learnt; None: it is enough."""
    if steps >= FEWEST:
        return None
    needed = FEWEST / steps * minutes
    return (
        f"{minutes:g} minutes hold {count_noun(steps, 'step')} of {step_seconds:.2g} s, too few to "
        f"learn from: give about {needed:.2g} minutes, or a smaller model or batch"
    )


def timed_step(model: TargetModel, source: BatchSource, options: TrainingOptions) -> float:
    """The seconds of a step of a model, which is changed: the median of a few of them.

    A collective of the ranks, which all return the same: a step of one alone, by their number.
    """
    ranks = current()
    with process_settings(model.device):
        # Alone: a model that is tried out is not laid out over the processes.
        trainer = Trainer(model.train(), source, options, DEFAULT_STEPS, ALONE)
        try:
            updates = update_seconds(trainer, ranks, time.perf_counter)
            seconds = list(islice(updates, WARM, WARM + TRIED))
        finally:
            trainer.release()
    return max(statistics.median(seconds) / ranks.size, 1e-9)


def update_seconds(trainer: Trainer, ranks: Ranks, clock: Clock) -> Iterator[float]:
    """The seconds that each update takes on the slowest rank, for as long as they are asked for."""
    while True:
        began = clock()
        trainer.update()
        trainer.flush()
        yield ranks.longest(clock() - began)


def requested_steps(options: TrainingOptions, source: BatchSource) -> int:
    """The number of updates that the options name, where they name no time."""
    if options.epochs is not None:
        return max(1, round(options.epochs * source.steps_per_epoch))
    return options.steps or DEFAULT_STEPS


def evaluation_size(options: TrainingOptions) -> tuple[int, int]:
    """(rows, length): an evaluation takes no more memory than a training batch."""
    budget = options.token_budget
    return (options.batch_size if budget is None else budget // options.length), options.length
