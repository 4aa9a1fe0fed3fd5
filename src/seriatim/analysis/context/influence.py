"""The influence of each past position on a prediction, and how gradients fade through time.

By gradient, where everything a model keeps is numbers that carry one:

    influence(d) = mean over targets of | d ln p(x_{t+1}) / d e_{t-d+1} |,    d = 1, 2, ..

e being the embeddings of the inputs, and d = 1 the last of them. By replacement elsewhere (counts,
windows of symbols, mixtures with them): the mean |change of ln p(x_{t+1})| when the element at
distance d is replaced by one from elsewhere in the text.

The decay of gradients: | d ln p(x_{t+1}) / d s_{t-d} |, s being what each layer keeps after element
t - d, stepped d elements on. Where it falls to nothing, training cannot reach further back
(Hochreiter 1991; Bengio, Simard, Frasconi 1994).

Knows a model and arrays of symbols; no family. What can be differentiated is seen by trying.

Shapes: R runs, L elements of a run, E features of an embedding, D the greatest distance.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seriatim.analysis.context.restarts import Elements, Floats, Ints, Report, run
from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.model import Carry, SequenceModel

_RUNS = 256  # targets, or replaced elements, that are looked at
_REPLACED = 128  # greatest distance by replacement
_BEFORE = 128  # elements that are seen before one is replaced, and before gradients are followed
_DECAY = 128  # greatest distance of the decay
_DECAY_RUNS = 32
_PLACES = 16_384  # elements of a batch with gradients


@dataclass(frozen=True)
class Influence:
    """What each past position means to a prediction.

    Attributes:
        mean: (D,) influence of distance 1, 2, .., nats (per unit of an embedding, by gradient).
        how: by which of the two it was measured.
    """

    mean: Floats
    how: Literal["gradient", "replacement"]

    @property
    def share(self) -> Floats:
        """(D,) of all influence; zeros where nothing has any."""
        total = self.mean.sum()
        return np.asarray(self.mean / total if total > 0 else self.mean, np.float64)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        distance = list(range(1, len(self.mean) + 1))
        return {"distance": distance, "share": self.share.tolist(), "how": self.how}


@dataclass(frozen=True)
class Decay:
    """How the gradient of a prediction fades on its way back.

    Attributes:
        layers: by the number of a layer, (D,) the mean norm of d ln p / d s_{t-d}, d = 1 .. D.
    """

    layers: Mapping[int, Floats]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "distance": list(range(1, 1 + max(map(len, self.layers.values())))),
            "layers": {str(i): norms.tolist() for i, norms in self.layers.items()},
        }


def influence(
    model: SequenceModel,
    data: Elements,
    longest: int,
    *,
    seed: int = 0,
    progress: Report | None = None,
) -> Influence:
    """The influence of the elements 1 .. `longest` back: by gradient if it can be had.

    Args:
        model: any model of symbols.
        data: the text.
        longest: greatest distance; by replacement at most 128.
        seed: of the places.
        progress: told which share of the work is done.
    """
    longest = min(longest, int(np.diff(data.bounds).max()))
    found = _by_gradient(model, data, longest, seed, progress)
    if found is not None:
        return Influence(found, "gradient")
    found = _by_replacement(model, data, min(longest, _REPLACED), seed, progress)
    return Influence(found, "replacement")


# ---- by gradient --------------------------------------------------------------------------------


def _by_gradient(
    model: SequenceModel, data: Elements, longest: int, seed: int, progress: Report | None
) -> Floats | None:
    if not _keeps_only_numbers(model):
        return None
    places = _spread(np.arange(len(data)), _RUNS, seed)
    begins = np.maximum(data.begins[places], places - longest + 1)
    sizes = places - begins + 1
    total = np.zeros(longest)
    count = max(1, _PLACES // longest)
    for i in range(0, len(places), count):
        part = slice(i, i + count)
        norms = _gradient_norms(model, data, begins[part], sizes[part])
        if norms is None:
            return None
        k = np.arange(norms.shape[1])
        distance = sizes[part, None] - k
        valid = distance >= 1
        total += np.bincount(distance[valid] - 1, norms[valid], longest)
        if progress is not None:
            progress(min(1.0, (i + count) / len(places)))
    return total / len(places)


def _keeps_only_numbers(model: SequenceModel) -> bool:
    """Whether all of a state is floating-point: symbols kept as they are carry no gradient."""
    with torch.no_grad():
        kept = tree.leaves(model.start(1).carry)
    return bool(kept) and all(leaf.is_floating_point() for leaf in kept)


def _gradient_norms(
    model: SequenceModel, data: Elements, begins: Ints, sizes: Ints
) -> Floats | None:
    """(R, L) | d ln p(last target of the run) / d e | of every element; None: not to be had."""
    k = np.arange(sizes.max())
    place = np.minimum(begins[:, None] + k, len(data) - 1)
    lengths = torch.from_numpy(sizes)
    last = torch.from_numpy(k == sizes[:, None] - 1).float()
    inputs, targets = torch.from_numpy(data.inputs[place]), torch.from_numpy(data.targets[place])
    batch = Batch(inputs, targets, lengths, last).to(model.device)
    with _differentiable(), _embedded(model) as caught:
        score = model.log_prob(batch).sum()
        if len(caught) != 1 or caught[0].shape[:2] != inputs.shape or caught[0].ndim != 3:
            return None
        (gradient,) = torch.autograd.grad(score, caught)
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
def _embedded(model: SequenceModel) -> Iterator[list[Tensor]]:
    """Every embedding that is looked up meanwhile, each cut from its weights."""
    caught: list[Tensor] = []

    def catch(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        caught.append(output.detach().requires_grad_())
        return caught[-1]

    embeddings = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    hooks = [m.register_forward_hook(catch) for m in embeddings]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()


# ---- by replacement -----------------------------------------------------------------------------


def _by_replacement(
    model: SequenceModel, data: Elements, longest: int, seed: int, progress: Report | None
) -> Floats:
    """(D,) mean |change of ln p|. One replaced element gives a sample for every distance."""
    places = _spread(np.flatnonzero(data.depth >= 1), _RUNS, seed)
    if not len(places):
        return np.zeros(longest)
    begins = np.maximum(data.begins[places], places - _BEFORE)
    ends = np.minimum(places + longest, data.ends[places])
    other = np.random.default_rng(seed).choice(data.inputs, (8, len(places)))
    # The first of eight draws that is another element.
    chosen = other[np.argmax(other != data.inputs[places], 0), np.arange(len(places))]
    pieces = [np.arange(a, b) for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
    index = np.concatenate(pieces)
    sizes = ends - begins
    starts = np.cumsum(sizes) - sizes
    inputs, at = data.inputs[index], starts + places - begins
    replaced = inputs.copy()
    replaced[at] = chosen
    both = np.concatenate([inputs, replaced])
    twice = np.concatenate([starts, starts + len(index)])
    nats = run(
        model, both, np.tile(data.targets[index], 2), twice, np.tile(sizes, 2), progress=progress
    )
    change = np.abs(nats[len(index) :] - nats[: len(index)])
    distance = index - np.repeat(places, sizes)  # 0 where the replaced element is the last
    valid = distance >= 0
    total = np.bincount(distance[valid], change[valid], longest)
    count = np.maximum(np.bincount(distance[valid], None, longest), 1)
    reached = np.array([(data.depth >= d).mean() for d in range(1, longest + 1)])
    return np.asarray(total / count * reached, np.float64)


def _spread(places: Ints, count: int, seed: int) -> Ints:
    """At most `count` of the places, one from each of so many parts."""
    if len(places) <= count:
        return places
    edges = np.linspace(0, len(places), count + 1)
    drawn = edges[:-1] + np.random.default_rng(seed).random(count) * np.diff(edges)
    return places[drawn.astype(np.int64)]


# ---- through time -------------------------------------------------------------------------------


def gradient_decay(
    model: SequenceModel,
    data: Elements,
    *,
    longest: int = _DECAY,
    seed: int = 0,
    progress: Report | None = None,
) -> Decay | None:
    """How the gradient of a prediction fades through what each layer keeps.

    Layers are what a state is a tuple of. Runs have 128 elements, or what the sequences give,
    before gradients are followed.

    Returns:
        None where what is kept carries no gradient, or no sequence has two elements.
    """
    longest = min(longest, int(np.diff(data.bounds).max()) - 1)
    places = np.flatnonzero((data.depth >= longest) & (longest > 0))
    if not len(places):
        return None
    places = _spread(places, _DECAY_RUNS, seed)
    with torch.no_grad():
        carry = model.empty(len(places))
        before = min(_BEFORE, int(data.depth[places].min()) - longest)
        x = torch.from_numpy(data.inputs[places[:, None] - longest - np.arange(before, 0, -1)])
        if before:
            _, carry = model.advance(carry, x.to(model.device), None)
    steps = torch.from_numpy(data.inputs[places[:, None] - np.arange(longest, -1, -1)])
    targets = torch.from_numpy(data.targets[places])[:, None].to(model.device)
    with _differentiable():
        found = _followed(model, carry, steps.to(model.device), targets, progress)
    return None if found is None else Decay(found)


def _followed(
    model: SequenceModel, carry: Carry, steps: Tensor, targets: Tensor, progress: Report | None
) -> dict[int, Floats] | None:
    """For each layer (D,) mean norms, after stepping through (B, D + 1) elements."""
    kept: list[dict[int, list[Tensor]]] = []
    for i in range(steps.shape[1] - 1):
        _, carry = model.advance(carry, steps[:, i : i + 1], None)
        carry, own = _with_handles(carry, is_first=i == 0)
        kept.append(own)
        if progress is not None:
            progress(i / steps.shape[1])
    if not any(kept[0].values()):
        return None
    features, _ = model.advance(carry, steps[:, -1:], None)
    score = model.emit(features).log_prob(targets).sum()
    handles = [t for own in kept for layer in own.values() for t in layer]
    found = iter(torch.autograd.grad(score, handles, allow_unused=True))
    norms: dict[int, list[float]] = {}
    for own in kept:
        for layer, tensors in own.items():
            squares = [_squares(next(found)) for _ in tensors]
            norms.setdefault(layer, []).append(float(sum(squares, torch.zeros(1)).sqrt().mean()))
    return {layer: np.array(values[::-1]) for layer, values in norms.items()}


def _with_handles(carry: Carry, *, is_first: bool) -> tuple[Carry, dict[int, list[Tensor]]]:
    """A carry that goes on in the graph, and by layer the tensors to differentiate by.

    A node of a tree may make its leaves anew whenever it is asked, so they are held as it is
    built.
    """
    own: dict[int, list[Tensor]] = {}

    def hold(layer: int, t: Tensor) -> Tensor:
        if not t.is_floating_point():
            return t
        handle = t.detach().requires_grad_() if is_first else t.view_as(t)
        own.setdefault(layer, []).append(handle)
        return handle

    if type(carry) not in (tuple, list):
        return tree.map_leaves(lambda t: hold(0, t), carry), own
    layers = [tree.map_leaves(lambda t, i=i: hold(i, t), part) for i, part in enumerate(carry)]
    return type(carry)(layers), own


def _squares(gradient: Tensor | None) -> Tensor:
    """(B,) the squared norm of every row; 0 where nothing was used."""
    if gradient is None:
        return torch.zeros(1)
    return gradient.flatten(1).double().square().sum(1).cpu()
