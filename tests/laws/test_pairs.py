"""Every encoder with every decoder obeys the twenty laws, bound to a source or with a memory."""

import pytest
import torch
from torch import nn

from seriatim.core.batch import Batch
from seriatim.laws.check import check_model
from seriatim.models import PAIR_FAMILIES, Seq2Seq
from seriatim.models.build import build_model
from seriatim.models.encoder_decoder import Seq2SeqModel

V, SOURCE_V, BOUNDARY = 4, 5, 1
KINDS = ["transformer", "rnn", "lstm", "gru"]
DECODERS = [
    ("transformer", None),
    *((kind, how) for kind in KINDS[1:] for how in ("additive", "multiplicative", "none")),
]
EXAMPLE = torch.tensor([[2, 0, 1, 3, 2, 2], [1, 3, 3, 0, 2, 1], [0, 0, 2, 1, 1, 3]])


def bound_source() -> Batch:
    """One source whose last two positions are padding."""
    x = torch.tensor([[2, 3, 0, 4, 1, 4, 2]])
    return Batch(x, x, torch.tensor([5]))


def build(encoder: str, decoder: str, attention: str | None, **options: object) -> Seq2SeqModel:
    torch.manual_seed(0)
    sizes = {"model_size": 4, "encoder_layers": 1, "decoder_layers": 2}
    heads = {"num_heads": 2} if "transformer" in (encoder, decoder) else {}
    config = Seq2Seq(
        encoder=encoder, decoder=decoder, attention=attention, **{**sizes, **heads, **options}
    )
    model = build_model(config, V, BOUNDARY, SOURCE_V)
    assert isinstance(model, Seq2SeqModel)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)  # large enough to expose a fault
    return model


@pytest.mark.slow
@pytest.mark.parametrize("encoder", KINDS)
@pytest.mark.parametrize(("decoder", "attention"), DECODERS)
def test_an_encoder_decoder_bound_to_a_source_obeys_the_laws(
    encoder: str, decoder: str, attention: str | None
) -> None:
    bound = build(encoder, decoder, attention).bind(bound_source())
    check_model(bound, example=EXAMPLE, seconds=0.2).raise_if_broken()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_decoder_with_a_memory_obeys_the_laws(kind: str) -> None:
    model = build(kind, kind, None)
    with torch.no_grad():
        memory = model.encode(bound_source())
    check_model(model, example=EXAMPLE, memory=memory, seconds=0.2).raise_if_broken()


@pytest.mark.slow
def test_the_classic_encoder_decoder_obeys_the_laws() -> None:
    config = Seq2Seq.classic(
        model_size=4, num_heads=2, feedforward_size=6, encoder_layers=2, decoder_layers=2
    )
    torch.manual_seed(0)
    model = build_model(config, SOURCE_V, BOUNDARY)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    check_model(model.bind(bound_source()), example=EXAMPLE, seconds=0.2).raise_if_broken()


def test_three_sources_obey_the_laws_row_by_row() -> None:
    model = build("transformer", "transformer", None)
    x = torch.tensor([[2, 3, 1, 0, 0], [4, 4, 2, 0, 1], [1, 0, 0, 0, 0]])
    three = model.bind(Batch(x, x, torch.tensor([3, 5, 1])))
    # Some laws start a single row, which needs a single source; these keep all three rows.
    report = check_model(three, example=EXAMPLE, laws={1, 2, 3, 6, 13, 15, 16}, seconds=0.2)
    report.raise_if_broken()


def test_encoder_decoders_have_a_mapping_of_their_own() -> None:
    assert set(PAIR_FAMILIES) == {"seq2seq"}
