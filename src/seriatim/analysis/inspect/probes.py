"""What single neurons and whole layers encode of the text: correlations and linear probes.

A *label* is a fact about every position: how far it is from the last line end, whether it is
inside quotes, or whatever the user gives. A neuron is ranked by its correlation with a label
(Karpathy, Johnson, Fei-Fei 2015 found such cells by eye); a layer by how well a linear probe
reads the label from it on positions that the probe was not fitted to.

Neighbouring positions are similar, in labels and in states, so a large correlation may be chance.
Chance is therefore measured with circularly shifted labels, label_{(t + k) mod N} for a shift k:
they keep their autocorrelation and lose their alignment. A second test counts how many
independent pairs the neighbours are worth; a neuron has to pass both. (In a text that repeats
itself shifted labels align again, so there nothing can be distinguished from chance.)

Knows states and labels; no model and no trace.

Shapes: N positions, D neurons, M columns that a probe is fitted to, K best neurons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.analysis.inspect.labels import Label

LEAST_POSITIONS = 200  # with fewer, every label correlates with some neuron by chance
LEAST_CORRELATION = 0.3  # the least |r| of a named neuron
_TEST_BLOCKS = (2, 5, 8)  # of ten: whole blocks, so that neighbours are on the same side
_LEAST_OF_A_CLASS = 10  # positions of a class, in training and in test
_SHIFTS = 5  # shifted labels that measure a probe's chance
_COLUMNS = 1 << 22  # numbers of states that are transformed at once


@dataclass(frozen=True)
class Neuron:
    """One neuron and what it correlates with.

    Attributes:
        index: the index of the neuron in its layer.
        label: the name of the label, with the class where there are several.
        correlation: Pearson's r over all positions; for a class, the point-biserial one.
        p_value: the p-value for the whole layer: the larger of the fraction of shifts at which any
            neuron reaches |r|, and that of two unrelated series (see `_independence_p_value`).
        is_named: whether r is significant at 5 % over all labels of the layer, and not small.
    """

    index: int
    label: str
    correlation: float
    p_value: float
    is_named: bool


@dataclass(frozen=True)
class Probe:
    """A linear probe of a layer for one label, scored on positions it was not fitted to.

    Attributes:
        label: the name of the label.
        measure: "R²" for quantities; for classes "balanced accuracy", the mean recall.
        score: the measure on the held-out positions.
        chance: the mean score for shifted labels.
        by_symbol: the score of the symbol's mean label in training, without the layer. The layer
            encodes the context as far as its score is higher.
        control: the score of a control task, in which every symbol has a fixed random label
            (Hewitt, Liang 2019): how well the probe memorizes symbols.
        positions: the number of held-out positions.
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
        """score - control: what the layer contributes, not the probe."""
        return self.score - self.control


# ---- correlations -------------------------------------------------------------------------------


def standardized(x: Tensor) -> Tensor:
    """x (N, ...) with mean 0 and variance 1 over the positions; 0 where it is constant.

    In float64, since the sums below run over many positions.
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
    """The largest |r| of any neuron with labels shifted by k, for every k = 0 .. N-1.

    r_d(k) is the circular cross-correlation of both, so the FFT gives all shifts at once. This is
    a step-down test (Westfall, Young 1993): the j best neurons are left out when the next one is
    tested, as they may follow the label too.

    Args:
        states: (N, D) states.
        columns: (N, M) labels.
        best: (M, K) the neurons tested for each label, best first.

    Returns:
        (M, K, N) for each label and j, the maximum over all neurons but the first j of `best`.
    """
    (count, size), tested = states.shape, best.tolist()
    labels = torch.fft.rfft(standardized(columns).float().T.contiguous()).conj()
    own = torch.zeros(*best.shape, count)
    others = torch.zeros(len(best), count)
    each = max(1, _COLUMNS // max(count, 1))
    for begin in range(0, size, each):
        part = standardized(states[:, begin : begin + each]).float().T.contiguous()
        spectrum = torch.fft.rfft(part)
        for m, label in enumerate(labels):
            r = torch.fft.irfft(spectrum * label, count).abs_()
            for j, index in enumerate(tested[m]):
                if begin <= index < begin + each:
                    own[m, j] = r[index - begin]
                    r[index - begin] = 0.0
            torch.maximum(others[m], r.amax(0), out=others[m])
    maxima = torch.cat([own, others[:, None]], 1).flip(1).cummax(1).values.flip(1)
    return maxima[:, :-1] / count


def rank_neurons(states: Tensor, labels: Sequence[Label], *, top: int = 3) -> list[Neuron]:
    """The neurons of a layer that follow each label best, named only where that is significant.

    The test covers the whole layer: a neuron's |r| is compared with the largest of any neuron
    under shifted labels, and the level of 5 % is divided among all labels. So a layer of unrelated
    states has a named neuron at most once in 20.

    Args:
        states: (N, D) states.
        labels: the labels of the same positions.
        top: the number of neurons for each label.

    Returns:
        The neurons of one label after another, by decreasing |r|.
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
    neurons = []
    for m, (name, _) in enumerate(named):
        for j, index in enumerate(order[m].tolist()):
            value = float(r[m, index])
            # The factor covers what single precision may lose against the exact r at shift 0.
            p = float((chance[m, j] >= abs(value) * (1 - 5e-4)).double().mean())
            alone = _independence_p_value(value, states[:, index], columns[:, m])
            p = max(p, states.shape[1] * alone)
            is_named = p <= 0.05 / len(named) and abs(value) >= LEAST_CORRELATION
            neurons.append(Neuron(index, name, value, min(1.0, max(p, 1 / len(states))), is_named))
    return neurons


def _independence_p_value(r: float, x: Tensor, y: Tensor) -> float:
    """The probability of so large a correlation between two unrelated series.

    2 (1 - Phi(|artanh r| sqrt(n - 3))), with n = N / (1 + 2 sum_k rho_x(k) rho_y(k)) the number of
    independent pairs that N neighbours are worth (Bartlett 1946). Shifted labels alone are too
    lenient with states that drift through the whole text: there the shift makes a seam.
    """
    count = len(x)
    size = 1 << (2 * count - 1).bit_length()
    spectra = torch.fft.rfft(standardized(torch.stack([x, y], 1)), size, dim=0)
    rho = torch.fft.irfft(spectra.abs().square(), size, dim=0)[1 : count // 2] / count
    pairs = count / max(1.0, 1.0 + 2.0 * float(rho.prod(1).sum()))
    z = math.atanh(min(abs(r), 1.0 - 1e-9)) * math.sqrt(max(0.0, pairs - 3.0))
    return math.erfc(z / math.sqrt(2.0))


def _distinct_columns(label: Label) -> list[tuple[int, Tensor]]:
    """The columns of a label; of two classes, one column is enough."""
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
    """How well a linear map reads each label from the whole layer, beside chance.

    Ridge regression, w = (X^T X + a I)^-1 X^T y, onto a quantity or onto one column of 0 and 1
    per class; a position gets the class whose mean prediction in training is nearest. States
    are standardized, and a = D, the best ridge where half of the variance is noise. Three
    blocks out of ten are held out. All labels, the shifted ones and those of the control task
    are columns of one linear system. Labels that are too rare are left out.

    Args:
        states: (N, D) states.
        labels: the labels of the same positions.
        symbols: (N,) ids of the symbols read, for the control task.
        seed: the seed of the control task and of the shifts.
    """
    is_test = _is_held_out(len(states))
    labels = [label for label in labels if _is_testable(label, is_test)]
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
        shifted = [Label(label.name, label.values.roll(k), label.classes) for k in shifts]
        control = Label(label.name, _drawn_by_symbol(label.values, symbols, draw), label.classes)
        tasks.append([label, control, *shifted])
    scores = iter(_held_out_scores(states, [task for group in tasks for task in group]))
    probes = []
    for label in labels:
        score, control_score, *shifted_scores = (next(scores) for _ in range(2 + _SHIFTS))
        probes.append(
            Probe(
                label=label.name,
                measure="balanced accuracy" if label.classes else "R²",
                score=score,
                chance=sum(shifted_scores) / len(shifted_scores),
                by_symbol=_by_symbol(label, symbols, is_test),
                control=control_score,
                positions=int(is_test.sum()),
            )
        )
    return probes


def _is_testable(label: Label, is_test: Tensor) -> bool:
    """Whether the label varies enough in training and in test to fit a probe and to score it."""
    for part in (label.values[~is_test], label.values[is_test]):
        if label.classes:
            counts = torch.bincount(part.long(), minlength=len(label.classes))
            if int((counts >= _LEAST_OF_A_CLASS).sum()) < 2:
                return False
        elif not len(part) or bool((part == part[0]).all()):
            return False
    return True


def _by_symbol(label: Label, symbols: Tensor, is_test: Tensor) -> float:
    """The score of each symbol's mean label in training; for a new symbol, the overall mean."""
    which = torch.unique(symbols, return_inverse=True)[1]
    y = label.columns()
    train, ids = y[~is_test], which[~is_test]
    sums = torch.zeros(int(which.max()) + 1, y.shape[1], dtype=y.dtype).index_add_(0, ids, train)
    counts = torch.bincount(ids, minlength=len(sums))[:, None]
    means = torch.where(counts > 0, sums / counts.clamp(min=1), train.mean(0))
    measure = _balanced_accuracy if label.classes else _explained
    return measure(label, means[ids], means[which[is_test]], is_test)


def _is_held_out(count: int) -> Tensor:
    block = torch.arange(count) * 10 // max(count, 1)
    return torch.isin(block, torch.tensor(_TEST_BLOCKS))


def _drawn_by_symbol(values: Tensor, symbols: Tensor, draw: torch.Generator) -> Tensor:
    """One label for all positions of a symbol, drawn with the frequencies of the labels."""
    which = torch.unique(symbols, return_inverse=True)[1]
    positions = torch.randint(len(values), (int(which.max()) + 1,), generator=draw)
    return values[positions][which]


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
    predicted = (test @ weights + middle).split(sizes, 1)
    return [
        (_balanced_accuracy if task.classes else _explained)(task, a, b, is_test)
        for task, a, b in zip(tasks, fitted, predicted, strict=True)
    ]


def _explained(task: Label, fitted: Tensor, predicted: Tensor, is_test: Tensor) -> float:
    """R² = 1 - sum (y - y^)² / sum (y - mean)², of the held-out positions."""
    truth = task.values[is_test].double()
    spread = float((truth - truth.mean()).square().sum())
    if spread == 0.0:
        return math.nan
    return 1.0 - float((truth - predicted[:, 0]).square().sum()) / spread


def _balanced_accuracy(task: Label, fitted: Tensor, predicted: Tensor, is_test: Tensor) -> float:
    train, truth = task.values[~is_test].long(), task.values[is_test].long()
    known, present = sorted(set(train.tolist())), sorted(set(truth.tolist()))
    centres = torch.stack([fitted[train == c].mean(0) for c in known])
    guess = torch.tensor(known)[torch.cdist(predicted, centres).argmin(1)]
    return sum(float((guess[truth == c] == c).double().mean()) for c in present) / len(present)
