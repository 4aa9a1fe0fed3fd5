"""Constraints inside a search: phrases that must or must not occur, and fused language models.

What is forbidden, and fusion, are scorers (`core.ensembles.Scorer`), added to log-probabilities
and never renormalized, so the laws of probability do not hold for what they rank;
`Hypothesis.log_prob` stays the model's own. Each row may have its own constraints.

What must occur is not a scorer: a beam would drop the prefixes on the way there. It needs banks.

Knows models, searches and symbols; no family, no text.

Shapes: B sources, A of them still searched, N rows, K prefixes of a source, M candidates of a
prefix, V symbols, P phrases.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import as_discrete
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Hypothesis, Ints, SearchRules
from seriatim.decode.phrases import Phrase, PhraseProgress, Phrases
from seriatim.decode.scoring import Scorers
from seriatim.decode.search import BeamSearch, Extensions
from seriatim.errors import ConfigError

# ---- scorers ------------------------------------------------------------------------------------


class Forbidden:
    """A scorer of phrases that must not occur: the symbol that would complete one gets -inf."""

    def __init__(self, phrases: Phrases, num_symbols: int) -> None:
        """
        Args:
            phrases: for each row a list of phrases, or one list for all rows.
            num_symbols: the number V of symbols.

        Raises:
            ConfigError: if a phrase is empty or has a symbol that does not exist.
        """
        _check_symbols(phrases, num_symbols)
        self.phrases, self.num_symbols = phrases, num_symbols

    def start(self, batch_size: int) -> PhraseProgress:
        """The progress before the first symbol."""
        return PhraseProgress.start(self.phrases, batch_size)

    def update(self, state: PhraseProgress, x: Tensor) -> PhraseProgress:
        """The progress after one symbol per row."""
        return state.after(x)

    def scores(self, state: PhraseProgress) -> Tensor:
        """(N, V) 0, and -inf where a phrase would be completed."""
        scores = torch.zeros(len(state.tail), self.num_symbols + 1)
        if not state.sizes.shape[1]:
            return scores[:, :-1]
        last = (state.sizes - 1).clamp(min=0)
        is_next = state.matched(last, state.tail[:, None])[:, 0] & (state.sizes > 0)
        symbols = state.phrases.gather(2, last[..., None])[..., 0]
        # What is not next goes to an extra column, which is cut off.
        return scores.scatter(1, symbols.where(is_next, self.num_symbols), -torch.inf)[:, :-1]

    def ceiling(self) -> float:
        """0: nothing is rewarded."""
        return 0.0


class Fusion:
    """A scorer that adds ln p of another model: shallow fusion (Gulcehre et al. 2015, 4.1).

        score(y_t) = ln p_model(y_t | past) + weight ln p_other(y_t | past)

    Its state is that of the other model, so any family can be fused.
    """

    def __init__(self, model: SequenceModel, memory: Tree | None = None) -> None:
        """
        Args:
            model: a model over the same symbols as the searched one.
            memory: for a model that takes a source, what its `encode` returned for the rows.
        """
        self.model, self.memory = model, memory

    def start(self, batch_size: int) -> State:
        """The start state of the model."""
        return self.model.start(batch_size, memory=self.memory)

    def update(self, state: State, x: Tensor) -> State:
        """The state of the model after one symbol per row."""
        return self.model.step(state, x.to(self.model.device))

    def scores(self, state: State) -> Tensor:
        """(N, V) the log-probabilities of the model, nats."""
        return as_discrete(self.model.predict(state)).dense()

    def ceiling(self) -> float:
        """0: no log-probability is greater."""
        return 0.0


class Forced:
    """A scorer of prefixes that begin each row: while one lasts, every other symbol gets -inf."""

    def __init__(self, prefixes: Sequence[Phrase], num_symbols: int) -> None:
        """
        Args:
            prefixes: the symbols with which each row begins; may be empty.
            num_symbols: the number V of symbols.
        """
        self.num_symbols = num_symbols
        size = max(map(len, prefixes), default=0) + 1
        # (B, P) the symbols still to come; -1: any symbol.
        self._symbols = torch.full((len(prefixes), size), -1)
        for row, prefix in enumerate(prefixes):
            self._symbols[row, : len(prefix)] = torch.tensor([*prefix], dtype=torch.int64)

    def start(self, batch_size: int) -> Tensor:
        """The symbols of every row, or of every sample of a row."""
        return self._symbols.repeat_interleave(batch_size // len(self._symbols), 0)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        """The symbols that are still to come."""
        return state[:, 1:] if state.shape[1] > 1 else state

    def scores(self, state: Tensor) -> Tensor:
        """(N, V) 0 for the symbol that comes next, or for all; -inf for others."""
        following = state[:, :1]
        is_other = torch.arange(self.num_symbols) != following
        return torch.zeros(is_other.shape).masked_fill(is_other & (following >= 0), -torch.inf)

    def ceiling(self) -> float:
        """0: nothing is rewarded."""
        return 0.0


# ---- required phrases ---------------------------------------------------------------------------


class Banks:
    """The choice of constrained beam search: dynamic beam allocation (Post, Vilar 2018).

    The extensions of a source are sorted into banks by the number of symbols of the phrases that
    they have met; in turn, from the bank with the most symbols down, each bank fills a slot of
    the beam with its best extension, until the beam is full. So the beam holds prefixes at every
    stage. The next symbol of every unmet phrase is always a candidate. Only prefixes that have
    met all phrases may end.
    """

    keeps_best = False

    def __init__(self, phrases: Phrases) -> None:
        """
        Args:
            phrases: for each source a list of phrases, or one list for all sources.
        """
        self.phrases = phrases

    def num_candidates(self, width: int) -> int:
        """The same number as in plain beam search."""
        return width + 1

    def start(self, batch_size: int) -> PhraseProgress:
        """The progress before the first symbol."""
        return PhraseProgress.start(self.phrases, batch_size)

    def update(self, memory: PhraseProgress, x: Tensor) -> PhraseProgress:
        """The progress after one symbol per row."""
        return memory.after(x)

    def wanted(self, memory: PhraseProgress) -> Tensor | None:
        """(N, P) the next symbol of each unmet phrase."""
        if not memory.sizes.shape[1]:
            return None
        at = memory.into(memory.tail[:, None])[:, 0]
        at = torch.minimum(at, (memory.sizes - 1).clamp(min=0))
        following = memory.phrases.gather(2, at[..., None])[..., 0]
        return following.masked_fill(memory.done, -1)

    def accepts(self, source: int, symbols: Ints) -> bool:
        """Whether a cut prefix has met all phrases."""
        text = symbols.tolist()
        return all(
            any(text[i : i + len(phrase)] == list(phrase) for i in range(len(text)))
            for phrase in _phrases_of(self.phrases, source)
        )

    def order(self, extensions: Extensions, memory: PhraseProgress) -> tuple[Ints, Ints]:
        """Extensions from the banks in turn; only prefixes that have met all phrases end."""
        sources, _, m = extensions.symbols.shape
        symbols = torch.from_numpy(extensions.symbols.reshape(-1, m))
        into = memory.into(memory.tails_after(symbols))
        sizes = memory.sizes[:, None]
        is_done = memory.done[:, None] | (into == sizes)
        met = torch.where(is_done, sizes, into).sum(2).view(sources, -1).numpy()
        is_whole = is_done.all(2).view(sources, -1).numpy()
        flat, chosen = extensions.rank.reshape(sources, -1), extensions.symbols.reshape(sources, -1)
        is_end = chosen == extensions.end if extensions.end is not None else np.zeros_like(is_whole)
        stay = np.full((sources, extensions.width), -1)
        ended = np.full((sources, extensions.width), -1)
        for a in range(sources):
            by_rank = np.argsort(-flat[a], kind="stable")
            by_rank = by_rank[flat[a, by_rank] > -np.inf]
            on = _in_turn(by_rank[~is_end[a, by_rank]], met[a], extensions.width)
            on = on[np.argsort(-flat[a, on], kind="stable")]
            stay[a, : len(on)] = on
            whole = by_rank[is_whole[a, by_rank]][: extensions.width]
            ends = whole[is_end[a, whole]]
            ended[a, : len(ends)] = ends
        return stay, ended


def _in_turn(positions: Ints, met: Ints, width: int) -> Ints:
    """`width` of the positions (best first), one of each bank in turn, fullest bank first."""
    banks = met[positions]
    turn = np.zeros_like(positions)  # the number of better ones in the same bank
    for bank in np.unique(banks):
        turn[banks == bank] = np.arange((banks == bank).sum())
    return positions[np.lexsort((-banks, turn))[:width]]


def constrained_beam_search(
    model: SequenceModel,
    state: State,
    *,
    phrases: Phrases,
    beam: int,
    max_length: int | Tensor,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
    num_best: int | None = None,
) -> list[list[Hypothesis]]:
    """Beam search for sequences in which the phrases occur; see `Banks`.

    Every result has all phrases of its source, whether it ended or was cut. A source is searched
    until nothing that could still be found would be returned, or until its maximum length.

    Args:
        model: any model of symbols.
        state: the state of B rows to continue from.
        phrases: for each row a list of phrases of symbols, or one list for all rows; lists may
            be empty.
        beam, max_length, end, alpha, scorers, num_best: as in `beam_search_rows`.

    Raises:
        ConfigError: if a phrase is empty, has the end symbol or one that does not exist, or is
            longer than the maximum length; or if the search finds no sequence with the phrases.
    """
    sources = tree.rows(state)
    rules = SearchRules.checked(
        sources, width=beam, max_length=max_length, end=end, alpha=alpha, num_best=num_best
    )
    _check_symbols(phrases, model.num_symbols)
    banks = Banks(phrases)
    banks.start(sources)  # refuses lists that do not fit, before anything is computed
    for i, limit in enumerate(rules.max_length.tolist()):
        for phrase in _phrases_of(phrases, i):
            _check_phrase(list(phrase), i, end, limit)
    results = BeamSearch(model, state, rules, scorers, banks).run()
    for i, hypotheses in enumerate(results):
        if not hypotheses:
            own = [list(p) for p in _phrases_of(phrases, i)]
            raise ConfigError(
                f"no sequence of at most {rules.max_length[i]} symbols with the phrases {own} was "
                f"found for row {i}: give a greater max_length or a wider beam, or fewer phrases"
            )
    return results


def _phrases_of(phrases: Phrases, row: int) -> Sequence[Phrase]:
    """The phrases of a row, where there may be one list for all."""
    return phrases[row if len(phrases) > 1 else 0]


def _check_symbols(phrases: Phrases, num_symbols: int) -> None:
    for row in phrases:
        for phrase in row:
            if len(phrase) == 0:
                raise ConfigError("a phrase is empty: give at least one symbol, or leave it out")
            unknown = [x for x in phrase if not 0 <= x < num_symbols]
            if unknown:
                raise ConfigError(
                    f"the phrase {list(phrase)} has symbol {unknown[0]}: give symbols from 0 to "
                    f"{num_symbols - 1}"
                )


def _check_phrase(phrase: list[int], row: int, end: int | None, limit: int) -> None:
    if end is not None and end in phrase:
        raise ConfigError(
            f"the phrase {phrase} of row {row} cannot occur: nothing follows its end symbol {end}"
        )
    room = limit if end is None else limit - 1
    if len(phrase) > max(room, 0):
        raise ConfigError(
            f"the phrase {phrase} of row {row} cannot occur: it has {len(phrase)} symbols, and "
            f"max_length {limit} leaves room for {max(room, 0)}"
        )
