"""Option classes: frozen dataclasses whose values are checked when an instance is made.

    @option_class
    class LSTM(ModelConfig):
        hidden_size: Annotated[int, Interval(gt=0)] = 256

    LSTM(hiden_size=8)      ConfigError: unknown option hiden_size; did you mean hidden_size?
    LSTM(hidden_size=0)     ConfigError: hidden_size = 0: give 1 or more

Options of the command line and their defaults are read from these classes, and that must be quick:
pydantic checks values, and is imported when there are some to check.

Knows pydantic, and translates its messages; no specific option and no torch.
"""

import dataclasses
import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, get_type_hints

from seriatim.errors import ConfigError

if TYPE_CHECKING:
    import pydantic

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# Parameters that had another name before 1.0, and what many call them: the name they have here.
FORMER_NAMES: Mapping[str, Sequence[str]] = {
    "n_best": ("num_best",),
    "with": ("ensemble",),
    "groups": ("num_groups",),
    "required": ("require",),
    "forbidden": ("forbid",),
    "fusion": ("fuse", "fuse_weight"),
    "sampling": ("temperature", "top_k", "top_p"),
    "width": ("beam",),
    "num_beams": ("beam",),
    "beam_size": ("beam",),
    "k": ("top",),
    "per": ("by",),
    "budget": ("seconds",),
    "budget_s": ("seconds",),
    "layer": ("only",),
    "layers": ("only", "num_layers"),
    "window": ("start", "length"),
    "training": ("options",),
    "max_size": ("max_symbols",),
    "vocab_size": ("max_symbols",),
    "sequence_id": ("sequence_column",),
    "order": ("order_column",),
    "text_column": ("source_column", "column"),
    "label_column": ("target_column",),
    "max_tokens": ("length", "max_length"),
    "max_new_tokens": ("length", "max_length"),
    "max_length": ("length",),
    "num_samples": ("samples",),
    "n": ("samples",),
    "stop_text": ("stop",),
    "lr": ("learning_rate",),
    "batch": ("batch_size",),
    "hidden": ("hidden_size",),
    "units": ("hidden_size",),
    "embedding_dim": ("embedding_size",),
    "hidden_dim": ("hidden_size",),
    "d_model": ("model_size",),
    "dim": ("model_size", "hidden_size"),
    "heads": ("num_heads",),
    "num_hidden_layers": ("num_layers",),
    "context_size": ("context",),
    "output": ("out",),
    "family": ("model",),
    "tokenizer": ("symbols",),
    "vocab": ("symbols",),
    "vocabulary": ("symbols",),
    "time": ("minutes",),
    "num_epochs": ("epochs",),
    "num_steps": ("steps",),
    "max_steps": ("steps",),
    "random_state": ("seed",),
    "num_threads": ("threads",),
}
_SIMILAR = 0.75  # the least similarity of two names of which one may be a misspelling of the other


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def option_class(cls: type[T], equivalents: Mapping[str, Sequence[str]] | None = None) -> type[T]:
    """Class decorator: a frozen dataclass of keyword options that raises `ConfigError`.

    A range is an `annotated_types.Interval` in the annotation of a field. Defaults are not checked.
    A class attribute `positional` names the options that may be given without their names.

    Args:
        cls: the class, with annotated fields.
        equivalents: for options that only some classes have, the names of their equivalents in
            other classes.
    """
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    fill = made.__init__

    @functools.wraps(fill)
    def initialize(self: Any, *args: Any, **options: Any) -> None:
        fields = {f.name: f for f in dataclasses.fields(made)}
        for name in options:
            if name not in fields:
                owner = getattr(made, "family", made.__name__)
                known = {**FORMER_NAMES, **(equivalents or {})}
                raise ConfigError(unknown_option(name, owner, list(fields), known))
        positional = getattr(made, "positional", ())
        options = {**dict(zip(positional, args, strict=False)), **options}
        args = args[len(positional) :]
        if args:
            raise ConfigError(
                f"{args[0]!r} is given without a name: give every option as name=value"
            )
        missing = [f.name for f in fields.values() if f.name not in options and _has_none(f)]
        if missing:
            raise ConfigError(f"{missing[0]} is missing: give it")
        checked = {name: _check(made, name, value) for name, value in options.items()}
        try:
            fill(self, **checked)
        except ValueError as error:  # of __post_init__: options that contradict each other
            raise ConfigError(str(error)) from None

    made.__init__ = initialize
    return made  # type: ignore[no-any-return]


def _has_none(field: "dataclasses.Field[Any]") -> bool:
    """Whether a field has no default."""
    return field.default is field.default_factory is dataclasses.MISSING


def _check(cls: type, name: str, value: object) -> object:
    """A value of a field, converted to its type.

    Raises:
        ConfigError: if it is none.
    """
    import pydantic

    try:
        return _checker(cls, name).validate_python(value)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, name)) from None


@functools.cache
def _checker(cls: type, name: str) -> "pydantic.TypeAdapter[Any]":
    import pydantic

    config = pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    return pydantic.TypeAdapter(get_type_hints(cls, include_extras=True)[name], config=config)


def checked_arguments(callee: F) -> F:
    """Decorator of a function or a class: an unknown keyword gets a ConfigError with the near one.

    Where Python says only that a keyword is unexpected. Signature and docstring stay.
    """
    if isinstance(callee, type):
        callee.__init__ = checked_arguments(callee.__init__)  # type: ignore[misc]
        return callee
    parameters = inspect.signature(callee).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [p.name for p in parameters if p.kind in kinds and p.name != "self"]
    owner = callee.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(callee)
    def call(*args: Any, **options: Any) -> Any:
        for name in options:
            if name not in names:
                raise ConfigError(unknown_option(name, owner, names, FORMER_NAMES))
        return callee(*args, **options)

    return call  # type: ignore[return-value]


def unknown_option(
    name: str,
    owner: str,
    names: Collection[str],
    equivalents: Mapping[str, Sequence[str]],
    others: Collection[str] = (),
) -> str:
    """The message for an unknown option, with the name that was probably meant.

    Args:
        name: the option that was given.
        owner: what was configured, for the message.
        names: the options of `owner`.
        equivalents: for options of other classes, the names of their equivalents.
        others: the options of other classes, which are not taken for misspellings.
    """
    instead = [n for n in equivalents.get(name, ()) if n in names]
    if instead:
        return f"{name} is not an option of {owner}; use {' and '.join(instead)}"
    if name in others or (name in equivalents and not did_you_mean(name, names)):
        return f"{name} is not an option of {owner}; choose from {', '.join(names)}"
    suggestion = did_you_mean(name, names) or f"; {owner} takes {', '.join(names)}"
    return f"unknown option {name}{suggestion}"


def did_you_mean(name: str, names: Iterable[str], similarity: float = _SIMILAR) -> str:
    """The end of a message about an unknown name: `; did you mean lstm?`, or nothing."""
    similar = difflib.get_close_matches(name, list(names), 1, similarity)
    return f"; did you mean {similar[0]}?" if similar else ""


def explain(error: "pydantic.ValidationError", name: str) -> str:
    """The first error of pydantic as a clause: the option, its value and what was expected."""
    first = error.errors()[0]
    where = ".".join([name, *map(str, first["loc"])])
    expected = _expected(first["type"], first.get("ctx", {}), first["msg"])
    if first["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", expected)
        expected += did_you_mean(str(first["input"]), choices, 0.6)
    return f"{where} = {first['input']!r}: {expected}"


def _expected(kind: str, bounds: Mapping[str, Any], message: str) -> str:
    """What to give instead of a value that pydantic refuses for an error of this kind."""
    if kind == "literal_error":
        return f"choose {bounds['expected']}"
    for prefix, clause in _EXPECTED.items():
        if kind.startswith(prefix):
            return clause.format(**bounds)
    return message.removeprefix("Value error, ")


# By the beginnings of pydantic's names of errors, longer ones first.
_EXPECTED: Mapping[str, str] = {
    "greater_than_equal": "give {ge:g} or more",
    "greater_than": "give more than {gt:g}",
    "less_than_equal": "give {le:g} or less",
    "less_than": "give less than {lt:g}",
    "int_": "give an integer",
    "float_": "give a number",
    "finite_": "give a finite number",
    "bool_": "give true or false",
    "string_": "give a string",
    "tuple_": "give a list",
    "list_": "give a list",
    "dict_": "give a mapping",
    "is_": "give a class",
}
