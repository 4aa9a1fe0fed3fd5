"""What a model of numbers may declare that it can do beyond the contract.

Generic code asks for a capability such as `Ahead`, never for a family. A model without `Ahead` is
forecast by sampling; the gaps of one that does not smooth are filled by what came before them.

Shapes: B rows, L moments of a chunk, H moments of a forecast, D channels, K known inputs.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from seriatim.core.densities import Density
from seriatim.core.model import Carry, State
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences


@runtime_checkable
class FitsSeries(Protocol):
    """A model of numbers that is fitted without the training loop, by least squares or EM.

    Fitting is deterministic: the same series give the same numbers. A model that keeps parameters
    of `num_series` series is fitted to as many.
    """

    def fit_series(self, data: NumberSequences) -> dict[str, object]:
        """Fit to series, replacing any earlier fit; afterwards `of_series` knows them by number.

        Returns:
            Facts about the fit, as JSON values, for the record of the model.

        Raises:
            DataError: if a series cannot be fitted, such as one without a value; the message says
                which by its number, as `series 3`.
        """


@runtime_checkable
class Ahead(Protocol):
    """A model that knows the distribution of each of the next H moments exactly."""

    def ahead(self, state: State, horizon: int, known: Tensor | None = None) -> Density:
        """The distributions of the next moments, given the state alone; batch shape (B, H).

        Args:
            state: the state of B rows; its features already hold the known inputs of the first of
                these moments.
            horizon: H.
            known: (B, H - 1, K) the known inputs of the moments after the first; None: the model
                takes none.
        """


@runtime_checkable
class ReadsCarries(Protocol):
    """A model that can read its carries inside a chunk off its inputs, without folding them."""

    def carries(self, carry: Carry, x: NumberInput, at: Tensor) -> Carry | None:
        """The carries after some numbers of inputs.

        Args:
            carry: of B rows, before the inputs.
            x: (B, L, ...) the inputs.
            at: (B, N) how many of them were folded, 0 to L.

        Returns:
            Of B N rows, N in succession for each; None: these must be folded, such as gaps.
        """


@runtime_checkable
class Smooths(Protocol):
    """A model that knows the distribution of every value given all others, past and future."""

    def smooth(self, x: NumberInput, lengths: Tensor | None, memory: Tree | None = None) -> Density:
        """The distributions of the values of every moment given all that was observed.

        An observed value has its own value as mean, and variance 0.

        Args:
            x: (B, L + 1, ...) the input before the first moment, then the L moments.
            lengths: (B,) the number of valid inputs; None: L + 1.
            memory: as of `SequenceModel.empty`.

        Returns:
            Of batch shape (B, L).
        """


@runtime_checkable
class HasComponents(Protocol):
    """A model that explains a series by hidden components, such as a level and a season."""

    def components(self, carry: Carry, x: NumberInput) -> Mapping[str, Density]:
        """The smoothed components of every moment: given all that was observed, later values too.

        Args:
            carry: of B rows, before the inputs; all rows have begun, or none.
            x: (B, L + 1, ...) the input before the first moment, then the L moments.

        Returns:
            By name, each of batch shape (B, L) and of one channel.
        """


@runtime_checkable
class HasDiscreteStates(Protocol):
    """A model in which each element of a sequence was made by one of K hidden states."""

    def posterior(self, x: Tree) -> Tensor:
        """(B, T, K) p(z_t | all of x), of whole sequences x (B, T, ...) without a first input."""

    def best_states(self, x: Tree) -> tuple[Tensor, Tensor]:
        """The states (B, T) that are most probable together, and ln p of x with them (B,)."""


@runtime_checkable
class PreparesSeries(Protocol):
    """A model of numbers that takes constants, such as usual scales, from its training data.

    Before training by gradients; it draws no weights anew.
    """

    def prepare_series(self, data: NumberSequences) -> None:
        """Take the constants from series of the training data."""


@runtime_checkable
class HasWidths(Protocol):
    """A model of numbers whose densities can be made wider or narrower.

    Attributes:
        num_widths: D, the number of channels; 0: there is nothing that can be made wider.
    """

    num_widths: int

    def set_widths(self, factors: Tensor) -> None:
        """Multiply the widths of each channel by factors (D,), in place of those set before."""
