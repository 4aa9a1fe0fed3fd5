"""Streaming: push one symbol, get its surprisal; the state can be saved as bytes and resumed.

Knows a model and its state; no family, no text.
"""

from typing import Self

import torch

from seriatim.core.distributions import as_discrete
from seriatim.core.elements import Symbols
from seriatim.core.model import SequenceModel, State
from seriatim.errors import ConfigError


class Stream:
    """A sequence that arrives symbol by symbol.

        surprisal(x_t) = -ln p(x_t | x_1 .. x_{t-1}),  nats

    The sum of what `push` returns equals the negative log-likelihood of the whole sequence.
    """

    def __init__(self, model: SequenceModel, state: State | None = None) -> None:
        """
        Args:
            model: any model of symbols.
            state: the state of one row to continue from; None: the start of a sequence.

        Raises:
            ConfigError: if it is a model of numbers, which streams by `Forecaster.stream`.
        """
        if not isinstance(model.element, Symbols):
            raise ConfigError(
                f"{type(model).__name__} is a model of numbers: its values arrive by "
                "Forecaster.stream(), and their surprisal is of a density"
            )
        self.model = model
        self._device = model.device  # once: the look-up goes through the parameters
        with torch.inference_mode():
            self.state = model.start(1) if state is None else state

    def __repr__(self) -> str:
        return f"Stream({type(self.model).__name__}, {self.model.num_symbols:,} symbols)"

    def push(self, symbol: int) -> float:
        """Fold one symbol in and return its surprisal in nats (inf where p is 0)."""
        with torch.inference_mode():
            x = torch.tensor([symbol], device=self._device)
            surprisal = -float(as_discrete(self.model.predict(self.state)).log_prob(x))
            self.state = self.model.step(self.state, x)
        return surprisal

    def top(self, k: int) -> list[tuple[int, float]]:
        """The k most probable next symbols with their log-probabilities in nats."""
        with torch.inference_mode():
            values, symbols = as_discrete(self.model.predict(self.state)).top(k)
        return list(zip(symbols[0].tolist(), values[0].tolist(), strict=True))

    def fork(self) -> Self:
        """A second stream from here; neither affects the other."""
        return type(self)(self.model, self.state)

    def save(self) -> bytes:
        """The state as bytes; `load` resumes from it bit for bit."""
        return self.model.save_state(self.state)

    @classmethod
    def load(cls, model: SequenceModel, data: bytes) -> Self:
        """The stream whose state `save` returned.

        Raises:
            ModelError: if the bytes were altered or belong to another model.
        """
        return cls(model, model.load_state(data))
