"""What a model declares when it is fitted in one pass over the data instead of by gradients.

Training code asks `isinstance(model, ClosedForm)`: a capability, never a family.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt


class TokenSequences(Protocol):
    """Sequences of symbols laid end to end, in memory or mapped from a file."""

    @property
    def tokens(self) -> npt.NDArray[np.integer[Any]]:
        """The symbols of all sequences, boundaries not included; in a stream every symbol."""

    @property
    def offsets(self) -> npt.NDArray[np.integer[Any]]:
        """(N + 1,) sequence i is tokens[offsets[i] : offsets[i + 1]]."""

    @property
    def is_stream(self) -> bool:
        """Whether this is one sequence without an end, in which the boundary is ordinary."""


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
