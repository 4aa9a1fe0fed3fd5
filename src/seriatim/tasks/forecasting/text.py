"""A forecaster as text for people.

Knows records and what every model has; no family.
"""

from seriatim.core.model import SequenceModel
from seriatim.metrics.size import num_parameters
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import describe
from seriatim.report.terminal import count_noun
from seriatim.tasks.anomalies import Threshold
from seriatim.tasks.forecasting.config import KnownSeries, SeriesFacts
from seriatim.tasks.forecasting.score import ForecastScore
from seriatim.tasks.forecasting.shifts import BandCorrection
from seriatim.tasks.text import option_text
from seriatim.tasks.training_record import TrainingRecord

_SHOWN = 6  # names of series


def forecaster_rows(
    config: ModelConfig,
    model: SequenceModel,
    names: KnownSeries,
    training: TrainingRecord[SeriesFacts, ForecastScore],
    alarm: Threshold | None,
    correction: BandCorrection | None = None,
) -> list[tuple[str, str]]:
    """The rows of a table about a forecaster."""
    shown = ", ".join(names.ids[:_SHOWN]) + (" .." if len(names.ids) > _SHOWN else "")
    reach = "unbounded" if model.reach is None else f"{model.reach:,} moments"
    rows = [
        ("task", "forecasting"),
        ("family", config.family),
        ("options", option_text(describe(config)["options"])),
        ("series", f"{len(names.ids):,}: {shown}"),
        ("channels", ", ".join(names.channels)),
        ("known inputs", ", ".join(names.inputs) or "none"),
        ("step", names.freq if names.zone is None else f"{names.freq}, {names.zone}"),
        ("season", count_noun(names.season_length, "moment")),
        ("fitted numbers", f"{num_parameters(model):,}"),
        ("reach", reach),
        ("fingerprint", model.fingerprint()),
    ]
    for name, part in training.data.items():
        missing = f", {part.missing:,} missing" if part.missing else ""
        rows.append((f"{name} part", f"{part.values:,} values{missing}"))
    for name, score in training.scores.items():
        rows.append((f"{name} score", f"{score.nats_per_value:.4f} nats per value"))
    if correction is not None:
        rows.append((f"{correction.horizon} ahead", correction.text()))
    return rows if alarm is None else [*rows, ("threshold", alarm.text())]
