"""The effective context against brute force, its other curves, its sentence, and bad input.

Models and data of known memory are in `oracles/test_memory.py`.
"""

import json

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.analysis.context.measure import (
    WINDOW,
    Past,
    _replaced_past,
    _shuffled_past,
    effective_context,
)
from seriatim.analysis.context.restarts import read_elements
from seriatim.analysis.context.result import ContextRecord
from seriatim.analysis.context.text import summary
from seriatim.core.batch import Batch
from seriatim.core.records import from_json
from seriatim.errors import ConfigError, DataError
from seriatim.models.build import build_model
from tests.laws.toys import ToyAttention
from tests.oracles.memories import BagOfSymbols, Chain, ExactChain, LaggedCopy, Text, lines, stream


def _brute(model: st.SequenceModel, text: Text, longest: int) -> np.ndarray:
    """(K,) mean bits when each target sees its last k elements: every one of them, one by one."""
    data = read_elements(model, text)
    bits = np.zeros(longest)
    for k in range(1, longest + 1):
        for t in range(len(data)):
            seen = slice(max(int(data.begins[t]), t - k + 1), t + 1)
            x = torch.from_numpy(data.inputs[seen])[None]
            y = torch.from_numpy(data.targets[seen])[None]
            bits[k - 1] -= float(model.log_prob(Batch(x, y))[0, -1])
    return bits / len(data) / np.log(2)


TEXTS = {
    "lines": lines([np.random.default_rng(n).choice([0, 2], n % 9) for n in range(40)]),
    "a stream": stream(np.random.default_rng(0).integers(0, 3, 130)),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    "model",
    [
        ToyAttention().double(),
        ExactChain(Chain.random(2)),
        build_model(st.GRU(hidden_size=6), 3, 1).double().eval(),
        build_model(st.Transformer(model_size=8, num_layers=2, num_heads=2, context=3), 3, 1)
        .double()
        .eval(),
    ],
    ids=["attention", "chain", "gru", "transformer"],
)
def test_every_context_has_the_bits_that_brute_force_finds(
    model: st.SequenceModel, text: str
) -> None:
    with torch.no_grad():
        expected = _brute(model, TEXTS[text], 12)
    result = effective_context(model, TEXTS[text], contexts=(1, 5, 12))
    np.testing.assert_allclose(result.curve.bits[1:], expected, atol=2e-6)


def test_with_a_context_as_long_as_the_sequence_everything_is_seen_boundary_included() -> None:
    model, text = BagOfSymbols(3, 1), TEXTS["lines"]
    result = effective_context(model, text, contexts=(4, 9, 20))
    assert result.curve.bits[9:] == pytest.approx(result.curve.full, rel=1e-6)
    assert result.curve.bits[4] != pytest.approx(result.curve.full, rel=1e-3)


def test_the_measured_reach_of_a_transformer_is_the_declared_one() -> None:
    torch.manual_seed(0)
    model = build_model(st.Transformer(model_size=8, num_layers=2, num_heads=2, context=4), 5, 1)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(20 if p.ndim == 2 else 1)  # fresh ones are so small that nothing reaches far
    text = stream(np.random.default_rng(0).integers(0, 5, 3000))
    result = effective_context(model.eval(), text, contexts=(1, 7, 30))
    assert result.reach == result.seen_reach == 2 * 3 + 1
    assert result.respects_reach


class Lying(LaggedCopy):
    @property
    def reach(self) -> int:
        return 2


def test_a_model_that_looks_further_than_it_declares_is_found_out() -> None:
    model = Lying(5)
    result = effective_context(model, stream(model.text(2000)), contexts=(1, 5, 10))
    assert not result.respects_reach
    assert "Its declared reach is 2, BUT symbols as far as 5 back" in summary(result)


def test_an_effective_context_beyond_the_contexts_is_not_invented() -> None:
    model = LaggedCopy(20)
    result = effective_context(model, stream(model.text(2000)), contexts=(1, 5, 10))
    assert result.effective is None
    assert result.seen_reach is None
    assert summary(result).startswith("The model looks more than 10 symbols back")


def test_categories_have_curves_of_their_own() -> None:
    """Symbols 0 and 2 are copied from five back, 1 and 3 come by chance."""
    rng = np.random.default_rng(0)
    x = np.zeros(6000, int)
    for t in range(len(x)):
        x[t] = x[t - 6] if t % 3 and t > 6 else rng.integers(0, 4) // 2 * 2
        x[t] = rng.choice([1, 3]) if t % 3 == 0 else x[t]
    model = LaggedCopy(6)
    categories = {"copied": [0, 2], "chance": [1, 3], "absent": []}
    result = effective_context(model, stream(x), contexts=(1, 6, 12), categories=categories)
    assert set(result.categories) == {"copied", "chance"}
    assert result.categories["copied"].effective == 6
    assert result.categories["copied"].targets + result.categories["chance"].targets == 6000


def test_a_model_that_the_far_past_misleads_predicts_better_with_less() -> None:
    """What is frequent changes every fifty symbols, and the bag never forgets."""
    rng = np.random.default_rng(0)
    text = np.concatenate([rng.choice(3, 50, p=np.roll([0.8, 0.1, 0.1], i)) for i in range(60)])
    result = effective_context(BagOfSymbols(3, 1), stream(text), contexts=(1, 20, 500))
    assert result.curve.bits[20] < 0.9 * result.curve.full
    assert "better when it sees only the last 20" in summary(result)


# ---- the far past disturbed ---------------------------------------------------------------------


def test_what_is_shuffled_or_replaced_matters_until_the_lag_is_among_the_true_elements() -> None:
    model = LaggedCopy(6)
    result = effective_context(
        model, stream(model.text(6000)), contexts=(1, 3, 5, 6, 9), shuffled=True, replaced=True
    )
    for curve in (result.shuffled, result.replaced):
        assert curve is not None
        assert curve.bits[6:] == pytest.approx(curve.full, abs=1e-6)
        assert (curve.bits[1:6] > 2).all(), "a wrong element is worse than none"
    assert result.disturbed_at == (1, 3, 5, 6, 9)


def test_a_model_that_knows_no_order_is_not_disturbed_by_shuffling_but_by_replacing() -> None:
    rng = np.random.default_rng(0)
    text = lines([rng.choice([0, 2], 60, p=[p, 1 - p]) for p in rng.random(60)])
    result = effective_context(
        BagOfSymbols(3, 1), text, contexts=(1, 4, 40), shuffled=True, replaced=True
    )
    assert result.shuffled is not None
    assert result.replaced is not None
    assert result.shuffled.bits[1:] == pytest.approx(result.shuffled.full, abs=1e-6)
    assert result.replaced.bits[1] > result.replaced.full + 0.05


@pytest.mark.parametrize("past", [_shuffled_past, _replaced_past])
def test_a_disturbed_past_keeps_its_boundary_its_length_and_begins_in_its_window(
    past: Past,
) -> None:
    rng = np.random.default_rng(0)
    data = read_elements(ToyAttention(), lines([rng.choice([0, 2], 700) for _ in range(4)]))
    for at in (20, 300, 1200):
        depth = int(data.depth[at])
        result = past(data, at, 50, np.random.default_rng(1))
        assert result is not None
        true = data.inputs[at - len(result) : at]
        assert len(result) == min(depth, WINDOW)
        assert (result != true).any()
        assert (result[0] == 1) == (depth <= WINDOW), "the boundary of its own sequence"
        assert (result[1:] != 1).all()


def test_a_text_of_one_window_has_no_other_to_replace_from() -> None:
    text = lines([np.zeros(100, int)])
    assert (
        effective_context(BagOfSymbols(3, 1), text, contexts=(1, 100), replaced=True).replaced
        is None
    )


# ---- as a whole ---------------------------------------------------------------------------------


def test_the_same_seed_measures_the_same() -> None:
    torch.manual_seed(0)
    model = build_model(st.LSTM(hidden_size=8), 4, 1).eval()
    text = stream(np.random.default_rng(0).integers(0, 4, 9000))
    options = {"contexts": (1, 8, 40), "shuffled": True, "replaced": True, "gradients": True}
    a, b, c = (effective_context(model, text, **options, seed=s).to_json() for s in (3, 3, 4))
    assert a == b
    assert a != c


def test_the_json_has_every_curve_and_progress_rises_to_one() -> None:
    model, text = build_model(st.LSTM(hidden_size=4), 3, 1).eval(), TEXTS["a stream"]
    fractions: list[float] = []
    result = effective_context(
        model,
        text,
        contexts=(1, 2, 9),
        categories={"zero": [0]},
        shuffled=True,
        replaced=True,
        gradients=True,
        progress=fractions.append,
    )
    record = from_json(ContextRecord, json.loads(json.dumps(result.to_json())), name="context")
    assert record == result.record()
    for curve in (record.curve, record.categories["zero"], record.shuffled, record.replaced):
        assert curve is not None
        assert len(curve.bits) == len(curve.intervals) == len(curve.contexts)
    assert record.curve.contexts == (1, 2, 9)
    assert record.curve.targets == 130
    assert record.unit == "bits per symbol"
    assert record.influence is not None and record.influence.method == "gradient"
    assert record.gradient_decay is not None and list(record.gradient_decay.layers) == ["0"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert summary(result).startswith("The model ")


@pytest.mark.parametrize("contexts", [(), (0, 1), (1, 1), (4, 2), (-1,)])
def test_contexts_must_rise_from_one(contexts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="the first at least 1"):
        effective_context(ToyAttention(), TEXTS["a stream"], contexts=contexts)


def test_too_little_data_is_refused() -> None:
    for tokens in (np.zeros(0, int), np.zeros(99, int)):
        with pytest.raises(DataError, match="give at least 100"):
            effective_context(ToyAttention(), stream(tokens))
    with pytest.raises(DataError, match="give at least 100"):
        effective_context(ToyAttention(), Text(np.zeros(0, int), np.zeros(1, int), False))
