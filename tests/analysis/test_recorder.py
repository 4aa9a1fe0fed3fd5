"""Recording: every family records its inside, results do not change, and nothing is left behind."""

import gc
import threading
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seriatim as st
from seriatim.analysis.recorder import Trace, record
from seriatim.core import taps
from seriatim.core.batch import Batch
from seriatim.core.distributions import Distribution
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.laws.check import check_model
from seriatim.layers import blocks
from seriatim.layers.attention import MultiHeadAttention
from seriatim.models import EncoderConfig, ModelConfig, Seq2Seq
from seriatim.models.build import build_labeller, build_model
from seriatim.models.encoders import CausalEncoder
from seriatim.train.closed_form import ClosedForm
from tests.models.reference import read_both_ways

V, B, L = 6, 3, 12
LENGTHS = torch.tensor([L, 0, 5])
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


class Two(st.Cell):
    """A user's cell with two parts of state that records its own gate."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W = nn.Linear(input_size + hidden_size, 2 * hidden_size)

    def initial(self, batch_size: int) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(batch_size, self.hidden_size)
        return zeros, zeros.clone()

    def forward(self, h: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        gate, new = self.W(torch.cat([x, h[0]], -1)).chunk(2, -1)
        slow = torch.lerp(h[1], new.tanh(), gate.sigmoid())
        return slow.sin(), slow

    def inner_values(
        self, h: tuple[Tensor, Tensor], x: Tensor, after: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        return {"gate": self.W(torch.cat([x, h[0]], -1)).chunk(2, -1)[0].sigmoid()}


CONFIGS: dict[str, ModelConfig] = {
    "markov": st.Markov(order=4),
    "autoregressive": st.Autoregressive(
        window=3, embedding_size=4, hidden_size=6, num_layers=2, direct=True
    ),
    "rnn": st.RNN(hidden_size=5, num_layers=2),
    "lstm": st.LSTM(hidden_size=5, num_layers=2, learn_initial_state=True),
    "gru": st.GRU(hidden_size=5, reset="before"),
    "latent": st.Latent(cell=Two, hidden_size=5),
    "transformer": st.Transformer(model_size=8, num_layers=2, num_heads=2, context=4),
    "classic": st.Transformer.classic(model_size=8, num_layers=2, num_heads=2, context=99),
}
NAMES = {
    "markov": "context order backoff",
    "autoregressive": "layers.0.hidden layers.1.hidden",
    "rnn": "layers.0.hidden layers.1.hidden",
    "lstm": " ".join(
        f"layers.{i}.{part}"
        for i in range(2)
        for part in ("hidden", "forget", "input", "output", "candidate", "cell")
    ),
    "gru": "layers.0.hidden layers.0.reset layers.0.update layers.0.candidate",
    "latent": "layers.0.hidden layers.0.state.0 layers.0.state.1 layers.0.gate",
    "transformer": " ".join(
        f"layers.{i}.{part}" for i in range(2) for part in ("attention.self", "hidden")
    ),
}


class _Text:
    """A stream in which not every context of three symbols occurs."""

    tokens = np.random.default_rng(0).integers(0, V, 60).astype(np.uint8)
    offsets = np.array([0, 60])
    is_stream = True


def filled(model: nn.Module) -> Any:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.double().eval()


def build(name: str) -> SequenceModel:
    torch.manual_seed(0)
    model: SequenceModel = filled(build_model(CONFIGS[name], V, 1))
    if isinstance(model, ClosedForm):
        model.fit_closed_form(_Text())
    return model


def symbols(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, V, shape, generator=torch.Generator().manual_seed(seed))


def batch(lengths: Tensor | None = None) -> Batch:
    return Batch(symbols(B, L), symbols(B, L, seed=2), lengths)


def recorded(model: nn.Module, act: Callable[[], object]) -> dict[str, Tensor]:
    with record(model) as trace:
        act()
    return {name: trace[name] for name in trace.names}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


# ---- nothing changes ----------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["level", "ragged"])
@pytest.mark.parametrize("name", CONFIGS)
def test_results_are_the_same_with_and_without_recording(name: str, lengths: Tensor | None) -> None:
    model = build(name)
    expected = model.log_prob(batch(lengths))
    with record(model) as trace:
        found = model.log_prob(batch(lengths))
    torch.testing.assert_close(found, expected, **CLOSE)
    if name in NAMES:
        assert trace.names == NAMES[name].split() or set(trace.names) == set(NAMES[name].split())


class Watched(SequenceModel):
    """A model that is recorded at every call."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__(model.element)
        self.model = model

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return self.model.empty(batch_size, memory=memory, capacity=capacity)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        with record(self.model) as trace:
            result = self.model.advance(carry, x, lengths, keep=keep)
        for name in trace.names:
            assert not trace[name].isnan().any()
        return result

    def emit(self, features: Features) -> Distribution:
        return self.model.emit(features)

    @property
    def reach(self) -> int | None:
        return self.model.reach


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_a_recorded_model_obeys_the_laws(name: str) -> None:
    model = build(name)
    check_model(Watched(model), seconds=1).raise_if_broken()


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_stays_in_the_modules_and_nothing_is_recorded_afterwards(name: str) -> None:
    model = build(name)
    before = {n: m.__dict__.keys() for n, m in model.named_modules()}
    with torch.inference_mode(), record(model) as trace:
        model.log_prob(batch(LENGTHS))
        model.step(model.start(1), torch.tensor([2]))
    assert {n: m.__dict__.keys() for n, m in model.named_modules()} == before
    assert not taps.is_on()
    count = len(trace.parts(trace.names[0]))
    model.log_prob(batch())
    assert len(trace.parts(trace.names[0])) == count
    held = [weakref.ref(part) for n in trace.names for part in trace.parts(n)]
    del trace
    gc.collect()
    assert not any(ref() is not None for ref in held), "something else holds what was recorded"


def test_an_exception_leaves_nothing_behind() -> None:
    model = build("transformer")
    found: list[Trace] = []

    def fail() -> None:
        with record(model) as trace:
            found.append(trace)
            model.log_prob(batch())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not taps.is_on() and found[0]["layers.0.hidden"].shape == (B, L, 8)


# ---- chunks, rows, sequences --------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [None, 20])
@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_and_steps_show_what_one_chunk_shows(name: str, capacity: int | None) -> None:
    model, x = build(name), symbols(B, L)

    def fold(cuts: list[int]) -> None:
        carry = model.empty(B, capacity=capacity)
        for begin, end in pairwise(cuts):
            _, carry = model.advance(carry, x[:, begin:end], None)

    def fold_without_gradients() -> None:
        with torch.inference_mode():
            fold([0, 3, 4, 5, 6, 11, 12])

    whole = recorded(model, lambda: fold([0, L]))
    same(recorded(model, lambda: fold([0, 5, 6, L])), whole)
    same(recorded(model, fold_without_gradients), whole)


@pytest.mark.parametrize("capacity", [None, 40])
@pytest.mark.parametrize("name", CONFIGS)
def test_each_ragged_row_shows_what_it_shows_alone(name: str, capacity: int | None) -> None:
    model, x, more = build(name), symbols(B, L), symbols(B, 7, seed=3)
    second = torch.tensor([2, 7, 0])

    def together() -> None:
        carry = model.empty(B, capacity=capacity)
        _, carry = model.advance(carry, x, LENGTHS)
        _, carry = model.advance(carry, more, second)
        model.advance(carry, more[:, :1], torch.tensor([1, 0, 1]))

    found = recorded(model, together)
    for row, (n, m) in enumerate(zip(LENGTHS.tolist(), second.tolist(), strict=True)):
        own = torch.cat([x[row, :n], more[row, :m], more[row, : row != 1]])[None]

        def alone(own: Tensor = own) -> None:
            model.advance(model.empty(1), own, None)

        for name_, value in recorded(model, alone).items():
            size = value.shape[2 if "attention" in name_ else 1]
            shown = found[name_][row : row + 1]
            if "attention" in name_:
                assert bool((shown[:, :, size:] == 0).all())
                assert bool((shown[..., size:] == 0).all())
                shown = shown[:, :, :size, :size]
            else:
                assert bool((shown[:, size:] == 0).all())
                shown = shown[:, :size]
            torch.testing.assert_close(shown, value, **CLOSE)


def test_elements_read_before_the_recording_are_the_first_columns() -> None:
    model, x = build("classic"), symbols(B, L)
    whole = recorded(model, lambda: model.advance(model.empty(B), x, None))
    _, carry = model.advance(model.empty(B), x[:, :7], None)
    found = recorded(model, lambda: model.advance(carry, x[:, 7:], None))
    assert found["layers.1.attention.self"].shape == (B, 2, 5, 12)
    expected = whole["layers.1.attention.self"][:, :, 7:]
    torch.testing.assert_close(found["layers.1.attention.self"], expected, **CLOSE)


def test_a_second_sequence_does_not_attend_to_the_first() -> None:
    model, x = build("classic"), symbols(B, L)
    whole = recorded(model, lambda: model.advance(model.empty(B), x, None))

    def twice() -> None:
        model.advance(model.empty(B), x, None)
        model.advance(model.empty(B), x, None)

    found = recorded(model, twice)["layers.0.attention.self"]
    first = whole["layers.0.attention.self"]
    nothing = torch.zeros_like(first)
    both = torch.cat([torch.cat([first, nothing], -1), torch.cat([nothing, first], -1)], 2)
    torch.testing.assert_close(found, both, **CLOSE)


def test_calls_with_different_numbers_of_rows_are_available_only_as_parts() -> None:
    model = build("rnn")
    with record(model) as trace:
        model.start(2)
        model.start(3)
    assert [len(part) for part in trace.parts("layers.0.hidden")] == [2, 3]
    with pytest.raises(ConfigError, match=r"with 2 and with 3 rows.*parts\(name\)"):
        trace["layers.0.hidden"]
    trace.clear()
    assert trace.names == []


# ---- attention ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [L, 300])
@pytest.mark.parametrize("name", ["transformer", "classic"])
def test_maps_sum_to_one_and_give_the_output_of_the_layer(name: str, length: int) -> None:
    """With 300 elements and a context of 4 the chunk is computed in blocks."""
    model, x = build(name), symbols(B, length)
    lengths = torch.tensor([length, 1, length // 2])
    made: list[tuple[MultiHeadAttention, Tensor, Tensor]] = []

    def keep(module: MultiHeadAttention, inputs: tuple[Any, ...], output: Tensor) -> None:
        made.append((module, inputs[2], output))

    hooks = [block.attention.register_forward_hook(keep) for block in model.blocks]
    found = recorded(model, lambda: model.advance(model.empty(B), x, lengths))
    for hook in hooks:
        hook.remove()
    valid = torch.arange(length) < lengths[:, None]
    for i, (attention, values, output) in enumerate(made):
        weights = found[f"layers.{i}.attention.self"]
        assert weights.shape == (B, 2, length, length)
        sums = torch.where(valid[:, None], weights.sum(-1), 1.0)
        torch.testing.assert_close(sums, torch.ones_like(sums), **CLOSE)
        again = attention.output((weights @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(again[valid], output[valid], **CLOSE)
        assert bool((weights.triu(1) == 0).all())
        reach = model.reach if name == "classic" else 4
        assert bool((weights.tril(-(reach or 0)) == 0).all())


def test_maps_of_a_model_in_bfloat16_still_sum_to_one() -> None:
    model = build("transformer").to(torch.bfloat16)
    found = recorded(model, lambda: model.advance(model.empty(B), symbols(B, 300), None))
    sums = found["layers.0.attention.self"].sum(-1)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("gradients", [False, True])
def test_a_block_recomputed_for_gradients_is_recorded_once(gradients: bool) -> None:
    model = build("classic")
    model.log_prob(batch()).sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    for block in model.blocks:
        block.recomputes = True
    with record(model, gradients=gradients) as trace:
        loss = model.log_prob(batch()).sum()
    loss.backward()
    assert trace["layers.1.attention.self"].shape == (B, 2, L, L)
    assert trace["layers.1.attention.self"].requires_grad == gradients
    found = [p.grad for p in model.parameters() if p.grad is not None]
    torch.testing.assert_close(found, expected, **CLOSE)


# ---- what is asked for --------------------------------------------------------------------------


def test_only_the_requested_names_are_recorded_and_the_rest_is_not_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a map was made that nobody wants")

    monkeypatch.setattr(blocks, "weights", never)
    model = build("transformer")
    with record(model, only=["layers.1.hidden"]) as trace:
        model.log_prob(batch())
    assert trace.names == ["layers.1.hidden"]
    with record(build("lstm"), only=["layers.1", "*.forget"]) as trace:
        assert trace.names == []
    model = build("lstm")
    with record(model, only=["layers.1", "*.forget"]) as trace:
        model.log_prob(batch())
    assert trace.names[0] == "layers.0.forget" and len(trace.names) == 7


def test_a_recording_beyond_the_limit_is_refused_before_it_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a map beyond the limit was computed")

    monkeypatch.setattr(blocks, "weights", never)
    model = build("classic")
    why = r"layers.0.attention.self.*shorter text.*only="
    with pytest.raises(ConfigError, match=why), record(model, max_gigabytes=1e-6):
        model.log_prob(batch())
    assert not taps.is_on()
    model.log_prob(batch())


def test_a_banded_map_too_large_as_a_square_is_still_available_as_parts() -> None:
    model = build("transformer")
    with record(model, only=["layers.0.attention.self"], max_gigabytes=0.01) as trace:
        model.advance(model.empty(1), symbols(1, 2000), None)
    with pytest.raises(ConfigError, match=r"2,000 x 2,000 takes 0.064 GB.*parts\(name\)"):
        trace["layers.0.attention.self"]
    sums = torch.cat([p.sum(-1) for p in trace.parts("layers.0.attention.self")], 2)
    torch.testing.assert_close(sums, torch.ones(1, 2, 2000, dtype=torch.float64), **CLOSE)


def test_an_unknown_name_is_refused_with_the_recorded_names() -> None:
    model = build("rnn")
    with record(model) as trace:
        model.start(1)
    with pytest.raises(ConfigError, match=r"'layers.0.cell': there is layers.0.hidden, layers.1"):
        trace["layers.0.cell"]
    assert "layers.0.hidden" in trace and "layers.0.cell" not in trace


def test_a_task_is_refused_with_what_to_write_instead() -> None:
    with pytest.raises(ConfigError, match=r"record\(task.model\)"), record("a task"):  # type: ignore[arg-type]
        pass


# ---- several recorders --------------------------------------------------------------------------


def test_nested_recorders_each_record_their_own() -> None:
    outer, inner = build("rnn"), build("gru")
    with record(outer) as of_outer:
        outer.start(2)
        with record(inner) as of_inner, record(outer) as again:
            outer.start(2)
            inner.start(2)
        inner.start(2)
    assert of_outer["layers.0.hidden"].shape == (2, 2, 5)
    assert of_inner["layers.0.hidden"].shape == again["layers.0.hidden"].shape == (2, 1, 5)


def test_threads_record_independently() -> None:
    model, ready = build("lstm"), threading.Barrier(3)
    found: dict[int, dict[str, Tensor]] = {}

    def read(seed: int) -> None:
        x = symbols(2, 5, seed=seed)
        with torch.inference_mode(), record(model) as trace:
            ready.wait()
            state = model.start(2)
            for t in range(5):
                state = model.step(state, x[:, t])
            ready.wait()
        found[seed] = {name: trace[name] for name in trace.names}

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    with record(model) as of_this_thread:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert of_this_thread.names == []
    for seed in range(3):
        x = torch.cat([torch.full((2, 1), 1), symbols(2, 5, seed=seed)], 1)
        same(found[seed], recorded(model, lambda x=x: model.advance(model.empty(2), x, None)))


# ---- members, encoders, decoders ----------------------------------------------------------------


def test_members_of_an_ensemble_are_recorded_under_their_numbers() -> None:
    mixture = st.Mixture([build("lstm"), st.Product([build("markov"), build("transformer")])])
    expected = {
        f"members.0.{name}": value
        for name, value in recorded(mixture.members[0], lambda: mixture.log_prob(batch())).items()
    }
    found = recorded(mixture, lambda: mixture.log_prob(batch()))
    assert "members.1.members.0.context" in found
    assert "members.1.members.1.layers.0.attention.self" in found
    same({name: found[name] for name in expected}, expected)


SEQ2SEQ = {
    "transformer": Seq2Seq(model_size=8, num_heads=2, encoder_layers=2, decoder_layers=2),
    "additive": Seq2Seq(encoder="gru", decoder="lstm", model_size=8, decoder_layers=2),
    "multiplicative": Seq2Seq(
        encoder="lstm", decoder="gru", attention="multiplicative", model_size=8, decoder_layers=2
    ),
    "none": Seq2Seq(encoder="rnn", decoder="rnn", attention="none", model_size=8),
}
CROSS = {
    "transformer": ["decoder.layers.0.attention.cross", "decoder.layers.1.attention.cross"],
    "additive": ["decoder.layers.0.attention.cross"],
    "multiplicative": ["decoder.layers.1.attention.cross"],
    "none": [],
}
SOURCE = torch.tensor([[2, 3, 4, 5, 1], [3, 3, 1, 0, 0], [1, 0, 0, 0, 0]])
SOURCE_LENGTHS = torch.tensor([5, 3, 1])


def pairs(lengths: Tensor | None = None) -> Batch:
    source = Batch(SOURCE, SOURCE, SOURCE_LENGTHS)
    return Batch(symbols(B, L), symbols(B, L, seed=2), lengths, None, source)


def paired(name: str) -> Any:
    torch.manual_seed(0)
    return filled(build_model(SEQ2SEQ[name], V, 1))


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_an_encoder_decoder_shows_every_map_and_state_and_changes_nothing(name: str) -> None:
    model = paired(name)
    expected = model.log_prob(pairs(LENGTHS))
    with record(model) as trace:
        found = model.log_prob(pairs(LENGTHS))
    torch.testing.assert_close(found, expected, **CLOSE)
    assert [n for n in trace.names if n.endswith("cross")] == CROSS[name]
    weights = model.attention_weights(pairs().source, pairs())
    valid = torch.arange(L) < LENGTHS[:, None]
    for i, key in enumerate(CROSS[name]):
        cross = trace[key]
        assert cross.shape == weights[i].shape
        torch.testing.assert_close(cross, weights[i] * valid[:, None, :, None], **CLOSE)
        torch.testing.assert_close(cross.sum(-1), valid[:, None].expand(cross.shape[:3]).double())
        assert bool((cross[1, ..., 3:] == 0).all())
    for key in trace.names:
        is_encoder = key.startswith("encoder.")
        axis = 2 if "attention" in key else 1
        assert trace[key].shape[axis] == (5 if is_encoder else L), key
        assert bool((trace[key].select(axis, 4 if is_encoder else 8)[1:] == 0).all()), key


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_a_bound_model_shows_its_decoder_step_by_step_under_the_same_names(name: str) -> None:
    model, x = paired(name), symbols(B, 6)
    expected = recorded(
        model, lambda: model.advance(model.empty(B, memory=model.encode(pairs().source)), x, None)
    )
    bound = model.bind(pairs().source)

    def fold() -> None:
        with torch.inference_mode():
            carry = bound.empty(B)
            for cut in ([0, 1], [1, 2], [2, 5], [5, 6]):
                _, carry = bound.advance(carry, x[:, slice(*cut)], None)

    own = {k: v for k, v in expected.items() if k.startswith("decoder.")}
    same(recorded(bound, fold), own)

    def bind_and_fold() -> None:
        inner = model.bind(pairs().source)
        inner.advance(inner.empty(B), x, None)

    same(recorded(model, bind_and_fold), expected)


def test_rows_with_a_common_source_show_their_own_maps() -> None:
    model = paired("transformer")
    one = Batch(SOURCE[:1], SOURCE[:1])
    bound, x = model.bind(one), symbols(4, 6)
    found = recorded(bound, lambda: bound.advance(bound.empty(4), x, None))
    for row in range(4):
        alone = recorded(
            bound, lambda row=row: bound.advance(bound.empty(1), x[row : row + 1], None)
        )
        same({k: v[row : row + 1] for k, v in found.items()}, alone)


def test_an_ensemble_of_bound_models_shows_the_decoder_of_each() -> None:
    models = [paired("transformer"), paired("additive")]
    bound = [model.bind(pairs().source) for model in models]
    ensemble = st.Product(bound)
    found = recorded(ensemble, lambda: ensemble.log_prob(batch(LENGTHS)))
    for i, model in enumerate(bound):
        own = recorded(model, lambda m=model: m.log_prob(batch(LENGTHS)))
        same({k: found[f"members.{i}.{k}"] for k in own}, own)


def test_both_directions_of_an_encoder_show_states_in_the_order_of_the_source() -> None:
    model = paired("additive")
    with record(model, only=["encoder.layers.0"]) as trace:
        model.encode(pairs().source)
    encoder = model.encoder
    ahead, back = encoder.forward_layers[0].cells[0], encoder.backward_layers[0].cells[0]
    for row, n in enumerate(SOURCE_LENGTHS.tolist()):
        states = read_both_ways(ahead, back, model.embedding(SOURCE[row, :n])).detach()
        shown = torch.cat(
            [trace[f"encoder.layers.0.{way}.hidden"][row] for way in ("forward", "backward")], -1
        )
        torch.testing.assert_close(shown[:n], states, **CLOSE)
        assert bool((shown[n:] == 0).all())
    backward = [trace[f"encoder.layers.0.backward.{p}"] for p in ("hidden", "update", "candidate")]
    hidden, update, candidate = (t[0] for t in backward)
    after = torch.cat([hidden[1:], torch.zeros(1, 4, dtype=torch.float64)])
    torch.testing.assert_close(hidden, update * after + (1 - update) * candidate, **CLOSE)


def test_a_labeller_shows_its_encoder() -> None:
    config = EncoderConfig(model_size=8, num_heads=2, encoder_layers=1)
    model = filled(build_labeller(config, V, 3, "element"))
    labels = Batch(SOURCE, SOURCE % 3, SOURCE_LENGTHS, None, Batch(SOURCE, SOURCE, SOURCE_LENGTHS))
    expected, _ = model(labels)
    with record(model) as trace:
        found, _ = model(labels)
    assert torch.equal(found, expected)
    assert trace.names == ["encoder.layers.0.attention.self", "encoder.layers.0.hidden"]


def test_a_causal_encoder_shows_the_model_it_is_made_of() -> None:
    model = build("lstm")
    encoder = CausalEncoder(model)
    found = recorded(encoder, lambda: encoder.encode(SOURCE, SOURCE_LENGTHS))
    own = recorded(model, lambda: model.advance(model.empty(B), SOURCE, SOURCE_LENGTHS))
    same(found, own)


# ---- the n-gram ---------------------------------------------------------------------------------


def test_a_markov_model_shows_the_longest_match_and_what_each_length_gives() -> None:
    model = build("markov")
    with record(model) as trace:
        scores = model.log_prob(batch(LENGTHS))
    torch.testing.assert_close(trace["backoff"].sum(-1), scores, **CLOSE)
    assert trace["order"].dtype == torch.int64
    text = [1, *_Text.tokens.tolist()]
    seen = {tuple(text[i : i + n]) for n in range(1, 5) for i in range(len(text) - n + 1)}
    inputs, targets = batch().inputs.tolist(), batch().targets.tolist()
    for row, n in enumerate(LENGTHS.tolist()):
        for t in range(n):
            past = inputs[row][: t + 1]
            known = [m for m in range(1, min(4, t + 2)) if tuple(past[-m:]) in seen]
            match = [
                m for m in range(min(4, t + 2)) if (*past[t + 1 - m :], targets[row][t]) in seen
            ]
            assert int(trace["context"][row, t]) == max([0, *known])
            assert int(trace["order"][row, t]) == max([0, *match])


def test_a_stream_of_single_symbols_shows_the_same_path() -> None:
    model, x = build("markov"), symbols(1, 9)
    boundary = torch.ones(1, 1, dtype=torch.int64)
    inputs = torch.cat([boundary, x[:, :-1]], 1)
    whole = recorded(model, lambda: model.log_prob(Batch(inputs, x)))

    def stream() -> None:
        state = model.start(1)
        for t in range(9):
            model.predict(state).log_prob(x[:, t])
            state = model.step(state, x[:, t]) if t < 8 else state

    same(recorded(model, stream), whole)


def test_record_yields_a_trace() -> None:
    with record(build("rnn")) as trace:
        assert isinstance(trace, Trace)
