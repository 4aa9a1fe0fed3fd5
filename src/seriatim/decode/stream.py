"""Streaming: push one element, get its surprise; the state can rest as bytes and go on.

Knows a model and its state; no family, no text.
"""

from typing import Self

import torch

from seriatim.core.model import SequenceModel, State
from seriatim.decode.sampling import symbols_of


class Stream:
    """One sequence in the making.

        surprise(x_t) = -ln p(x_t | x_1 .. x_{t-1}),  nats

    The sum of what `push` returns equals the negative log-likelihood of the whole sequence.
    """

    def __init__(self, model: SequenceModel, state: State | None = None) -> None:
        """
        Args:
            model: any model of symbols.
            state: of one row, to go on from; None: only the boundary was seen.
        """
        self.model = model
        self._device = model.device  # looked up once: it goes through the parameters
        with torch.inference_mode():
            self.state = model.start(1) if state is None else state

    def push(self, symbol: int) -> float:
        """Fold one symbol in and return its surprise in nats (inf where p is 0)."""
        with torch.inference_mode():
            x = torch.tensor([symbol], device=self._device)
            surprise = -float(symbols_of(self.model.predict(self.state)).log_prob(x))
            self.state = self.model.step(self.state, x)
        return surprise

    def top(self, k: int) -> list[tuple[int, float]]:
        """The k most probable next symbols with their log-probabilities in nats."""
        with torch.inference_mode():
            values, symbols = symbols_of(self.model.predict(self.state)).top(k)
        return list(zip(symbols[0].tolist(), values[0].tolist(), strict=True))

    def fork(self) -> Self:
        """A second stream from here; neither disturbs the other."""
        return type(self)(self.model, self.state)

    def save(self) -> bytes:
        """The state as bytes; `load` goes on from it bit for bit."""
        return self.model.save_state(self.state)

    @classmethod
    def load(cls, model: SequenceModel, data: bytes) -> Self:
        """The stream that `save` put down.

        Raises:
            ModelError: altered bytes, or another model's.
        """
        return cls(model, model.load_state(data))
