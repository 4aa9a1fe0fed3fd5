"""Weight averaging: its equation, evaluation and checkpoints, and what it does not change."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seriatim.data.batches.corpus import CorpusPass, StreamChunks
from seriatim.errors import ConfigError
from seriatim.train.averaging import Average
from seriatim.train.distributed import ALONE
from seriatim.train.estimate import estimate
from seriatim.train.evaluation import mean_nats
from seriatim.train.loop import fit
from seriatim.train.options import TrainingOptions, configure_training
from seriatim.train.parallel import Alone
from seriatim.train.trainer import Trainer
from tests.train.test_train import Recurrent, stream, weights


class Point(nn.Module):
    """One trained vector, tied to a second name, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.tied = self.w
        self.frozen = nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)


def small(**more: Any) -> TrainingOptions:
    options = {"steps": 12, "batch_size": 4, "length": 10, "carry": True, "seed": 3}
    return TrainingOptions(**{**options, **more})


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
def test_the_average_is_the_weighted_mean_of_all_weights_so_far(decay: float) -> None:
    torch.manual_seed(0)
    point = Point()
    average = Average(point, decay, Alone(ALONE))
    seen: list[Tensor] = []
    for step in range(1, 41):
        with torch.no_grad():
            point.w.copy_(torch.randn(3, dtype=torch.float64))
        seen.append(point.w.detach().clone())
        average.take(step)
        shares = torch.tensor([decay ** (step - i) for i in range(1, step + 1)]).double()
        expected = (shares[:, None] * torch.stack(seen)).sum(0) / shares.sum()
        torch.testing.assert_close(average.tensors["w"], expected, rtol=0, atol=1e-6)
    assert average.tensors.keys() == {"w"}  # once where tied, and nothing that is never trained


def test_the_model_has_the_average_inside_the_context_and_its_own_bits_afterwards() -> None:
    point = Point()
    average = Average(point, 0.5, Alone(ALONE))
    for step, value in ((1, 0.1), (2, 0.7)):
        nn.init.constant_(point.w, value)
        average.take(step)
    own = point.w.detach().clone()
    with average.in_place():
        torch.testing.assert_close(point.tied, torch.full((3,), 0.5, dtype=torch.float64))
    assert torch.equal(point.w, own)
    with pytest.raises(RuntimeError), average.in_place():
        raise RuntimeError
    assert torch.equal(point.w, own)


def test_training_is_the_same_with_and_without_an_average() -> None:
    plain, averaged = Recurrent(dropout=0.3), Recurrent(dropout=0.3)
    source = StreamChunks(stream(), 1, batch_size=4, length=10)
    for model, options in ((plain, small()), (averaged, small(average=0.9))):
        torch.manual_seed(1)
        trainer = Trainer(model.train(), source, options, 12)
        for step in range(12):
            with trainer.judged():  # looking in between changes nothing
                pass
            trainer.update()
            assert trainer.step == step + 1
    assert torch.equal(weights(plain), weights(averaged))


def test_a_run_evaluates_the_average_and_ends_with_it() -> None:
    model = Recurrent()
    valid = CorpusPass(stream(), 1, batch_size=4, length=10)
    history = fit(model, stream(), stream(), small(average=0.8, evaluate_every=12))
    # The same run by hand: what it ends with is the average, and so is what was judged.
    again = Recurrent()
    source = StreamChunks(stream(), 1, batch_size=4, length=10)
    trainer = Trainer(again.train(), source, small(average=0.8), 12)
    for _ in range(12):
        trainer.update()
    raw = weights(again).clone()
    with trainer.judged():
        assert torch.equal(weights(again), weights(model))
        assert not torch.equal(weights(again), raw)
        expected = mean_nats(again, valid)
    assert history.best_step == 12
    assert history.best_valid_nats == pytest.approx(expected, abs=1e-12)


def test_the_memory_of_an_average_is_estimated() -> None:
    source = StreamChunks(stream(), 1, batch_size=4, length=10)
    sizes = [
        estimate(Trainer(Recurrent(), source, options, 12), 12).weight_bytes
        for options in (small(), small(average=0.9))
    ]
    assert sizes[1] * 3 == sizes[0] * 4


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match="average"):
        configure_training({"average": decay})
