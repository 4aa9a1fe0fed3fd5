"""One name for one thing: the options of a command are the parameters of the functions it calls."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import pytest
from cyclopts import App

import seriatim as st
from seriatim.cli import COMMANDS, main
from seriatim.cli.options import shell_families
from seriatim.models.options.registry import PAIR_FAMILIES
from seriatim.tasks.translator import Translator

# What Python offers of each command. A class stands for its constructor or its fields.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "look": (st.look,),
    "fit": (
        *(
            st.LanguageModel,
            st.Translator,
            st.Labeller,
            st.Forecaster,
            st.LanguageModel.fit,
            st.LanguageModel.save,
        ),
        *(st.open_source, st.open_pairs, st.TrainingOptions, st.Checkpoints),
        *shell_families().values(),
        *shell_families("numbers").values(),
        *PAIR_FAMILIES.values(),
    ),
    "score": (st.LanguageModel.score, st.open_source, st.open_pairs),
    "generate": (st.LanguageModel.generate, st.LanguageModel.beam, st.open_source),
    "next": (st.LanguageModel.next, st.open_source),
    "surprisal": (st.LanguageModel.surprisal, st.open_source),
    "threshold": (st.LanguageModel.threshold, st.open_source),
    "detect": (st.LanguageModel.detect, st.open_source),
    "forecast": (st.Forecaster.predict, st.open_series),
    "backtest": (st.backtest, st.open_series, st.Forecaster),
    "impute": (st.Forecaster.impute, st.open_series),
    "translate": (Translator.translate, st.Decoding, st.Sampling, st.open_pairs),
    "evaluate": (Translator.evaluate, st.Decoding, st.Sampling, st.open_pairs),
    "label": (st.Labeller.label, st.open_labelled),
    "check": (st.LanguageModel.check,),
    "compare": (st.compare, st.TrainingOptions, st.open_source),
    "context": (
        *(st.LanguageModel.effective_context, st.Forecaster.effective_context, st.open_source),
    ),
    "robustness": (
        *(st.LanguageModel.robustness, Translator.robustness, st.open_source, st.open_pairs),
    ),
    "inspect": (st.inspect, st.Forecaster.inspect, st.open_source),
}
# Options that no parameter has, and why.
EVERYWHERE = {
    "json": "how the result is printed",
    "csv": "how the result is printed: result.to_csv() or .to_pandas()",
    "precision": "a model with rounded weights: tasks.precision.at_precision(model, precision)",
    "quiet": "how much is printed",
    "page": "result.page().write(path)",
    "threads": "a setting of the process: torch.set_num_threads",
    "out": "where the result is written; Python returns it",
    "file": "a text comes from a file; Python is given the text",
    "source": "one of two files; Python's open_pairs takes them as data and target",
}
EXCEPTIONS: dict[str, dict[str, str]] = {
    "fit": {
        "init": "load(folder).fit(..)",
        "repeat": "the record of a run holds its options",
        "allow_untrained": "an exit code; Python raises nothing",
        "from_arpa": "a file of another tool",
        "preset": "a family's own presets: Transformer.classic, compare's Entrant",
        "task": "the class: LanguageModel, Translator, Labeller or Forecaster",
        "verify": "a trial of the machine and not of a model",
        "processes": "torchrun's",
        "checkpoint_minutes": "Checkpoints(minutes=..), beside the budget --minutes",
        "keep_checkpoints": "Python keeps the folder of Checkpoints",
        "tensorboard": "a callback",
        "log_every": "a callback",
        "plot": "a callback",
        **{
            f"{part}_{side}": "two files of one part: open_pairs(source, target)"
            for part in ("valid", "test")
            for side in ("source", "target")
        },
    },
    "score": {"each": "score_each"},
    "generate": {"prompts": "a file of prompts; Python takes a list"},
    "detect": {
        "by": "result.rows or result.sequences",
        "anomalies": "result.anomalies",
        "follow": "a stream of a growing file; Python pushes events",
    },
    "forecast": {"update": "forecaster.update(new)"},
    "backtest": {
        "conformal": "result[name].conformal()",
        "target_column": "Forecaster's target, which names columns",
    },
    "translate": {
        "sample": "sampling=Sampling(..)",
        "picture": "result.alignment.svg()",
    },
    "evaluate": {"sample": "sampling=Sampling(..)"},
    "inspect": {"target": "the target of one source; Python takes a pair"},
}


def _parameters(offers: Iterable[Any]) -> set[str]:
    names: set[str] = set()
    for offer in offers:
        target: Callable[..., Any] = offer
        names |= set(inspect.signature(target).parameters)
        if inspect.isclass(offer) and hasattr(offer, "__dataclass_fields__"):
            names |= {f.name for f in fields(offer)}
    return names


def _options(command: str) -> set[str]:
    app = App(name="seriatim")
    app.command(COMMANDS[command][0], name=command)
    options = app[command].assemble_argument_collection()
    named = [o for o in options if not o.field_info.is_positional and o.name.startswith("--")]
    return {option.name[2:].replace("-", "_") for option in named}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_the_options_of_a_command_are_parameters_of_python(command: str) -> None:
    allowed = {*EVERYWHERE, *EXCEPTIONS.get(command, {})}
    unknown = _options(command) - _parameters(FUNCTIONS[command]) - allowed
    assert not unknown, f"{command}: no function has the parameters {sorted(unknown)}"


@pytest.mark.parametrize("command", EXCEPTIONS)
def test_no_exception_is_left_over(command: str) -> None:
    options = _options(command)
    left = [name for name in EXCEPTIONS[command] if name not in options]
    superfluous = set(EXCEPTIONS[command]) & _parameters(FUNCTIONS[command])
    assert not left, f"{command} has no option {left}"
    assert not superfluous, f"{command}: {superfluous} are parameters of Python after all"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.Decoding(n_best=2), "n_best is not an option of Decoding; use num_best"),  # type: ignore[call-arg]
        (lambda: st.look("x", sequence_id="a"), "use sequence_column"),  # type: ignore[call-arg]
        (lambda: st.LanguageModel(max_size=9), "use max_symbols"),  # type: ignore[call-arg]
        (lambda: st.LanguageModel().fit("x", minuts=1), "did you mean minutes?"),  # type: ignore[call-arg]
        (lambda: st.LanguageModel().generate(sampling=1), "use temperature and top_k and top_p"),  # type: ignore[call-overload]
    ],
)
def test_a_former_name_is_answered_with_the_one_to_use(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(st.SeriatimError, match=message.replace("?", r"\?")):
        call()


def test_the_help_of_a_family_describes_its_options_in_its_own_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for family, own, other in (
        ("markov", "n of the n-grams", "the number of last values"),
        ("ar", "p, the number of last values", "n of the n-grams"),
        ("ar", '"yule-walker"', 'maximum "likelihood", diffuse'),
        ("gru", "the width D of the hidden state of each layer. [default: 256]", "autoregressive"),
    ):
        assert main(["fit", "--model", family, "--help"]) == 0
        options = capsys.readouterr().out.partition(f"Options of {family}:")[2]
        said = " ".join(options.partition("Training:")[0].split())
        assert own in said and other not in said
    assert main(["fit", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of markov: n of the n-grams" in said and "of ar: p, the number" in said
