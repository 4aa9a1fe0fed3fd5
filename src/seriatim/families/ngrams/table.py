"""The table of n-grams: contexts as nodes, log-probabilities by the longest match, whole rows.

A module that holds the backoff form in buffers, so that it is saved, moved, mapped and copied
with its model. It knows nothing of how the numbers were estimated.

A *node* is the id of an n-gram, and ids rise with the order. Node -1 is an n-gram never seen, or
one that would reach back before the beginning. A context is given as nodes (..., n - 1): column
m - 1 holds the node of its last m symbols. Everything works on all positions at once, and
`find` is the one place that searches.

Shapes: B rows, L elements of a chunk, V symbols, N n-grams of all orders, P positions.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seriatim.families.ngrams.counting import Ints, symbol_bits
from seriatim.families.ngrams.smoothing import LOG_10, Backoffs

_MIX = -7046029254386353131  # 2^64 / golden ratio, odd, as int64: Fibonacci hashing (Knuth, 6.4)
_WORTH = 4  # an index is made after this many look-ups for each 32 n-grams


class NgramTable(nn.Module):
    """N-grams of orders 1 .. n in backoff form; uniform until it is filled.

    The buffers are the arrays of `Backoffs`. Probabilities are float64, so that rows sum to 1
    to the last digits.
    """

    starts: Tensor
    key: Tensor
    log_prob: Tensor
    log_backoff: Tensor
    slots: Tensor

    def __init__(self, order: int, num_symbols: int) -> None:
        super().__init__()
        self.order = order
        self.num_symbols = num_symbols
        self._bits = symbol_bits(num_symbols)
        self._num_found = 0
        uniform = -torch.tensor(num_symbols, dtype=torch.float64).log10()
        self.register_buffer("starts", torch.tensor([0] + [num_symbols] * order))
        self.register_buffer("key", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("log_prob", uniform.repeat(num_symbols))
        num_contexts = 0 if order == 1 else num_symbols
        self.register_buffer("log_backoff", torch.zeros(num_contexts, dtype=torch.float64))
        self.register_buffer("slots", torch.zeros(0, dtype=torch.int32), persistent=False)

    @property
    def num_ngrams(self) -> list[int]:
        """How many n-grams the table holds of order 1, 2 .. n."""
        return [int(size) for size in self.starts.diff()]

    def fill(self, backoffs: Backoffs) -> None:
        """Replace the contents, on the device where the table is."""
        for name in ("starts", "key", "log_prob", "log_backoff"):
            array = getattr(backoffs, name)
            # numpy's empty array has a stride of 0, which a view as bytes refuses
            tensor = torch.from_numpy(array) if len(array) else getattr(self, name).new_empty(0)
            setattr(self, name, tensor.to(self.starts.device))
        self._forget_index()

    # ---- search ----------------------------------------------------------------------------------

    def find(self, prefix: Tensor, symbol: Tensor) -> Tensor:
        """The nodes of n-grams given by the nodes of their prefixes and their last symbols.

        The first look-ups search the sorted keys, which touches few pages of a mapped file; as
        soon as it is worth it, an index is made, and from then on a look-up is a probe or two.
        """
        if len(self.key) == 0:
            return torch.full_like(prefix, -1)
        key = (prefix << self._bits) | symbol  # negative where the prefix is -1: never found
        if len(self.slots) == 0:
            self._num_found += key.numel()
            if 32 * self._num_found < _WORTH * len(self.key):
                rank = torch.searchsorted(self.key, key.contiguous()).clamp_(max=len(self.key) - 1)
                return torch.where(self.key[rank] == key, rank + self.num_symbols, -1)
            self._make_index()
        return self._probe(key)

    def _forget_index(self) -> None:
        self._num_found = 0
        self.slots = self.slots.new_empty(0)

    def _make_index(self) -> None:
        slots = index_slots(self.key.cpu().numpy())
        self.slots = torch.from_numpy(slots).to(self.key.device)

    def _probe(self, key: Tensor) -> Tensor:
        """Linear probing from the slot that a key hashes to, until it or a free slot is met."""
        flat = key.reshape(-1)
        node = torch.full_like(flat, -1)
        at = (flat >= 0).nonzero()[:, 0]
        sought = flat[at]
        bits = _slot_bits(len(self.key))
        slot = ((sought * _MIX) >> (64 - bits)) & ((1 << bits) - 1)
        while len(at):
            rank = self.slots[slot].long()
            is_here = (rank >= 0) & (self.key[rank.clamp(min=0)] == sought)
            node[at[is_here]] = rank[is_here] + self.num_symbols
            stays = (rank >= 0) & ~is_here
            at, sought, slot = at[stays], sought[stays], slot[stays] + 1
        return node.view(key.shape)

    # ---- contexts --------------------------------------------------------------------------------

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
        flat, sought = context.flatten(0, -2), x.reshape(-1)
        node = sought.clone()
        passed_on = torch.zeros_like(node, dtype=self.log_prob.dtype)
        at = torch.arange(len(node), device=node.device)
        for m in range(self.order - 1, 0, -1):  # the longest context first; few go on to the last
            prefix = flat[at, m - 1]
            found = self.find(prefix, sought[at])
            is_here = found >= 0
            node[at[is_here]] = found[is_here]
            at, prefix = at[~is_here], prefix[~is_here]
            passed_on[at] += self.log_backoff[prefix.clamp(min=0)].where(prefix >= 0, 0.0)
        return ((self.log_prob[node] + passed_on) * LOG_10).view(x.shape)

    def rows(self, context: Tensor) -> Tensor:
        """ln p of every symbol in nats; context (..., n - 1) nodes, result (..., V)."""
        flat = context.flatten(0, -2)
        longest = torch.arange(self.num_symbols, device=flat.device).repeat(len(flat), 1)
        place, node = self._children(flat)
        longest.view(-1).scatter_reduce_(0, place, node, "amax")
        level = torch.bucketize(longest, self.starts[1:-1], right=True)
        rows = self.log_prob[longest] + self._left(flat).gather(-1, level)
        return (rows * LOG_10).view(*context.shape[:-1], self.num_symbols)

    def _left(self, context: Tensor) -> Tensor:
        """(..., n) log10 of what all contexts longer than m symbols leave, m = 0 .. n - 1."""
        backoff = self.log_backoff[context.clamp(min=0)].where(context >= 0, 0.0)
        longer = backoff.flip(-1).cumsum(-1).flip(-1)
        return torch.cat([longer, longer.new_zeros(*longer.shape[:-1], 1)], dim=-1)

    def _children(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """All that was seen after contexts (P, n - 1): places in (P · V), and nodes."""
        row, column = torch.nonzero(context >= 0, as_tuple=True)
        first, end = self._span(context[row, column])
        size = end - first
        shift = first - (size.cumsum(0) - size)  # from the rank in this list to the rank in key
        rank = torch.repeat_interleave(shift, size)
        rank += torch.arange(len(rank), device=rank.device)
        symbol = self.key[rank] & ((1 << self._bits) - 1)
        return row.repeat_interleave(size) * self.num_symbols + symbol, rank + self.num_symbols

    def _span(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """Where the n-grams that begin with a context stand in `key`: first and end."""
        first, end = torch.searchsorted(self.key, torch.stack([node, node + 1]) << self._bits)
        return first, end

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
        names = ("starts", "key", "log_prob", "log_backoff")
        given = {name: state_dict.get(prefix + name) for name in names}
        found = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        if len(found) == len(given):
            complaint = self._misfit(found)
            if complaint:
                error_msgs.append(complaint)
                return
            for name, value in found.items():
                setattr(self, name, self.get_buffer(name).new_empty(value.shape))
            self._forget_index()
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


def index_slots(key: Ints) -> npt.NDArray[np.int32]:
    """An open-addressing hash table of ranks, -1 where free, made by one sort and no loop.

    Sorted by their hashes, keys take the first free slot from their own onwards:
    slot_i = max(hash_i, slot_{i-1} + 1), which is i + the running maximum of hash_i - i. Room
    past the end takes what is pushed over it, so that nothing wraps around.
    """
    bits, rank_bits = _slot_bits(len(key)), max(1, (len(key) - 1).bit_length())
    with np.errstate(over="ignore"):
        home = (key * np.int64(_MIX)).view(np.uint64) >> np.uint64(64 - bits)
    packed = home.astype(np.int64)
    packed <<= rank_bits
    packed |= np.arange(len(key))
    packed.sort()
    rank = (packed & ((1 << rank_bits) - 1)).astype(np.int32)
    packed >>= rank_bits
    packed -= np.arange(len(key))
    slot = np.maximum.accumulate(packed)
    slot += np.arange(len(key))
    slots = np.full(max(1 << bits, int(slot[-1]) + 1) + 1, -1, dtype=np.int32)
    slots[slot] = rank
    return slots


def _slot_bits(num_keys: int) -> int:
    """Between 1.5 and 3 slots for each key."""
    return max(2, (num_keys * 3 // 2).bit_length())
