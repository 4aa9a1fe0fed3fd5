"""Training, validation and test data: split off where they are not given.

Knows parts by name, and a function that splits; no kind of data.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from seriatim.core.records import Json
from seriatim.data.splits import SplitRecord

Fractions: TypeAlias = tuple[float, float, float]
Part = TypeVar("Part")  # the data once it is opened


def split_parts(
    parts: Mapping[str, Part],
    fractions: Fractions,
    split: Callable[[Part, Fractions], tuple[Sequence[Part | None], SplitRecord]],
) -> tuple[dict[str, Part], Json | None]:
    """Split validation and test off the training part, unless there is a validation part.

    Args:
        parts: "train", and "valid" and "test" where they are given.
        fractions: the fractions of training, validation and test; a test part that is given has
            no fraction.
        split: returns a part in three, and a record of how it was split.

    Returns:
        The parts by name, and the record; None if nothing was split.
    """
    if "valid" in parts:
        return dict(parts), None
    if "test" in parts:
        fractions = (fractions[0], fractions[1] + fractions[2], 0.0)
    pieces, record = split(parts["train"], fractions)
    named = zip(("train", "valid", "test"), pieces, strict=True)
    pieces_by_name = {name: piece for name, piece in named if piece is not None}
    return {**parts, **pieces_by_name}, record.to_json()
