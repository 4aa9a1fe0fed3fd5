"""Weight averaging: an exponential average of the weights over the last updates.

With w_i the weights after update i, and b the decay, the average after update t is

    a_t = sum_i b^(t-i) w_i / sum_i b^(t-i)        i = 1 .. t
        = a_(t-1) + (w_t - a_(t-1)) (1 - b) / (1 - b^t),

an exponential average without bias to its start (the bias correction of Kingma, Ba 2015,
section 3). About the last 1 / (1 - b) updates count. Averaging iterates goes back to Polyak,
Juditsky 1992; Vaswani et al. 2017, 6.1, take the mean of the last checkpoints of a run.

Training never reads the average. Knows parameters by name; knows no loop and no data.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seriatim.train.parallel import Parallelism


class Average:
    """The average of a model's trainable parameters; each process averages what it holds.

    Attributes:
        tensors: the averages by parameter name, sharded as the parameter is; not copies.
    """

    def __init__(self, model: nn.Module, decay: float, parallelism: Parallelism) -> None:
        """
        Args:
            model: the model whose trainable parameters are averaged.
            decay: the decay b.
            parallelism: how the processes hold the model.
        """
        self._model, self._decay, self._parallelism = model, decay, parallelism
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.tensors = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def take(self, step: int) -> None:
        """Include the weights after update `step`, counted from 1."""
        weight = (1.0 - self._decay) / (1.0 - self._decay**step)
        torch._foreach_lerp_(self._own(self.tensors), self._own(self._parameters), weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the model has the average; then its own weights again, to the bit."""
        weights = {
            name: self._parallelism.local(p.detach()).clone()
            for name, p in self._parameters.items()
        }
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(weights)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume from the averages in `tensors`.

        Raises:
            KeyError: if the average of a parameter is missing.
        """
        for name, own in self.tensors.items():
            like = self._parameters[name]
            own.copy_(self._parallelism.shard(tensors[name], like))

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        # state_dict makes a sharded model release the tensors it has gathered: without it the next
        # forward pass would still read the old values.
        self._model.state_dict()
        torch._foreach_copy_(self._own(self._parameters), self._own(tensors))

    def _own(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return [self._parallelism.local(t.detach()) for t in tensors.values()]
