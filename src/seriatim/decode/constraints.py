"""Constraints and preferences inside a search: what must occur, what must not, what is liked.

Preferences are scorers (`compose.Scorer`), added to log-probabilities and never renormalized,
so the laws of probability do not hold for what they rank; `Hypothesis.log_prob` stays the
model's own. Each row has its own: sources side by side may be constrained differently.

What must occur is no scorer: a beam would drop the prefixes on the way there. It gets banks.

Knows models, searches and symbols; no family, no text.

Shapes: B sources, A of them still searched, N rows, K prefixes of a source, M candidates of a
prefix, V symbols, P phrases.
"""

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Hypothesis, Ints, rules_for
from seriatim.decode.phrases import PhraseProgress, Phrases
from seriatim.decode.sampling import symbols_of
from seriatim.decode.search import Extensions, Scorers, Search
from seriatim.errors import ConfigError

# ---- preferences --------------------------------------------------------------------------------


class Forbidden:
    """Phrases that must not occur: the symbol that would complete one gets -inf."""

    def __init__(self, phrases: Phrases, num_symbols: int) -> None:
        """
        Args:
            phrases: for each row a list of phrases, or one list for all rows; a forbidden word
                is a phrase of its symbols.
            num_symbols: V.

        Raises:
            ConfigError: an empty phrase, or a symbol that does not exist.
        """
        _check_symbols(phrases, num_symbols)
        self.phrases, self.num_symbols = phrases, num_symbols

    def start(self, batch_size: int) -> PhraseProgress:
        """Nothing has occurred."""
        return PhraseProgress.start(self.phrases, batch_size)

    def update(self, state: PhraseProgress, x: Tensor) -> PhraseProgress:
        """After one symbol per row."""
        return state.after(x)

    def scores(self, state: PhraseProgress) -> Tensor:
        """(N, V) 0, and -inf where a phrase would become whole."""
        scores = torch.zeros(len(state.tail), self.num_symbols + 1)
        if not state.sizes.shape[1]:
            return scores[:, :-1]
        last = (state.sizes - 1).clamp(min=0)
        is_next = state.matched(last, state.tail[:, None])[:, 0] & (state.sizes > 0)
        symbols = state.phrases.gather(2, last[..., None])[..., 0]
        # What is not next goes to a column of its own, that is cut off.
        return scores.scatter(1, symbols.where(is_next, self.num_symbols), -torch.inf)[:, :-1]

    def ceiling(self) -> float:
        """0: it only forbids."""
        return 0.0


class LengthReward:
    """1 for every symbol but the end: with a weight, a reward for length in nats per symbol."""

    def __init__(self, num_symbols: int, end: int) -> None:
        self.row = torch.ones(num_symbols)
        self.row[end] = 0.0

    def start(self, batch_size: int) -> Tensor:
        """Nothing is remembered but how many rows there are."""
        return torch.zeros(batch_size)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        """The same."""
        return state

    def scores(self, state: Tensor) -> Tensor:
        """(N, V)."""
        return self.row.expand(len(state), -1)

    def ceiling(self) -> float:
        """1."""
        return 1.0


class RepetitionPenalty:
    """-1 for each time that a symbol has occurred, or -1 once it has; the end is never counted."""

    def __init__(self, num_symbols: int, *, counts: bool = True) -> None:
        """
        Args:
            num_symbols: V.
            counts: whether every occurrence counts; otherwise the first one alone.
        """
        self.num_symbols, self.counts = num_symbols, counts

    def start(self, batch_size: int) -> Tensor:
        """(N, V) how often each symbol has occurred."""
        return torch.zeros(batch_size, self.num_symbols)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        """After one symbol per row."""
        return state.scatter_add(1, x.to(state.device)[:, None], torch.ones(len(state), 1))

    def scores(self, state: Tensor) -> Tensor:
        """(N, V)."""
        return -(state if self.counts else state.clamp(max=1.0))

    def ceiling(self) -> float:
        """0."""
        return 0.0


class Fusion:
    """ln p of another model of the same symbols: shallow fusion (Gulcehre et al. 2015, 4.1).

        score(y_t) = ln p_model(y_t | past) + weight ln p_other(y_t | past)

    Its state is the other model's own, so any family can be fused.
    """

    def __init__(self, model: SequenceModel, memory: Tree | None = None) -> None:
        """
        Args:
            model: of the same symbols as the one that is searched.
            memory: for a model that answers to a source, what its `encode` gave for the rows.
        """
        self.model, self.memory = model, memory

    def start(self, batch_size: int) -> State:
        """The model's own start."""
        return self.model.start(batch_size, memory=self.memory)

    def update(self, state: State, x: Tensor) -> State:
        """One step of the model."""
        return self.model.step(state, x.to(self.model.device))

    def scores(self, state: State) -> Tensor:
        """(N, V) nats."""
        return symbols_of(self.model.predict(state)).dense()

    def ceiling(self) -> float:
        """0: nothing is more probable than 1."""
        return 0.0


# ---- what must occur ----------------------------------------------------------------------------


class Banks:
    """A beam shared out by how many symbols of the phrases a prefix has met.

    Dynamic beam allocation (Post, Vilar 2018): the extensions of a source are sorted into banks
    by the number of symbols met; in turn, from the fullest bank down, each bank gives its best
    extension a place, until the beam is full. So the beam holds prefixes on every part of the
    way. The next symbol of every phrase that is still open is always a candidate. Only prefixes
    that have met all phrases may end.
    """

    keeps_best = False

    def __init__(self, phrases: Phrases) -> None:
        self.phrases = phrases

    def num_candidates(self, width: int) -> int:
        """As in plain search."""
        return width + 1

    def start(self, batch_size: int) -> PhraseProgress:
        """Nothing is met."""
        return PhraseProgress.start(self.phrases, batch_size)

    def update(self, memory: PhraseProgress, x: Tensor) -> PhraseProgress:
        """After one symbol per row."""
        return memory.after(x)

    def wanted(self, memory: PhraseProgress) -> Tensor | None:
        """(N, P) the next symbol of each phrase that is open."""
        if not memory.sizes.shape[1]:
            return None
        at = memory.into(memory.tail[:, None])[:, 0]
        at = torch.minimum(at, (memory.sizes - 1).clamp(min=0))
        following = memory.phrases.gather(2, at[..., None])[..., 0]
        return following.masked_fill(memory.done, -1)

    def accepts(self, source: int, symbols: Ints) -> bool:
        """Whether a prefix that was cut has met all phrases."""
        phrases = self.phrases[source if len(self.phrases) > 1 else 0]
        return all(_occurs(list(phrase), symbols.tolist()) for phrase in phrases)

    def order(self, extensions: Extensions, memory: PhraseProgress) -> tuple[Ints, Ints]:
        """Places in turn from the banks; ends only of prefixes that have met everything."""
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


def _in_turn(places: Ints, met: Ints, width: int) -> Ints:
    """`width` places, one of each bank in turn, fullest bank first; places come best first."""
    banks = met[places]
    turn = np.zeros_like(places)  # how many better ones there are in the same bank
    for bank in np.unique(banks):
        turn[banks == bank] = np.arange((banks == bank).sum())
    return places[np.lexsort((-banks, turn))[:width]]


def constrained_beam_search(
    model: SequenceModel,
    state: State,
    *,
    phrases: Phrases,
    width: int,
    max_length: int | Tensor,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
    num_best: int | None = None,
) -> list[list[Hypothesis]]:
    """Beam search for sequences in which given phrases occur; see `Banks`.

    Every result has all phrases of its source, whether it ended or was cut. A source is searched
    until nothing that could still be found would be returned, or until its maximum length.

    Args:
        model: any model of symbols.
        state: of B rows.
        phrases: for each row a list of phrases of symbols, or one list for all rows. Rows may
            have none.
        width, max_length, end, alpha, scorers, num_best: as in `beam_search_rows`.

    Raises:
        ConfigError: phrases that cannot be met: empty, with the end symbol or one that does not
            exist, longer than the maximum length, or for which the search found no sequence.
    """
    sources = tree.rows(state)
    rules = rules_for(
        sources, width=width, max_length=max_length, end=end, alpha=alpha, num_best=num_best
    )
    _check_symbols(phrases, model.num_symbols)
    banks = Banks(phrases)
    banks.start(sources)  # refuses lists that do not fit, before anything is computed
    for i, limit in enumerate(rules.max_length.tolist()):
        for phrase in phrases[i if len(phrases) > 1 else 0]:
            _check_phrase(list(phrase), i, end, limit)
    found = Search(model, state, rules, scorers, banks).run()
    for i, results in enumerate(found):
        if not results:
            own = [list(p) for p in phrases[i if len(phrases) > 1 else 0]]
            raise ConfigError(
                f"no sequence of at most {rules.max_length[i]} symbols with the phrases {own} was "
                f"found for row {i}: give a greater max_length or a wider beam, or fewer phrases"
            )
    return found


def _check_symbols(phrases: Phrases, num_symbols: int) -> None:
    for row in phrases:
        for phrase in row:
            if len(phrase) == 0:
                raise ConfigError("a phrase is empty: give at least one symbol, or leave it out")
            unknown = [x for x in phrase if not 0 <= x < num_symbols]
            if unknown:
                raise ConfigError(
                    f"the phrase {list(phrase)} has symbol {unknown[0]}, which is none of "
                    f"0 .. {num_symbols - 1}"
                )


def _check_phrase(phrase: list[int], row: int, end: int | None, limit: int) -> None:
    if end is not None and end in phrase:
        raise ConfigError(
            f"the phrase {phrase} of row {row} cannot be met: it holds the end symbol {end}, after "
            "which nothing comes"
        )
    room = limit if end is None else limit - 1
    if len(phrase) > max(room, 0):
        raise ConfigError(
            f"the phrase {phrase} of row {row} cannot be met: it has {len(phrase)} symbols, and "
            f"max_length {limit} leaves room for {max(room, 0)}"
        )


def _occurs(phrase: list[int], symbols: list[int]) -> bool:
    size = len(phrase)
    return any(symbols[i : i + size] == phrase for i in range(len(symbols) - size + 1))
