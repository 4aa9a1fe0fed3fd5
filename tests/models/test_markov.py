"""The Markov family as a sequence model: probability, chunks, ragged rows, disk, bad input.

What it estimates is held to textbooks and to KenLM in oracles/test_kneser_ney.py.
"""

import copy
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from seriatim.core.batch import Batch
from seriatim.errors import DataError, ModelError
from seriatim.models import Markov
from seriatim.models.markov import MarkovModel
from seriatim.train.closed_form import ClosedForm

V, BOUNDARY = 6, 2
SMOOTHINGS = ["kneser-ney", "witten-bell"]


@dataclass(frozen=True)
class Sequences:
    tokens: np.ndarray
    offsets: np.ndarray
    is_stream: bool = False


def lines(*sequences: list[int]) -> Sequences:
    tokens = np.array(list(itertools.chain(*sequences)), dtype=np.uint8)
    return Sequences(tokens, np.cumsum([0, *map(len, sequences)]))


def stream(symbols: list[int]) -> Sequences:
    return Sequences(np.array(symbols, dtype=np.uint8), np.array([0, len(symbols)]), is_stream=True)


def fitted(corpus: Sequences, num_symbols: int = V, **options: object) -> MarkovModel:
    model = MarkovModel(Markov(**options), num_symbols, BOUNDARY)
    model.fit_closed_form(corpus)
    return model


def random_lines(seed: int, num_sequences: int = 25, length: int = 9) -> Sequences:
    """Lines over all symbols but the boundary and 5, which is never seen."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, length, num_sequences)
    return lines(*(rng.choice([0, 1, 3, 4], n, p=[0.6, 0.2, 0.1, 0.1]).tolist() for n in sizes))


def random_symbols(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


# ---- probability --------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "corpus",
    [random_lines(0), stream([0, 1, 2, 0, 0, 1, 2, 4]), lines([]), stream([3]), lines([0] * 50)],
    ids=["lines", "stream", "one empty line", "one symbol", "one symbol only"],
)
def test_every_row_is_finite_and_sums_to_one(corpus: Sequences, order: int, smoothing: str) -> None:
    """After any 7 symbols: contexts that are short, seen, unseen, or hold the unseen symbol."""
    model = fitted(corpus, order=order, smoothing=smoothing)
    features, _ = model.advance(model.empty(40), random_symbols(40, 7), None)
    for nodes in (features, model.empty(3)):
        rows = model.emit(nodes).dense()
        assert rows.dtype == torch.float64
        assert bool(rows.isfinite().all())
        torch.testing.assert_close(
            rows.exp().sum(-1), torch.ones(rows.shape[:-1], dtype=torch.float64), rtol=0, atol=1e-13
        )


@pytest.mark.parametrize("order", [1, 2, 4])
def test_log_prob_of_one_symbol_agrees_with_the_whole_row(order: int) -> None:
    model = fitted(random_lines(1), order=order)
    features, _ = model.advance(model.empty(8), random_symbols(8, 30), None)
    distribution = model.emit(features)
    rows = distribution.dense()
    for symbol in range(V):
        one = distribution.log_prob(torch.full((8, 30), symbol))
        torch.testing.assert_close(one, rows[..., symbol], rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [1, 3])
def test_sequences_ended_within_t_and_prefixes_of_length_t_have_all_probability(
    order: int,
) -> None:
    model = fitted(random_lines(2), order=order)
    total, num_steps = 0.0, 4
    alphabet = [s for s in range(V) if s != BOUNDARY]
    for length in range(num_steps + 1):
        prefixes = list(itertools.product(alphabet, repeat=length))
        x = torch.tensor(prefixes, dtype=torch.int64)
        edge = torch.full((len(x), 1), BOUNDARY)
        if length == num_steps:  # prefixes that go on
            batch = Batch(torch.cat([edge, x[:, :-1]], 1), x)
        else:
            batch = Batch(torch.cat([edge, x], 1), torch.cat([x, edge], 1))
        total += float(model.log_prob(batch).sum(1).exp().sum())
    assert total == pytest.approx(1, abs=1e-12)


def test_before_fitting_it_is_uniform_and_has_no_memory() -> None:
    model = MarkovModel(Markov(order=4), V, BOUNDARY)
    x = random_symbols(2, 5)
    torch.testing.assert_close(
        model.log_prob(Batch(x, x)).exp(), torch.full((2, 5), 1 / V, dtype=torch.float64)
    )
    assert model.reach == 0


def test_its_reach_is_order_minus_one_symbols() -> None:
    rng = np.random.default_rng(3)
    model = fitted(lines(*rng.choice([0, 1, 3, 4], (40, 12)).tolist()), order=4)
    assert model.reach == 3
    x = torch.tensor([[0, 1, 3, 4, 0, 1, 3, 4]])
    rows = [model.emit(model.advance(model.empty(1), x, None)[0]).dense()[0, -1]]
    for back in (3, 4):
        changed = x.clone()
        changed[0, -back] = 1 - x[0, -back] if x[0, -back] < 2 else 7 - x[0, -back]
        features, _ = model.advance(model.empty(1), changed, None)
        rows.append(model.emit(features).dense()[0, -1])
    assert not torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


def test_an_order_longer_than_every_sequence_adds_nothing() -> None:
    corpus = lines([0, 1], [3], [0, 1, 3])
    x = random_symbols(5, 6)
    long, short = fitted(corpus, order=9), fitted(corpus, order=5)
    # Nothing is longer than 5 symbols with both boundaries; order 5 is then the highest counted,
    # but continuation counts of 5-grams differ from counts nowhere, for nothing stands before.
    torch.testing.assert_close(
        long.log_prob(Batch(x, x)), short.log_prob(Batch(x, x)), rtol=0, atol=1e-14
    )
    assert long.reach == short.reach == 4


# ---- counting -----------------------------------------------------------------------------------


def test_no_ngram_crosses_from_one_sequence_into_the_next() -> None:
    model = MarkovModel(Markov(order=3), V, BOUNDARY)
    facts = model.fit_closed_form(lines([0], [1]))
    # b0 0b b1 1b, and b0b b1b; nowhere 0bb, bb1 or 01
    assert facts["ngrams"] == [V, 4, 2]


def test_in_a_stream_the_boundary_is_a_symbol_like_any_other() -> None:
    model = MarkovModel(Markov(order=2), V, BOUNDARY)
    facts = model.fit_closed_form(stream([0, 1, BOUNDARY, 0]))
    assert facts["ngrams"] == [V, 3]  # b0 (twice), 01, 1b, and nothing after the last 0


def test_the_order_of_sequences_changes_no_bit() -> None:
    rng = np.random.default_rng(4)
    sequences = [rng.integers(3, 6, rng.integers(1, 8)).tolist() for _ in range(20)]
    one, other = fitted(lines(*sequences), order=4), fitted(lines(*sequences[::-1]), order=4)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_part_of_a_mapped_corpus_is_counted_as_if_it_were_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    np.array([4, 4, 4, 0, 1, 3, 0, 1, 5, 5], dtype=np.uint16).tofile(path)
    mapped = np.memmap(path, dtype=np.uint16, mode="r")
    part = Sequences(mapped, np.array([3, 6, 8]))
    one, other = fitted(part, order=3), fitted(lines([0, 1, 3], [0, 1]), order=3)
    assert one.fingerprint() == other.fingerprint()


def test_fitting_again_forgets_the_first_corpus() -> None:
    model = fitted(random_lines(5), order=3)
    model.fit_closed_form(random_lines(6))
    assert model.fingerprint() == fitted(random_lines(6), order=3).fingerprint()


def test_it_declares_closed_form_and_its_facts_are_json() -> None:
    model = MarkovModel(Markov(order=3), V, BOUNDARY)
    assert isinstance(model, ClosedForm)
    facts = model.fit_closed_form(random_lines(7))
    assert json.loads(json.dumps(facts)) == facts
    assert len(facts["discounts"]) == 3


# ---- folding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_chunks_steps_and_the_whole_give_the_same_numbers(order: int) -> None:
    model = fitted(random_lines(8), order=order)
    x = random_symbols(4, 12)
    whole = model.log_prob(Batch(x[:, :-1], x[:, 1:]))
    for size in (1, 2, 5):
        carry, parts = None, []
        for i in range(0, 11, size):
            batch = Batch(x[:, :-1][:, i : i + size], x[:, 1:][:, i : i + size])
            values, carry = model(batch, carry, keep=True)
            parts.append(values)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_ragged_rows_continue_as_if_alone(order: int) -> None:
    model = fitted(random_lines(9), order=order)
    x, more = random_symbols(4, 6), random_symbols(4, 3, seed=1)
    lengths = [0, 6, 1, 3]
    state = model.update(model.start(4), x, torch.tensor(lengths))
    together = model.predict(model.update(state, more)).dense()
    for row, length in enumerate(lengths):
        alone = model.update(model.start(1), x[row : row + 1, :length])
        alone = model.update(alone, more[row : row + 1])
        torch.testing.assert_close(
            model.predict(alone).dense()[0], together[row], rtol=0, atol=1e-14
        )


def test_padding_changes_nothing_and_scores_nothing() -> None:
    model = fitted(random_lines(10), order=3)
    x, lengths = random_symbols(3, 5), torch.tensor([2, 5, 0])
    other = x.clone()
    other[0, 2:], other[2] = 5 - other[0, 2:], 5 - other[2]
    one, carry = model(Batch(x, x, lengths), keep=True)
    two, carry_two = model(Batch(other, other, lengths), keep=True)
    assert torch.equal(one, two)
    assert torch.equal(carry, carry_two)
    assert float(one[0, 2:].abs().sum() + one[2].abs().sum()) == 0


def test_a_state_is_restored_from_bytes() -> None:
    model = fitted(random_lines(11), order=4)
    state = model.update(model.start(2), random_symbols(2, 5))
    back = model.load_state(model.save_state(state))
    assert torch.equal(model.predict(back).dense(), model.predict(state).dense())


# ---- disk and copies ----------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4])
def test_saved_weights_give_the_same_model_without_the_corpus(order: int, tmp_path: Path) -> None:
    model = fitted(random_lines(12), order=order)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    loaded = MarkovModel(Markov(order=order), V, BOUNDARY)
    loaded.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    x = random_symbols(3, 20)
    assert torch.equal(loaded.log_prob(Batch(x, x)), model.log_prob(Batch(x, x)))
    assert loaded.fingerprint() == model.fingerprint()
    assert loaded.reach == model.reach


def test_a_table_of_other_sizes_is_refused() -> None:
    weights = fitted(random_lines(13), order=3).state_dict()
    with pytest.raises(RuntimeError, match="has order 3 over 6 symbols and this model order 4"):
        MarkovModel(Markov(order=4), V, BOUNDARY).load_state_dict(weights)
    with pytest.raises(RuntimeError, match="over 6 symbols and this model order 3 over 7"):
        MarkovModel(Markov(order=3), V + 1, BOUNDARY).load_state_dict(weights)
    cut = {**weights, "table.symbol": weights["table.symbol"][:-1]}
    with pytest.raises(RuntimeError, match="has symbol of shape"):
        MarkovModel(Markov(order=3), V, BOUNDARY).load_state_dict(cut)
    del cut["table.symbol"]
    with pytest.raises(RuntimeError, match="Missing key"):
        MarkovModel(Markov(order=3), V, BOUNDARY).load_state_dict(cut)


def test_copies_and_double_precision_change_nothing() -> None:
    model = fitted(random_lines(14), order=3)
    x = random_symbols(2, 9)
    expected = model.log_prob(Batch(x, x))
    copied = copy.deepcopy(model).double()
    model.fit_closed_form(random_lines(15))
    assert torch.equal(copied.log_prob(Batch(x, x)), expected)


# ---- bad input ----------------------------------------------------------------------------------


def test_a_corpus_without_symbols_is_refused() -> None:
    model = MarkovModel(Markov(order=3), V, BOUNDARY)
    with pytest.raises(DataError, match="no symbols to count"):
        model.fit_closed_form(stream([]))
    with pytest.raises(DataError, match="no symbols to count"):
        model.fit_closed_form(lines())


def test_a_symbol_outside_the_vocabulary_is_refused_and_the_old_fit_stays() -> None:
    model = fitted(random_lines(16), order=3)
    before = model.fingerprint()
    with pytest.raises(DataError, match=r"has symbols 0 \.\. 6 and the model knows 0 \.\. 5"):
        model.fit_closed_form(lines([0, 6]))
    assert model.fingerprint() == before


def test_n_grams_saved_by_an_earlier_version_are_refused_in_a_sentence():
    model = fitted(random_lines(3))
    state = model.state_dict()
    del state["table.first"], state["table.symbol"]
    state["table.key"] = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ModelError, match=r"saved by an earlier version.*: fit the model again"):
        model.load_state_dict(state, strict=False)
