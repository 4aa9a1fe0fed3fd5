"""The laws of the contract, and `check_model`, which holds any model to them.

Each law is a short function on a `Case`: the model in float64 and a handful of sequences. Read
top to bottom they are the specification of `SequenceModel`. A law returns how much it looked at
and raises `BrokenLawError` when it fails. Every law is run with and without autograd, because
layers choose their kernels by it, and by length, raggedness and device.

Knows models, states, distributions and the beam; no family.

Shapes: B rows, T length of the sequences tried, V symbols.
"""

import copy
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from seriatim import tree
from seriatim.batch import Batch, valid_mask
from seriatim.decode.beam import Hypothesis, beam_search
from seriatim.decode.sample import symbols_of
from seriatim.errors import ContractError, ModelError
from seriatim.model import Features, SequenceModel, State
from seriatim.tree import Tree

TOLERANCE = 1e-9  # absolute and relative, float64
_CELLS = 4_000_000  # numbers in one row of logits times rows: bounds the memory of enumeration
_SUBTLE = 64  # beyond this reach an influence may be smaller than rounding
_MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "with autograd": torch.enable_grad,
    "without": torch.no_grad,
    "in inference mode": torch.inference_mode,
}


class BrokenLawError(Exception):
    """A law does not hold; the message says where and by how much."""


@dataclass(frozen=True)
class LawResult:
    """What became of one law.

    Attributes:
        number: 1 .. 16.
        claim: the law in words.
        holds: whether it held; None: it does not apply to this model.
        note: how much was looked at ("all 4,225 sequences", "sampled"), or what broke.
    """

    number: int
    claim: str
    holds: bool | None
    note: str


@dataclass(frozen=True)
class Report:
    """What `check_model` found, one result per law."""

    results: tuple[LawResult, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """No law is broken."""
        return all(r.holds is not False for r in self.results)

    @property
    def broken(self) -> list[int]:
        """The numbers of the laws that do not hold."""
        return [r.number for r in self.results if r.holds is False]

    def raise_if_broken(self) -> None:
        """
        Raises:
            ContractError: a law does not hold; the message lists each with its difference.
        """
        if not self.ok:
            lines = [f"law {r.number} ({r.claim}): {r.note}" for r in self.results if not r.holds]
            raise ContractError("the model breaks the contract: " + "; ".join(lines))

    def __str__(self) -> str:
        marks = {True: "holds", False: "BROKEN", None: "n/a"}
        lines = [f"{r.number:2d}  {marks[r.holds]:6s}  {r.claim}: {r.note}" for r in self.results]
        return "\n".join(lines)


def check_model(
    model: SequenceModel,
    *,
    example: Tensor | None = None,
    given: Tree | None = None,
    laws: Collection[int] | None = None,
    budget_s: float = 60.0,
) -> Report:
    """Hold a model to the sixteen laws, in float64, on a copy (the model itself is not touched).

    Args:
        model: any `SequenceModel`, fitted or not, your own included.
        example: (B >= 3, T >= 4) symbols to try; None: random ones.
        given: the memory of a bound source, of one row, for models that answer to one.
        laws: the numbers of the laws to try; None: all sixteen.
        budget_s: what enumeration may take, about; less is enumerated, or sampled, to keep it,
            and the notes say so.

    Returns:
        The report; `report.raise_if_broken()` turns a broken law into an error.
    """
    started = time.perf_counter()
    case = Case.of(model, example, given, budget_s)
    results = []
    for number, (claim, law) in enumerate(LAWS, start=1):
        if laws is not None and number not in laws:
            continue
        try:
            note = law(case)
            holds = None if note.startswith("n/a") else True
        except BrokenLawError as broken:
            holds, note = False, str(broken)
        except Exception as error:  # a model that fails on a lawful call breaks the law
            holds, note = False, f"raised {type(error).__name__}: {error}"
        results.append(LawResult(number, claim, holds, note))
    return Report(tuple(results), time.perf_counter() - started)


@dataclass(frozen=True)
class Case:
    """A model in float64 and what it is tried on."""

    model: SequenceModel
    given: Tree | None
    x: Tensor  # (3, T) symbols
    budget_s: float

    @classmethod
    def of(
        cls, model: SequenceModel, example: Tensor | None, given: Tree | None, budget_s: float
    ) -> "Case":
        double = copy.deepcopy(model).double().eval()
        if example is None:
            # Long enough to cross a small context several times, short enough to step through.
            length = 12 if model.reach is None else min(max(8, 2 * model.reach + 3), 24)
            generator = torch.Generator().manual_seed(0)
            example = torch.randint(model.num_symbols, (3, length), generator=generator)
        memory = None if given is None else tree.to(tree.to(given, torch.float64), double.device)
        return cls(double, memory, example[:3].to(double.device), budget_s)

    @property
    def length(self) -> int:
        return self.x.shape[1]

    def start(self, batch_size: int = 3, capacity: int | None = None) -> State:
        given = None if self.given is None else tree.repeat(self.given, batch_size)
        return self.model.start(batch_size, given=given, capacity=capacity)

    def row(self, state: State) -> Tensor:
        """(B, V) what the model predicts next."""
        return symbols_of(self.model.predict(state)).dense()

    def future(self, state: State) -> Tensor:
        """(B, 3, V) predictions now and along a fixed continuation: sees into the carry."""
        rows = [self.row(state)]
        for symbol in (1 % self.model.num_symbols, 0):
            state = self.model.step(state, self.symbol(symbol, tree.rows(state.features)))
            rows.append(self.row(state))
        return torch.stack(rows, 1)

    def symbol(self, symbol: int, batch_size: int) -> Tensor:
        return torch.full((batch_size,), symbol, device=self.model.device)

    def fold(self, x: Tensor, state: State | None = None) -> list[State]:
        """The states after 0, 1, .. elements of x, one step at a time: the meaning of a model."""
        states = [self.start(len(x)) if state is None else state]
        for t in range(x.shape[1]):
            states.append(self.model.step(states[-1], x[:, t]))
        return states

    @cached_property
    def folded(self) -> list[State]:
        with torch.no_grad():
            return self.fold(self.x)

    def batch(self, x: Tensor, lengths: Tensor | None = None) -> Batch:
        """Teacher forcing: the boundary and x_1 .. x_{T-1} in, x_1 .. x_T scored."""
        first = self.symbol(self.model.boundary, len(x))[:, None]
        return Batch(torch.cat([first, x[:, :-1]], 1), x, lengths)

    def score(self, batch: Batch) -> Tensor:
        """(B, L) log-probabilities, computed some rows at a time to bound memory."""
        rows, length = batch.shape
        size = max(1, _CELLS // (length * self.model.num_symbols))
        parts = []
        for i in range(0, rows, size):
            part = tree.map_leaves(lambda t, i=i: t[i : i + size], batch)
            parts.append(self._score(part))
        return torch.cat(parts)

    def _score(self, batch: Batch) -> Tensor:
        carry = None
        if self.given is not None:
            count = batch.shape[0]
            carry = self.model.empty(count, given=tree.repeat(self.given, count))
        return self.model.forward(batch, carry)[0]

    def alone(self, i: int, n: int) -> State:
        """Row i after its first n elements, folded by itself."""
        return self.fold(self.x[i : i + 1, :n])[-1]


Law: TypeAlias = Callable[[Case], str]
LAWS: list[tuple[str, Law]] = []


def law(claim: str) -> Callable[[Law], Law]:
    """Enter a law into the list; it runs in every mode of autograd."""

    def enter(f: Law) -> Law:
        def in_every_mode(case: Case) -> str:
            note = ""
            for mode, context in _MODES.items():
                try:
                    with context():
                        note = f(case)
                except BrokenLawError as broken:
                    raise BrokenLawError(f"{mode}, {broken}") from None
            return note

        LAWS.append((claim, in_every_mode))
        return f

    return enter


def equal(what: str, actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """
    Raises:
        BrokenLawError: another shape, or a difference beyond the tolerance (two -inf are equal).
    """
    if actual.shape != expected.shape:
        raise BrokenLawError(f"{what}: shape {tuple(actual.shape)} and not {tuple(expected.shape)}")
    close = torch.isclose(actual, expected, rtol=tolerance, atol=tolerance)
    if not bool(close.all()):
        worst = float((actual - expected)[~close].abs().nan_to_num(float("inf")).max())
        raise BrokenLawError(f"{what}: differs by {worst:.2g}")


# ---- the laws -----------------------------------------------------------------------------------


@law("parallel = fold")
def parallel_is_fold(case: Case) -> str:
    states = case.fold(case.x)
    steps = torch.stack([case.row(s) for s in states[:-1]], 1)
    stepped = steps.gather(-1, case.x[..., None])[..., 0]
    equal("log_prob of a batch", case.score(case.batch(case.x)), stepped)
    return f"3 sequences of {case.length}"


@law("one chunk = many steps")
def chunk_is_steps(case: Case) -> str:
    for capacity in (None, case.length + 8):
        chunk = case.model.update(case.start(capacity=capacity), case.x)
        name = "the chunk" if capacity is None else f"the chunk with capacity={capacity}"
        equal(name, case.future(chunk), case.future(case.folded[-1]))
    state = case.start(capacity=case.length + 8)
    for t in range(case.length):
        state = case.model.step(state, case.x[:, t])
    equal("steps with capacity", case.future(state), case.future(case.folded[-1]))
    return f"a chunk of {case.length}, growing and of fixed capacity"


@law("any split of a chunk")
def any_split(case: Case) -> str:
    whole = case.future(case.model.update(case.start(), case.x))
    for cut in range(1, case.length):
        state = case.model.update(case.start(), case.x[:, :cut])
        for size in (1, 2, case.length):  # a step, a pair, then whatever is left
            state = case.model.update(state, case.x[:, cut : cut + size])
            cut = min(cut + size, case.length)
        equal(f"split before element {cut}", case.future(state), whole)
    return f"all {case.length - 1} first cuts"


@law("padding changes nothing")
def padding_is_inert(case: Case) -> str:
    lengths = _ragged(case)
    junk = _with_junk(case, lengths)
    for name, x in (("as it came", case.x), ("replaced", junk)):
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


@law("ragged rows go on as if alone")
def ragged_rows_go_on(case: Case) -> str:
    first, second = _ragged(case), torch.tensor([1, 2, 3])
    state = case.model.update(case.start(), _with_junk(case, first), first)
    state = case.model.update(state, case.x[:, :3], second)
    for t in range(case.length):  # far enough for an old padding slot to come to light again
        state = case.model.step(state, case.x[:, t])
    state = case.model.update(state, case.x[:, :2])
    for i, (n, m) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        alone = case.model.update(case.alone(i, n), case.x[i : i + 1, :m])
        alone = case.model.update(alone, torch.cat([case.x[i : i + 1], case.x[i : i + 1, :2]], 1))
        one = tree.select(state, torch.tensor([i], device=case.x.device))
        equal(f"row {i} after {n} and {m} elements", case.future(one), case.future(alone))
    return "two ragged chunks, steps, a chunk"


@law("padding scores nothing")
def padding_scores_nothing(case: Case) -> str:
    lengths = _ragged(case)
    valid = valid_mask(lengths, case.length).to(case.x.device)
    scores = case.score(case.batch(case.x, lengths))
    if bool((scores[~valid] != 0).any()):
        raise BrokenLawError("a padding element has a score other than 0")
    full = case.score(case.batch(case.x))
    equal("valid elements", scores[valid], full[valid])
    weights = torch.rand(case.x.shape, generator=torch.Generator().manual_seed(1)).double()
    weights = weights.to(case.x.device)
    batch = case.batch(case.x, lengths)
    weighted = Batch(batch.inputs, batch.targets, lengths, weights)
    equal("weighted elements", case.score(weighted), torch.where(valid, weights * full, 0.0))
    return f"{int((~valid).sum())} padding elements, and weights"


@law("select commutes with update")
def select_commutes(case: Case) -> str:
    index = torch.tensor([2, 0, 0, 1], device=case.x.device)
    for name, state in (("even", case.folded[3]), ("ragged", _after_ragged(case))):
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


@law("a branch survives its siblings")
def branches_survive(case: Case) -> str:
    other = (case.x + 1) % case.model.num_symbols
    root = case.model.update(case.start(), case.x[:, :2])
    before = case.row(root)
    left = case.model.step(root, case.x[:, 2])
    right = case.model.step(root, other[:, 2])  # the sibling first, and far
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


@law("probability is conserved")
def probability_is_conserved(case: Case) -> str:
    dense = case.row(case.folded[-1])
    equal(
        "sum of a row", dense.logsumexp(-1), torch.zeros(3, dtype=dense.dtype, device=dense.device)
    )
    several = case.folded[case.length // 2]
    ids = torch.arange(min(case.model.num_symbols, 512), device=case.x.device)
    row = case.model.predict(tree.repeat(several, len(ids)))
    equal(
        "log_prob against dense",
        row.log_prob(ids.repeat(3)).view(3, -1),
        case.row(several)[:, : len(ids)],
    )
    length = _enumerable(case)
    if length == 0:
        return f"sampled: 3 prefixes, all {case.model.num_symbols:,} symbols"
    stream = case.score(case.batch(_sequences(case, length))).sum(1).exp().sum()
    equal(f"all {length} symbols of a stream", stream, torch.ones_like(stream))
    symbols, lengths, _ = _with_ends(case, length)
    ended = case.score(case.batch(symbols, lengths)).sum(1).exp().sum()
    equal(f"ended within {length}, and unended prefixes", ended, torch.ones_like(ended))
    return f"all {case.model.num_symbols**length:,} sequences of {length}"


@law("a beam as wide as the space = enumeration")
def wide_beam_is_enumeration(case: Case) -> str:
    length = _enumerable(case, limit=5000)
    if length == 0:
        return f"n/a: {case.model.num_symbols:,} symbols are too many to search all"
    symbols, lengths, is_ended = _with_ends(case, length)
    truth = case.score(case.batch(symbols, lengths)).sum(1)
    found = beam_search(
        case.model,
        case.start(1),
        width=case.model.num_symbols**length,
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
    got = {(h.symbols): h.log_prob for h in found}
    if got.keys() != expected.keys():
        raise BrokenLawError(f"the beam found {len(got)} of {len(expected)} sequences")
    order = [h.log_prob for h in found]
    if order != sorted(order, reverse=True):
        raise BrokenLawError("the results are not in order of their log_prob")
    equal(
        "log_prob of the beam",
        torch.tensor([got[k] for k in got]),
        torch.tensor([expected[k] for k in got]),
    )
    return f"all {len(got):,} sequences within {length}"


@law("a narrow beam's log_prob = log_prob of what it returns")
def narrow_beam_is_log_prob(case: Case) -> str:
    for end, alpha in ((None, 0.0), (case.model.boundary, 0.0), (case.model.boundary, 0.6)):
        found = beam_search(
            case.model, case.start(1), width=3, max_length=case.length, end=end, alpha=alpha
        )
        for h in found:
            truth = float(case.score(_batch_of(case, h)).detach().sum())
            equal("log_prob", torch.tensor(h.log_prob), torch.tensor(truth))
    return f"width 3, {case.length} symbols, with and without ends and length penalty"


@law("a state survives save, load and a move; another model refuses it")
def state_survives_saving(case: Case) -> str:
    for name, state in (("even", case.folded[4]), ("ragged", _after_ragged(case))):
        data = case.model.save_state(state)
        expected = case.future(state)
        equal(f"{name} state, loaded", case.future(case.model.load_state(data)), expected, 0.0)
        there = "cuda" if torch.cuda.is_available() else "meta"
        moved = tree.to(state, there)
        if any(leaf.device.type != there for leaf in tree.leaves(moved)):
            raise BrokenLawError(f"a leaf of the {name} state did not move to {there}")
        if there != "meta":
            back = tree.to(moved, case.model.device)
            equal(f"{name} state, moved", case.future(back), expected, 0.0)
    tensors = [t for t in case.model.state_dict().values() if t.numel() and t.is_floating_point()]
    if not tensors:
        return "this model has no weights by which another could be told from it"
    other = copy.deepcopy(case.model)
    next(t for t in other.state_dict().values() if t.numel() and t.is_floating_point()).view(-1)[
        0
    ] += 1.0
    for model, bytes_ in ((other, data), (case.model, data[:-1] + bytes([data[-1] ^ 1]))):
        try:
            model.load_state(bytes_)
        except ModelError:
            continue
        raise BrokenLawError("a state of other weights, or altered bytes, was accepted")
    return f"{len(data):,} bytes"


@law("gradients of parallel = gradients of fold")
def gradients_agree(case: Case) -> str:
    parameters = [p for p in case.model.parameters() if p.requires_grad]
    if not parameters:
        return "n/a: no weight has a gradient"
    with torch.inference_mode(False), torch.enable_grad():
        x = case.x.clone()
        lengths = _ragged(case)
        states = case.fold(x)
        steps = torch.stack([case.row(s) for s in states[:-1]], 1)
        steps = steps.gather(-1, x[..., None])[..., 0]
        valid = valid_mask(lengths, case.length).to(x.device)
        folded = _gradients(torch.where(valid, steps, 0.0).sum(), parameters)
        ragged = case.batch(x, lengths)
        for keep in (False, True):
            parallel = _gradients(case.model.forward(ragged, keep=keep)[0].sum(), parameters)
            for i, (a, b) in enumerate(zip(parallel, folded, strict=True)):
                equal(f"gradient {i} of {len(folded)}, keep={keep}", a, b, 1e-8)
    return f"{len(parameters)} tensors"


@law("the declared reach = the measured one")
def reach_is_measured(case: Case) -> str:
    declared = case.model.reach
    reach = case.length if declared is None else declared
    if reach * case.model.num_symbols > _CELLS:
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
        raise BrokenLawError(f"declared {declared}, but what lies further back changes something")
    if reach == 0 or changes(slice(3, 4)):
        return f"{declared}, exactly" if declared is not None else f"unbounded (tried {reach} back)"
    if declared is not None and (declared > _SUBTLE or not list(case.model.parameters())):
        # An influence through many layers drowns in rounding; a count may not know the context.
        return f"nothing beyond {declared} matters (that {declared} itself does did not show)"
    raise BrokenLawError(
        f"declared {declared or 'unbounded'}, but the element {reach} back changes nothing"
    )


@law("scoring in chunks with the carried state = one pass")
def chunks_carry_on(case: Case) -> str:
    batch = case.batch(case.x)
    whole = case.score(batch)
    for size in (1, 3, case.length - 1):
        given = None if case.given is None else tree.repeat(case.given, 3)
        carry, parts = case.model.empty(3, given=given), []
        for i in range(0, case.length, size):
            chunk = Batch(batch.inputs[:, i : i + size], batch.targets[:, i : i + size])
            scores, carry = case.model.forward(chunk, carry, keep=True)
            carry = tree.detach(carry)
            parts.append(scores)
        equal(f"chunks of {size}", torch.cat(parts, 1), whole)
    return "chunks of 1, 3 and all but one"


@law("features are equal with keep and without")
def keep_changes_no_feature(case: Case) -> str:
    for name, lengths in (("even", None), ("ragged", _ragged(case))):
        valid = torch.ones(3, case.length, dtype=torch.bool, device=case.x.device)
        if lengths is not None:
            valid = valid_mask(lengths, case.length).to(case.x.device)
        for carried in (case.start().carry, _after_ragged(case).carry):
            kept, carry = case.model.advance(carried, case.x, lengths, keep=True)
            bare, _ = case.model.advance(carried, case.x, lengths, keep=False)
            if carry is None:
                raise BrokenLawError("advance(keep=True) returned no carry")
            equal(f"{name} rows", _emitted(case, bare)[valid], _emitted(case, kept)[valid])
    return "even and ragged rows, from the start and later"


# ---- what the laws are tried on -----------------------------------------------------------------


def _ragged(case: Case) -> Tensor:
    return torch.tensor([case.length, 2, 0])


def _with_junk(case: Case, lengths: Tensor) -> Tensor:
    valid = valid_mask(lengths, case.length).to(case.x.device)
    return torch.where(valid, case.x, (case.x + 1) % case.model.num_symbols)


def _after_ragged(case: Case) -> State:
    lengths = torch.tensor([4, 1, 2])
    return case.model.update(case.start(), case.x[:, :4], lengths)


def _batch_of(case: Case, h: Hypothesis) -> Batch:
    symbols = [*h.symbols, case.model.boundary] if h.is_ended else list(h.symbols)
    return case.batch(torch.tensor([symbols], device=case.x.device))


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _emitted(case: Case, features: Features) -> Tensor:
    return symbols_of(case.model.emit(features)).dense()


def _enumerable(case: Case, limit: int = 50_000) -> int:
    """The greatest length whose sequences can all be scored: by number, memory and time; 0: none.

    Scores a few rows to see what a symbol costs, and spends a twentieth of the budget.
    """
    V = case.model.num_symbols
    rows = min(64, max(2, _CELLS // V))
    trial = torch.zeros(rows, 2, dtype=torch.int64, device=case.x.device)
    case.score(case.batch(trial))
    start = time.perf_counter()
    case.score(case.batch(trial))
    per_symbol = (time.perf_counter() - start) / (rows * 2)
    affordable = min(limit, case.budget_s / 20 / max(per_symbol, 1e-9))
    length = 0
    while V ** (length + 1) * (length + 1) <= affordable and length < 8:
        length += 1
    return length


def _sequences(case: Case, length: int) -> Tensor:
    """(V^length, length) every sequence of that length."""
    symbols = torch.arange(case.model.num_symbols, device=case.x.device)
    return torch.cartesian_prod(*[symbols] * length).view(-1, length)


def _with_ends(case: Case, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every sequence that ends within `length` symbols, end included, and every unended prefix.

    Returns:
        symbols (N, length), lengths (N,), and whether each ended (N,).
    """
    rows: list[tuple[list[int], bool]] = list(_ends(case, length))
    padded = [x + [0] * (length - len(x)) for x, _ in rows]
    return (
        torch.tensor(padded, device=case.x.device),
        torch.tensor([len(x) for x, _ in rows]),
        torch.tensor([e for _, e in rows]),
    )


def _ends(case: Case, length: int) -> Iterator[tuple[list[int], bool]]:
    end = case.model.boundary
    inner = [i for i in range(case.model.num_symbols) if i != end]
    for n in range(length):
        for prefix in itertools.product(inner, repeat=n):
            yield [*prefix, end], True
    for prefix in itertools.product(inner, repeat=length):
        yield list(prefix), False
