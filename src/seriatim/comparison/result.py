"""The result of a comparison: its record, its models, and the page that shows it.

Knows language models and the record; what is in the record comes from `conclusions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seriatim.comparison.page import compare_report
from seriatim.comparison.record import ComparisonRecord
from seriatim.comparison.store import read_result
from seriatim.core.ensembles import Mixture
from seriatim.core.records import Json, to_json
from seriatim.errors import ConfigError, ModelError
from seriatim.report.document import Report
from seriatim.tasks.language_model import LanguageModel


@dataclass(frozen=True)
class ModelComparison:
    """The result of `compare`.

    Attributes:
        record: all figures, statements and the recommendation.
        fitted: the models by name, where they are in memory; otherwise they are in their folders.
    """

    record: ComparisonRecord
    fitted: Mapping[str, LanguageModel] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        models = ", ".join(f"{m.name} {m.bits:.3f}" for m in self.record.ranked)
        return f"ModelComparison({self.record.metric}: {models})"

    @classmethod
    def load(cls, folder: str | Path) -> "ModelComparison":
        """The comparison in a folder.

        Raises:
            ModelError: if there is none, or it is damaged.
        """
        return cls(read_result(Path(folder)))

    def to_json(self) -> Json:
        """The record as JSON values."""
        return to_json(self.record)

    def model(self, name: str) -> LanguageModel:
        """The best run of a model.

        Raises:
            ModelError: if there is no model of this name, or it was not saved.
        """
        if name in self.fitted:
            return self.fitted[name]
        folders = {m.name: m.folder for m in self.record.ranked}
        folder = folders.get(name)
        if folder is None:
            raise ModelError(f"there is no model {name!r} here: choose one of {', '.join(folders)}")
        return LanguageModel.load(folder)

    def mixture(self) -> Mixture:
        """The best mixture, which is a model like any other.

        Raises:
            ConfigError: if there is none.
        """
        mixture = self.record.mixture
        if mixture is None:
            raise ConfigError("there is no mixture: no two models have the same symbols")
        models = [self.model(name).model for name in mixture.weights]
        return Mixture([m for m in models if m is not None], list(mixture.weights.values()))

    def report(self) -> Report:
        """The comparison as a page; `.write(path)` saves it, and a notebook shows it.

        Raises:
            MissingExtraError: if the extra `report` is not installed.
        """
        return compare_report(self.record)

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()

    def __str__(self) -> str:
        lines = [f"{m.name}: {m.bits:.4f} {self.record.metric}" for m in self.record.ranked]
        lines += [f"{m.name}: not run" for m in self.record.not_run]
        return "\n".join([*lines, self.recommendation])

    @property
    def recommendation(self) -> str:
        """Which model to take, and why, in words."""
        return self.record.recommendation.sentence
