"""Optimizers: from a model's parameters to updates of its weights.

Knows parameters by their shape and by the module that owns them; knows no family, no data.
Weight decay applies to matrices only: parameters with two axes or more, except embeddings
(decay would shrink the rows of rare symbols, which rarely get a gradient). Biases, gains of
norms and tied output layers are not decayed.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from seriatim.core.column_major import is_column_major
from seriatim.errors import ConfigError
from seriatim.train.options import TrainingOptions


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes.

    Raises:
        ConfigError: if there is none.
    """
    parameters = [p for p in model.parameters() if p.requires_grad and p.numel()]
    if not parameters:
        raise ConfigError(
            f"{type(model).__name__} has no trainable parameters, so gradients cannot fit it: a "
            "model of counts is fitted in closed form, and frozen weights need requires_grad"
        )
    return parameters


def make_optimizer(model: nn.Module, options: TrainingOptions) -> Optimizer:
    """The optimizer that the options name, over the model's trainable parameters."""
    parameters = trainable(model)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in parameters if p.ndim >= 2 and id(p) not in embeddings]
    decayed = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in decayed]
    groups: list[dict[str, object]] = [
        {"params": matrices, "weight_decay": options.decay_rate},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if options.optimizer == "sgd":
        return SGD(groups, lr=options.peak_rate, momentum=options.momentum, foreach=True)
    # One kernel over all parameters where there is one; its results do not depend on threads.
    fused = parameters[0].device.type in ("cpu", "cuda")
    return AdamW(groups, lr=options.peak_rate, betas=options.betas, fused=fused)


def moments(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer for each parameter, as "parameter name/key".

    A column-major weight is kept as W^T (`column_major.transposed_weights`); what is returned has
    the shape of W.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{names[id(p)]}/{key}": value.t() if is_column_major(p) and value.ndim else value
        for group in optimizer.param_groups
        for p in group["params"]
        for key, value in optimizer.state.get(p, {}).items()
        if isinstance(value, Tensor)
    }


def set_moments(model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `moments`, on the parameters' devices."""
    names = {id(p): name for name, p in model.named_parameters()}
    by_name: dict[str, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        by_name.setdefault(name, {})[key] = value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {i: by_name[names[id(p)]] for i, p in enumerate(parameters) if names[id(p)] in by_name}
    for i, values in state.items():
        if is_column_major(parameters[i]):
            by_rows = {key: value.t().contiguous() for key, value in values.items() if value.ndim}
            values.update(by_rows)
    # torch's own loading puts each of them on its device.
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def clip_gradient(
    parameters: Sequence[Tensor], clip: float | None, whole: Callable[[Tensor], Tensor]
) -> Tensor:
    """The global norm of the gradient, (), before it is scaled down to at most `clip`.

    Pascanu, Mikolov, Bengio 2013, algorithm 1: g <- g * clip / |g| where |g| > clip.

    Args:
        parameters: the parameters, with their gradients.
        clip: the maximum norm; None: no clipping.
        whole: combines the norms of the processes of a sharded model into one.
    """
    norm = whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    # Reading a norm on the CPU costs nothing, and saves a pass over all gradients.
    is_short = clip is not None and norm.device.type == "cpu" and bool(norm <= clip)
    if clip is not None and not is_short:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    return norm
