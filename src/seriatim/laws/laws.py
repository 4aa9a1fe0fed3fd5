"""The sixteen laws: the specification of `SequenceModel`, to be read from top to bottom.

Each law is a short function of a `Case`, with its claim as docstring. It returns a note on the
extent of the test and raises `BrokenLawError` on a violation; a note that begins with n/a means
that the law does not apply to this model. Every law is tested with and without autograd, because
layers choose their kernels by it, and by length, raggedness and device.

Knows models, states, distributions and the beam; no family.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch, valid_mask
from seriatim.core.distributions import as_discrete
from seriatim.core.model import Features
from seriatim.decode.beam import beam_search, beam_search_rows
from seriatim.errors import ModelError
from seriatim.laws.cases import (
    CELLS,
    Case,
    after_ragged,
    batch_of,
    enumerable,
    ragged_lengths,
    sequences,
    with_ends,
    with_junk,
)

TOLERANCE = 1e-9  # absolute and relative, in float64
_NARROW = 2e-4  # the same in float32, after the steps of a whole sequence
_SUBTLE = 64  # a reach beyond which an influence may be smaller than rounding errors
_MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "with autograd": torch.enable_grad,
    "without": torch.no_grad,
    "in inference mode": torch.inference_mode,
}


class BrokenLawError(Exception):
    """A law is broken; the message says where and by how much."""


Law: TypeAlias = Callable[[Case], str]
LAWS: list[tuple[str, Law]] = []


def law(f: Law) -> Law:
    """Decorator: add a law to `LAWS`, to be tested in every mode of autograd."""

    def in_every_mode(case: Case) -> str:
        note = ""
        for mode, context in _MODES.items():
            try:
                with context():
                    note = f(case)
            except BrokenLawError as broken:
                raise BrokenLawError(f"{mode}, {broken}") from None
        return note

    LAWS.append(((f.__doc__ or "").removesuffix("."), in_every_mode))
    return f


def equal(what: str, actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """
    Raises:
        BrokenLawError: if the shapes differ, or values differ by more than the tolerance (two
            -inf are equal).
    """
    if actual.shape != expected.shape:
        raise BrokenLawError(
            f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
        )
    if actual.dtype != torch.float64:
        tolerance = max(tolerance, _NARROW)
    close = torch.isclose(actual, expected, rtol=tolerance, atol=tolerance)
    if not bool(close.all()):
        worst = float((actual - expected)[~close].abs().nan_to_num(float("inf")).max())
        raise BrokenLawError(f"{what}: differs by {worst:.2g}")


# ---- the laws -----------------------------------------------------------------------------------


@law
def parallel_is_fold(case: Case) -> str:
    """Parallel = fold."""
    states = case.fold(case.x)
    steps = torch.stack([case.row(s) for s in states[:-1]], 1)
    stepped = steps.gather(-1, case.x[..., None])[..., 0]
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
        state = case.model.step(state, case.x[:, t])
    equal("steps with capacity", case.future(state), case.future(case.folded[-1]))
    return f"a chunk of {case.length}, growing and of fixed capacity"


@law
def any_split(case: Case) -> str:
    """Any split of a chunk."""
    whole = case.future(case.model.update(case.start(), case.x))
    for cut in range(1, case.length):
        state = case.model.update(case.start(), case.x[:, :cut])
        for size in (1, 2, case.length):  # a step, a pair, then the rest
            state = case.model.update(state, case.x[:, cut : cut + size])
            cut = min(cut + size, case.length)
        equal(f"split before element {cut}", case.future(state), whole)
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
            one = torch.tensor([i], device=case.x.device)
            equal(
                f"row {i} of length {n}, padding {name}",
                case.row(tree.select(ragged, one)),
                case.row(case.folded[n])[i : i + 1],
            )
            alone = case.score(case.batch(case.x[i : i + 1, : max(n, 1)]))[:, :n]
            equal(f"scores of row {i}, padding {name}", scores[i : i + 1, :n], alone)
    return f"rows of length {', '.join(map(str, lengths.tolist()))}"


@law
def ragged_rows_continue(case: Case) -> str:
    """Ragged rows continue as if alone."""
    first, second = ragged_lengths(case), torch.tensor([1, 2, 3])
    state = case.model.update(case.start(), with_junk(case, first), first)
    state = case.model.update(state, case.x[:, :3], second)
    for t in range(case.length):  # far enough to expose an old padding slot
        state = case.model.step(state, case.x[:, t])
    state = case.model.update(state, case.x[:, :2])
    for i, (n, m) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        alone = case.model.update(case.alone(i, n), case.x[i : i + 1, :m])
        alone = case.model.update(alone, torch.cat([case.x[i : i + 1], case.x[i : i + 1, :2]], 1))
        one = tree.select(state, torch.tensor([i], device=case.x.device))
        equal(f"row {i} after {n} and {m} elements", case.future(one), case.future(alone))
    return "two ragged chunks, steps, a chunk"


@law
def padding_scores_nothing(case: Case) -> str:
    """Padding scores nothing."""
    lengths = ragged_lengths(case)
    valid = valid_mask(lengths, case.length).to(case.x.device)
    scores = case.score(case.batch(case.x, lengths))
    if bool((scores[~valid] != 0).any()):
        raise BrokenLawError("a padding element has a score other than 0")
    full = case.score(case.batch(case.x))
    equal("valid elements", scores[valid], full[valid])
    weights = torch.rand(case.x.shape, generator=torch.Generator().manual_seed(1))
    weights = weights.to(full)
    batch = case.batch(case.x, lengths)
    weighted = Batch(batch.inputs, batch.targets, lengths, weights)
    equal("weighted elements", case.score(weighted), torch.where(valid, weights * full, 0.0))
    return f"{int((~valid).sum())} padding elements, and weights"


@law
def select_commutes(case: Case) -> str:
    """Select commutes with update."""
    index = torch.tensor([2, 0, 0, 1], device=case.x.device)
    for name, state in (("even", case.folded[3]), ("ragged", after_ragged(case))):
        x = case.x[:, 3:5]
        after = tree.select(case.model.update(state, x), index)
        before = case.model.update(tree.select(state, index), x[index])
        equal(f"{name} state, selected", case.future(before), case.future(after))
        doubled = case.model.update(tree.repeat(state, 2), x.repeat_interleave(2, 0))
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
    other = (case.x + 1) % case.model.num_symbols
    root = case.model.update(case.start(), case.x[:, :2])
    before = case.row(root)
    left = case.model.step(root, case.x[:, 2])
    right = case.model.step(root, other[:, 2])  # advance the sibling first, and far
    for t in range(3, case.length):
        right = case.model.step(right, other[:, t])
    right = case.model.update(right, other)
    equal("the root after its children", case.row(root), before)
    for t in range(3, case.length):
        left = case.model.step(left, case.x[:, t])
    equal("the older branch", case.future(left), case.future(case.folded[-1]))
    again = case.model.update(root, case.x[:, 2:])
    equal("a chunk from the old root", case.future(again), case.future(case.folded[-1]))
    alone = case.fold(torch.cat([case.x[:, :2], other[:, 2:], other], 1))[-1]
    equal("the sibling", case.future(right), case.future(alone))
    return f"two branches of {case.length - 2} steps"


@law
def probability_is_conserved(case: Case) -> str:
    """Probability is conserved."""
    dense = case.row(case.folded[-1])
    equal(
        "sum of a row", dense.logsumexp(-1), torch.zeros(3, dtype=dense.dtype, device=dense.device)
    )
    state = case.folded[case.length // 2]
    ids = torch.arange(min(case.model.num_symbols, 512), device=case.x.device)
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
        one = tree.select(state, torch.tensor([i], device=case.x.device))
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
        x = case.x.clone()
        lengths = ragged_lengths(case)
        states = case.fold(x)
        steps = torch.stack([case.row(s) for s in states[:-1]], 1)
        steps = steps.gather(-1, x[..., None])[..., 0]
        valid = valid_mask(lengths, case.length).to(x.device)
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
    if reach * case.model.num_symbols > CELLS:
        return f"n/a: a reach of {reach:,} is too far to measure here"
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(case.model.num_symbols, (8, reach + 3), generator=generator)
    x = x.to(case.x.device)
    truth = case.row(case.model.update(case.start(8), x))

    def changes(where: slice) -> bool:
        other = x.clone()
        other[:, where] = (x[:, where] + 1) % case.model.num_symbols
        return not torch.equal(case.row(case.model.update(case.start(8), other)), truth)

    if declared is not None and changes(slice(0, 3)):
        raise BrokenLawError(
            f"declared {declared}, but an element further back changes a prediction"
        )
    if reach == 0 or changes(slice(3, 4)):
        return f"{declared}, exactly" if declared is not None else f"unbounded (tried {reach} back)"
    if declared is not None and (declared > _SUBTLE or not list(case.model.parameters())):
        # An influence through many layers is lost in rounding; counts may lack the context.
        return f"nothing beyond {declared} matters; no influence of {declared} itself was seen"
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
            chunk = Batch(batch.inputs[:, i : i + size], batch.targets[:, i : i + size])
            scores, carry = case.model.forward(chunk, carry, keep=True)
            carry = tree.detach(carry)
            parts.append(scores)
        equal(f"chunks of {size}", torch.cat(parts, 1), whole)
    return "chunks of 1, 3 and all but one"


@law
def keep_changes_no_feature(case: Case) -> str:
    """Features are equal with and without keep."""
    for name, lengths in (("even", None), ("ragged", ragged_lengths(case))):
        valid = torch.ones(3, case.length, dtype=torch.bool, device=case.x.device)
        if lengths is not None:
            valid = valid_mask(lengths, case.length).to(case.x.device)
        for before in (case.start().carry, after_ragged(case).carry):
            kept, carry = case.model.advance(before, case.x, lengths, keep=True)
            bare, _ = case.model.advance(before, case.x, lengths, keep=False)
            if carry is None:
                raise BrokenLawError("advance(keep=True) returned no carry")
            equal(f"{name} rows", _emitted(case, bare)[valid], _emitted(case, kept)[valid])
    return "even and ragged rows, from the start and later"


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]


def _emitted(case: Case, features: Features) -> Tensor:
    return as_discrete(case.model.emit(features)).dense()
