"""How a forecaster that is trained by gradients is trained: its windows and what judges it.

Knows parts of series and the job; no family.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from seriatim.core.ensembles import Mixture
from seriatim.core.forecasting import PreparesSeries
from seriatim.core.model import SequenceModel
from seriatim.data.batches.series import SeriesPass
from seriatim.report.terminal import count_noun
from seriatim.tasks.budget_policy import OVERHEAD, BudgetChoice
from seriatim.tasks.forecasting.given_series import GivenSeries
from seriatim.tasks.forecasting.path_error import HeldOut, held_out_futures, horizon_for, path_error
from seriatim.train.bands import calibrate_widths
from seriatim.train.budget import timed_step
from seriatim.train.callbacks.history import History
from seriatim.train.options import TrainingOptions, configure_training
from seriatim.train.series import SeriesValidation, series_batches

if TYPE_CHECKING:
    from seriatim.tasks.job import TrainingJob

MOST_MEMBERS = 3
FIRST_STEPS = 700  # of the first network: with fewer, one that is trained longer is better
EVALUATIONS = 10  # of each later network, half as many as of the first
JUDGING = 0.03  # of the time of a budget, for the paths by which networks are chosen
WORSE = 1.05  # times the least error of paths, above which a network is left out


def train_on_series(
    model: SequenceModel,
    train: GivenSeries,
    valid: GivenSeries | None,
    least_context: int,
    season_length: int,
    job: "TrainingJob",
) -> History:
    """Train a model on random windows of series; see `train.loop.train`.

    The members of a mixture are trained one after another, the later ones for half as many steps:
    longer training fits one step better and can be worse over a horizon, by which they are chosen.

    Args:
        model: any model of numbers.
        train: the series of training.
        valid: series by which the weights are judged; None: the last ones are kept.
        least_context: the moments that are read before those that are scored, at least.
        season_length: the moments of a season.
        job: options, callbacks and checkpoints.
    """
    members = [model]
    if isinstance(model, Mixture):
        members = [cast(SequenceModel, member) for member in model.members]
    count, first = len(members), job
    if count > 1 and job.options.minutes is not None:
        left = 60.0 * job.options.minutes - job.callbacks.passed
        later = (1.0 - (1.0 - JUDGING) / _whole(count)) * max(left, 0.0)
        first = replace(job, seconds_after=job.seconds_after + later)
    history, judged = _train_one(members[0], train, valid, least_context, first)
    for number, member in enumerate(members[1:], 2):
        if history.stopped in ("stopped", "interrupted"):
            member.load_state_dict(members[0].state_dict())
            continue
        job.callbacks.log(f"network {number} of {count}")
        _train_one(member, train, valid, least_context, _later(job, history, number))
    if isinstance(model, Mixture) and valid is not None and history.stopped == "finished":
        context = _context(model, job.options, least_context)
        note = _choose(model, members, _held_out(valid, season_length, context))
        history = replace(history, notes=(*history.notes, *note))
    if judged is not None:  # as a whole: a mixture is wider than its members
        calibrate_widths(model, judged)
    return history


def _whole(count: int) -> float:
    """The time of all networks, in that of the first; the others have half as many updates."""
    return 1.0 + (count - 1) / 2


def _held_out(valid: GivenSeries, season_length: int, context: int) -> HeldOut | None:
    return held_out_futures(valid, _scored_from(valid), horizon_for(season_length), context)


def _choose(
    model: Mixture, members: list[SequenceModel], held_out: HeldOut | None
) -> tuple[str, ...]:
    """Leave out members whose paths are worse; what was found, as a sentence."""
    if held_out is None:
        return ()
    errors = [path_error(member, held_out) for member in members]
    least = min((e for e in errors if not np.isnan(e)), default=np.nan)  # NaN: paths that diverged
    # An unbiased estimate may be below 0 where there is hardly an error.
    kept = [i for i, error in enumerate(errors) if error <= max(WORSE * least, least)] or [0]
    model.keep(kept)
    shown = ", ".join(
        f"{error:.4g}" + ("" if i in kept else " (left out)") for i, error in enumerate(errors)
    )
    return (
        f"the error of {len(errors)} networks over {held_out.horizon} held-out moments: {shown}",
    )


def _later(job: "TrainingJob", history: History, number: int) -> "TrainingJob":
    """The job of another network: half the steps of the first, without a clock."""
    steps = max(1, history.repetition["steps"] // 2)
    changed = {
        "steps": steps,
        "evaluate_every": -(-steps // EVALUATIONS),
        "pace": [],
        "seed": job.options.seed + number - 1,
    }
    options = configure_training({**history.repetition, **changed})
    return replace(job, options=options, checkpoints=None, seconds_after=0.0)


def choose_members(
    trial: SequenceModel,
    train: GivenSeries,
    options: TrainingOptions,
    least_context: int,
    seconds: float,
) -> BudgetChoice:
    """How many networks suit the seconds that are left: some hundreds of updates for each.

    Args:
        trial: a network, which is changed.
        train: the series of training.
        options: the training options.
        least_context: the moments that are read before those that are scored, at least.
        seconds: the time until the run is over.
    """
    context = _context(trial, options, least_context)
    source, _ = series_batches(train, None, options, context=context)
    step = timed_step(trial, source, options)
    steps = (1.0 - OVERHEAD) * seconds / step
    fitting = [n for n in range(2, MOST_MEMBERS + 1) if steps / _whole(n) >= FIRST_STEPS]
    if not fitting:
        return BudgetChoice()
    members = max(fitting)
    first = round(steps / _whole(members))
    each = f"{count_noun(first, 'step')} and {count_noun(first // 2, 'step')}"
    sentence = (
        f"chosen for the time: {members} networks that predict together, of about {each} of "
        f"{1000 * step:.3g} ms"
    )
    return BudgetChoice({"members": members}, sentence=sentence)


def _scored_from(valid: GivenSeries) -> NDArray[np.int64]:
    """(S,) the first moment of each series that is scored."""
    begins = valid.offsets[:-1]
    scored_from: NDArray[np.int64] = (begins if valid.first is None else valid.first) - begins
    return scored_from


def _context(model: SequenceModel, options: TrainingOptions, least: int) -> int:
    """The number of moments that are read before those that are scored."""
    context = max(options.length, least)
    return context if model.reach is None else min(context, model.reach)


def _train_one(
    model: SequenceModel,
    train: GivenSeries,
    valid: GivenSeries | None,
    least_context: int,
    job: "TrainingJob",
) -> tuple[History, SeriesPass | None]:
    """Train one network; see `train_on_series`. With it, the held-out values."""
    options = job.options
    if job.is_new and isinstance(model, PreparesSeries):
        model.prepare_series(train)
    context = _context(model, options, least_context)
    validation = None
    if valid is not None:
        validation = SeriesValidation(valid, _scored_from(valid), context)
    source, judged = series_batches(train, validation, options, context=context)
    return job.train(model, source, judged), judged
