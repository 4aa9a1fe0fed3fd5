"""The Markov model of order n: p(x_t | everything before) = p(x_t | x_{t-n+1} .. x_{t-1}).

What it keeps of the past are the last n - 1 symbols, as the nodes they lead to in a table of
counted n-grams: one node for each length of context (negative where it was never seen), so a
step is n - 2 lookups, and a whole chunk is as many lookups over all its positions at once. There
are no parameters and no gradients; the table is counted and smoothed in closed form.

Shapes: B rows, L elements of a chunk, V symbols, K the symbols asked of `top`.
"""

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.batch import TokenSequences
from seriatim.core.distributions import Discrete
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.taps import Record
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.models.ngram import SMOOTHINGS, Counts, NgramTable, Options
from seriatim.models.ngram.backoff_path import backoff_path, known_context
from seriatim.models.ngram.counting import Ints
from seriatim.models.ngram.layout import Layout, count_layout
from seriatim.models.ngram.on_disk import count_on_disk, parse_memory, scratch
from seriatim.models.ngram.pruning import prune_by_entropy
from seriatim.models.ngram.quantization import quantize
from seriatim.models.ngram.ray import count_on_cluster
from seriatim.models.ngram.sampling import by_frequency, mixture, sample, top
from seriatim.models.ngram.scoring import corpus_surprisals
from seriatim.models.ngram.smoothing import smoothing_bytes
from seriatim.models.options.ngram import Markov


class MarkovModel(SequenceModel):
    """Counts of n-grams, smoothed. Before it is fitted it is uniform.

    The carry is (B, n - 1) int64: the node of the last m symbols for m = 1 .. n - 1, negative
    where fewer were seen or they never stood side by side in training. Features are the same after
    each element, (B, L, n - 1).
    """

    where: Tensor

    def __init__(self, config: Markov, num_symbols: int, boundary: int) -> None:
        super().__init__(num_symbols, boundary)
        self.config = config
        # The table stays on the CPU; this says where states and results are wanted.
        self.register_buffer("where", torch.zeros(0), persistent=False)
        is_counted = config.smoothing in SMOOTHINGS and not config.prune_entropy
        self.table = NgramTable(
            config.order,
            num_symbols,
            is_closed=is_counted,
            quantize_bits=config.quantize_bits,
        )

    def fit_closed_form(self, corpus: TokenSequences) -> dict[str, object]:
        """Count and smooth a corpus.

        Returns:
            `ngrams` per order, and what the smoothing found: for Kneser-Ney the `discounts` per
            order and the `fallback_orders`, whose counts of counts gave no valid ones; of a
            quantized model `not_quantized`, how many n-grams keep their numbers.

        Raises:
            ConfigError: this model was read from an ARPA file, or the memory is too small.
            DataError: the corpus holds nothing to count, or symbols that the model does not have.
        """
        if self.config.memory is None:
            return self.fit_counts(self.count(corpus))
        layout, memory = self._layout(corpus), parse_memory(self.config.memory)
        with scratch(layout.fingerprint()) as folder:
            counts = count_on_disk(
                layout,
                folder,
                order=self.config.order,
                num_symbols=self.num_symbols,
                memory=memory,
            )
            _check_smoothing(counts, memory)
            return self.fit_counts(counts)

    def count(self, corpus: TokenSequences) -> Counts:
        """The n-grams of a corpus, in memory: to be kept, added to and taken from.

        Raises:
            ConfigError: workers are wanted and Ray is not installed.
            DataError: the corpus holds nothing to count, or symbols that the model does not have.
        """
        layout, order, workers = self._layout(corpus), self.config.order, self.config.workers
        if workers is None:
            return count_layout(layout, order=order, num_symbols=self.num_symbols)
        return count_on_cluster(layout, order=order, num_symbols=self.num_symbols, workers=workers)

    def _layout(self, corpus: TokenSequences) -> Layout:
        return Layout(
            corpus.tokens, corpus.offsets, boundary=self.boundary, is_stream=corpus.is_stream
        )

    def fit_counts(self, counts: Counts) -> dict[str, object]:
        """Smooth counts, such as `update_counts` gives after text was added or removed.

        Returns:
            The facts, as `fit_closed_form`.

        Raises:
            ConfigError: this model was read from an ARPA file.
        """
        if self.config.smoothing not in SMOOTHINGS:
            raise ConfigError(
                f"a model with smoothing {self.config.smoothing!r} was read from a file and is not "
                f"fitted: choose one of {', '.join(SMOOTHINGS)}"
            )
        options = Options(prune=tuple(self.config.prune), k=self.config.k)
        backoffs = SMOOTHINGS[self.config.smoothing](counts, options)
        if self.config.prune_entropy:
            backoffs = prune_by_entropy(backoffs, self.config.prune_entropy)
        codes = None
        if self.config.quantize_bits is not None:
            backoffs, codes = quantize(backoffs, self.config.quantize_bits)
            backoffs.facts.update(not_quantized=len(codes.kept))
        self.table.fill(backoffs, codes)
        return {"ngrams": self.table.num_ngrams, **backoffs.facts}

    def corpus_surprisals(self, corpus: TokenSequences) -> NDArray[np.float32]:
        """-ln p of every scored symbol of a corpus, in the order of the text, in nats.

        What batches give, in less time: no rows are padded, and what one symbol is predicted as
        is not looked up again as the context of the next.
        """
        return corpus_surprisals(self.table, self._layout(corpus))

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        shape = (batch_size, self.config.order - 1)
        return torch.full(shape, -1, dtype=torch.int64, device=self.device)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        nodes = torch.from_numpy(self.table.fold(_array(carry), _array(x))).to(x.device)
        if taps.is_on():
            known = torch.from_numpy(known_context(_array(nodes)))
            taps.put(self, "context", Record(known, lengths))
        return nodes, tree.last_valid(nodes, lengths, carry) if keep else None

    def emit(self, features: Features) -> "Backoff":
        return Backoff(self.table, cast(Tensor, features))

    def tap_children(self) -> Mapping[str, nn.Module]:
        """What the table shows has no name before it."""
        return {"": self.table}

    @property
    def operations_per_symbol(self) -> float:
        """About: 10 for a look-up in the index, of which there is one for each context length to
        fold a symbol, and as many, with a product each, to fall back through when it is scored."""
        return 20.0 * (self.config.order - 1) + 10.0

    @property
    def positions_at_once(self) -> int:
        """Many, for no row is built; so many that arrays stay in the caches, and that torch
        starts no threads, which would only wait in the way."""
        return 1 << 15

    @property
    def reach(self) -> int:
        """n - 1, or 0 while nothing was counted."""
        return max(m for m, size in enumerate(self.table.num_ngrams) if m == 0 or size > 0)


def _check_smoothing(counts: Counts, memory: int) -> None:
    """Whether counts can be smoothed in so many bytes; they stay on disk for the next attempt."""
    needed = smoothing_bytes(counts)
    if needed > memory:
        raise ConfigError(
            f"the corpus is counted, and smoothing its {len(counts.count):,} n-grams needs "
            f"{-(-needed // 10**6)}MB, more than the memory of {memory // 10**6}MB: fit it again "
            "with that much (what is counted stays), or choose a smaller order"
        )


class Backoff(Discrete):
    """The next symbol after known contexts, looked up lazily: only `dense` builds rows."""

    def __init__(self, table: NgramTable, nodes: Tensor, counted: Tensor | None = None) -> None:
        """
        Args:
            table: the n-grams.
            nodes: (..., n - 1) the contexts, as nodes of the table.
            counted: (...) bool, where a log-probability is wanted, which recorders are told;
                None: everywhere.
        """
        self.table = table
        self.nodes = nodes
        self.counted = counted

    @property
    def num_symbols(self) -> int:
        return self.table.num_symbols

    def log_prob(self, x: Tree) -> Tensor:
        if taps.is_on() and any(taps.wanted(self.table, name) for name in ("order", "backoff")):
            self._tap_path(x)
        nodes = _array(self.nodes if self.nodes.ndim > 2 else self.nodes[:, None])
        found = self.table.score(nodes, _array(x).reshape(nodes.shape[:-1]))
        return torch.from_numpy(found).view(x.shape).to(self.nodes.device)

    def only(self, counted: Tensor) -> "Backoff":
        return Backoff(self.table, self.nodes, counted)

    def _tap_path(self, x: Tensor) -> None:
        """Show recorders how the log-probabilities of x come about."""
        order, paid = backoff_path(self.table, self._contexts(), _array(x).reshape(-1))
        lengths = None
        if self.counted is not None and self.counted.ndim == 2:
            last = self.counted.cpu() * torch.arange(1, self.counted.shape[1] + 1)
            lengths = last.amax(1)
        axis = 1 if x.ndim == 2 else None
        for name, values in (("order", order), ("backoff", paid)):
            value = torch.from_numpy(values).view(*x.shape, *values.shape[1:])
            taps.put(self.table, name, Record(value, lengths, axis))

    def dense(self) -> Tensor:
        rows = torch.from_numpy(self.table.rows(self._contexts()))
        return rows.view(*self.nodes.shape[:-1], self.num_symbols).to(self.nodes.device)

    def sample(self, u: Tensor) -> Tensor:
        """By inverse CDF, with the intervals in the order of `choosing.sample`; no row is built."""
        shares = self.table.derived(mixture)
        found = sample(self.table, shares, self._contexts(), u.cpu().numpy().reshape(-1))
        return torch.from_numpy(found).view(u.shape).to(self.nodes.device)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        k = min(k, self.num_symbols)
        values, symbols = top(self.table, self.table.derived(by_frequency), self._contexts(), k)
        shape = (*self.nodes.shape[:-1], k)
        device = self.nodes.device
        return (
            torch.from_numpy(values).view(shape).to(device),
            torch.from_numpy(symbols).view(shape).to(device),
        )

    def _contexts(self) -> Ints:
        shape = self.nodes.shape
        return _array(self.nodes).reshape(shape[:-1].numel(), shape[-1])


def _array(t: Tensor) -> Ints:
    array: Ints = t.detach().cpu().numpy()
    return array.astype(np.int64, copy=False)
