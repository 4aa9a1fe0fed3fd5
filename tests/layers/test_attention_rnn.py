"""A layer that attends to a source: its hand-written passes equal autograd on the equations."""

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.models import Seq2Seq
from seriatim.models.build import build_model
from seriatim.models.decoders import AdditiveDecoder

SIZE = 6
SOURCE = torch.tensor([[2, 3, 4, 5, 1], [3, 3, 1, 0, 0], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 3, 1])])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_whole_chunk_equals_single_steps_in_values_and_gradients(
    kind: str, lengths: Tensor | None, group: int
) -> None:
    torch.manual_seed(0)
    config = Seq2Seq(encoder="gru", decoder=kind, model_size=SIZE, decoder_layers=1)
    model = build_model(config, 7, 1).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    decoder = model.decoder
    assert isinstance(decoder, AdditiveDecoder)
    e = torch.randn(3 * group, 4, SIZE, dtype=torch.float64, requires_grad=True)
    found = []
    for fold in (decoder.fold_by_steps, decoder.fold_at_once):
        memory = tree.repeat(model.encode(Batch(SOURCE, SOURCE, lengths)), group)
        (bottom, _), bound = decoder.empty(3 * group, memory, None)
        contexts, states, _ = fold(bottom[0], bound, e)
        values = [contexts, *tree.leaves(states)]
        g = torch.Generator().manual_seed(1)
        loss = sum((t * torch.randn(t.shape, generator=g)).sum() for t in values)
        of = [e, *model.encoder.parameters(), *decoder.parameters()]
        gradients = torch.autograd.grad(loss, of, allow_unused=True)
        found.append([*values, *(d for d in gradients if d is not None)])
    assert len(found[0]) == len(found[1]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
