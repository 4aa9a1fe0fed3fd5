"""Carries out a `FitRequest`, whatever the task: fit, save what was learnt, print the result.

Knows a task by what all tasks have; no data.
"""

import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriatim.cli.clock import command_began
from seriatim.cli.fit_request import FitRequest
from seriatim.cli.launch import check_processes
from seriatim.cli.output import Reporter, print_json, print_notes
from seriatim.cli.run_folder import RunFolder
from seriatim.errors import ConfigError, OutputError, SeriatimError, TrainingError
from seriatim.report.terminal import count_noun, format_duration

if TYPE_CHECKING:
    from seriatim.tasks.base import AnyTask
    from seriatim.tasks.options import DataFiles, TaskOptions


def run_fit(request: FitRequest, folder: RunFolder) -> None:
    """Fit a task, save it, and print the result.

    Raises:
        ConfigError: if an option does not exist or belongs to another task.
        TrainingError: if training fails; the best weights are saved.
        OutputError: if the disk is full; the model is saved elsewhere.
    """
    from seriatim.train.distributed import current

    began = command_began()
    if request.repeat is not None:
        request = _repeated(request, request.repeat)
    request = recognized(request)
    task = _make_task(request)
    task.training_options(request.training)  # a mistake is better found before the data is read
    files = request.train, request.valid, request.test
    parts = tuple(None if part is None else task.open_files(part) for part in files)
    check_processes(request.processes)
    if folder.is_finished:
        _check_finished(task, parts, request, folder)
        return
    if current().is_main:
        print_notes(*parts)
    reporter = Reporter(is_quiet=request.quiet or request.json, unit=task.unit)
    out = _fit_and_save(task, parts, request, folder, reporter, began)
    if not current().is_main:
        return
    if request.json:
        print_json({**task.info(), "out": str(out)})
    else:
        print(_summary(task, out))
    if _was_interrupted(task):
        raise KeyboardInterrupt  # the exit code tells a script, though all is saved
    if _has_learnt_nothing(task) and not request.allow_untrained:
        raise SeriatimError(
            f"no evaluation was better than the model before training, which is saved in {out}: "
            "give more time, a lower --learning-rate or more text, or accept it with "
            "--allow-untrained"
        )


def _repeated(request: FitRequest, folder: Path) -> FitRequest:
    """The request with the options of a run that is repeated.

    Raises:
        ConfigError: if options are given as well, or the model was not trained by gradients.
    """
    from seriatim.tasks.options import TaskOptions
    from seriatim.tasks.registry import load

    given = {**request.training, **({} if request.options == TaskOptions() else {"--model": 0})}
    if given or request.init is not None:
        raise ConfigError(
            f"--repeat takes the model and its training from {folder}: leave out all options of "
            "models, symbols and training"
        )
    before = load(folder)
    fit = before.training.fit
    if fit is None:
        raise ConfigError(f"the model in {folder} was not trained by gradients: fit it anew")
    return replace(request, task=before.name, training=fit.repetition)


def recognized(request: FitRequest) -> FitRequest:
    """The request with the task and the columns that the file of pairs, labels or series shows.

    Nothing is recognized where an option says what the data is: a task, a column of text, files
    of sources and targets, a family that only predicts text.
    """
    from seriatim.data_profile.recognize import recognize_task
    from seriatim.models.options.encoder_decoder import LABELLER_DEFAULTS
    from seriatim.models.options.registry import families
    from seriatim.train.distributed import current

    train, options = request.train, request.options
    if request.task is None and request.init is None and _says_series(options):
        return replace(request, task="forecast")
    says_text = options.sequences or options.model in families().keys() - LABELLER_DEFAULTS.keys()
    is_said = request.task or request.init or says_text or train.is_read_as_text or train.target
    if is_said or train.data is None:
        return request
    found = recognize_task(
        train.data,
        format=train.format,
        encoding=train.encoding,
        target_column=train.target_column,
    )
    if found is None or (options.is_about_pairs and found.task != "translation"):
        return request
    fits = {"translation": "a translator", "label": "a labeller", "forecast": "a forecaster"}
    note = (
        f"note: {train.data} holds {found.description}: this fits {fits[found.task]} "
        f"(--task {found.task})"
    )
    if found.task != "forecast":
        note += "; --task language with --column NAME fits a language model to one column"
    if current().is_main and not request.quiet:
        print(note, file=sys.stderr, flush=True)
    if train.source_column is None and found.source_column is not None:
        names = found.source_column, found.target_column
        request = replace(
            request,
            train=_with_columns(request.train, names),
            valid=request.valid and _with_columns(request.valid, names),
            test=request.test and _with_columns(request.test, names),
        )
    return replace(request, task=found.task)


def _says_series(options: "TaskOptions") -> bool:
    """Whether an option says that the data are series: a family of numbers only, or a column."""
    from seriatim.models.options.registry import families
    from seriatim.tasks.options import SeriesOptions

    of_numbers = families("numbers").keys() - families().keys()
    return options.model in of_numbers or options.series != SeriesOptions(
        target=options.series.target
    )


def _with_columns(part: "DataFiles", names: tuple[str | None, str | None]) -> "DataFiles":
    return replace(part, source_column=names[0], target_column=names[1])


def _check_finished(
    task: "AnyTask", parts: tuple[Any, ...], request: FitRequest, folder: RunFolder
) -> None:
    """Say that the run is finished, if it is the one that was asked for."""
    from seriatim.train.distributed import current

    if not current().is_main:
        return
    train, valid, test = parts
    task.check_same_run(
        folder.out,
        train,
        valid=valid,
        test=test,
        **_given_split(request),
        options=request.training,
        allow_changed_data=folder.options.allow_changed_data,
    )
    folder.say_finished(json=request.json)


def _make_task(request: FitRequest) -> "AnyTask":
    from seriatim.tasks.options import TaskOptions
    from seriatim.tasks.registry import find_task

    has_pairs = request.train.source is not None or request.train.target is not None
    kind = find_task(request.task, has_pairs=has_pairs or request.options.is_about_pairs)
    if request.train.is_empty:
        raise ConfigError(
            "there is nothing to fit to: give a file or a folder (of pairs also --source and "
            "--target), or --from-arpa"
        )
    if request.processes is not None and not kind.runs_in_processes:
        raise ConfigError(f"--processes is not an option of {kind.noun}")
    if request.repeat is not None:
        return kind.unfitted(request.repeat)
    if request.init is None:
        return kind.from_options(request.options)
    if request.options != TaskOptions():
        raise ConfigError(
            "--init trains a model further, which has its family, sizes and symbols already: leave "
            "out --model, --preset, --symbols, --min-count, --max-symbols, --sequences and the "
            "options of models"
        )
    return kind.load(request.init)


def _fit_and_save(
    task: "AnyTask",
    parts: tuple[Any, ...],
    request: FitRequest,
    folder: RunFolder,
    reporter: Reporter,
    began: float,
) -> Path:
    """Fit the task and save it; returns where."""
    from seriatim.train.distributed import LostProcessError, current
    from seriatim.train.estimate import NoMemoryError

    train, valid, test = parts
    try:
        with folder.listening(reporter) as callbacks:
            task.fit(
                train,
                valid=valid,
                test=test,
                **_given_split(request),
                options=request.training,
                callbacks=replace(callbacks, began=began, reserve=_reserve(began)),
                checkpoints=folder.checkpoints(),
                allow_unknown=request.allow_unknown,
                full_scores=request.full_scores,
            )
    except TrainingError as error:
        if task.model is None or not current().is_main or isinstance(error, LostProcessError):
            raise
        if isinstance(error, NoMemoryError) and not folder.has_begun:
            folder.abandon()  # nothing was learnt yet
            raise
        out = _save(task, folder)
        folder.end(task.training, reporter, is_cut_short=isinstance(error, NoMemoryError))
        raise TrainingError(f"{error}; the best weights are saved in {out}") from None
    except BaseException:
        if current().is_main and not folder.has_begun and not folder.is_resumed:
            folder.abandon()
        raise
    if not current().is_main:
        return folder.out
    out = _save(task, folder)
    folder.end(task.training, reporter)
    reporter.done()
    return out


def _given_split(request: FitRequest) -> dict[str, Any]:
    return {} if request.split is None else {"split": request.split}


def _reserve(began: float) -> float:
    """The seconds for saving and drawing: a part of what imports took, on this busy machine."""
    passed = time.perf_counter() - began
    return passed * (0.7 if find_spec("vl_convert") is not None else 0.1)


def _was_interrupted(task: "AnyTask") -> bool:
    training = task.training
    is_fit = training.fit is not None and training.fit.stopped == "interrupted"
    return is_fit or training.not_scored == "interrupted"


def _has_learnt_nothing(task: "AnyTask") -> bool:
    """Whether the best weights are those of a new model before its first step."""
    fit = task.training.fit
    begun_from = ((task.training.run or {}).get("model") or {}).get("begun from")
    return (
        fit is not None
        and begun_from is None
        and fit.steps_done > 0
        and fit.best_step == 0
        and fit.stopped in ("finished", "patience")
    )


def _save(task: "AnyTask", folder: RunFolder) -> Path:
    """Save the task: in the folder of the run, or elsewhere rather than nowhere."""
    try:
        task.save(folder.out, overwrite=folder.overwrite)
        return folder.out
    except OutputError as error:
        try:
            elsewhere = Path(tempfile.mkdtemp(prefix="seriatim-")) / folder.out.name
            task.save(elsewhere)
        except OSError:  # an OutputError too
            raise error from None
        raise OutputError(f"{error}; the model is saved in {elsewhere} instead") from None


def _summary(task: "AnyTask", out: Path) -> str:
    training = task.training
    lines = [f"{task.headline()}, fitted in {format_duration(training.seconds)}"]
    if training.fit is not None:
        fit = training.fit
        lines.append(
            f"{count_noun(fit.steps_done, 'step')} at {fit.tokens_per_second:,.0f} tokens/s "
            f"({fit.stopped}); best after step {fit.best_step:,}"
        )
        lines += fit.notes
    for name, score in training.scores.items():
        lines += [f"{name}:", *(f"  {line}" for line in task.describe_score(score))]
    lines.append(f"saved in {out}; try: seriatim {task.example.format(folder=out)}")
    return "\n".join(lines)
