"""What do single neurons and whole layers know of the text? Correlations and linear probes.

A *label* says something of every position: how far it is from the last line end, whether it is
inside quotes, or anything that the user says. A neuron is ranked by its correlation with a
label (Karpathy, Johnson, Fei-Fei 2015 found such cells by eye); a layer by how well a linear
probe reads the label from it on positions that the probe has not seen.

Neighbouring positions are alike, in labels and in states, so a large correlation may be luck.
Chance is therefore measured with labels turned round the text, label_{(t + k) mod N} for a
shift k: they keep their own rhythm and lose their place. A second figure counts how many
independent pairs the neighbours are worth; a neuron has to pass both. (In a text that repeats
itself turned labels find their place again, so there nothing can be told from luck.)

Knows states and labels; no model and no trace.

Shapes: N positions, D neurons, M columns of numbers that a probe is fitted to, K best neurons.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.analysis.inspect.labels import Label

LEAST_POSITIONS = 200  # below, every label is found somewhere by luck
LEAST_CORRELATION = 0.3  # a neuron is named for a label from here on, if it is not luck
_TEST_BLOCKS = (2, 5, 8)  # of ten: whole stretches, so that neighbours are on one side
_LEAST_OF_A_CLASS = 10  # positions, on either side
_SHIFTS = 5  # turned labels that show a probe's chance
_COLUMNS = 1 << 22  # numbers of states that are transformed at once


@dataclass(frozen=True)
class Neuron:
    """One neuron and what it correlates with.

    Attributes:
        index: of the neuron in its layer.
        label: the name of the label, with the class where there are several.
        correlation: Pearson's r over all positions; of a class, the point-biserial one.
        p_value: of "it is luck", for the whole layer: the larger of the share of shifts at which
            any neuron reaches |r|, and of what two series of this rhythm would give (see `_luck`).
        is_named: |r| is no luck, at 5 % over all labels of the layer, and not small.
    """

    index: int
    label: str
    correlation: float
    p_value: float
    is_named: bool


@dataclass(frozen=True)
class Probe:
    """A linear probe of a layer for one label, on positions that it was not fitted to.

    Attributes:
        label: the name.
        measure: "R²" of quantities; "balanced accuracy", the mean over classes of the share of
            each that is called right.
        score: on the held-out positions.
        chance: the same of labels turned round the text, their mean.
        by_symbol: of the symbol read, without the layer: its mean label in training. What the
            score has above it the layer knows of the context.
        control: of a control task, in which every symbol has a label drawn once and for all
            (Hewitt, Liang 2019): what the probe learns by heart of the symbols.
        positions: how many were held out.
    """

    label: str
    measure: str
    score: float
    chance: float
    by_symbol: float
    control: float
    positions: int

    @property
    def selectivity(self) -> float:
        """score - control: what is the layer's, and not the probe's."""
        return self.score - self.control


# ---- correlations -------------------------------------------------------------------------------


def standardized(x: Tensor) -> Tensor:
    """x (N, ...) with mean 0 and variance 1 over the positions; 0 where it never changes.

    In float64: the sums below run over many positions.
    """
    x = x.double()
    x = x - x.mean(0)
    size = x.square().mean(0).sqrt()
    return torch.where(size > 1e-9, x / size.clamp(min=1e-9), 0.0)


def correlations(states: Tensor, values: Tensor) -> Tensor:
    """r (D,) = mean of z_states z_values, Pearson's, of states (N, D) with values (N,).

    With values of 0 and 1 it is the point-biserial correlation.
    """
    return standardized(values) @ standardized(states) / len(values)


def chance_of(states: Tensor, columns: Tensor, best: Tensor) -> Tensor:
    """The largest |r| of any neuron with labels turned by k, for every k = 0 .. N-1.

    r_d(k) is the circular cross-correlation of both, so the FFT gives all shifts at once. Step
    down (Westfall, Young 1993): what the first j of the best neurons reach is not held against
    the one after them, as they may follow the label too.

    Args:
        states: (N, D).
        columns: (N, M) the labels.
        best: (M, K) for each label the neurons that are asked about, best first.

    Returns:
        (M, K, N) for each label and j: over all neurons but the first j of `best`.
    """
    (count, size), asked = states.shape, best.tolist()
    labels = torch.fft.rfft(standardized(columns).float().T.contiguous()).conj()
    own = torch.zeros(*best.shape, count)
    others = torch.zeros(len(best), count)
    each = max(1, _COLUMNS // max(count, 1))
    for begin in range(0, size, each):
        part = standardized(states[:, begin : begin + each]).float().T.contiguous()
        turned = torch.fft.rfft(part)
        for m, label in enumerate(labels):
            r = torch.fft.irfft(turned * label, count).abs_()
            for j, index in enumerate(asked[m]):
                if begin <= index < begin + each:
                    own[m, j] = r[index - begin]
                    r[index - begin] = 0.0
            torch.maximum(others[m], r.amax(0), out=others[m])
    every = torch.cat([own, others[:, None]], 1).flip(1).cummax(1).values.flip(1)
    return every[:, :-1] / count


def rank_neurons(states: Tensor, labels: Sequence[Label], *, top: int = 3) -> list[Neuron]:
    """The neurons of a layer that follow each label best, named only where it is no luck.

    The test is over the whole layer: a neuron's |r| is held against the largest of any neuron
    under turned labels, and 5 % are shared among all labels, so that in states that know
    nothing a layer has a named neuron at most once in 20.

    Args:
        states: (N, D).
        labels: over the same positions.
        top: neurons for each label.

    Returns:
        Label after label, |r| falling.
    """
    if not labels:
        return []
    named = [
        (_column_name(label, i), column)
        for label in labels
        for i, column in _distinct_columns(label)
    ]
    columns = torch.stack([column for _, column in named], 1)
    r = (standardized(columns).T @ standardized(states)) / len(states)
    order = r.abs().argsort(dim=1, descending=True, stable=True)[:, :top]
    chance = chance_of(states, columns, order)
    found = []
    for m, (name, _) in enumerate(named):
        for j, index in enumerate(order[m].tolist()):
            value = float(r[m, index])
            # Half a thousandth: what single precision may lose against the exact r at shift 0.
            p = float((chance[m, j] >= abs(value) * (1 - 5e-4)).double().mean())
            p = max(p, states.shape[1] * _luck(value, states[:, index], columns[:, m]))
            is_named = p <= 0.05 / len(named) and abs(value) >= LEAST_CORRELATION
            found.append(Neuron(index, name, value, min(1.0, max(p, 1 / len(states))), is_named))
    return found


def _luck(r: float, x: Tensor, y: Tensor) -> float:
    """The chance of so large a correlation between two series that have nothing in common.

    2 (1 - Phi(|artanh r| sqrt(n - 3))), with n = N / (1 + 2 sum_k rho_x(k) rho_y(k)) the number of
    independent pairs that N neighbours are worth (Bartlett 1946). Turned labels alone are too
    kind to states that drift through the whole text: there the turn makes a seam.
    """
    count = len(x)
    size = 1 << (2 * count - 1).bit_length()
    spectra = torch.fft.rfft(standardized(torch.stack([x, y], 1)), size, dim=0)
    rho = torch.fft.irfft(spectra.abs().square(), size, dim=0)[1 : count // 2] / count
    worth = count / max(1.0, 1.0 + 2.0 * float(rho.prod(1).sum()))
    z = math.atanh(min(abs(r), 1.0 - 1e-9)) * math.sqrt(max(0.0, worth - 3.0))
    return math.erfc(z / math.sqrt(2.0))


def _distinct_columns(label: Label) -> list[tuple[int, Tensor]]:
    """Of two classes one column says all."""
    columns = label.columns()
    if len(label.classes) == 2:
        return [(1, columns[:, 1])]
    return list(enumerate(columns.unbind(1)))


def _column_name(label: Label, i: int) -> str:
    if not label.classes or label.classes == ("no", "yes"):
        return label.name
    return f"{label.name} = {label.classes[i]}"


# ---- linear probes ------------------------------------------------------------------------------


def linear_probes(
    states: Tensor, labels: Sequence[Label], symbols: Tensor, *, seed: int = 0
) -> list[Probe]:
    """Can a label be read from the whole layer by one linear map, better than by chance?

    Ridge regression, w = (X^T X + a I)^-1 X^T y, onto a quantity or onto one column of 0 and 1
    per class; a position gets the class whose mean prediction in training is nearest. States
    are standardized, and a = D, the best ridge where half of the variance is noise. Three
    stretches out of ten are held out. All labels, the turned ones and those of the control task
    are columns of one system. Labels that are too rare for this are left out.

    Args:
        states: (N, D).
        labels: over the same positions.
        symbols: (N,) ids of the symbols read, for the control task.
        seed: of the control task and of the shifts.
    """
    is_test = _is_held_out(len(states))
    labels = [label for label in labels if _is_found_on_both_sides(label, is_test)]
    if not labels:
        return []
    draw = torch.Generator().manual_seed(seed)
    count = len(states)
    shifts = [
        int(count * (0.15 + 0.7 * float(u)))
        for u in torch.rand(_SHIFTS, generator=draw, dtype=torch.float64)
    ]
    tasks = []
    for label in labels:
        turned = [Label(label.name, label.values.roll(k), label.classes) for k in shifts]
        control = Label(label.name, _drawn_by_symbol(label.values, symbols, draw), label.classes)
        tasks.append([label, control, *turned])
    scores = iter(_held_out_scores(states, [task for group in tasks for task in group]))
    found = []
    for label in labels:
        own, by_heart, *by_luck = (next(scores) for _ in range(2 + _SHIFTS))
        measure = "balanced accuracy" if label.classes else "R²"
        chance = sum(by_luck) / len(by_luck)
        alone = _by_symbol(label, symbols, is_test)
        count = int(is_test.sum())
        found.append(Probe(label.name, measure, own, chance, alone, by_heart, count))
    return found


def _is_found_on_both_sides(label: Label, is_test: Tensor) -> bool:
    """Whether there is enough to fit a probe to, and enough to hold it against."""
    for part in (label.values[~is_test], label.values[is_test]):
        if label.classes:
            counts = torch.bincount(part.long(), minlength=len(label.classes))
            if int((counts >= _LEAST_OF_A_CLASS).sum()) < 2:
                return False
        elif not len(part) or bool((part == part[0]).all()):
            return False
    return True


def _by_symbol(label: Label, symbols: Tensor, is_test: Tensor) -> float:
    """The score of the mean label of each symbol in training; of a new one, that of all."""
    which = torch.unique(symbols, return_inverse=True)[1]
    y = label.columns()
    own, kind = y[~is_test], which[~is_test]
    sums = torch.zeros(int(which.max()) + 1, y.shape[1], dtype=y.dtype).index_add_(0, kind, own)
    counts = torch.bincount(kind, minlength=len(sums))[:, None]
    means = torch.where(counts > 0, sums / counts.clamp(min=1), own.mean(0))
    measure = _balanced_accuracy if label.classes else _explained
    return measure(label, means[kind], means[which[is_test]], is_test)


def _is_held_out(count: int) -> Tensor:
    block = torch.arange(count) * 10 // max(count, 1)
    return torch.isin(block, torch.tensor(_TEST_BLOCKS))


def _drawn_by_symbol(values: Tensor, symbols: Tensor, draw: torch.Generator) -> Tensor:
    """Every symbol has one label for all its places, drawn as often as labels occur."""
    which = torch.unique(symbols, return_inverse=True)[1]
    places = torch.randint(len(values), (int(which.max()) + 1,), generator=draw)
    return values[places][which]


def _held_out_scores(states: Tensor, tasks: Sequence[Label]) -> list[float]:
    x = standardized(states)
    is_test = _is_held_out(len(x))
    columns = [task.columns() for task in tasks]
    y = torch.cat(columns, 1)
    train, test = x[~is_test], x[is_test]
    middle = y[~is_test].mean(0)
    gram = train.T @ train
    gram.diagonal().add_(float(max(x.shape[1], 1)))
    weights = torch.linalg.solve(gram, train.T @ (y[~is_test] - middle))
    sizes = [c.shape[1] for c in columns]
    fitted = (train @ weights + middle).split(sizes, 1)
    called = (test @ weights + middle).split(sizes, 1)
    measure: list[Callable[[Label, Tensor, Tensor, Tensor], float]] = [
        _balanced_accuracy if task.classes else _explained for task in tasks
    ]
    return [
        f(task, a, b, is_test) for f, task, a, b in zip(measure, tasks, fitted, called, strict=True)
    ]


def _explained(task: Label, fitted: Tensor, called: Tensor, is_test: Tensor) -> float:
    """R² = 1 - sum (y - y^)² / sum (y - mean)², of the held-out positions."""
    truth = task.values[is_test].double()
    spread = float((truth - truth.mean()).square().sum())
    if spread == 0.0:
        return math.nan
    return 1.0 - float((truth - called[:, 0]).square().sum()) / spread


def _balanced_accuracy(task: Label, fitted: Tensor, called: Tensor, is_test: Tensor) -> float:
    own, truth = task.values[~is_test].long(), task.values[is_test].long()
    known, there = sorted(set(own.tolist())), sorted(set(truth.tolist()))
    centres = torch.stack([fitted[own == c].mean(0) for c in known])
    guess = torch.tensor(known)[torch.cdist(called, centres).argmin(1)]
    return sum(float((guess[truth == c] == c).double().mean()) for c in there) / len(there)
