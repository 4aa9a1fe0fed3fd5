"""The table of n-grams: contexts as nodes, log-probabilities by the longest match, whole rows.

A module that holds the backoff form in buffers, so that it is saved, loaded, mapped and copied
with its model. It stays in the memory of the CPU wherever its model goes, and works on numpy
arrays: look-ups are random reads of memory, and numpy does them faster than torch there.
It knows nothing of how the numbers were estimated.

A *node* is the id of an n-gram, and ids rise with the order. A negative node is an n-gram never
seen, or one that would reach back before the beginning. A context is given as nodes (P, n - 1):
column m - 1 holds the node of its last m symbols. Everything works on all positions at once, and
`find` is the one place that searches.

Shapes: B rows, L elements of a chunk, V symbols, N n-grams of all orders, P positions.
"""

import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from seriatim.models.ngram.codebook import Codes
from seriatim.models.ngram.counting import Ints, symbol_bits
from seriatim.models.ngram.key_index import KeyIndex, index_keys
from seriatim.models.ngram.smoothing import LOG_10, Backoffs, Floats

Derived = TypeVar("Derived")

_ARRAYS = ("starts", "key", "log_prob", "log_backoff")
_OF_CODES = ("code", "books", "kept")
_WORTH = 8  # an index is made after one look-up for each so many n-grams


class NgramTable(nn.Module):
    """N-grams of orders 1 .. n in backoff form; uniform until it is filled.

    The buffers are the arrays of `Backoffs`. Probabilities are float64, so that rows sum to 1
    to the last digits. A quantized table has codes for them, and `log_prob` then holds what is
    kept as it is: the buffers are those of `Codes`, and the weights.

    Attributes:
        is_closed: every n-gram without its oldest symbol is an n-gram too, which spares
            look-ups. True of all that is counted; not of what others, or pruning by entropy, made.
    """

    starts: Tensor
    key: Tensor
    log_prob: Tensor
    log_backoff: Tensor
    code: Tensor
    books: Tensor
    kept: Tensor
    _num_found: int
    _derived: "dict[Callable[[NgramTable], Any], Any]"
    _index: KeyIndex | None

    def __init__(
        self,
        order: int,
        num_symbols: int,
        *,
        is_closed: bool = False,
        quantize_bits: int | None = None,
    ) -> None:
        super().__init__()
        self.is_closed = is_closed
        self.quantize_bits = quantize_bits
        self.order = order
        self.num_symbols = num_symbols
        self._bits = symbol_bits(num_symbols)
        self._forget_index()
        uniform = -torch.tensor(num_symbols, dtype=torch.float64).log10()
        self.register_buffer("starts", torch.tensor([0] + [num_symbols] * order))
        self.register_buffer("key", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("log_prob", uniform.repeat(num_symbols))
        num_contexts = 0 if order == 1 else num_symbols
        self.register_buffer("log_backoff", torch.zeros(num_contexts, dtype=torch.float64))
        self._arrays: tuple[str, ...] = _ARRAYS
        if quantize_bits is not None:
            self._arrays += _OF_CODES
            shape = (max(order - 1, 1), 1 << quantize_bits)
            self.register_buffer("code", torch.zeros(0, dtype=torch.uint8))
            self.register_buffer("books", torch.zeros(shape, dtype=torch.float64))
            self.register_buffer("kept", torch.zeros(0, dtype=torch.int64))

    @property
    def num_ngrams(self) -> list[int]:
        """How many n-grams the table holds of order 1, 2 .. n."""
        return [int(size) for size in self.starts.diff()]

    def fill(self, backoffs: Backoffs, codes: Codes | None = None) -> None:
        """Replace the contents; arrays in memory are shared, mapped ones are copied.

        Args:
            backoffs: the model.
            codes: its probabilities as codes, if the table is quantized.
        """
        arrays = {name: getattr(backoffs, name) for name in _ARRAYS}
        if codes is not None:
            arrays |= {name: getattr(codes, name) for name in ("log_prob", *_OF_CODES)}
        for name, array in arrays.items():
            array = array if array.flags.writeable else array.copy()
            # numpy's empty array has a stride of 0, which a view as bytes refuses
            tensor = torch.from_numpy(array) if len(array) else getattr(self, name).new_empty(0)
            setattr(self, name, tensor)
        self._forget_index()

    def backoffs(self) -> Backoffs:
        """The contents, as arrays that share their memory; quantized ones as the numbers that
        the codes mean, newly made."""
        codes = self._codes
        log_prob = self.log_prob.numpy() if codes is None else codes.all()
        return Backoffs(self.starts.numpy(), self.key.numpy(), log_prob, self.log_backoff.numpy())

    @property
    def _codes(self) -> Codes | None:
        if self.quantize_bits is None:
            return None
        arrays = (self.starts, self.code, self.books, self.kept, self.log_prob)
        return Codes(*(array.numpy() for array in arrays))

    def log_probs(self, node: Ints) -> Floats:
        """log10 p of nodes (P,): of their last symbols after the symbols before."""
        codes = self._codes
        return self.log_prob.numpy().take(node) if codes is None else codes.take(node)

    def _log_prob_one(self, node: int) -> float:
        if self.quantize_bits is None:
            return float(self.log_prob.numpy()[node])
        return float(self.log_probs(np.array([node]))[0])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Stay as it is, whatever device or precision the model is taken to."""
        return self

    # ---- search ----------------------------------------------------------------------------------

    def find(self, prefix: Ints, symbol: Ints) -> Ints:
        """The nodes of n-grams given by the nodes of their prefixes and their last symbols."""
        prefix, symbol = np.broadcast_arrays(prefix, symbol)
        flat = prefix.reshape(-1)
        at = np.flatnonzero(flat >= 0)
        if len(at) == len(flat):
            return self.find_nodes(flat, symbol.reshape(-1)).reshape(prefix.shape)
        node = np.full(len(flat), -1, dtype=np.int64)
        if len(at):
            node[at] = self.find_nodes(flat[at], symbol.reshape(-1)[at])
        return node.reshape(prefix.shape)

    def find_nodes(self, prefix: Ints, symbol: Ints) -> Ints:
        """`find` where every prefix is a node, (P,).

        The first look-ups search the sorted keys, which touches few pages of a mapped file; as
        soon as it is worth it, an index is made, and from then on a look-up is a read or two.
        """
        sought = prefix << self._bits
        sought |= symbol
        key = self.key.numpy()
        if len(key) == 0:
            return np.full(len(prefix), -1, dtype=np.int64)
        if self._index is None:
            self._num_found += len(sought)
            if self._num_found * _WORTH < len(key):
                rank = np.minimum(np.searchsorted(key, sought), len(key) - 1)
                return np.where(key[rank] == sought, rank + self.num_symbols, -1)
            with _INDEXING:
                self._index = self._index or self._make_index()
        node = self._index.find(sought)
        node += np.int64(self.num_symbols) * (node >= 0)
        return node

    def _make_index(self) -> KeyIndex:
        most = int(self.starts[-2]) << self._bits  # above every key
        return index_keys(self.key.numpy(), most.bit_length())

    def find_one(self, prefix: int, symbol: int) -> int:
        """`find` of one n-gram, without arrays; -1 for no prefix."""
        if prefix < 0:
            return -1
        if self._index is not None:
            rank = self._index.find_one((prefix << self._bits) | symbol)
            return rank + self.num_symbols if rank >= 0 else -1
        return int(self.find(np.array([prefix]), np.array([symbol]))[0])

    def derived(self, make: "Callable[[NgramTable], Derived]") -> Derived:
        """make(self), made when it is first asked for and kept until the contents change."""
        if make not in self._derived:
            self._derived[make] = make(self)
        found: Derived = self._derived[make]
        return found

    def _forget_index(self) -> None:
        self._num_found = 0
        self._derived = {}
        self._index = None

    # ---- contexts --------------------------------------------------------------------------------

    def fold(self, carry: Ints, x: Ints) -> Ints:
        """The contexts after each symbol of a chunk.

        Args:
            carry: (B, n - 1) nodes before the chunk.
            x: (B, L) symbols.

        Returns:
            (B, L, n - 1) nodes.
        """
        if x.size == 1 and self.order > 1:  # a stream: no arrays
            return np.array([[self._fold_one(carry[0].tolist(), x.item())]], dtype=np.int64)
        if x.shape[1] == 1:  # all lengths of context in one search
            longer = self.find(carry[:, :-1], x)
            return np.concatenate([x, longer], axis=1)[:, None, : self.order - 1]
        nodes = np.empty((self.order - 1, *x.shape), dtype=np.int64)
        for m in range(self.order - 1):  # one search for each length, over all positions
            if m == 0:
                nodes[0] = x
                continue
            before = np.concatenate([carry[:, m - 1 : m], nodes[m - 1, :, :-1]], axis=1)
            nodes[m] = self.find(before, x)
        return nodes.transpose(1, 2, 0)

    # ---- probabilities ---------------------------------------------------------------------------

    def score(self, context: Ints, x: Ints) -> Floats:
        """ln p(x | context) in nats (B, L); context (B, L, n - 1) nodes, x (B, L) symbols."""
        if x.size == 1:
            return np.full((1, 1), self._score_one(context.reshape(-1).tolist(), x.item()))
        if x.shape[1] == 1:
            return self._score_alone(context[:, 0], x)
        log_backoff, sought = self.log_backoff.numpy(), x.reshape(-1)
        node, passed_on = sought.copy(), np.zeros(len(sought))
        is_open = np.ones(len(sought), dtype=bool)
        for m in range(self.order - 1, 0, -1):  # the longest first; what is found is done
            prefix = context[:, :, m - 1].reshape(-1)
            at = np.flatnonzero(is_open & (prefix >= 0))
            match = self.find_nodes(prefix[at], sought[at])
            here, there = np.flatnonzero(match >= 0), np.flatnonzero(match < 0)
            node[at[here]] = match[here]
            is_open[at[here]] = False
            passed_on[at[there]] += log_backoff[prefix[at[there]]]
        passed_on += self.log_probs(node)
        passed_on *= LOG_10
        return passed_on.reshape(x.shape)

    def _fold_one(self, carry: list[int], symbol: int) -> list[int]:
        """`fold` of one symbol in one row."""
        return [symbol, *(self.find_one(prefix, symbol) for prefix in carry[:-1])]

    def _score_one(self, context: list[int], symbol: int) -> float:
        """`score` of one symbol after one context, log10 being summed in the same order."""
        node, passed_on = symbol, 0.0
        for prefix in reversed(context):
            match = self.find_one(prefix, symbol)
            if match >= 0:
                node = match
                break
            if prefix >= 0:
                passed_on += float(self.log_backoff.numpy()[prefix])
        return (passed_on + self._log_prob_one(node)) * LOG_10

    def _score_alone(self, context: Ints, x: Ints) -> Floats:
        """`score` of single elements (B, 1), with all lengths of context in one search."""
        match = np.concatenate([x, self.find(context, x)], axis=1)
        order = self.order - 1 - np.argmax(match[:, ::-1] >= 0, axis=1, keepdims=True)
        node = np.take_along_axis(match, order, axis=1)
        is_passed = (context >= 0) & (np.arange(self.order - 1) >= order)
        passed_on = np.zeros(context.shape)
        passed_on[is_passed] = self.log_backoff.numpy()[context[is_passed]]
        found: Floats = self.log_probs(node[:, 0])[:, None] + passed_on.sum(1, keepdims=True)
        return found * LOG_10

    def rows(self, context: Ints) -> Floats:
        """ln p of every symbol in nats (P, V); context (P, n - 1) nodes."""
        rows = np.empty((len(context), self.num_symbols))
        rows[:] = self.log_prob.numpy()[: self.num_symbols]
        for m in range(1, self.order):  # the longer a match, the later it is written
            known = np.flatnonzero(context[:, m - 1] >= 0)
            rows[known] += self.log_backoff.numpy()[context[known, m - 1], None]
            row, symbol, node = self.followers(context[known, m - 1])
            rows[known[row], symbol] = self.log_probs(node)
        rows *= LOG_10
        return rows

    def followers(self, node: Ints) -> tuple[Ints, Ints, Ints]:
        """All that was seen after contexts (P,): which context, the symbol, the node."""
        first, end = self.spans(node)
        size = end - first
        shift = first - (np.cumsum(size) - size)  # from the rank in this list to the rank in key
        rank = np.repeat(shift, size) + np.arange(size.sum())
        symbol = self.key.numpy()[rank] & ((1 << self._bits) - 1)
        return np.repeat(np.arange(len(node)), size), symbol, rank + self.num_symbols

    def spans(self, node: Ints) -> tuple[Ints, Ints]:
        """Where the n-grams that begin with a context stand in `key`: first and end."""
        key = self.key.numpy()
        low, high = node << self._bits, (node + 1) << self._bits
        return np.searchsorted(key, low), np.searchsorted(key, high)

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
        # Sizes are known only after counting, and tables may be mapped files larger than the
        # memory: what comes takes the place of what was, if it fits together.
        given = {name: state_dict.get(prefix + name) for name in self._arrays}
        found = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        missing_keys += [prefix + name for name in given if name not in found]
        if len(found) < len(given):
            return
        complaint = self._misfit(found)
        if complaint:
            error_msgs.append(complaint)
            return
        for name, value in found.items():
            setattr(self, name, value.detach().cpu())
        self._forget_index()

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
        expected: dict[str, tuple[int, ...]] = {
            "key": (starts[-1] - self.num_symbols,),
            "log_prob": (starts[-1],),
            "log_backoff": (starts[-2],),
        }
        if self.quantize_bits is not None:
            kept = found["kept"].numel()
            expected |= {"log_prob": (self.num_symbols + kept,), "kept": (kept,)}
            expected |= {"code": expected["key"], "books": tuple(self.books.shape)}
        for name, shape in expected.items():
            if found[name].shape != shape:
                return (
                    f"the n-gram table to load has {name} of shape {tuple(found[name].shape)}, "
                    f"expected {shape}: the file was altered"
                )
        return None


_INDEXING = threading.Lock()
