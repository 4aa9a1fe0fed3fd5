"""The table of n-grams: contexts as nodes, log-probabilities by the longest match, whole rows.

A module that holds the backoff form in buffers, so that it is saved, moved and copied with its
model. It knows nothing of how the numbers were estimated.

A *node* is the id of an n-gram, and ids rise with the order. Node -1 is an n-gram never seen, or
one that would reach back before the beginning. A context is given as nodes (..., n - 1): column
m - 1 holds the node of its last m symbols. Everything works on all positions at once, and
`find` is the one place that searches.

Shapes: B rows, L elements of a chunk, V symbols, P positions.
"""

from typing import Any

import torch
from torch import Tensor, nn

from seriatim.families.ngrams.smoothing import Backoffs


class NgramTable(nn.Module):
    """N-grams of orders 1 .. n in backoff form; uniform until it is filled.

    The buffers are the fields of `Backoffs`. Probabilities are float64, so that rows sum to 1
    to the last digits.
    """

    starts: Tensor
    key: Tensor
    log_prob: Tensor
    log_backoff: Tensor

    def __init__(self, order: int, num_symbols: int) -> None:
        super().__init__()
        self.order = order
        self.num_symbols = num_symbols
        uniform = -torch.tensor(num_symbols, dtype=torch.float64).log()
        self.register_buffer("starts", torch.tensor([0] + [num_symbols] * order))
        self.register_buffer("key", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("log_prob", uniform.repeat(num_symbols))
        num_contexts = 0 if order == 1 else num_symbols
        self.register_buffer("log_backoff", torch.zeros(num_contexts, dtype=torch.float64))

    @property
    def num_ngrams(self) -> list[int]:
        """How many n-grams the table holds of order 1, 2 .. n."""
        return [int(size) for size in self.starts.diff()]

    def fill(self, backoffs: Backoffs) -> None:
        """Replace the contents, on the device where the table is."""
        device = self.starts.device
        for name, array in vars(backoffs).items():
            tensor = torch.from_numpy(array)
            if len(array) == 0:  # numpy's has a stride of 0, which a view as bytes refuses
                tensor = tensor.new_empty(0)
            setattr(self, name, tensor.to(device))

    # ---- contexts --------------------------------------------------------------------------------

    def find(self, prefix: Tensor, symbol: Tensor) -> Tensor:
        """The nodes of n-grams given by the nodes of their prefixes and their last symbols."""
        if len(self.key) == 0:
            return torch.full_like(prefix, -1)
        key = prefix * self.num_symbols + symbol  # negative where the prefix is -1: never found
        rank = torch.searchsorted(self.key, key.contiguous()).clamp_(max=len(self.key) - 1)
        return torch.where(self.key[rank] == key, rank + self.num_symbols, -1)

    def fold(self, carry: Tensor, x: Tensor) -> Tensor:
        """The contexts after each symbol of a chunk.

        Args:
            carry: (B, n - 1) nodes before the chunk.
            x: (B, L) symbols.

        Returns:
            (B, L, n - 1) nodes.
        """
        if x.shape[1] == 1:  # all lengths of context in one search
            longer = self.find(carry[:, :-1], x)
            return torch.cat([x, longer], dim=1)[:, None, : self.order - 1]
        columns = [x]
        for m in range(self.order - 2):  # one search for each length, over all positions
            before = torch.cat([carry[:, m : m + 1], columns[-1][:, :-1]], dim=1)
            columns.append(self.find(before, x))
        return torch.stack(columns, dim=-1)[:, :, : self.order - 1]

    # ---- probabilities ---------------------------------------------------------------------------

    def score(self, context: Tensor, x: Tensor) -> Tensor:
        """ln p(x | context) in nats; context (..., n - 1) nodes, x (...) symbols."""
        x = x[..., None]
        seen = torch.cat([x, self.find(context, x)], dim=-1)
        longest, level = seen.max(dim=-1, keepdim=True)
        return (self.log_prob[longest] + self._left(context).gather(-1, level))[..., 0]

    def rows(self, context: Tensor) -> Tensor:
        """ln p of every symbol in nats; context (..., n - 1) nodes, result (..., V)."""
        flat = context.flatten(0, -2)
        longest = torch.arange(self.num_symbols, device=flat.device).repeat(len(flat), 1)
        place, node = self._children(flat)
        longest.view(-1).scatter_reduce_(0, place, node, "amax")
        level = torch.bucketize(longest, self.starts[1:-1], right=True)
        rows = self.log_prob[longest] + self._left(flat).gather(-1, level)
        return rows.view(*context.shape[:-1], self.num_symbols)

    def _left(self, context: Tensor) -> Tensor:
        """(..., n) ln of what all contexts longer than m symbols leave together, m = 0 .. n - 1."""
        backoff = self.log_backoff[context.clamp(min=0)].where(context >= 0, 0.0)
        longer = backoff.flip(-1).cumsum(-1).flip(-1)
        return torch.cat([longer, longer.new_zeros(*longer.shape[:-1], 1)], dim=-1)

    def _children(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """All that was seen after contexts (P, n - 1): places in (P · V), and nodes."""
        row, column = torch.nonzero(context >= 0, as_tuple=True)
        known = context[row, column]
        bounds = torch.stack([known, known + 1]) * self.num_symbols
        first, end = torch.searchsorted(self.key, bounds)
        size = end - first
        shift = first - (size.cumsum(0) - size)  # from the rank in this list to the rank in key
        rank = torch.repeat_interleave(shift, size)
        rank += torch.arange(len(rank), device=rank.device)
        symbol = self.key[rank] % self.num_symbols
        return row.repeat_interleave(size) * self.num_symbols + symbol, rank + self.num_symbols

    # ---- from disk -------------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # Sizes are known only after counting: make room for what comes, if it fits together.
        given = {name: state_dict.get(prefix + name) for name in self._buffers}
        found = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        if len(found) == len(given):
            complaint = self._misfit(found)
            if complaint:
                error_msgs.append(complaint)
                return
            for name, value in found.items():
                setattr(self, name, self.get_buffer(name).new_empty(value.shape))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _misfit(self, found: dict[str, Tensor]) -> str | None:
        """Why tensors cannot be this table's contents, if they cannot."""
        starts = [int(start) for start in found["starts"].flatten()]
        if len(starts) != self.order + 1 or starts[1] != self.num_symbols:
            order, size = len(starts) - 1, starts[1] if len(starts) > 1 else 0
            return (
                f"the n-gram table to load is of order {order} over {size} symbols and this one of "
                f"order {self.order} over {self.num_symbols}: build the model with the "
                "configuration it was saved with"
            )
        expected = {
            "key": starts[-1] - self.num_symbols,
            "log_prob": starts[-1],
            "log_backoff": starts[-2],
        }
        for name, size in expected.items():
            if found[name].shape != (size,):
                return (
                    f"the n-gram table to load has {name} of shape {tuple(found[name].shape)}, "
                    f"expected ({size},): the file was altered"
                )
        return None
