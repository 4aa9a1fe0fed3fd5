"""A series that arrives value by value: the surprisal of each, and forecasts at any time.

Knows a model and where a series stands; no files.
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core import tree
from seriatim.core.densities import Density
from seriatim.core.model import SequenceModel, State
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError
from seriatim.tasks.forecasting.predict import predict_rows
from seriatim.tasks.forecasting.states import Standing, element_of
from seriatim.tasks.forecasting.stream_inputs import StreamInputs

_MARK = b"inputs "  # of bytes that begin with what a stream computes by itself


class SeriesStream:
    """A series that arrives value by value.

        surprisal(x_t) = -log2 p(x_t | x_1 .. x_{t-1}),  bits of a density

    Each value takes the same time, however many came before.
    """

    def __init__(
        self, model: SequenceModel, standing: Standing, inputs: StreamInputs | None = None
    ) -> None:
        """
        Args:
            model: a model of numbers.
            standing: where one series stands.
            inputs: the known inputs that are computed; None: all are given.
        """
        self.model = model
        self._element = element_of(model)
        self._device = model.device  # once: it is looked up in all
        self._standing = standing
        self._state: State | None = None  # in which the next value is predicted
        self._inputs = inputs
        self._num_given = self._element.num_known if inputs is None else inputs.given
        if self._element.num_known == 0:
            self._fold(None)

    def _fold(self, known: NDArray[np.float64] | None) -> State:
        """Fold the last value, and the known inputs of the next."""
        inputs = None
        if known is not None:
            inputs = torch.as_tensor(known, device=self._device, dtype=torch.float64)[None, None]
        last = self._standing.last
        x = NumberInput(Values(last.numbers[:, None], last.is_observed[:, None]), inputs)
        with torch.inference_mode():
            features, carry = self.model.advance(self._standing.carry, x, None)
            self._state = State(tree.at_last(features, None), carry)
        return self._state

    def push(
        self,
        value: float | Sequence[float] | None,
        known: float | Sequence[float] | None = None,
    ) -> float | None:
        """Take the next value, and return its surprisal in bits; None if it is missing.

        Args:
            value: a number, or one for each channel; None or NaN where it is missing.
            known: the known inputs of the same moment, if the model takes some.

        Raises:
            ConfigError: if there are too few or too many numbers.
        """
        state = self._state
        if state is None or known is not None:
            given = self._checked(known, self._num_given, "known inputs")
            state = self._fold(self._with_computed(given[None])[0])
        numbers = self._checked(value, self._element.num_channels, "values")
        with torch.inference_mode():
            x = Values.of(torch.as_tensor(numbers, device=self._device, dtype=torch.float64)[None])
            density = self.model.predict(state)
            assert isinstance(density, Density)
            nats = float(density.log_prob(x))
        self._standing = Standing(state.carry, x)
        self._state = None
        if self._inputs is not None:
            self._inputs = self._inputs.after_one()
        if self._element.num_known == 0:
            self._fold(None)
        return None if np.isnan(numbers).all() else -nats / math.log(2)

    def _with_computed(self, given: NDArray[np.float64]) -> NDArray[np.float64]:
        """(H, K) the inputs of the coming moments, from those (H, given) of the caller."""
        return given if self._inputs is None else self._inputs.ahead(len(given), given)

    def _checked(
        self, given: float | Sequence[float] | None, count: int, noun: str
    ) -> NDArray[np.float64]:
        missing = [math.nan] * count
        numbers = np.array(missing if given is None else given, np.float64).reshape(-1)
        if given is None and noun == "known inputs" and count:
            raise ConfigError(f"the model takes {count} known inputs: give those of this moment")
        if len(numbers) != count:
            raise ConfigError(f"{len(numbers)} {noun} were given and the model has {count}")
        return numbers

    def predict(
        self,
        horizon: int = 1,
        *,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        num_samples: int = 200,
        seed: int = 0,
        known: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean (H, D) and the quantiles (Q, H, D) of the coming values.

        Args:
            horizon: H.
            quantiles: Q of them, between 0 and 1.
            num_samples: the paths of a model that must be sampled.
            seed: of the paths.
            known: (H, K) the known inputs of the coming moments, if the model takes some that are
                not computed.
        """
        if known is None and self._inputs is not None and self._num_given == 0:
            known = np.zeros((horizon, 0))
        if known is not None:
            known = self._with_computed(known)
        mean, bands = predict_rows(
            self.model,
            self._standing,
            horizon,
            None if known is None else known[None],
            quantiles=quantiles,
            num_samples=num_samples,
            seed=seed,
        )
        return mean[0], bands[0]

    def fork(self) -> Self:
        """A second stream from here; neither affects the other."""
        return type(self)(self.model, self._standing, self._inputs)

    def save(self) -> bytes:
        """The state as bytes; `load` resumes from it bit for bit."""
        state = tree.to_bytes(self._standing, owner=self.model.fingerprint())
        return state if self._inputs is None else _MARK + self._inputs.to_bytes() + state

    @classmethod
    def load(cls, model: SequenceModel, data: bytes) -> Self:
        """The stream whose state `save` returned.

        Raises:
            ModelError: if the bytes were altered or belong to another model.
        """
        inputs = None
        if data.startswith(_MARK):
            line, _, data = data[len(_MARK) :].partition(b"\n")
            inputs = StreamInputs.from_bytes(line)
        standing: Standing = tree.from_bytes(data, owner=model.fingerprint())
        return cls(model, tree.to(standing, model.device), inputs)
