"""An inspection: findings that can be printed, written as JSON and shown as a page."""

from dataclasses import dataclass

from seriatim.analysis.inspect.as_json import as_json
from seriatim.analysis.inspect.findings import Findings
from seriatim.analysis.inspect.page import inspection_page
from seriatim.analysis.inspect.text import summary
from seriatim.core.records import Json
from seriatim.report.document import Report


@dataclass(frozen=True)
class Inspection(Findings):
    """All findings about one text, and the forms in which they are shown."""

    def to_json(self) -> Json:
        """The findings as JSON values."""
        return as_json(self)

    def report(self) -> Report:
        """The findings as a page of text, tables and plots."""
        return inspection_page(self)

    def __repr__(self) -> str:
        symbols = sum(len(passage.read.pieces) for passage in self.passages)
        return f"Inspection({self.title}, {symbols:,} symbols; print it, or .report())"

    def __str__(self) -> str:
        return summary(self)

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()
