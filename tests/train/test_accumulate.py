"""Gradient accumulation: a batch in parts has the gradient of the whole, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.data.batches.corpus import BatchSource
from seriatim.train.options import TrainingOptions
from seriatim.train.parallel import split_batch
from seriatim.train.trainer import Trainer
from tests.train.two_processes import model, source


def updated(name: str, source: BatchSource, accumulate: int, steps: int = 4) -> dict[str, Any]:
    """The result of a few updates."""
    network = model(name, torch.float64)
    trainer = Trainer(network, source, TrainingOptions(accumulate=accumulate, clip=0.5), 50)
    norms = []
    for _ in range(steps):
        trainer.update()
        trainer.flush()
        norms.append(trainer.gradient_norm)
    return {
        "norms": torch.tensor(norms),
        "loss": torch.tensor(trainer.loss),
        "weights": {name: t.clone() for name, t in network.state_dict().items()},
        "carry": trainer.carry,
        "targets": trainer.num_targets,
    }


def assert_equal(a: Any, b: Any) -> None:
    """Two trees up to the rounding of float64."""
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        torch.testing.assert_close(x, y, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("accumulate", [2, 3, 7])
@pytest.mark.parametrize(
    ("name", "kind"), [("lstm", "lines"), ("lstm", "carried"), ("transformer", "windows")]
)
def test_a_batch_in_parts_trains_like_the_whole(name: str, kind: str, accumulate: int) -> None:
    whole = updated(name, source(kind, 7), 1)
    cut = updated(name, source(kind, 7), accumulate)
    assert_equal(cut, whole)
    assert cut["targets"] == whole["targets"]


def test_more_parts_than_rows_means_one_row_per_part() -> None:
    assert_equal(updated("gru", source("carried", 2), 64), updated("gru", source("carried", 2), 1))


def test_parts_hold_every_row_once_in_order_and_surplus_parts_have_weight_zero() -> None:
    batch = Batch(torch.arange(12).view(3, 4), torch.ones(3, 4), torch.tensor([4, 2, 3]))
    carry = {"h": torch.arange(3.0)[:, None]}
    result = split_batch(batch, carry, 5)
    assert len(result) == 5
    rows = [b.inputs for b, _ in result[:3]]
    assert torch.equal(torch.cat(rows), batch.inputs)
    assert torch.equal(torch.cat([c["h"] for _, c in result[:3]]), carry["h"])
    assert [b.num_targets() for b, _ in result] == [4.0, 2.0, 3.0, 0.0, 0.0]


def test_a_step_in_parts_saves_less_memory() -> None:
    def most_rows(accumulate: int) -> int:
        network = model("lstm", torch.float64)
        trainer = Trainer(network, source("lines", 8), TrainingOptions(accumulate=accumulate), 50)
        seen: list[int] = []

        def note(module: Any, args: tuple[Any, ...], output: tuple[Tensor, Any]) -> None:
            seen.append(output[0].shape[0])

        network.register_forward_hook(note)
        trainer.update()
        return max(seen)

    assert most_rows(4) == most_rows(1) // 4
