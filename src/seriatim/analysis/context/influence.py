"""The influence of each past position on a prediction, and how gradients fade through time.

By gradient, where everything a model keeps is numbers that carry one:

    influence(d) = mean over targets of | d ln p(x_{t+1}) / d e_{t-d+1} |,    d = 1, 2, ..

where e are the embeddings of the inputs, and d = 1 is the last of them. By replacement elsewhere
(counts, windows of symbols, mixtures with them): the mean |change of ln p(x_{t+1})| when the
element at distance d is replaced by one from elsewhere in the text.

The decay of gradients: | d ln p(x_{t+1}) / d s_{t-d} |, where s is the state of each layer after
element t - d, stepped d elements further. Where it vanishes, training cannot reach further back
(Hochreiter 1991; Bengio, Simard, Frasconi 1994).

Knows a model and arrays of symbols; no family. Whether a model can be differentiated is tried.

Shapes: R runs, L elements of a run, E features of an embedding, D the greatest distance.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seriatim.analysis.context.restarts import Elements, FractionDone, Ints, score_runs, spread
from seriatim.analysis.context.result import GradientDecay, Influence
from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.model import Carry, SequenceModel
from seriatim.metrics.bootstrap import Floats

_RUNS = 256  # targets, or replaced elements, that are sampled
_REPLACED = 128  # greatest distance by replacement
_BEFORE = 128  # elements that are seen before one is replaced, and before gradients are traced
_DECAY = 128  # greatest distance of the decay
_DECAY_RUNS = 32
_POSITIONS = 16_384  # of a batch with gradients


def measure_influence(
    model: SequenceModel,
    data: Elements,
    longest: int,
    *,
    seed: int = 0,
    progress: FractionDone | None = None,
) -> Influence:
    """The influence of the elements 1 .. `longest` back: by gradient where there is one.

    Args:
        model: any model of symbols.
        data: the text.
        longest: the greatest distance; by replacement at most 128.
        seed: the seed of the positions.
        progress: a callback that receives the fraction of the work that is done.
    """
    longest = min(longest, int(np.diff(data.bounds).max()))
    mean = _by_gradient(model, data, longest, seed, progress)
    if mean is not None:
        return Influence(mean, "gradient")
    mean = _by_replacement(model, data, min(longest, _REPLACED), seed, progress)
    return Influence(mean, "replacement")


# ---- by gradient --------------------------------------------------------------------------------


def _by_gradient(
    model: SequenceModel, data: Elements, longest: int, seed: int, progress: FractionDone | None
) -> Floats | None:
    if not _has_differentiable_state(model):
        return None
    positions = spread(np.arange(len(data)), _RUNS, seed)
    begins = np.maximum(data.begins[positions], positions - longest + 1)
    sizes = positions - begins + 1
    total = np.zeros(longest)
    count = max(1, _POSITIONS // longest)
    for i in range(0, len(positions), count):
        part = slice(i, i + count)
        norms = _gradient_norms(model, data, begins[part], sizes[part])
        if norms is None:
            return None
        k = np.arange(norms.shape[1])
        distance = sizes[part, None] - k
        valid = distance >= 1
        total += np.bincount(distance[valid] - 1, norms[valid], longest)
        if progress is not None:
            progress(min(1.0, (i + count) / len(positions)))
    return total / len(positions)


def _has_differentiable_state(model: SequenceModel) -> bool:
    """Whether all of a state is floating-point: symbols that are kept carry no gradient."""
    with torch.no_grad():
        leaves = tree.leaves(model.start(1).carry)
    return bool(leaves) and all(leaf.is_floating_point() for leaf in leaves)


def _gradient_norms(
    model: SequenceModel, data: Elements, begins: Ints, sizes: Ints
) -> Floats | None:
    """(R, L) | d ln p(last target of the run) / d e | of every element; None: no gradient."""
    k = np.arange(sizes.max())
    index = np.minimum(begins[:, None] + k, len(data) - 1)
    lengths = torch.from_numpy(sizes)
    last = torch.from_numpy(k == sizes[:, None] - 1).float()
    inputs, targets = torch.from_numpy(data.inputs[index]), torch.from_numpy(data.targets[index])
    batch = Batch(inputs, targets, lengths, last).to(model.device)
    with _differentiable(), _embeddings(model) as embedded:
        score = model.log_prob(batch).sum()
        if len(embedded) != 1 or embedded[0].shape[:2] != inputs.shape or embedded[0].ndim != 3:
            return None
        (gradient,) = torch.autograd.grad(score, embedded)
    return np.asarray(gradient.norm(dim=-1).double().cpu().numpy(), np.float64)


@contextmanager
def _differentiable() -> Iterator[None]:
    # cuDNN differentiates recurrent layers in training mode only.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.backends.cudnn.flags(enabled=False),
    ):
        yield


@contextmanager
def _embeddings(model: SequenceModel) -> Iterator[list[Tensor]]:
    """The outputs of every embedding layer that is called meanwhile, detached from its weights."""
    embedded: list[Tensor] = []

    def detach(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    layers = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    hooks = [m.register_forward_hook(detach) for m in layers]
    try:
        yield embedded
    finally:
        for hook in hooks:
            hook.remove()


# ---- by replacement -----------------------------------------------------------------------------


def _by_replacement(
    model: SequenceModel, data: Elements, longest: int, seed: int, progress: FractionDone | None
) -> Floats:
    """(D,) mean |change of ln p|. One replaced element gives a sample for every distance."""
    positions = spread(np.flatnonzero(data.depth >= 1), _RUNS, seed)
    if not len(positions):
        return np.zeros(longest)
    begins = np.maximum(data.begins[positions], positions - _BEFORE)
    ends = np.minimum(positions + longest, data.ends[positions])
    other = np.random.default_rng(seed).choice(data.inputs, (8, len(positions)))
    # The first of eight draws that is another element.
    chosen = other[np.argmax(other != data.inputs[positions], 0), np.arange(len(positions))]
    pieces = [np.arange(a, b) for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
    index = np.concatenate(pieces)
    sizes = ends - begins
    starts = np.cumsum(sizes) - sizes
    inputs, at = data.inputs[index], starts + positions - begins
    replaced = inputs.copy()
    replaced[at] = chosen
    both = np.concatenate([inputs, replaced])
    twice = np.concatenate([starts, starts + len(index)])
    nats = score_runs(
        model, both, np.tile(data.targets[index], 2), twice, np.tile(sizes, 2), progress=progress
    )
    change = np.abs(nats[len(index) :] - nats[: len(index)])
    distance = index - np.repeat(positions, sizes)  # 0 where the replaced element is the last
    valid = distance >= 0
    total = np.bincount(distance[valid], change[valid], longest)
    count = np.maximum(np.bincount(distance[valid], None, longest), 1)
    reached = np.array([(data.depth >= d).mean() for d in range(1, longest + 1)])
    return np.asarray(total / count * reached, np.float64)


# ---- through time -------------------------------------------------------------------------------


def measure_gradient_decay(
    model: SequenceModel,
    data: Elements,
    *,
    longest: int = _DECAY,
    seed: int = 0,
    progress: FractionDone | None = None,
) -> GradientDecay | None:
    """How the gradient of a prediction fades through the states of each layer.

    The layers are the elements of a state that is a tuple. Up to 128 elements are read before
    gradients are traced.

    Returns:
        None where states carry no gradient, or no sequence has two elements.
    """
    longest = min(longest, int(np.diff(data.bounds).max()) - 1)
    positions = np.flatnonzero((data.depth >= longest) & (longest > 0))
    if not len(positions):
        return None
    positions = spread(positions, _DECAY_RUNS, seed)
    with torch.no_grad():
        carry = model.empty(len(positions))
        before = min(_BEFORE, int(data.depth[positions].min()) - longest)
        x = torch.from_numpy(data.inputs[positions[:, None] - longest - np.arange(before, 0, -1)])
        if before:
            _, carry = model.advance(carry, x.to(model.device), None)
    steps = torch.from_numpy(data.inputs[positions[:, None] - np.arange(longest, -1, -1)])
    targets = torch.from_numpy(data.targets[positions])[:, None].to(model.device)
    with _differentiable():
        layers = _trace(model, carry, steps.to(model.device), targets, progress)
    return None if layers is None else GradientDecay(layers)


def _trace(
    model: SequenceModel,
    carry: Carry,
    steps: Tensor,
    targets: Tensor,
    progress: FractionDone | None,
) -> dict[int, Floats] | None:
    """For each layer (D,) mean norms, after stepping through (B, D + 1) elements."""
    handles: list[dict[int, list[Tensor]]] = []
    for i in range(steps.shape[1] - 1):
        _, carry = model.advance(carry, steps[:, i : i + 1], None)
        carry, by_layer = _with_handles(carry, is_first=i == 0)
        handles.append(by_layer)
        if progress is not None:
            progress((i + 1) / (steps.shape[1] - 1))
    if not any(handles[0].values()):
        return None
    features, _ = model.advance(carry, steps[:, -1:], None)
    score = model.emit(features).log_prob(targets).sum()
    tensors = [t for by_layer in handles for layer in by_layer.values() for t in layer]
    gradients = iter(torch.autograd.grad(score, tensors, allow_unused=True))
    norms: dict[int, list[float]] = {}
    for by_layer in handles:
        for layer, parts in by_layer.items():
            squares = [_squares(next(gradients)) for _ in parts]
            norms.setdefault(layer, []).append(float(sum(squares, torch.zeros(1)).sqrt().mean()))
    return {layer: np.array(values[::-1]) for layer, values in norms.items()}


def _with_handles(carry: Carry, *, is_first: bool) -> tuple[Carry, dict[int, list[Tensor]]]:
    """A carry that stays in the graph, and by layer the tensors to differentiate by.

    A node of a tree may make new leaves at every access, so they are collected as it is built.
    """
    by_layer: dict[int, list[Tensor]] = {}

    def hold(layer: int, t: Tensor) -> Tensor:
        if not t.is_floating_point():
            return t
        handle = t.detach().requires_grad_() if is_first else t.view_as(t)
        by_layer.setdefault(layer, []).append(handle)
        return handle

    if type(carry) not in (tuple, list):
        return tree.map_leaves(lambda t: hold(0, t), carry), by_layer
    layers = [tree.map_leaves(lambda t, i=i: hold(i, t), part) for i, part in enumerate(carry)]
    return type(carry)(layers), by_layer


def _squares(gradient: Tensor | None) -> Tensor:
    """(B,) the squared norm of every row; 0 where the tensor was not used."""
    if gradient is None:
        return torch.zeros(1)
    return gradient.flatten(1).double().square().sum(1).cpu()
