"""Records: frozen dataclasses that are written as JSON and checked once when they are read back.

What steers behaviour is a dataclass with named, typed fields. `read_record` is the border: a file
with a missing key, a value of another type or nesting without end ends here in one sentence, so
that nothing behind it has to ask. Knows JSON and dataclasses; no record in particular.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import pydantic

from seriatim.errors import ModelError

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Json: TypeAlias = Mapping[str, Any]  # a JSON object that is only passed on or written
T = TypeVar("T")


def to_json(record: object) -> dict[str, Any]:
    """A record as a JSON object; nested records become objects, tuples become lists."""
    fields = asdict(cast(Any, record))
    return cast(dict[str, Any], json.loads(json.dumps(fields, allow_nan=False)))


def from_json(kind: type[T], value: object, *, name: str) -> T:
    """The record that a JSON value holds; keys that the record does not have are ignored.

    Args:
        kind: a dataclass.
        value: what `to_json` returned, or what was read from a file.
        name: of the file, for the message.

    Raises:
        ModelError: a key is missing, or a value is of another type.
    """
    try:
        return _adapter(kind).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ModelError(f"{name} is damaged: {where}: {first['msg'].lower()}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is damaged: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: the file is missing, cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing") from None
    except RecursionError:
        raise ModelError(f"{path} is damaged: its JSON is nested too deeply") from None
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it holds no JSON object")
    return content


def read_record(kind: type[T], path: Path) -> T:
    """The record in a JSON file; see `from_json` and `read_json` for what is raised."""
    return from_json(kind, read_json(path), name=str(path))


def _adapter(kind: type[T]) -> pydantic.TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = pydantic.TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: dict[type, pydantic.TypeAdapter[Any]] = {}
