"""The twenty laws: the specification of `SequenceModel`, to be read from top to bottom.

Each law is a short function of a `Case`, with its claim as docstring. It returns a note on the
extent of the test and raises `BrokenLawError` on a violation; a note that begins with n/a means
that the law does not apply to this model. They hold for symbols and for numbers; what only
distributions of numbers have is in `laws.integrals`.

Knows models, states, distributions and the beam; no family.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch, valid_mask
from seriatim.core.forecasting import Ahead, FitsSeries
from seriatim.decode.beam import beam_search, beam_search_rows
from seriatim.errors import ModelError
from seriatim.laws.cases import (
    CELLS,
    Case,
    SymbolCase,
    after_ragged,
    along,
    at,
    batch_of,
    cut,
    enumerable,
    one_row,
    ragged_lengths,
    sequences,
    with_ends,
    with_junk,
)
from seriatim.laws.claims import LAWS as LAWS
from seriatim.laws.claims import BrokenLawError, equal, law
from seriatim.laws.integrals import check_marginal, density_is_conserved
from seriatim.laws.number_cases import FITTED, NumberCase
from seriatim.laws.simulation import HORIZON, SAMPLES, check_ahead

_SUBTLE = 64  # a reach beyond which an influence may be smaller than rounding errors
_NO_SEARCH = "n/a: a search is over symbols, and this is a model of numbers"
_OF_NUMBERS = "n/a: a law of numbers, and this is a model of symbols"

# ---- the laws -----------------------------------------------------------------------------------


@law
def parallel_is_fold(case: Case) -> str:
    """Parallel = fold."""
    states = case.fold(case.x)
    stepped = case.stepped(states[:-1], case.x)
    equal("log_prob of a batch", case.score(case.batch(case.x)), stepped)
    return f"3 sequences of {case.length}"


@law
def chunk_is_steps(case: Case) -> str:
    """One chunk = many steps."""
    for capacity in (None, case.length + 8):
        chunk = case.model.update(case.start(capacity=capacity), case.x)
        name = "the chunk" if capacity is None else f"the chunk with capacity={capacity}"
        equal(name, case.future(chunk), case.future(case.folded[-1]))
    state = case.start(capacity=case.length + 8)
    for t in range(case.length):
        state = case.model.step(state, at(case.x, t))
    equal("steps with capacity", case.future(state), case.future(case.folded[-1]))
    return f"a chunk of {case.length}, growing and of fixed capacity"


@law
def any_split(case: Case) -> str:
    """Any split of a chunk."""
    whole = case.future(case.model.update(case.start(), case.x))
    for first in range(1, case.length):
        state = case.model.update(case.start(), cut(case.x, 0, first))
        begin = first
        for size in (1, 2, case.length):  # a step, a pair, then the rest
            state = case.model.update(state, cut(case.x, begin, begin + size))
            begin = min(begin + size, case.length)
        equal(f"split before element {first}", case.future(state), whole)
    return f"all {case.length - 1} first cuts"


@law
def padding_is_inert(case: Case) -> str:
    """Padding changes nothing."""
    lengths = ragged_lengths(case)
    junk = with_junk(case, lengths)
    for name, x in (("original", case.x), ("replaced", junk)):
        ragged = case.model.update(case.start(), x, lengths)
        scores = case.score(case.batch(x, lengths))
        for i, n in enumerate(lengths.tolist()):
            one = torch.tensor([i], device=case.device)
            equal(
                f"row {i} of length {n}, padding {name}",
                case.row(tree.select(ragged, one)),
                case.row(case.folded[n])[i : i + 1],
            )
            own = cut(one_row(case.x, i), 0, max(n, 1))
            alone = case.score(case.batch(own))[:, :n]
            equal(f"scores of row {i}, padding {name}", scores[i : i + 1, :n], alone)
    return f"rows of length {', '.join(map(str, lengths.tolist()))}"


@law
def ragged_rows_continue(case: Case) -> str:
    """Ragged rows continue as if alone."""
    first, second = ragged_lengths(case), torch.tensor([1, 2, 3])
    state = case.model.update(case.start(), with_junk(case, first), first)
    state = case.model.update(state, cut(case.x, 0, 3), second)
    for t in range(case.length):  # far enough to expose an old padding slot
        state = case.model.step(state, at(case.x, t))
    state = case.model.update(state, cut(case.x, 0, 2))
    for i, (n, m) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        own = one_row(case.x, i)
        alone = case.model.update(case.alone(i, n), cut(own, 0, m))
        alone = case.model.update(alone, along([own, cut(own, 0, 2)]))
        one = tree.select(state, torch.tensor([i], device=case.device))
        equal(f"row {i} after {n} and {m} elements", case.future(one), case.future(alone))
    return "two ragged chunks, steps, a chunk"


@law
def padding_scores_nothing(case: Case) -> str:
    """Padding scores nothing."""
    lengths = ragged_lengths(case)
    valid = valid_mask(lengths, case.length).to(case.device)
    scores = case.score(case.batch(case.x, lengths))
    if bool((scores[~valid] != 0).any()):
        raise BrokenLawError("a padding element has a score other than 0")
    full = case.score(case.batch(case.x))
    equal("valid elements", scores[valid], full[valid])
    weights = torch.rand(3, case.length, generator=torch.Generator().manual_seed(1))
    weights = weights.to(full)
    batch = case.batch(case.x, lengths)
    weighted = Batch(batch.inputs, batch.targets, lengths, weights)
    equal("weighted elements", case.score(weighted), torch.where(valid, weights * full, 0.0))
    return f"{int((~valid).sum())} padding elements, and weights"


@law
def select_commutes(case: Case) -> str:
    """Select commutes with update."""
    index = torch.tensor([2, 0, 0, 1], device=case.device)
    for name, state in (("even", case.folded[3]), ("ragged", after_ragged(case))):
        x = cut(case.x, 3, 5)
        after = tree.select(case.model.update(state, x), index)
        before = case.model.update(tree.select(state, index), tree.select(x, index))
        equal(f"{name} state, selected", case.future(before), case.future(after))
        doubled = case.model.update(tree.repeat(state, 2), tree.repeat(x, 2))
        twice = case.future(tree.repeat(case.model.update(state, x), 2))
        equal(f"{name} state, repeated", case.future(doubled), twice)
        parts = [tree.select(state, index[i : i + 1]) for i in range(4)]
        equal(
            f"{name} states, joined",
            case.future(tree.cat(parts)),
            case.future(tree.select(state, index)),
        )
    mixed = tree.cat([case.folded[1], case.folded[4]])
    expected = torch.cat([case.future(case.folded[1]), case.future(case.folded[4])])
    equal("states of different lengths, joined", case.future(mixed), expected)
    return "rows reordered, repeated and joined"


@law
def branches_survive(case: Case) -> str:
    """A branch survives its siblings."""
    other = case.other(case.x)
    root = case.model.update(case.start(), cut(case.x, 0, 2))
    before = case.row(root)
    left = case.model.step(root, at(case.x, 2))
    right = case.model.step(root, at(other, 2))  # advance the sibling first, and far
    for t in range(3, case.length):
        right = case.model.step(right, at(other, t))
    right = case.model.update(right, other)
    equal("the root after its children", case.row(root), before)
    for t in range(3, case.length):
        left = case.model.step(left, at(case.x, t))
    equal("the older branch", case.future(left), case.future(case.folded[-1]))
    again = case.model.update(root, cut(case.x, 2, None))
    equal("a chunk from the old root", case.future(again), case.future(case.folded[-1]))
    alone = case.fold(along([cut(case.x, 0, 2), cut(other, 2, None), other]))[-1]
    equal("the sibling", case.future(right), case.future(alone))
    return f"two branches of {case.length - 2} steps"


@law
def probability_is_conserved(case: Case) -> str:
    """Probability is conserved."""
    if isinstance(case, NumberCase):
        return density_is_conserved(case)
    assert isinstance(case, SymbolCase)
    dense = case.row(case.folded[-1])
    equal(
        "sum of a row", dense.logsumexp(-1), torch.zeros(3, dtype=dense.dtype, device=dense.device)
    )
    state = case.folded[case.length // 2]
    ids = torch.arange(min(case.model.num_symbols, 512), device=case.device)
    row = case.model.predict(tree.repeat(state, len(ids)))
    equal(
        "log_prob against dense",
        row.log_prob(ids.repeat(3)).view(3, -1),
        case.row(state)[:, : len(ids)],
    )
    length = enumerable(case)
    if length == 0:
        return f"sampled: 3 prefixes, all {case.model.num_symbols:,} symbols"
    stream = case.score(case.batch(sequences(case, length))).sum(1).exp().sum()
    equal(f"all {length} symbols of a stream", stream, torch.ones_like(stream))
    symbols, lengths, _ = with_ends(case, length)
    ended = case.score(case.batch(symbols, lengths)).sum(1).exp().sum()
    equal(f"ended within {length}, and unended prefixes", ended, torch.ones_like(ended))
    return f"all {case.model.num_symbols**length:,} sequences of {length}"


@law
def wide_beam_is_enumeration(case: Case) -> str:
    """A beam as wide as the space = enumeration."""
    if not isinstance(case, SymbolCase):
        return _NO_SEARCH
    length = enumerable(case, limit=5000)
    if length == 0:
        return f"n/a: {case.model.num_symbols:,} symbols are too many to enumerate"
    symbols, lengths, is_ended = with_ends(case, length)
    truth = case.score(case.batch(symbols, lengths)).sum(1)
    results = beam_search(
        case.model,
        case.start(1),
        beam=case.model.num_symbols**length,
        max_length=length,
        end=case.model.boundary,
    )
    expected = {
        tuple(x[: n - int(e)]): p
        for x, n, e, p in zip(
            symbols.tolist(), lengths.tolist(), is_ended.tolist(), truth.tolist(), strict=True
        )
        if p > -float("inf")
    }
    found = {h.symbols: h.log_prob for h in results}
    if found.keys() != expected.keys():
        raise BrokenLawError(f"the beam found {len(found)} of {len(expected)} sequences")
    order = [h.log_prob for h in results]
    if order != sorted(order, reverse=True):
        raise BrokenLawError("the results are not in order of their log_prob")
    equal(
        "log_prob of the beam",
        torch.tensor(list(found.values())),
        torch.tensor([expected[k] for k in found]),
    )
    return f"all {len(found):,} sequences within {length}"


@law
def narrow_beam_is_log_prob(case: Case) -> str:
    """A narrow beam's log_prob = log_prob of what it returns, in any batch."""
    if not isinstance(case, SymbolCase):
        return _NO_SEARCH
    for end, alpha in ((None, 0.0), (case.model.boundary, 0.0), (case.model.boundary, 0.6)):
        results = beam_search(
            case.model, case.start(1), beam=3, max_length=case.length, end=end, alpha=alpha
        )
        for h in results:
            truth = float(case.score(batch_of(case, h)).detach().sum())
            equal("log_prob", torch.tensor(h.log_prob), torch.tensor(truth))
    state, limits = after_ragged(case), torch.tensor([4, 2, case.length])
    end = case.model.boundary
    together = beam_search_rows(case.model, state, beam=3, max_length=limits, end=end)
    for i, limit in enumerate(limits.tolist()):
        one = tree.select(state, torch.tensor([i], device=case.device))
        alone = beam_search(case.model, one, beam=3, max_length=limit, end=end)
        log_probs = torch.tensor([h.log_prob for h in together[i]])
        equal(f"row {i} of 3", log_probs, torch.tensor([h.log_prob for h in alone]))
    return f"width 3, {case.length} symbols, with and without ends and penalty, and 3 rows at once"


@law
def state_survives_saving(case: Case) -> str:
    """A state survives save, load and a move; another model refuses it."""
    for name, state in (("even", case.folded[4]), ("ragged", after_ragged(case))):
        data = case.model.save_state(state)
        expected = case.future(state)
        equal(f"{name} state, loaded", case.future(case.model.load_state(data)), expected, 0.0)
        target = "cuda" if torch.cuda.is_available() else "meta"
        moved = tree.to(state, target)
        if any(leaf.device.type != target for leaf in tree.leaves(moved)):
            raise BrokenLawError(f"a leaf of the {name} state did not move to {target}")
        if target != "meta":
            back = tree.to(moved, case.model.device)
            equal(f"{name} state, moved", case.future(back), expected, 0.0)
    tensors = [t for t in case.model.state_dict().values() if t.numel() and t.is_floating_point()]
    if not tensors:
        return "saved and moved; without weights, no other model can be distinguished"
    other = copy.deepcopy(case.model)
    weights = [t for t in other.state_dict().values() if t.numel() and t.is_floating_point()]
    weights[0].view(-1)[0] += 1.0
    for model, bytes_ in ((other, data), (case.model, data[:-1] + bytes([data[-1] ^ 1]))):
        try:
            model.load_state(bytes_)
        except ModelError:
            continue
        raise BrokenLawError("a state from other weights, or altered bytes, was accepted")
    return f"{len(data):,} bytes"


@law
def gradients_agree(case: Case) -> str:
    """Gradients of parallel = gradients of fold."""
    parameters = [p for p in case.model.parameters() if p.requires_grad]
    if not parameters:
        return "n/a: no weight has a gradient"
    with torch.inference_mode(False), torch.enable_grad():
        x = tree.map_leaves(torch.clone, case.x)
        lengths = ragged_lengths(case)
        steps = case.stepped(case.fold(x)[:-1], x)
        valid = valid_mask(lengths, case.length).to(case.device)
        folded = _gradients(torch.where(valid, steps, 0.0).sum(), parameters)
        ragged = case.batch(x, lengths)
        for keep in (False, True):
            scores, _ = case.model.forward(ragged, case.empty(3), keep=keep)
            parallel = _gradients(scores.sum(), parameters)
            for i, (a, b) in enumerate(zip(parallel, folded, strict=True)):
                equal(f"gradient {i} of {len(folded)}, keep={keep}", a, b, 1e-8)
    return f"{len(parameters)} tensors"


@law
def reach_is_measured(case: Case) -> str:
    """The declared reach = the measured reach."""
    declared = case.model.reach
    reach = case.length if declared is None else declared
    if reach * case.model.element.size > CELLS:
        return f"n/a: a reach of {reach:,} is too far to measure here"

    def changes(begin: int, end: int) -> bool:
        for x in case.long_ago(8, reach + 3, end):
            changed = along([cut(x, 0, begin), case.other(cut(x, begin, end)), cut(x, end, None)])
            truth = case.row(case.model.update(case.start(8), x))
            if not torch.equal(case.row(case.model.update(case.start(8), changed)), truth):
                return True
        return False

    if declared is not None and changes(0, 3):
        raise BrokenLawError(
            f"declared {declared}, but an element further back changes a prediction"
        )
    if reach == 0 or changes(3, 4):
        return f"{declared}, exactly" if declared is not None else f"unbounded (tried {reach} back)"
    if not list(case.model.parameters()) or reach > _SUBTLE:
        # An influence through many layers is lost in rounding; counts may lack the context, and
        # coefficients that were not fitted are 0.
        return f"no influence of what is {reach} back was seen" + (
            "" if declared is None else f", nor of anything beyond {declared}"
        )
    raise BrokenLawError(
        f"declared {declared or 'unbounded'}, but the element {reach} back changes no prediction"
    )


@law
def chunks_with_carry(case: Case) -> str:
    """Scoring in chunks with the carried state = one pass."""
    batch = case.batch(case.x)
    whole = case.score(batch)
    for size in (1, 3, case.length - 1):
        carry, parts = case.empty(3), []
        for i in range(0, case.length, size):
            chunk = Batch(cut(batch.inputs, i, i + size), cut(batch.targets, i, i + size))
            scores, carry = case.model.forward(chunk, carry, keep=True)
            carry = tree.detach(carry)
            parts.append(scores)
        equal(f"chunks of {size}", torch.cat(parts, 1), whole)
    return "chunks of 1, 3 and all but one"


@law
def keep_changes_no_feature(case: Case) -> str:
    """Features are equal with and without keep."""
    for name, lengths in (("even", None), ("ragged", ragged_lengths(case))):
        valid = torch.ones(3, case.length, dtype=torch.bool, device=case.device)
        if lengths is not None:
            valid = valid_mask(lengths, case.length).to(case.device)
        for before in (case.start().carry, after_ragged(case).carry):
            kept, carry = case.model.advance(before, case.x, lengths, keep=True)
            bare, _ = case.model.advance(before, case.x, lengths, keep=False)
            if carry is None:
                raise BrokenLawError("advance(keep=True) returned no carry")
            kept, bare = (case.describe(case.model.emit(f))[valid] for f in (kept, bare))
            equal(f"{name} rows", bare, kept)
    return "even and ragged rows, from the start and later"


@law
def missing_is_marginal(case: Case) -> str:
    """Missing = marginal."""
    if not isinstance(case, NumberCase):
        return _OF_NUMBERS
    if not case.model.marginalizes:
        return "n/a: the model declares that a gap is an input of its own"
    channels = range(case.element.num_channels)
    for t in (0, case.length // 2, case.length - 2):
        for channel in channels:
            check_marginal(case, t, channel)
    return f"by quadrature over a value at 3 moments, {len(channels)} channel(s)"


@law
def future_changes_nothing(case: Case) -> str:
    """The future never changes earlier features or scores."""
    start = case.start().carry
    features, _ = case.model.advance(start, case.x, None)
    rows, scores = case.describe(case.model.emit(features)), case.score(case.batch(case.x))
    for begin in (1, case.length // 2, case.length - 1):
        future = case.extreme(cut(case.x, begin, None))
        x = along([cut(case.x, 0, begin), future])
        features, _ = case.model.advance(start, x, None)
        found = case.describe(case.model.emit(features))
        equal(f"features before element {begin}", found[:, :begin], rows[:, :begin])
        found = case.score(case.batch(x))
        equal(f"scores before element {begin}", found[:, :begin], scores[:, :begin])
    return "other symbols" if isinstance(case, SymbolCase) else "values a million times as far"


@law
def update_is_filtering(case: Case) -> str:
    """Fitted to a, updated with b = the same parameters filtered over a and b."""
    if not isinstance(case, NumberCase):
        return _OF_NUMBERS
    note = "parameters as given"
    if isinstance(case.model, FitsSeries):
        if not case.fitted:
            return f"n/a: the model cannot be fitted to {FITTED} moments drawn from itself"
        own, again = case.fitted
        a = cut(case.x, 0, 4)
        equal("fitted again", again.future(again.fold(a)[-1]), own.future(own.fold(a)[-1]), 1e-8)
        case, note = own, f"fitted to {FITTED} moments"
    before = case.model.fingerprint()
    middle = case.length // 2
    a, b = cut(case.x, 0, middle), cut(case.x, middle, None)
    after_a = case.model.update(case.start(), a)
    expected = case.future(after_a)
    updated = case.model.update(after_a, b)
    whole = case.model.update(case.start(), case.x)
    equal("a and b", case.future(updated), case.future(whole))
    equal("a, after b was seen", case.future(case.model.update(case.start(), a)), expected)
    if case.model.fingerprint() != before:
        raise BrokenLawError("an update changed a weight or a buffer of the model")
    return note


@law
def bands_are_simulated(case: Case) -> str:
    """Analytic bands = simulated bands."""
    if not isinstance(case, NumberCase):
        return _OF_NUMBERS
    if not isinstance(case.model, Ahead):
        return "n/a: the model has no analytic bands, and is forecast by sampling"
    for state in (case.folded[-1], case.folded[2]):
        check_ahead(case, state, case.model)
    return f"{SAMPLES:,} paths of {HORIZON} moments from 6 states"


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
