"""The loss curve as a picture.

Knows the evaluations of a run; knows no model. Altair and vl-convert, of the extra `report`,
are imported only when a picture is drawn.
"""

import importlib.util
import math
from collections.abc import Iterable
from pathlib import Path

from seriatim.core import atomic
from seriatim.core.records import Json
from seriatim.errors import MissingExtraError
from seriatim.train.callbacks.history import Evaluation


def can_draw() -> bool:
    """Whether the packages for drawing are installed."""
    return all(importlib.util.find_spec(name) for name in ("altair", "vl_convert"))


def draw_losses(evaluations: Iterable[Evaluation], path: Path) -> None:
    """Write training and validation loss, in bits per symbol over steps, as a PNG.

    The training loss is the mean since the previous evaluation, with dropout; the point marks the
    best weights.

    Raises:
        MissingExtraError: if altair or vl-convert is not installed.
        OSError: if the file cannot be written.
    """
    try:
        import altair
        import vl_convert
    except ImportError:
        raise MissingExtraError(
            "the loss curve needs altair and vl-convert: pip install 'seriatim[report]'"
        ) from None
    points = _points(list(evaluations))
    base = altair.Chart(altair.InlineData(values=points)).encode(
        x=altair.X("step:Q", title="step"),
        y=altair.Y("bits:Q", title="bits per symbol", scale=altair.Scale(zero=False)),
        color=altair.Color("loss:N", title=None, sort=["training", "validation"]),
    )
    best = base.mark_point(filled=True, size=60).transform_filter("datum.is_best")
    chart = altair.layer(base.mark_line(), best).properties(width=480, height=280)
    picture = vl_convert.vegalite_to_png(chart.to_dict(), scale=2)
    with atomic.write(path) as part:
        part.write_bytes(picture)


def _points(evaluations: list[Evaluation]) -> list[Json]:
    best = max((e.step for e in evaluations if e.is_best), default=0)
    points: list[Json] = []
    for e in evaluations:
        for loss, nats in (("training", e.train_nats), ("validation", e.valid_nats)):
            if nats is not None:
                is_best = e.step == best and loss == "validation"
                bits = nats / math.log(2)
                points.append({"step": e.step, "loss": loss, "bits": bits, "is_best": is_best})
    return points
