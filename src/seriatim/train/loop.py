"""The training loop: one for every model that learns by gradients.

Knows `model(batch, carry)`, sources of batches and a plan of how long and how often to look at
the validation corpus; knows no family, no text, and no setting that torch keeps process-wide.

On one machine the same seed and number of steps give the same weights, bit for bit: batches are
functions of (seed, step), dropout draws from torch's generators, seeded inside and put back
afterwards. A budget in minutes is turned into a number of steps before the first of them, on
copies that leave no trace.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from seriatim.batch import TokenSequences
from seriatim.data.batches import BatchSource, CorpusPass, Pass, batch_source
from seriatim.errors import ConfigError, TrainingError
from seriatim.model import SequenceModel, TargetModel
from seriatim.train.evaluation import mean_nats
from seriatim.train.history import Evaluation, History, Progress, Stopped
from seriatim.train.optimiser import trainable
from seriatim.train.options import TrainingOptions
from seriatim.train.plan import Clock, Plan, Planner, asked_steps, evaluation_size
from seriatim.train.update import Trainer, broken

SECONDS_BETWEEN_REPORTS = 0.25


def fit(
    model: SequenceModel,
    train_corpus: TokenSequences,
    valid_corpus: TokenSequences | None,
    options: TrainingOptions,
    *,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    clock: Clock = time.perf_counter,
) -> History:
    """Train a model of sequences on a corpus; see `train`."""
    rows, length = evaluation_size(options)
    valid = None
    if valid_corpus is not None:
        valid = CorpusPass(valid_corpus, model.boundary, batch_size=rows, length=length)
    source = _source(model, train_corpus, options)
    return train(model, source, valid, options, report=report, stop=stop, clock=clock)


def train(
    model: TargetModel,
    source: BatchSource,
    valid: Pass | None,
    options: TrainingOptions,
    *,
    report: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    clock: Clock = time.perf_counter,
) -> History:
    """Train a model; it ends with its best weights on the validation data, in evaluation mode.

    The weights before training count as step 0, so a fitted model that goes on is never made
    worse. Without validation data the last weights are kept. Ctrl-C ends the run as if its
    last step were done; before the first evaluation it keeps the weights of that moment. During
    the measuring for a budget in minutes, when nothing is learnt yet, it passes through.

    Args:
        model: whatever scores the targets of a batch.
        source: the batches of training.
        valid: what is evaluated.
        options: how it is trained; those of the data (batch_size, length ..) are the source's.
        report: told of the progress, a few times a second and at every evaluation.
        stop: asked before every step whether to end the run.
        clock: seconds, from any origin.

    Raises:
        ConfigError: a model without trainable parameters, or options that need validation.
        DataError: data without symbols.
        TrainingError: a loss or gradient that is not a number; the best weights so far stand.
    """
    began = clock()
    trainable(model)
    _check_validation(valid, options)
    with seeded(model.device, options.seed):
        planner = Planner(source, valid, options)
        if options.minutes is None:
            plan = planner.plan(asked_steps(options, source))
        else:
            deadline = began + 60.0 * options.minutes
            plan = planner.plan_until(deadline, copy.deepcopy(model), clock)
    with seeded(model.device, options.seed):
        return _Run(model, source, valid, options, plan, report, stop, clock, began).go()


def _source(model: SequenceModel, corpus: TokenSequences, options: TrainingOptions) -> BatchSource:
    carry = model.reach is None if options.carry is None else options.carry
    return batch_source(
        corpus,
        model.boundary,
        batch_size=options.batch_size,
        length=options.length,
        carry=carry,
        seed=options.seed,
        token_budget=options.token_budget,
    )


def _check_validation(valid: Pass | None, options: TrainingOptions) -> None:
    needs = {"patience": options.patience is not None, "plateau": options.schedule == "plateau"}
    for name, is_asked in needs.items():
        if is_asked and valid is None:
            raise ConfigError(f"{name} listens to validation, and there is no validation corpus")


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's generators seeded inside, and outside as if nothing had been drawn."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


# ---- the run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Best:
    step: int
    nats: float | None
    weights: dict[str, Any]


class _Run:
    """A run from its first look at the validation corpus to its history."""

    def __init__(
        self,
        model: TargetModel,
        source: BatchSource,
        valid: Pass | None,
        options: TrainingOptions,
        plan: Plan,
        report: Callable[[Progress], None] | None,
        stop: Callable[[], bool] | None,
        clock: Clock,
        began: float,
    ) -> None:
        self.model, self.source, self.valid = model, source, valid
        self.options, self.plan = options, plan
        self.report, self.stop, self.clock = report, stop, clock
        self.trainer = Trainer(model, source, options, plan.steps)
        self.evaluations: list[Evaluation] = []
        self.best: _Best | None = None
        self.began, self.started = began, clock()
        self.evaluating = 0.0  # seconds
        self.told = -math.inf

    def go(self) -> History:
        stopped: Stopped = "interrupted"
        try:
            self.model.train()
            stopped = self._train()
        except KeyboardInterrupt:
            pass
        except TrainingError:
            self._restore()
            raise
        finally:
            self.model.zero_grad()
            self.model.eval()
        self._settle(stopped)
        return self._history(stopped)

    def _train(self) -> Stopped:
        self._evaluate()
        while self.trainer.step < self.plan.steps:
            if self.stop is not None and self.stop():
                return "stopped"
            self.trainer.update()
            step = self.trainer.step
            if step % self.plan.evaluate_every and step < self.plan.steps:
                self._tell_sometimes()
                continue
            self._evaluate()
            if self._has_stalled():
                return "patience"
        return "finished"

    def _evaluate(self) -> None:
        trainer = self.trainer
        trainer.flush()
        began = self.clock()
        nats = None
        if self.valid is not None:
            limit = self.plan.evaluate_symbols
            nats = mean_nats(self.model, self.valid, limit=limit)
            if not math.isfinite(nats):
                raise broken("validation loss", nats, trainer.step, trainer.rate)
            trainer.schedule.observe(nats)
        before = None if self.best is None else self.best.nats
        is_best = nats is None or before is None or nats < before
        if is_best:
            # Bound in one go, after the copy is whole: Ctrl-C may come at any moment.
            self.best = _Best(trainer.step, nats, copy.deepcopy(self.model.state_dict()))
        now = self.clock()
        self.evaluating += now - began
        self.evaluations.append(
            Evaluation(
                step=trainer.step,
                epoch=trainer.step / self.source.steps_per_epoch,
                train_nats=trainer.loss,
                valid_nats=nats,
                learning_rate=trainer.rate,
                gradient_norm=trainer.gradient_norm,
                seconds=now - self.began,
                is_best=is_best,
            )
        )
        self._tell(now, is_best)
        trainer.forget()

    def _has_stalled(self) -> bool:
        if self.options.patience is None:
            return False
        recent = self.evaluations[-self.options.patience :]
        return len(self.evaluations) > self.options.patience and not any(e.is_best for e in recent)

    # ---- telling -------------------------------------------------------------------------------

    def _tell_sometimes(self) -> None:
        if self.report is None:
            return
        now = self.clock()
        if now - self.told >= SECONDS_BETWEEN_REPORTS:
            self.trainer.flush()
            self._tell(now, is_best=False)

    def _tell(self, now: float, is_best: bool) -> None:
        if self.report is None:
            return
        self.told = now
        trainer = self.trainer
        self.report(
            Progress(
                step=trainer.step,
                steps=self.plan.steps,
                epoch=trainer.step / self.source.steps_per_epoch,
                loss=trainer.loss,
                valid=self.evaluations[-1].valid_nats,
                learning_rate=trainer.rate,
                gradient_norm=trainer.gradient_norm,
                tokens_per_second=self._tokens_per_second(now),
                seconds=now - self.began,
                seconds_left=self._seconds_left(now),
                is_best=is_best,
            )
        )

    def _tokens_per_second(self, now: float) -> float:
        training = now - self.started - self.evaluating
        return self.trainer.num_targets / training if training > 0 else 0.0

    def _seconds_left(self, now: float) -> float:
        steps = self.plan.steps - self.trainer.step
        per_step = (now - self.started - self.evaluating) / max(1, self.trainer.step)
        looks = math.ceil(steps / self.plan.evaluate_every)
        return steps * per_step + looks * self.evaluating / len(self.evaluations)

    # ---- ending --------------------------------------------------------------------------------

    def _settle(self, stopped: Stopped) -> None:
        """Choose the weights to end with.

        A run cut short before it was ever judged keeps what it has learnt, as far as that is
        numbers.
        """
        was_judged = self.valid is not None and len(self.evaluations) > 1
        is_cut_short = stopped in ("stopped", "interrupted")
        if is_cut_short and not was_judged and self.trainer.step > 0 and self._is_finite():
            self.best = _Best(self.trainer.step, None, {})
            return
        self._restore()

    def _is_finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.trainer.parameters)

    def _restore(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best.weights)

    def _history(self, stopped: Stopped) -> History:
        now, trainer = self.clock(), self.trainer
        places = max(1, trainer.num_places)
        return History(
            options=self.options.to_json(),
            steps=self.plan.steps,
            steps_done=trainer.step,
            steps_per_epoch=self.source.steps_per_epoch,
            evaluate_every=self.plan.evaluate_every,
            evaluate_symbols=self.plan.evaluate_symbols,
            carried=self.source.carries,
            stopped=stopped,
            evaluations=tuple(self.evaluations),
            best_step=0 if self.best is None else self.best.step,
            best_valid_nats=None if self.best is None else self.best.nats,
            num_targets=round(trainer.num_targets),
            padding_share=1.0 - trainer.num_targets / places if trainer.step else 0.0,
            seconds=now - self.began,
            tokens_per_second=self._tokens_per_second(now),
            notes=(*self.source.notes, *self._warmup_note()),
        )

    def _warmup_note(self) -> tuple[str, ...]:
        asked, taken = self.options.warmup, self.trainer.schedule.warmup
        if asked == taken:
            return ()
        return (f"warmup of {asked} steps is more than half of {self.plan.steps}: it took {taken}",)
