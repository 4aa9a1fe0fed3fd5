"""What a model declares when it is fitted in one pass over the data instead of by gradients.

Training code asks `isinstance(model, ClosedForm)`: a capability, never a family.
"""

from typing import Protocol, runtime_checkable

from seriatim.core.batch import TokenSequences


@runtime_checkable
class ClosedForm(Protocol):
    """A model that is fitted exactly, by counting or by least squares."""

    def fit_closed_form(self, corpus: TokenSequences) -> dict[str, object]:
        """Fit to a corpus, forgetting any earlier fit.

        Returns:
            Facts about the fit, as JSON values, for the record kept beside the model.

        Raises:
            DataError: the corpus holds nothing to fit, or symbols the model does not have.
        """
