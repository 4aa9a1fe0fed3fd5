"""What rounded weights cost, said after the result. Knows tasks; no command."""

import sys
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from seriatim.tasks.base import AnyTask

Precision: TypeAlias = Literal["float32", "int8", "fp16"]


def note_rounding(
    fitted: "AnyTask",
    task: "AnyTask",
    precision: Precision,
    data: object,
    what: str,
    limit: int | None = None,
) -> None:
    """Say on stderr what rounded weights cost on data; `what` names it."""
    from seriatim.tasks.precision import rounding_loss

    loss = rounding_loss(fitted, task, precision, data, limit=limit)
    print(f"note: {loss.text(what)}", file=sys.stderr, flush=True)
