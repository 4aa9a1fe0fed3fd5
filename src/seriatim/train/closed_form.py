"""Closed-form fitting: what a model declares if it is fitted without the training loop.

Training code asks `isinstance(model, ClosedForm)`: a capability, never a family.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from seriatim.core.batch import TokenSequences


@runtime_checkable
class ClosedForm(Protocol):
    """A model that is fitted without gradients: by counting, or by expectation-maximization."""

    def fit_closed_form(
        self, corpus: TokenSequences, counted: Callable[[str], None] | None = None
    ) -> dict[str, object]:
        """Fit to a corpus, replacing any earlier fit.

        Args:
            corpus: the symbols.
            counted: receives sentences that say how far a long fit has come.

        Returns:
            Facts about the fit, as JSON values, for the record of the model.

        Raises:
            DataError: if the corpus is empty or has symbols that the model does not have.
        """
