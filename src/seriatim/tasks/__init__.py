"""Tasks: models bound to text, pairs of texts or labelled sequences; fitted, scored, saved."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.tasks.anomalies import EventTable as EventTable
    from seriatim.tasks.anomalies import Threshold as Threshold
    from seriatim.tasks.base import Task as Task
    from seriatim.tasks.inspection import inspect as inspect
    from seriatim.tasks.labeller import Labelled as Labelled
    from seriatim.tasks.labeller import Labeller as Labeller
    from seriatim.tasks.labeller import LabelScore as LabelScore
    from seriatim.tasks.language_model import LanguageModel as LanguageModel
    from seriatim.tasks.live_detection import LiveDetector as LiveDetector
    from seriatim.tasks.precision import RoundingLoss as RoundingLoss
    from seriatim.tasks.precision import at_precision as at_precision
    from seriatim.tasks.precision import rounding_loss as rounding_loss
    from seriatim.tasks.registry import load as load
    from seriatim.tasks.sequence_surprisal import SequenceSurprisal as SequenceSurprisal
    from seriatim.tasks.text_stream import TextStream as TextStream
    from seriatim.tasks.text_surprisal import SurprisalTable as SurprisalTable
    from seriatim.tasks.text_surprisal import join_surprisals as join_surprisals
    from seriatim.tasks.training_record import TrainingRecord as TrainingRecord
    from seriatim.tasks.translation import Translation as Translation
    from seriatim.tasks.translation_quality import Quality as Quality
    from seriatim.tasks.translator import Translator as Translator

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "anomalies": ["EventTable", "Threshold"],
        "base": ["Task"],
        "inspection": ["inspect"],
        "labeller": ["Labelled", "Labeller", "LabelScore"],
        "language_model": ["LanguageModel"],
        "precision": ["RoundingLoss", "at_precision", "rounding_loss"],
        "live_detection": ["LiveDetector"],
        "registry": ["load"],
        "sequence_surprisal": ["SequenceSurprisal"],
        "text_stream": ["TextStream"],
        "text_surprisal": ["SurprisalTable", "join_surprisals"],
        "training_record": ["TrainingRecord"],
        "translation": ["Translation"],
        "translation_quality": ["Quality"],
        "translator": ["Translator"],
    },
)
