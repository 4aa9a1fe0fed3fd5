"""Options that take several numbers: 0.1 0.5 0.9, or 0.1,0.5,0.9."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias

from cyclopts import CoercionError, Parameter, Token

Converter: TypeAlias = Callable[[Any, Sequence[Token]], tuple[float, ...]]


def separated(kind: type[float]) -> Converter:
    """The converter of an option with several numbers of a kind; a comma ends one as a blank does.

    It raises CoercionError if one is no number of the kind.
    """

    def convert(hint: Any, tokens: Sequence[Token]) -> tuple[float, ...]:
        found: list[float] = []
        for token in tokens:
            for part in filter(None, token.value.split(",")):
                try:
                    found.append(kind(part))
                except ValueError:
                    raise CoercionError(token=token, target_type=kind) from None
        return tuple(found)

    return convert


def _many(kind: type[float]) -> Parameter:
    return Parameter(consume_multiple=True, negative_iterable=(), converter=separated(kind))


Numbers: TypeAlias = Annotated[tuple[float, ...], _many(float)]
WholeNumbers: TypeAlias = Annotated[tuple[int, ...], _many(int)]
