"""Closed-form fitting: what a model declares if it is fitted in one pass, without gradients.

Training code asks `isinstance(model, ClosedForm)`: a capability, never a family.
"""

from typing import Protocol, runtime_checkable

from seriatim.core.batch import TokenSequences


@runtime_checkable
class ClosedForm(Protocol):
    """A model that is fitted exactly, by counting or by least squares."""

    def fit_closed_form(self, corpus: TokenSequences) -> dict[str, object]:
        """Fit to a corpus, replacing any earlier fit.

        Returns:
            Facts about the fit, as JSON values, for the record of the model.

        Raises:
            DataError: if the corpus is empty or has symbols that the model does not have.
        """
