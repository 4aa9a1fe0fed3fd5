"""The average of the weights over the last updates, kept beside them.

With w_i the weights after update i, and b the decay, what is kept after update t is

    a_t = sum_i b^(t-i) w_i / sum_i b^(t-i)        i = 1 .. t
        = a_(t-1) + (w_t - a_(t-1)) (1 - b) / (1 - b^t),

an exponential average without the pull of where it began (the bias correction of Kingma, Ba 2015,
section 3). About the last 1 / (1 - b) updates count. Averages of iterates go back to Polyak,
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
        tensors: by the name of the parameter, held as it is held; those in use, not copies.
    """

    def __init__(self, model: nn.Module, decay: float, parallelism: Parallelism) -> None:
        """
        Args:
            decay: b.
            parallelism: how the processes hold the model.
        """
        self._model, self._decay, self._parallelism = model, decay, parallelism
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.tensors = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def take(self, step: int) -> None:
        """Take the weights in after update `step`, counted from 1."""
        share = (1.0 - self._decay) / (1.0 - self._decay**step)
        torch._foreach_lerp_(self._own(self.tensors), self._own(self._parameters), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the average; afterwards its own weights again, to the bit."""
        held = {
            name: self._parallelism.local(p.detach()).clone()
            for name, p in self._parameters.items()
        }
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(held)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Stand where `tensors` was taken.

        Raises:
            KeyError: the average of some parameter is missing.
        """
        for name, own in self.tensors.items():
            like = self._parameters[name]
            own.copy_(self._parallelism.shard(tensors[name], like))

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        # Asked for its tensors, a sharded model lets go of those that it has gathered: without
        # this its next forward would still read the values from before.
        self._model.state_dict()
        torch._foreach_copy_(self._own(self._parameters), self._own(tensors))

    def _own(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return [self._parallelism.local(t.detach()) for t in tensors.values()]
