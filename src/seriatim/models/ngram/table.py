"""The table of n-grams: contexts as nodes, log-probabilities by the longest match, whole rows.

A module that holds a `BackoffModel` in buffers, so that it is saved, loaded, mapped and copied
with its model. It stays in the memory of the CPU wherever its model goes, and works on numpy
arrays: look-ups are random reads of memory, and numpy does them faster than torch there.
It knows nothing of how the probabilities were estimated.

A *node* is the id of an n-gram, and ids rise with the order. A negative node is an n-gram never
seen, or one that would begin before its sequence. A context is nodes (P, n - 1): column m - 1
holds the node of its last m symbols. Everything works on all positions at once, and only `find`
searches.

The n-grams are stored as a trie (Whittaker, Raj 2001; Heafield 2011): those that extend a context
stand together, by rising last symbol, and it is noted where they begin. Prefixes need no room.

Shapes: B rows, L elements of a chunk, V symbols, N n-grams of all orders, C those of orders below
n, which can be contexts, P positions.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seriatim.errors import ModelError
from seriatim.models.ngram.arrays import (
    CHUNK,
    LOG_10,
    Floats,
    Int32s,
    Ints,
    Tokens,
    symbol_bits,
    symbol_type,
)
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.models.ngram.codebook import QuantizedLogProbs
from seriatim.models.ngram.key_index import KeyIndex, index_keys

Derived = TypeVar("Derived")

_INDEXING = threading.Lock()

_ARRAYS = ("starts", "first", "symbol", "log_prob", "log_backoff")
_CODE_ARRAYS = ("code", "books", "kept")
_MAX_CHECKED = 1 << 22  # n-grams whose order is checked at loading, in some milliseconds
_MANY = 1  # an index is built after one look-up for each so many n-grams


class NgramTable(nn.Module):
    """N-grams of orders 1 .. n in backoff form; uniform until it is filled.

    The buffers are those below and the numbers of `BackoffModel`. Probabilities are float64, so
    that rows sum to 1 to the last digits. A quantized table has the arrays of `QuantizedLogProbs`
    and the weights.

    Attributes:
        first: (C + 1,) int32, the n-grams of orders 2 .. n before those that extend a context.
        symbol: (N - V,) the last symbol of each, in the smallest type that holds it.
        is_closed: whether every n-gram without its oldest symbol is an n-gram too, which saves
            look-ups: true of counted models, not of files of other tools and entropy pruning.
        quantize_bits: the bits of a code; None: the table is not quantized.
        order: n.
        num_symbols: V.
    """

    starts: Tensor
    first: Tensor
    symbol: Tensor
    log_prob: Tensor
    log_backoff: Tensor
    code: Tensor
    books: Tensor
    kept: Tensor
    _num_lookups: int
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
        # On the CPU even where a model is built without memory: torch imports its compiler there.
        uniform = -torch.tensor(num_symbols, dtype=torch.float64, device="cpu").log10()
        self.register_buffer("starts", torch.tensor([0] + [num_symbols] * order))
        self.register_buffer("log_prob", uniform.repeat(num_symbols))
        num_contexts = 0 if order == 1 else num_symbols
        self.register_buffer("first", torch.zeros(num_contexts + 1, dtype=torch.int32))
        self.register_buffer("symbol", torch.from_numpy(np.zeros(0, symbol_type(num_symbols))))
        self.register_buffer("log_backoff", torch.zeros(num_contexts, dtype=torch.float64))
        self._arrays: tuple[str, ...] = _ARRAYS
        if quantize_bits is not None:
            self._arrays += _CODE_ARRAYS
            shape = (max(order - 1, 1), 1 << quantize_bits)
            self.register_buffer("code", torch.zeros(0, dtype=torch.uint8))
            self.register_buffer("books", torch.zeros(shape, dtype=torch.float64))
            self.register_buffer("kept", torch.zeros(0, dtype=torch.int64))

    @property
    def num_ngrams(self) -> list[int]:
        """The number of n-grams of orders 1, 2 .. n."""
        return [int(size) for size in self.starts.diff()]

    def fill(self, model: BackoffModel, quantized: QuantizedLogProbs | None = None) -> None:
        """Replace the contents; arrays in memory are shared, mapped ones are copied.

        Args:
            model: the model.
            quantized: its probabilities as codes, if the table is quantized.
        """
        first, symbol = as_trie(model.key, int(model.starts[-2]), self.num_symbols)
        arrays: dict[str, npt.NDArray[Any]] = {
            "starts": model.starts,
            "first": first,
            "symbol": symbol,
        }
        arrays |= {"log_prob": model.log_prob, "log_backoff": model.log_backoff}
        if quantized is not None:
            arrays |= {name: getattr(quantized, name) for name in ("log_prob", *_CODE_ARRAYS)}
        for name, array in arrays.items():
            array = array if array.flags.writeable else array.copy()
            # numpy's empty array has a stride of 0, which a view as bytes refuses
            tensor = torch.from_numpy(array) if len(array) else getattr(self, name).new_empty(0)
            setattr(self, name, tensor)
        self._forget_index()

    def backoff_model(self) -> BackoffModel:
        """The contents, as arrays that share their memory; quantized probabilities are decoded."""
        quantized = self._quantized
        log_prob = self.log_prob.numpy() if quantized is None else quantized.all()
        return BackoffModel(self.starts.numpy(), self.keys(), log_prob, self.log_backoff.numpy())

    def keys(self) -> Ints:
        """(N - V,) the prefix and the symbol of each n-gram, as in `BackoffModel`."""
        key = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first.numpy()))
        key <<= self._bits
        key |= self.symbol.numpy()
        return key

    @property
    def _quantized(self) -> QuantizedLogProbs | None:
        if self.quantize_bits is None:
            return None
        arrays = (self.starts, self.code, self.books, self.kept, self.log_prob)
        return QuantizedLogProbs(*(array.numpy() for array in arrays))

    def log_probs(self, node: Ints) -> Floats:
        """log10 p of nodes (P,): p of the last symbol after the symbols before it."""
        quantized = self._quantized
        return self.log_prob.numpy().take(node) if quantized is None else quantized.take(node)

    def _log_prob_one(self, node: int) -> float:
        if self.quantize_bits is None:
            return float(self.log_prob.numpy()[node])
        return float(self.log_probs(np.array([node]))[0])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Stay unchanged, whatever device or precision the model is moved to."""
        return self

    # ---- search ----------------------------------------------------------------------------------

    def find(self, prefix: Ints, symbol: Ints) -> Ints:
        """The nodes of n-grams, by the nodes of their prefixes and their last symbols."""
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

        The symbols that follow a prefix are bisected, for all at once. Once there are many
        look-ups, an index is built, and each is a read or two.
        """
        if len(self.symbol) == 0:
            return np.full(len(prefix), -1, dtype=np.int64)
        if self._index is None:
            self._num_lookups += len(prefix)
            if self._num_lookups * _MANY < len(self.symbol):
                return self._bisected(prefix, symbol)
            with _INDEXING:
                most = int(self.starts[-2]) << self._bits  # above every key
                self._index = self._index or index_keys(self.keys(), most.bit_length())
        sought = prefix << self._bits
        sought |= symbol
        node = self._index.find(sought)
        node += np.int64(self.num_symbols) * (node >= 0)
        return node

    def _bisected(self, prefix: Ints, symbol: Ints) -> Ints:
        first, symbols = self.first.numpy(), self.symbol.numpy()
        rank: Int32s = first.take(prefix)
        size = first.take(prefix + 1)
        size -= rank
        is_found = size > 0
        sought = symbol.astype(symbols.dtype)
        _bisect(symbols, sought, rank, size)
        # A rank outside the table is that of an altered file, too large to be checked at loading.
        is_found &= rank.view(np.uint32) < len(symbols)
        is_found &= symbols.take(rank, mode="clip") == sought
        return np.where(is_found, rank + np.int64(self.num_symbols), -1)

    def find_one(self, prefix: int, symbol: int) -> int:
        """`find` of one n-gram, without arrays; -1 if the prefix is none."""
        if prefix < 0:
            return -1
        if self._index is not None:
            rank = self._index.find_one((prefix << self._bits) | symbol)
            return rank + self.num_symbols if rank >= 0 else -1
        self._num_lookups += 1
        first, symbols = self.first.numpy(), self.symbol.numpy()
        low, high = first.item(prefix), first.item(prefix + 1)
        rank = low + int(symbols[low:high].searchsorted(symbols.dtype.type(symbol)))
        is_found = rank < high and symbols[rank] == symbol
        return rank + self.num_symbols if is_found else -1

    def derived(self, compute: "Callable[[NgramTable], Derived]") -> Derived:
        """compute(self), cached until the contents change."""
        if compute not in self._derived:
            self._derived[compute] = compute(self)
        value: Derived = self._derived[compute]
        return value

    def _forget_index(self) -> None:
        self._num_lookups = 0
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
            symbol = x.item()
            found = [self.find_one(prefix, symbol) for prefix in carry[0, :-1].tolist()]
            return np.array([[[symbol, *found]]], dtype=np.int64)
        if x.shape[1] == 1:  # all lengths of context in one search
            longer = self.find(carry[:, :-1], x)
            return np.concatenate([x, longer], axis=1)[:, None, : self.order - 1]
        nodes = np.empty((self.order - 1, *x.shape), dtype=np.int64)
        for m in range(self.order - 1):  # one search per length, over all positions
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
        node, log10 = sought.copy(), np.zeros(len(sought))
        is_open = np.ones(len(sought), dtype=bool)
        for m in range(self.order - 1, 0, -1):  # the longest first; a match is final
            prefix = context[:, :, m - 1].reshape(-1)
            at = np.flatnonzero(is_open & (prefix >= 0))
            match = self.find_nodes(prefix[at], sought[at])
            is_match = match >= 0
            matched, backed_off = np.flatnonzero(is_match), np.flatnonzero(~is_match)
            node[at[matched]] = match[matched]
            is_open[at[matched]] = False
            log10[at[backed_off]] += log_backoff[prefix[at[backed_off]]]
        log10 += self.log_probs(node)
        log10 *= LOG_10
        return log10.reshape(x.shape)

    def _score_one(self, context: list[int], symbol: int) -> float:
        """`score` of one symbol after one context; log10 is summed in the same order."""
        node, log10 = symbol, 0.0
        for prefix in reversed(context):
            match = self.find_one(prefix, symbol)
            if match >= 0:
                node = match
                break
            if prefix >= 0:
                log10 += float(self.log_backoff.numpy()[prefix])
        return (log10 + self._log_prob_one(node)) * LOG_10

    def _score_alone(self, context: Ints, x: Ints) -> Floats:
        """`score` of single elements (B, 1), with all lengths of context in one search."""
        match = np.concatenate([x, self.find(context, x)], axis=1)
        order = self.order - 1 - np.argmax(match[:, ::-1] >= 0, axis=1, keepdims=True)
        node = np.take_along_axis(match, order, axis=1)
        is_backed_off = (context >= 0) & (np.arange(self.order - 1) >= order)
        log_backoff = np.zeros(context.shape)
        log_backoff[is_backed_off] = self.log_backoff.numpy()[context[is_backed_off]]
        log10: Floats = self.log_probs(node[:, 0])[:, None] + log_backoff.sum(1, keepdims=True)
        return log10 * LOG_10

    def rows(self, context: Ints) -> Floats:
        """ln p of every symbol in nats (P, V); context (P, n - 1) nodes."""
        rows = np.empty((len(context), self.num_symbols))
        rows[:] = self.log_prob.numpy()[: self.num_symbols]
        for m in range(1, self.order):  # longer matches overwrite shorter ones
            known = np.flatnonzero(context[:, m - 1] >= 0)
            rows[known] += self.log_backoff.numpy()[context[known, m - 1], None]
            row, symbol, node = self.successors(context[known, m - 1])
            rows[known[row], symbol] = self.log_probs(node)
        rows *= LOG_10
        return rows

    def successors(self, node: Ints) -> tuple[Ints, Ints, Ints]:
        """The n-grams that extend contexts (P,) by a symbol: the context's row, symbol, node."""
        first, end = self.spans(node)
        size = end - first
        shift = first - (np.cumsum(size) - size)  # from the rank in this list to the rank in key
        rank = np.repeat(shift, size) + np.arange(size.sum())
        symbol = self.symbol.numpy()[rank].astype(np.int64)
        return np.repeat(np.arange(len(node)), size), symbol, rank + self.num_symbols

    def spans(self, node: Ints) -> tuple[Ints, Ints]:
        """The range, first and end, of the n-grams that extend each context (P,)."""
        first = self.first.numpy()
        return first.take(node).astype(np.int64), first.take(node + 1).astype(np.int64)

    # ---- from disk -------------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # Sizes are known only after counting, and tables may be mapped files larger than the
        # memory: the loaded tensors replace the buffers, if their shapes agree.
        values = {name: state_dict.get(prefix + name) for name in self._arrays}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        if prefix + "key" in state_dict and "first" not in tensors:
            raise ModelError(
                "the n-grams were saved by an earlier version, in a format that is no longer read: "
                "fit the model again"
            )
        missing_keys += [prefix + name for name in values if name not in tensors]
        if len(tensors) < len(values):
            return
        problem = self._mismatch(tensors)
        if problem:
            error_msgs.append(problem)
            return
        for name, value in tensors.items():
            setattr(self, name, value.detach().cpu())
        self._forget_index()

    def _mismatch(self, tensors: Mapping[str, Tensor]) -> str | None:
        """Why tensors cannot be this table's contents; None: they can."""
        starts = [int(start) for start in tensors["starts"].flatten()]
        if len(starts) != self.order + 1 or starts[1] != self.num_symbols:
            order, size = len(starts) - 1, starts[1] if len(starts) > 1 else 0
            return (
                f"the saved n-gram table has order {order} over {size} symbols and this model "
                f"order {self.order} over {self.num_symbols}: build the model with the "
                "configuration it was saved with"
            )
        expected: dict[str, tuple[int, ...]] = {
            "first": (starts[-2] + 1,),
            "symbol": (starts[-1] - self.num_symbols,),
            "log_prob": (starts[-1],),
            "log_backoff": (starts[-2],),
        }
        if self.quantize_bits is not None:
            kept = tensors["kept"].numel()
            expected |= {"log_prob": (self.num_symbols + kept,), "kept": (kept,)}
            expected |= {"code": expected["symbol"], "books": tuple(self.books.shape)}
        for name, shape in expected.items():
            if tensors[name].shape != shape:
                return (
                    f"the saved n-gram table has {name} of shape {tuple(tensors[name].shape)}, "
                    f"expected {shape}: the file was altered"
                )
        if self._is_scrambled(starts, tensors["first"].numpy(), tensors["symbol"].numpy()):
            return "the saved n-gram table has n-grams out of order: the file was altered"
        return None

    def _is_scrambled(self, starts: list[int], first: Int32s, symbol: Tokens) -> bool:
        """Whether n-grams are not sorted or have no prefix; unknown and False of large tables."""
        if starts[0] != 0 or sorted(starts) != starts:
            return True
        if first.dtype != np.int32 or symbol.dtype != symbol_type(self.num_symbols):
            return True
        if len(symbol) > _MAX_CHECKED:  # a mapped file may be larger than the memory
            return False
        begins = [start - self.num_symbols for start in starts[1:]]  # of the orders 2 .. n + 1
        if first[starts[:-1]].tolist() != begins or (np.diff(first) < 0).any():
            return True
        is_rising = symbol[1:] > symbol[:-1]
        is_rising[first[(first > 0) & (first < len(symbol))] - 1] = True  # another context begins
        return not is_rising.all() or bool((symbol >= self.num_symbols).any())


def _bisect(symbols: Tokens, sought: Tokens, rank: Int32s, size: Int32s) -> None:
    """Move `rank` (P,) to the last symbol that is not above what is sought, or let it be.

    Args:
        symbols: (N,) rising in each range.
        sought: (P,) what is sought.
        rank: (P,) where each range begins.
        size: (P,) the number of symbols in it; overwritten.
    """
    while len(rest := np.flatnonzero(size > 1)):
        if 2 * len(rest) < len(size):  # most are found
            rank_of_rest = rank.take(rest)
            _bisect(symbols, sought.take(rest), rank_of_rest, size.take(rest))
            rank[rest] = rank_of_rest
            return
        half = size >> 1
        size -= half
        half *= symbols.take(rank + half, mode="clip") <= sought
        rank += half


def as_trie(key: Ints, num_contexts: int, num_symbols: int) -> tuple[Int32s, Tokens]:
    """The arrays `first` (C + 1,) and `symbol` (N - V,) of sorted keys."""
    bits = symbol_bits(num_symbols)
    first = np.zeros(num_contexts + 1, dtype=np.int32)
    symbol = np.empty(len(key), dtype=symbol_type(num_symbols))
    for begin in range(0, len(key), CHUNK):  # in the caches
        part = key[begin : begin + CHUNK]
        prefix = part >> bits
        lowest, highest = int(prefix[0]), int(prefix[-1])
        prefix -= lowest
        first[lowest + 1 : highest + 2] += np.bincount(prefix).astype(np.int32)
        symbol[begin : begin + CHUNK] = part & ((1 << bits) - 1)
    np.cumsum(first, out=first)
    return first, symbol


def lower_order(table: NgramTable, suffix: Ints, m: int) -> tuple[Ints, Floats]:
    """The contexts of the n-grams of order m, and their p without their oldest symbols.

    Args:
        table: the n-grams.
        suffix: (N,) the longest proper suffix of each n-gram that is in the table, filled in
            for lower orders, and here for order m; -1 for order 1.
        m: the order, at least 2.

    Returns:
        The node h of each n-gram h w, and log10 p(w | h').
    """
    starts, log_backoff = table.starts.numpy(), table.log_backoff.numpy()
    low, high = (int(s) for s in starts[m - 1 : m + 1])
    ranks = slice(low - table.num_symbols, high - table.num_symbols)
    symbol = table.symbol.numpy()[ranks].astype(np.int64)
    begin, end = (int(s) for s in starts[m - 2 : m])  # the contexts
    sizes = np.diff(table.first.numpy()[begin : end + 1])
    prefix = np.repeat(np.arange(begin, end), sizes)
    context, log10 = suffix[prefix], np.zeros(len(prefix))
    node, at = symbol.copy(), np.flatnonzero(context >= 0)
    while len(at):
        match = table.find(context[at], symbol[at])
        is_match = match >= 0
        node[at[is_match]] = match[is_match]
        at = at[~is_match]
        log10[at] += log_backoff[context[at]]
        context[at] = suffix[context[at]]
        at = at[context[at] >= 0]
    log10 += table.log_probs(node)
    suffix[low:high] = node
    return prefix, log10
