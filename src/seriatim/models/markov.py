"""The Markov model of order n: p(x_t | everything before) = p(x_t | x_{t-n+1} .. x_{t-1}).

Its state is the last n - 1 symbols, as nodes in a table of counted n-grams: one node for each
length of context (negative if it was never seen), so a step is n - 2 look-ups, and a whole chunk
is as many over all its positions at once. There are no parameters and no gradients; the table is
counted and smoothed in closed form.

Shapes: B rows, L elements of a chunk, V symbols, K symbols of `top`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.allocation import give_back_freed_memory
from seriatim.core.batch import TokenSequences
from seriatim.core.distributions import Discrete
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.taps import Record
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.models.ngram.apart import count_quickly
from seriatim.models.ngram.arrays import Ints
from seriatim.models.ngram.backoff_path import backoff_path, known_context
from seriatim.models.ngram.counting import Counts
from seriatim.models.ngram.interpolation import SmoothingOptions, smoothing_bytes
from seriatim.models.ngram.on_disk import count_on_disk, parse_memory, scratch
from seriatim.models.ngram.padded_corpus import PaddedCorpus
from seriatim.models.ngram.pruning import prune_by_entropy
from seriatim.models.ngram.quantization import quantize
from seriatim.models.ngram.ray_counting import count_on_cluster
from seriatim.models.ngram.sampling import as_mixture, sample, top, unigram_ranking
from seriatim.models.ngram.scoring import corpus_surprisals
from seriatim.models.ngram.smoothing import SMOOTHINGS
from seriatim.models.ngram.table import NgramTable
from seriatim.models.options.ngram import Markov


class MarkovModel(SequenceModel):
    """Smoothed n-gram counts; uniform before it is fitted.

    The carry is (B, n - 1) int64: the node of the last m symbols for m = 1 .. n - 1, negative
    if the sequence is shorter or they never occurred in training. Features are the carry after
    each element, (B, L, n - 1).
    """

    where: Tensor

    def __init__(self, config: Markov, num_symbols: int, boundary: int) -> None:
        super().__init__(Symbols(num_symbols, boundary))
        self.config = config
        # The table stays on the CPU; this buffer holds the device of states and results.
        self.register_buffer("where", torch.zeros(0), persistent=False)
        is_counted = config.smoothing in SMOOTHINGS and not config.prune_entropy
        self.table = NgramTable(
            config.order,
            num_symbols,
            is_closed=is_counted,
            quantize_bits=config.quantize_bits,
        )

    def fit_closed_form(
        self, corpus: TokenSequences, counted: Callable[[str], None] | None = None
    ) -> dict[str, object]:
        """Count and smooth a corpus; nothing is said meanwhile.

        Returns:
            The number of `ngrams` per order; for Kneser-Ney the `discounts` per order and the
            `fallback_orders`, whose counts of counts gave no valid ones; for a quantized model
            `not_quantized`, the number of n-grams stored exactly.

        Raises:
            ConfigError: this model was read from an ARPA file, or the memory is too small.
            DataError: the corpus has nothing to count, or symbols outside the vocabulary.
        """
        if self.config.memory is None:
            return self.fit_counts(self.count(corpus))
        padded, memory = self._padded(corpus), parse_memory(self.config.memory)
        with scratch(padded.fingerprint()) as folder:
            return self._fit_on_disk(padded, folder, memory)

    def _fit_on_disk(self, padded: PaddedCorpus, folder: Path, memory: int) -> dict[str, object]:
        """On returning, no file in the folder is mapped, so that all can be removed."""
        counts = count_on_disk(
            padded, folder, order=self.config.order, num_symbols=self.num_symbols, memory=memory
        )
        _check_smoothing(counts, memory)
        return self.fit_counts(counts)

    def count(self, corpus: TokenSequences) -> Counts:
        """The n-gram counts of a corpus, in memory, for `fit_counts` and `update_counts`.

        Raises:
            ConfigError: the configuration has workers and Ray is not installed.
            DataError: the corpus has nothing to count, or symbols outside the vocabulary.
        """
        padded, order, workers = self._padded(corpus), self.config.order, self.config.workers
        give_back_freed_memory()  # of reading the text
        if workers is None:
            return count_quickly(padded, order=order, num_symbols=self.num_symbols)
        return count_on_cluster(padded, order=order, num_symbols=self.num_symbols, workers=workers)

    def _padded(self, corpus: TokenSequences) -> PaddedCorpus:
        return PaddedCorpus(
            corpus.tokens, corpus.offsets, boundary=self.boundary, is_stream=corpus.is_stream
        )

    def fit_counts(self, counts: Counts) -> dict[str, object]:
        """Smooth counts, such as those of `update_counts` after text was added or removed.

        Returns:
            As `fit_closed_form`.

        Raises:
            ConfigError: this model was read from an ARPA file.
        """
        if self.config.smoothing not in SMOOTHINGS:
            raise ConfigError(
                f"a model with smoothing {self.config.smoothing!r} was read from a file and cannot "
                f"be fitted: choose one of {', '.join(SMOOTHINGS)}"
            )
        give_back_freed_memory()
        options = SmoothingOptions(prune=tuple(self.config.prune), k=self.config.k)
        model = SMOOTHINGS[self.config.smoothing](counts, options)
        del counts  # of which the model keeps the keys alone
        facts = dict(model.facts)
        if self.config.prune_entropy:
            model = prune_by_entropy(model, self.config.prune_entropy)
        quantized = None
        if self.config.quantize_bits is not None:
            model, quantized = quantize(model, self.config.quantize_bits)
            facts["not_quantized"] = len(quantized.kept)
        self.table.fill(model, quantized)
        return {"ngrams": self.table.num_ngrams, **facts}

    def corpus_surprisals(self, corpus: TokenSequences) -> NDArray[np.float32]:
        """-ln p of every scored symbol of a corpus, in the order of the text, in nats.

        Equal to the scores of batches, in less time: no rows are padded, and the n-gram that
        predicts a symbol is not looked up again as the context of the next.
        """
        return corpus_surprisals(self.table, self._padded(corpus))

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

    def emit(self, features: Features) -> "BackoffDistribution":
        return BackoffDistribution(self.table, cast(Tensor, features))

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The taps of the table are named without a prefix."""
        return {"": self.table}

    @property
    def operations_per_symbol(self) -> float:
        """An estimate: 10 per look-up in the index, with one look-up for each context length to
        fold a symbol, and as many, with a product each, to back off when it is scored."""
        return 20.0 * (self.config.order - 1) + 10.0

    @property
    def positions_at_once(self) -> int:
        """Many, since no row is built; few enough that arrays stay in the caches and that torch
        starts no threads, which would only add waiting."""
        return 1 << 15

    @property
    def reach(self) -> int:
        """n - 1, or 0 before anything is counted."""
        return max(m for m, size in enumerate(self.table.num_ngrams) if m == 0 or size > 0)


def _check_smoothing(counts: Counts, memory: int) -> None:
    """Refuse a memory that does not suffice for smoothing the counts, which stay on disk."""
    needed = smoothing_bytes(counts)
    if needed > memory:
        raise ConfigError(
            f"smoothing the {len(counts.count):,} n-grams of the corpus needs "
            f"{-(-needed // 10**6)}MB, more than the memory of {memory // 10**6}MB: fit again with "
            "that much (the counts are kept), or choose a smaller order"
        )


class BackoffDistribution(Discrete):
    """The distribution of the next symbol, looked up lazily: only `dense` builds rows."""

    def __init__(self, table: NgramTable, nodes: Tensor, counted: Tensor | None = None) -> None:
        """
        Args:
            table: the n-grams.
            nodes: (..., n - 1) the contexts, as nodes of the table.
            counted: (...) bool, the positions that are scored, for recorders; None: all.
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
        log_prob = self.table.score(nodes, _array(x).reshape(nodes.shape[:-1]))
        return torch.from_numpy(log_prob).view(x.shape).to(self.nodes.device)

    def masked(self, needed: Tensor) -> "BackoffDistribution":
        return BackoffDistribution(self.table, self.nodes, needed)

    def _tap_path(self, x: Tensor) -> None:
        """Pass the backoff path of the log-probabilities of x to recorders."""
        order, nats = backoff_path(self.table, self._contexts(), _array(x).reshape(-1))
        lengths = None
        if self.counted is not None and self.counted.ndim == 2:
            last = self.counted.cpu() * torch.arange(1, self.counted.shape[1] + 1)
            lengths = last.amax(1)
        axis = 1 if x.ndim == 2 else None
        for name, values in (("order", order), ("backoff", nats)):
            value = torch.from_numpy(values).view(*x.shape, *values.shape[1:])
            taps.put(self.table, name, Record(value, lengths, axis))

    def dense(self) -> Tensor:
        rows = torch.from_numpy(self.table.rows(self._contexts()))
        return rows.view(*self.nodes.shape[:-1], self.num_symbols).to(self.nodes.device)

    def sample(self, u: Tensor) -> Tensor:
        """By inverse CDF, with intervals in the order of `ngram.sampling`; no row is built."""
        mixture = self.table.derived(as_mixture)
        symbols = sample(self.table, mixture, self._contexts(), u.cpu().numpy().reshape(-1))
        return torch.from_numpy(symbols).view(u.shape).to(self.nodes.device)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        k = min(k, self.num_symbols)
        ranking = self.table.derived(unigram_ranking)
        found = top(self.table, ranking, self._contexts(), k)
        shape, device = (*self.nodes.shape[:-1], k), self.nodes.device
        values, symbols = (torch.from_numpy(array).view(shape).to(device) for array in found)
        return values, symbols

    def _contexts(self) -> Ints:
        shape = self.nodes.shape
        return _array(self.nodes).reshape(shape[:-1].numel(), shape[-1])


def _array(t: Tensor) -> Ints:
    array: Ints = t.detach().cpu().numpy()
    return array.astype(np.int64, copy=False)
