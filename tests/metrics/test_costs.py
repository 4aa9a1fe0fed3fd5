"""What models cost, against counts by hand."""

import pytest
import torch

import seriatim as st
from seriatim.metrics.cost import (
    CountsOperations,
    generation_speed,
    num_bytes,
    operations_per_symbol,
    state_sizes,
)
from seriatim.models import ModelConfig
from seriatim.models.build import build_model

V, D, E = 50, 16, 12


def built(config: ModelConfig) -> st.SequenceModel:
    torch.manual_seed(0)
    return build_model(config, V, 1).eval()


@pytest.mark.parametrize(
    ("config", "gates"),
    [
        (st.RNN(hidden_size=D, embedding_size=E), 1),
        (st.LSTM(hidden_size=D, embedding_size=E), 4),
        (st.GRU(hidden_size=D, embedding_size=E), 3),
        (st.LSTM(hidden_size=D, embedding_size=E, layer_norm=True), 4),
    ],
    ids=["rnn", "lstm fused", "gru", "lstm by steps"],
)
def test_a_recurrent_layer_takes_two_operations_for_each_weight_of_its_matrices(
    config: ModelConfig, gates: int
) -> None:
    by_hand = 2 * (gates * D * (E + D) + V * D)
    assert operations_per_symbol(built(config)) == by_hand


def test_attention_costs_more_the_longer_the_sequence() -> None:
    """2 d for each pair of positions and product, of which there are two, in each layer."""
    config = st.Transformer(model_size=D, num_layers=2, num_heads=2, context=64)
    model = built(config)
    short, long = (operations_per_symbol(model, length) for length in (16, 64))
    assert long - short == pytest.approx(2 * 2 * 2 * D * (64 - 16), rel=0.5)
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    assert 2 * weights < short < 2 * weights + 2 * 2 * 2 * D * 16 + 1


def test_a_counted_model_declares_its_operations() -> None:
    few, many = (operations_per_symbol(built(st.Markov(order=n))) for n in (2, 6))
    assert isinstance(built(st.Markov()), CountsOperations)
    assert 0 < few < many < 1000


def test_bytes_are_those_of_the_weights_with_tied_ones_once() -> None:
    free, tied = (
        built(st.LSTM(hidden_size=D, tie_embeddings=is_tied)) for is_tied in (False, True)
    )
    assert num_bytes(free) == 4 * sum(p.numel() for p in free.parameters())
    assert num_bytes(free) - num_bytes(tied) == 4 * V * D


def test_the_state_grows_with_the_sequence_up_to_the_context_or_not_at_all() -> None:
    lstm = dict(state_sizes(built(st.LSTM(hidden_size=D))))
    assert set(lstm.values()) == {4 * 2 * D}
    transformer = dict(
        state_sizes(built(st.Transformer(model_size=D, num_layers=2, num_heads=2, context=32)))
    )
    assert transformer[1] < transformer[8] < transformer[32] <= transformer[128] == transformer[512]


def test_generating_ends_by_itself_and_leaves_the_model_as_it_was() -> None:
    model = built(st.GRU(hidden_size=D))
    before = model.fingerprint()
    assert generation_speed(model, seconds=5.0, most=5) > 0
    assert model.fingerprint() == before
