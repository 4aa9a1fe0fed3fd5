"""Records: frozen dataclasses that are written as JSON and checked once when read back.

Whatever steers behaviour is a dataclass with named, typed fields. `read_record` is the border: a
file with a missing key, a value of the wrong type or excessive nesting is refused there in one
sentence, so that the code behind it need not check. Knows JSON and dataclasses; no specific record.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast

from seriatim.errors import ModelError

if TYPE_CHECKING:
    import pydantic
    from pydantic_core import CoreSchema

Json: TypeAlias = Mapping[str, Any]  # a JSON object that is only passed on or written
T = TypeVar("T")


class _NullIsInfinity:
    """The annotation of `MaybeInfinite`, for pydantic, which is imported to read a record."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: "Callable[[Any], CoreSchema]"
    ) -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(
            lambda value: math.inf if value is None else value, handler(source)
        )


# A number of which an infinite value is written as null and read back as infinity.
MaybeInfinite: TypeAlias = Annotated[float, _NullIsInfinity()]


def to_json(record: object) -> dict[str, Any]:
    """A record as a JSON object; nested records become objects, tuples lists, infinity null."""
    return cast(dict[str, Any], _plain(asdict(cast(Any, record))))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(kind: type[T], value: object, *, name: str) -> T:
    """The record that a JSON value holds; keys that the record does not have are ignored.

    Args:
        kind: the dataclass to build.
        value: the result of `to_json`, or content read from a file.
        name: the name of the file, for the error message.

    Raises:
        ModelError: if a key is missing or a value is of the wrong type.
    """
    import pydantic

    try:
        adapter: pydantic.TypeAdapter[T] = _adapter(cast(Any, kind))
        return adapter.validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ModelError(f"{name} is damaged: {where}: {first['msg'].lower()}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is damaged: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: if the file is missing, cannot be read, or holds anything else.
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
        raise ModelError(f"{path} is damaged: it does not hold a JSON object")
    return content


def read_record(kind: type[T], path: Path) -> T:
    """The record in a JSON file; raises as `from_json` and `read_json` do."""
    return from_json(kind, read_json(path), name=str(path))


@cache
def _adapter(kind: type[Any]) -> "pydantic.TypeAdapter[Any]":
    """The compiled validator of a dataclass, built once."""
    import pydantic

    return pydantic.TypeAdapter(kind)
