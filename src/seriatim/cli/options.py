"""Command-line options from the configuration dataclasses, where each option is defined once.

A command that takes model and training options is written with `**options`; `with_options`
replaces that by one parameter for every field, its help taken from the docstring of its class.
Knows dataclasses and cyclopts; no torch.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from types import NoneType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from cyclopts import Group, Parameter

from seriatim.cli.numbers import Converter, separated
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.own import has_classes
from seriatim.models.options.registry import PAIR_FAMILIES, families
from seriatim.train.options import RECORDED, TrainingOptions

F = TypeVar("F", bound=Callable[..., Any])
Options: TypeAlias = Mapping[str, Any]

_TRAINING = Group("Training by gradients", sort_key=90)


_RENEWALS: list[Callable[[], None]] = []


def with_options(command: F) -> F:
    """Replace the `**options` of a command by the options of all families and of training."""
    return _with(command, lambda: {**_model_options(), **_training_options()})


def with_training_options(command: F) -> F:
    """Replace the `**options` of a command by the options of training."""
    return _with(command, _training_options)


def renew_options() -> None:
    """Give the commands that were imported before the options of families registered since."""
    _option_names.cache_clear()
    for renew in _RENEWALS:
        renew()


def _with(command: F, options: Callable[[], Mapping[str, Any]]) -> F:
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]

    def renew() -> None:
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
            for name, hint in options().items()
            if name not in signature.parameters
        ]
        parameters = [*own, *added]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__.update({p.name: p.annotation for p in added})

    renew()
    _RENEWALS.append(renew)
    return command


def split_options(options: Mapping[str, Any]) -> tuple[Options, Options]:
    """The options that were given: those of the model, those of training."""
    chosen = {name: value for name, value in options.items() if value is not None}
    training = {f.name for f in fields(TrainingOptions)}
    return (
        {name: value for name, value in chosen.items() if name not in training},
        {name: value for name, value in chosen.items() if name in training},
    )


def shell_families(
    element: Literal["symbols", "numbers"] = "symbols",
) -> dict[str, type[ModelConfig]]:
    """The families that a command line can describe.

    Those with a class of the user's own, such as a cell, only once there is one (`--classes`).
    """
    return {
        name: config
        for name, config in families(element).items()
        if has_classes() or not any(hint is type for hint in _hints(config).values())
    }


def described(cls: type) -> dict[str, str]:
    """The texts of the `Attributes:` sections of a class and its bases, by name."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(
            r"Attributes:\n((?:[ ]+.*\n?|\n)*)", inspect.cleandoc(base.__doc__ or "")
        )
        if section:
            entries = re.findall(r"^ {4}([\w, ]+): ((?:.*\n?)(?: {8}.*\n?)*)", section[1], re.M)
            for names, text in entries:
                for name in names.split(", "):
                    texts[name] = " ".join(text.split())
    return texts


def _model_options() -> Mapping[str, Any]:
    """Every option of every family: its type, its help, and whose it is."""
    owners: dict[str, dict[str, Field[Any]]] = {}
    known = {**shell_families(), **shell_families("numbers"), **PAIR_FAMILIES}
    for family, config in known.items():
        hints = _hints(config)
        for f in fields(config):  # type: ignore[arg-type]
            if not _can_be_typed(hints[f.name]):
                continue  # such as the arguments of a cell, or a matrix: not for a command line
            owners.setdefault(f.name, {})[family] = f
    options = {}
    for name, by_family in owners.items():
        config = known[next(iter(by_family))]
        texts = [described(known[family]).get(name, "") for family in by_family]
        # The one that says what holds without a default, where a family has none.
        text = next((text for text in texts if "None: " in text), texts[0])
        group = Group(f"Model: {', '.join(by_family)}", sort_key=10 + len(by_family))
        every = [_hints(known[family])[name] for family in by_family]
        if any(one != every[0] for one in every):  # the families mean different things by it
            short = [text.partition("; None: ")[0].rstrip(".") for text in texts]
            text = "; ".join(f"of {f}: {t}" for f, t in zip(by_family, short, strict=True)) + "."
        # Words that mean something to one family only: read as text, and checked by the family.
        hint = every[0] if all(one == every[0] for one in every) else str
        options[name] = _option(name, hint, text, by_family, group)
    return options


def family_help(family: str, option: str) -> str | None:
    """The help of an option such as --order in one family; None: the family does not have it."""
    config = {**shell_families(), **shell_families("numbers"), **PAIR_FAMILIES}.get(family)
    name = option.removeprefix("--").replace("-", "_")
    found = {f.name: f for f in fields(config)} if config is not None else {}  # type: ignore[arg-type]
    if config is None or name not in found:
        return None
    default = _shown(found[name].default)
    text = _help(name, described(config).get(name, ""), has_default=bool(default))
    return f"{text} [default: {default}]" if default else text


def _can_be_typed(hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return get_origin(get_args(hint)[0]) is not tuple
    return get_origin(hint) is not dict


def _training_options() -> Mapping[str, Any]:
    texts, hints = described(TrainingOptions), _hints(TrainingOptions)
    return {
        f.name: _option(f.name, hints[f.name], texts[f.name], {"training": f}, _TRAINING)
        for f in fields(TrainingOptions)
        if f.name not in RECORDED
    }


def _option(
    name: str, hint: Any, text: str, by_family: Mapping[str, Field[Any]], group: Group
) -> Any:
    values = {family: _shown(f.default) for family, f in by_family.items()}
    text = f"{_help(name, text, has_default=all(values.values()))} {_defaults(values)}"
    # An empty tuple is no value here, so no --empty-NAME flag. Many values follow one option.
    has_many = get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis
    parameter = Parameter(
        help=text.strip(),
        group=group,
        negative_iterable=(),
        consume_multiple=has_many,
        converter=_converter(get_args(hint)[0]) if has_many else None,
    )
    return Annotated[(str if hint is type else hint) | None, parameter]


def _converter(hint: Any) -> Converter | None:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return separated(kind) if kind in (int, float) else None


def _help(name: str, text: str, *, has_default: bool) -> str:
    """The description of a field in the words of the command line."""
    if has_default:  # so None cannot be given
        text = re.sub(r"[;.] None: [^.;]*", "", text)
    flag = name.replace("_", "-")
    text = re.sub(r"\bTrue\b", f"--{flag}", re.sub(r"\bFalse\b", f"--no-{flag}", text))
    text = re.sub(r"; None: ", "; if not given, ", re.sub(r"\. None: ", ". If not given, ", text))
    return re.sub(
        r"\b[a-z]+(?:_[a-z]+)+\b",
        lambda m: f"--{m[0].replace('_', '-')}" if m[0] in _option_names() else m[0],
        text,
    )


@cache
def _option_names() -> frozenset[str]:
    classes = [
        *families().values(),
        *families("numbers").values(),
        *PAIR_FAMILIES.values(),
        TrainingOptions,
    ]
    return frozenset(f.name for cls in classes for f in fields(cls))


def _defaults(values: Mapping[str, str]) -> str:
    """The default values by family, in brackets; families without one are left out."""
    present = {family: value for family, value in values.items() if value}
    if not present:
        return ""
    distinct = set(values.values())
    if len(distinct) == 1:
        return f"[default: {distinct.pop()}]"
    return "[default: " + ", ".join(f"{family} {v}" for family, v in present.items()) + "]"


def _shown(value: Any) -> str:
    """A default value as it is typed; empty if there is none."""
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _hints(cls: type) -> Mapping[str, Any]:
    """The types of the fields without their ranges (pydantic checks those) and without None."""
    hints = get_type_hints(cls)
    return {n: _bare(h) for n, h in hints.items() if get_origin(h) is not ClassVar}


def _bare(hint: Any) -> Any:
    parts = [part for part in _union(hint) if part is not NoneType]
    if len(parts) == 1 and get_origin(parts[0]) is tuple:
        return tuple[tuple(get_args(parts[0]))]  # type: ignore[misc]
    return parts[0] if len(parts) == 1 else hint


def _union(hint: Any) -> Iterable[Any]:
    return get_args(hint) if type(None) in get_args(hint) else (hint,)
