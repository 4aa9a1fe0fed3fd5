"""The training loop: one for every model that is trained by gradients.

Knows `model(batch, carry)`, sources of batches and a plan of how many steps there are and how
often to evaluate; knows no family, no text, and no setting that torch keeps process-wide.

On one machine the same seed and number of steps give the same weights, bit for bit: batches are
functions of (seed, step), dropout draws from torch's generators, seeded inside and put back
afterwards. The steps of a budget in minutes are measured first on a copy that leaves no trace, and
then at every evaluation; the pace that is recorded repeats the run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from seriatim.core.batch import TokenSequences
from seriatim.core.model import SequenceModel, TargetModel
from seriatim.core.records import Json
from seriatim.core.threads import threads_for
from seriatim.data.batches.corpus import BatchSource, CorpusPass, EvaluationPass, batch_source
from seriatim.errors import ConfigError
from seriatim.train.budget import (
    Afterwards,
    Plan,
    Planner,
    evaluation_size,
    requested_steps,
    too_few,
)
from seriatim.train.callbacks.callbacks import Callbacks, call
from seriatim.train.callbacks.history import History
from seriatim.train.checkpoint import snapshot, store
from seriatim.train.checkpoint.snapshot import Snapshot
from seriatim.train.checkpoint.store import CheckpointHead, Checkpoints
from seriatim.train.checkpoint.writer import CheckpointWriter
from seriatim.train.distributed import current
from seriatim.train.estimate import estimate, explain_out_of_memory, fit_into_memory
from seriatim.train.optimizer import trainable
from seriatim.train.options import DEFAULT_STEPS, TrainingOptions
from seriatim.train.parallel import Parallelism, check_enough, make_parallelism
from seriatim.train.precision import choose_precision, process_settings
from seriatim.train.run import RunContext, TrainingRun
from seriatim.train.seeding import seeded
from seriatim.train.trainer import Trainer

NOTHING_AFTER = Afterwards()


def fit(
    model: SequenceModel,
    train_corpus: TokenSequences,
    valid_corpus: TokenSequences | None,
    options: TrainingOptions,
    *,
    callbacks: Callbacks | None = None,
    checkpoints: Checkpoints | None = None,
) -> History:
    """Train a model of sequences on a corpus; see `train`."""
    return train(
        model,
        batches_of(model, train_corpus, options),
        validation_pass(model, valid_corpus, options),
        options,
        callbacks=callbacks,
        checkpoints=checkpoints,
    )


def train(
    model: TargetModel,
    source: BatchSource,
    valid: EvaluationPass | None,
    options: TrainingOptions,
    *,
    callbacks: Callbacks | None = None,
    checkpoints: Checkpoints | None = None,
    after: Afterwards = NOTHING_AFTER,
) -> History:
    """Train a model; it ends with its best weights on the validation data, in evaluation mode.

    The weights before training count as step 0, so further training never makes a fitted model
    worse. Without validation data the last weights are kept. Ctrl-C ends the run as if its last
    step were done; before the first evaluation it keeps the present weights. While steps are
    measured for a budget in minutes, when nothing is learnt yet, it is raised.

    With checkpoints, a run may be killed at any instant; resumed, it ends with the bits of an
    uninterrupted run (on a CPU, with as many threads, which are set for the time of the call).
    Ctrl-C and SIGTERM then take effect once the step is done and the checkpoint is written.

    Args:
        model: the model, which scores the targets of a batch.
        source: the batches of training.
        valid: the pass over the validation data; None: there is none.
        options: the training options; those of the data (batch_size, length ..) are the source's.
        callbacks: functions to be called while it trains.
        checkpoints: where and how often checkpoints are written; None: nowhere.
        after: what follows training, for which a budget in minutes leaves some time.

    Raises:
        ConfigError: if the model has no trainable parameters, an option needs validation data, or
            the checkpoint is of another model or of other options.
        DataError: if the data has no symbols, or the checkpoint is of other data.
        ModelError: if the checkpoint is damaged.
        OutputError: if there is a checkpoint, and it is not to be resumed.
        TrainingError: if a loss or gradient is not a number, or a step does not fit into memory;
            the model then has its best weights.
    """
    callbacks = callbacks or Callbacks()
    began = callbacks.clock() if callbacks.began is None else callbacks.began
    trainable(model)
    needs = {"patience": options.patience is not None, "plateau": options.schedule == "plateau"}
    for name, is_needed in needs.items():
        if is_needed and valid is None:
            raise ConfigError(f"{name} needs a validation corpus, and there is none")
    ranks = current()
    check_enough(source.num_targets, ranks)
    about = _about(model, source, options, checkpoints)
    head = None if checkpoints is None else store.find_resumable(checkpoints, about)
    seed, all_threads = ranks.seed(options.seed), torch.get_num_threads()
    parallelism = make_parallelism(options, ranks)
    choice = choose_precision(options.precision, model)
    is_narrow = ranks.agreed(int(choice.products == "bf16"))
    options = replace(options, precision="bf16" if is_narrow else "float32")
    with (
        _threads(model, source, checkpoints, head) as threads,
        process_settings(model.device),
        parallelism.distribute(model) as held,
    ):
        with seeded(model.device, seed), explain_out_of_memory(options, lambda: 1):
            options, plan = _prepared(
                _Trials(held, source, parallelism),
                valid,
                options,
                head,
                callbacks,
                (began, after),
            )
        with seeded(model.device, seed):
            writer = None
            if checkpoints is not None and ranks.is_main:
                writer = CheckpointWriter(checkpoints, about, callbacks.clock)
            folder = None if checkpoints is None else checkpoints.folder
            context = RunContext(callbacks, began, ranks, folder, writer)
            run = TrainingRun(held, source, valid, options, plan, context)
            if head is None and choice.why:
                run.note(choice.why)
            if head is None and threads < all_threads:
                run.note(f"threads {threads} of {all_threads}: small products are not divided")
            try:
                if checkpoints is not None and head is not None:
                    tensors, best = store.read_tensors(checkpoints.folder, head)
                    saved = Snapshot(head.numbers, tensors, best, head.best_step, head.shards)
                    run.restore(saved)
                return run.train()
            finally:
                run.trainer.release()
                model.eval()


@dataclass(frozen=True)
class _Trials:
    """Trainers of copies of a model, to be measured and thrown away."""

    model: TargetModel
    source: BatchSource
    parallelism: Parallelism

    def copied(self) -> TargetModel:
        return self.parallelism.copy(self.model)

    def trainer(self, options: TrainingOptions) -> Trainer:
        model = self.copied().train()
        return Trainer(model, self.source, options, DEFAULT_STEPS, self.parallelism.ranks)


def _prepared(
    trials: _Trials,
    valid: EvaluationPass | None,
    options: TrainingOptions,
    head: CheckpointHead | None,
    callbacks: Callbacks,
    surroundings: tuple[float, Afterwards],
) -> tuple[TrainingOptions, Plan]:
    """The options and the plan of the run: from its checkpoint, or measured now."""
    if head is not None:
        recorded = head.numbers
        options = replace(options, accumulate=recorded.accumulate, precision=recorded.precision)
        return options, recorded.plan
    source = trials.source
    if options.auto_batch and trials.parallelism.ranks.size > 1:
        raise ConfigError("auto_batch tries out one process: with several, give accumulate")
    if options.auto_batch:
        options = fit_into_memory(options, source.batch(0).shape[0], trials.trainer)
    planner = Planner(source, valid, options, trials.parallelism.ranks)
    if options.minutes is None:
        plan = planner.plan(requested_steps(options, source))
    else:
        began, after = surroundings
        seconds = 60.0 * options.minutes
        after = replace(after, seconds=after.seconds + min(callbacks.reserve, seconds / 8))
        plan = planner.plan_until(seconds, trials.copied(), callbacks.clock, began, after)
        assert plan.timing is not None
        warning = too_few(options.minutes, plan.steps, plan.timing.step_seconds)
        if warning is not None:
            callbacks.remark(warning)
    if callbacks.estimate is not None:
        cost = estimate(trials.trainer(options), plan.steps)
        if plan.timing is not None:  # measured over many steps, and by which they were counted
            cost = replace(cost, seconds=plan.steps * plan.timing.step_seconds)
        call(callbacks.estimate, "before the first step", cost)
    return options, plan


def batches_of(
    model: SequenceModel, corpus: TokenSequences, options: TrainingOptions
) -> BatchSource:
    """The batches that `fit` trains on."""
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


def validation_pass(
    model: SequenceModel, corpus: TokenSequences | None, options: TrainingOptions
) -> EvaluationPass | None:
    """The pass over a validation corpus that `fit` evaluates."""
    if corpus is None:
        return None
    rows, length = evaluation_size(options)
    return CorpusPass(corpus, model.boundary, batch_size=rows, length=length)


# ---- what stands on disk -----------------------------------------------------------------------


def _about(
    model: TargetModel,
    source: BatchSource,
    options: TrainingOptions,
    checkpoints: Checkpoints | None,
) -> Mapping[str, Json]:
    """What must be the same for a checkpoint to be of this run."""
    if checkpoints is None:
        return {}
    return {
        "model": {**checkpoints.model, "tensors": snapshot.shapes(model)},
        # How the processes hold the model is no part of the run: any number may go on.
        "options": {k: v for k, v in options.to_json().items() if k != "distributed"},
        "data": {
            **checkpoints.data,
            "targets": source.num_targets,
            "first batch": snapshot.digest(source.batch(0)),
        },
    }


@contextmanager
def _threads(
    model: TargetModel,
    source: BatchSource,
    checkpoints: Checkpoints | None,
    head: CheckpointHead | None,
) -> Iterator[int]:
    """The threads that suit the model, or as many as the run began with: sums of another number
    differ in their last bits."""
    if checkpoints is None or head is None:
        rows, length = source.batch(0).shape
        with threads_for(model, -(-rows // current().size), length) as threads:
            yield threads
        return
    before = torch.get_num_threads()
    threads = checkpoints.threads or head.numbers.threads
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)
