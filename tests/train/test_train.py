"""The training loop, on models of a few lines and corpora of a few hundred symbols."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch, TokenSequences
from seriatim.core.distributions import Categorical, Distribution
from seriatim.core.elements import Symbols
from seriatim.core.model import SequenceModel
from seriatim.core.records import from_json, to_json
from seriatim.data.batches.corpus import CorpusPass, StreamChunks, StreamWindows
from seriatim.errors import ConfigError, DataError, TrainingError
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import History, Progress
from seriatim.train.evaluation import mean_nats
from seriatim.train.loop import fit
from seriatim.train.optimizer import make_optimizer
from seriatim.train.options import TrainingOptions, configure_training
from seriatim.train.trainer import Trainer

V = 5  # symbols of every corpus here; the boundary is 1


@dataclass(frozen=True)
class Corpus:
    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    is_stream: bool


class Bigram(SequenceModel):
    """A table of logits: the state is the last symbol."""

    def __init__(self) -> None:
        super().__init__(Symbols(V, 1))
        self.table = nn.Parameter(torch.zeros(V, V, dtype=torch.float64))
        self.calls = 0

    def empty(self, batch_size: int, *, memory: Any = None, capacity: int | None = None) -> Any:
        return torch.zeros(batch_size, 0)

    def advance(
        self, carry: Any, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Any]:
        self.calls += 1
        return self.table[x], carry if keep else None

    def emit(self, features: Tensor) -> Distribution:
        return Categorical(features)

    @property
    def reach(self) -> int | None:
        return 1


class Recurrent(SequenceModel):
    """A GRU written as a loop, with dropout and an embedding."""

    def __init__(self, hidden_size: int = 12, dropout: float = 0.0) -> None:
        super().__init__(Symbols(V, 1))
        torch.manual_seed(0)
        self.hidden_size = hidden_size
        self.embedding = nn.Embedding(V, hidden_size)
        self.cell = nn.GRUCell(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, V)
        self.double()

    def empty(self, batch_size: int, *, memory: Any = None, capacity: int | None = None) -> Any:
        return {"h": self.head.weight.new_zeros(batch_size, self.hidden_size)}

    def advance(
        self, carry: Any, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Any]:
        h, states = carry["h"], []
        for t, e in enumerate(self.embedding(x).unbind(1)):
            new = self.cell(e, h)
            h = new if lengths is None else torch.where((lengths > t)[:, None], new, h)
            states.append(h)
        return torch.stack(states, 1), {"h": h}  # also unasked, which is allowed

    def emit(self, features: Tensor) -> Distribution:
        return Categorical(self.head(self.dropout(features)))


def chain(size: int, seed: int = 0, stay: float = 0.8) -> NDArray[np.int64]:
    """A Markov chain: the next symbol with probability `stay`, else any of V at random."""
    rng = np.random.default_rng(seed)
    x = np.zeros(size, np.int64)
    jumps, anywhere = rng.random(size) > stay, rng.integers(0, V, size)
    for t in range(1, size):
        x[t] = anywhere[t] if jumps[t] else (x[t - 1] + 1) % V
    return x


def chain_entropy(stay: float = 0.8) -> float:
    """Nats per symbol of `chain`."""
    p = np.full(V, (1 - stay) / V)
    p[0] += stay
    return float(-(p * np.log(p)).sum())


def stream(size: int = 400, seed: int = 0) -> Corpus:
    return Corpus(chain(size, seed).astype(np.uint8), np.array([0, size]), is_stream=True)


def lines(num: int = 40, longest: int = 20, seed: int = 0) -> Corpus:
    sizes = np.random.default_rng(seed).integers(0, longest, num)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return Corpus(chain(int(offsets[-1]), seed).astype(np.uint8), offsets, is_stream=False)


def a_pass(corpus: TokenSequences, batch_size: int, length: int) -> CorpusPass:
    return CorpusPass(corpus, 1, batch_size=batch_size, length=length)


def small(**options: Any) -> TrainingOptions:
    return TrainingOptions(**{"batch_size": 4, "length": 10, "steps": 12, **options})


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def close_to(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-12)


class SteppingClock:
    """A clock moved by the model: given seconds for each training or evaluation call."""

    def __init__(self, training: float, evaluation: float) -> None:
        self.now = 100.0
        self.training, self.evaluation = training, evaluation

    def __call__(self) -> float:
        return self.now

    def attach(self, model: nn.Module) -> None:
        def spend(module: nn.Module, args: Any) -> None:
            self.now += self.training if module.training else self.evaluation

        model.register_forward_pre_hook(spend)

    def __deepcopy__(self, memo: Any) -> "SteppingClock":
        return self  # a copied model moves the same clock


# ---- reproducibility -----------------------------------------------------------------------------

CORPORA: dict[str, tuple[Callable[[], TokenSequences], dict[str, Any]]] = {
    "windows": (stream, {"carry": False}),
    "chunks": (stream, {"carry": True}),
    "lines": (lines, {}),
    "lines within a budget": (lines, {"token_budget": 50}),
    "by epochs": (stream, {"steps": None, "epochs": 1.5}),
    "sgd": (stream, {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}),
}


@pytest.mark.parametrize("name", CORPORA)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name: str) -> None:
    make, options = CORPORA[name]
    runs = []
    for seed, noise in ((1, 10), (1, 20), (2, 10)):
        model = Recurrent(dropout=0.3)
        torch.manual_seed(noise)  # what the caller drew before must not matter
        fit(model, make(), make(), small(seed=seed, **options))
        runs.append(weights(model))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("minutes", [None, 0.5])
def test_training_leaves_the_random_state_of_the_caller_unchanged(minutes: float | None) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    model = Recurrent(dropout=0.5)
    torch.manual_seed(7)
    clock = SteppingClock(1.0, 1.0)
    clock.attach(model)
    options = small(minutes=minutes, steps=None if minutes else 5)
    fit(model, stream(), stream(), options, callbacks=Callbacks(clock=clock))
    assert torch.equal(torch.rand(3), expected)


def test_evaluations_do_not_change_the_weights() -> None:
    often, seldom = Recurrent(dropout=0.3), Recurrent(dropout=0.3)
    often_history = fit(often, stream(), None, small(evaluate_every=1))
    fit(seldom, stream(), None, small(evaluate_every=12))
    assert torch.equal(weights(often), weights(seldom))
    assert len(often_history.evaluations) == 13


def test_the_loop_equals_one_written_by_hand() -> None:
    """Carried chunks, clipping, decay of matrices only, cosine with warm-up: step for step."""
    options = small(
        steps=25,
        carry=True,
        optimizer="sgd",
        learning_rate=0.5,
        weight_decay=0.05,
        clip=0.2,
        warmup=5,
    )
    fitted = Recurrent()
    fit(fitted, stream(), None, options)

    model = Recurrent()
    source = StreamChunks(stream(), 1, batch_size=4, length=10)
    carry = None
    for step in range(25):
        if step % 10 == 0:  # 400 symbols in 4 parts of 100, chunks of 10
            carry = None
        nats, carry = model(source.batch(step), carry, keep=True)
        carry = {"h": carry["h"].detach()}
        model.zero_grad()
        (-nats.mean()).backward()
        gradients = {n: p.grad for n, p in model.named_parameters()}
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values() if g is not None))
        late = (step - 5) / 20
        share = (step + 1) / 5 if step < 5 else 0.1 + 0.45 * (1 + math.cos(math.pi * late))
        with torch.no_grad():
            for name, p in model.named_parameters():
                g = gradients[name]
                assert g is not None
                g = g * min(1.0, 0.2 / norm)
                if p.ndim == 2 and name != "embedding.weight":
                    g = g + 0.05 * p
                p -= 0.5 * share * g
    # clip_grads_with_norm_ divides by norm + 1e-6
    torch.testing.assert_close(weights(fitted), weights(model), rtol=0, atol=1e-5)


# ---- carried state and evaluation ----------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 7, 64])
def test_chunks_with_carried_state_score_as_one_pass_over_the_unsplit_text(length: int) -> None:
    model, corpus = Recurrent().eval(), stream(200)
    source = StreamChunks(corpus, 1, batch_size=1, length=length)
    total, carry = 0.0, None
    with torch.no_grad():
        for step in range(source.steps_per_epoch):
            carry = None if source.restarts(step) else carry
            nats, carry = model(source.batch(step), carry, keep=True)
            total += float(nats.sum())
    assert close_to(total, log_prob(model, corpus.tokens.tolist(), is_stream=True))


@pytest.mark.parametrize(("batch_size", "length"), [(1, 3), (4, 7), (64, 100)])
def test_mean_nats_of_lines_equals_each_line_scored_alone(batch_size: int, length: int) -> None:
    model, corpus = Recurrent(), lines()
    nats = [
        log_prob(model, corpus.tokens[begin:end].tolist(), is_stream=False)
        for begin, end in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    ]
    expected = -sum(nats) / (len(corpus.tokens) + 40)
    assert close_to(mean_nats(model, a_pass(corpus, batch_size, length)), expected)


def test_mean_nats_of_a_stream_in_one_row_is_one_pass_and_counts_no_end() -> None:
    model, corpus = Recurrent(), stream(150)
    expected = -log_prob(model, corpus.tokens.tolist(), is_stream=True) / 150
    assert close_to(mean_nats(model, a_pass(corpus, 1, 16)), expected)


def test_mean_nats_has_no_dropout_and_restores_the_training_mode() -> None:
    model = Recurrent(dropout=0.5).train()
    assert mean_nats(model, a_pass(stream(), 4, 10)) == mean_nats(model, a_pass(stream(), 4, 10))
    assert model.training


def test_a_limited_evaluation_reads_less() -> None:
    model = Bigram()
    mean_nats(model, a_pass(stream(4000), 4, 10))
    full, model.calls = model.calls, 0
    mean_nats(model, a_pass(stream(4000), 4, 10), limit=400)
    assert (full, model.calls) == (100, 10)


def log_prob(model: SequenceModel, symbols: list[int], *, is_stream: bool) -> float:
    """ln p of a whole sequence in one call, from the definition."""
    inputs, targets = [1, *symbols], [*symbols, 1]
    if is_stream:
        inputs, targets = inputs[:-1], targets[:-1]
    with torch.no_grad():
        batch = Batch(torch.tensor([inputs]), torch.tensor([targets]))
        return float(model.eval().log_prob(batch).sum())


@pytest.mark.parametrize(("model", "carried"), [(Bigram, False), (Recurrent, True)])
def test_state_is_carried_unless_the_reach_is_bounded(
    model: Callable[[], SequenceModel], carried: bool
) -> None:
    assert fit(model(), stream(), None, small(steps=1)).carried == carried
    assert fit(model(), stream(), None, small(steps=1, carry=not carried)).carried != carried


def test_gradients_stop_between_chunks() -> None:
    trainer = Trainer(Recurrent(), StreamChunks(stream(), 1, batch_size=4, length=10), small(), 9)
    for _ in range(3):
        trainer.update()
        assert all(not leaf.requires_grad for leaf in tree.leaves(trainer.carry))


# ---- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [stream, lambda size, seed: lines(size // 10, 20, seed)])
def test_training_approaches_the_entropy_of_the_source(
    make: Callable[[int, int], TokenSequences],
) -> None:
    model = Bigram()
    options = TrainingOptions(learning_rate=0.1, steps=300, batch_size=64, length=16)
    train, valid = make(6000, 1), make(6000, 2)
    history = fit(model, train, valid, options)
    best = counting(train, valid)
    assert history.best_valid_nats == pytest.approx(best, abs=0.01)
    assert history.evaluations[0].valid_nats == pytest.approx(math.log(V))
    assert mean_nats(model, a_pass(valid, 8, 64)) == pytest.approx(best, abs=0.01)


def test_counting_bigrams_approaches_the_entropy_of_the_chain() -> None:
    """The oracle of the test above is itself near the entropy of the chain."""
    assert counting(stream(6000, 1), stream(6000, 2)) == pytest.approx(chain_entropy(), abs=0.05)


def counting(train: TokenSequences, valid: TokenSequences) -> float:
    """Validation nats of the bigram model fitted by counting."""

    def counts(corpus: TokenSequences) -> NDArray[Any]:
        table = np.zeros((V, V))
        for begin, end in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True):
            x = [1, *corpus.tokens[begin:end].tolist()] + ([] if corpus.is_stream else [1])
            np.add.at(table, (x[:-1], x[1:]), 1)
        return table

    fitted, seen = counts(train), counts(valid)
    logs = np.log(fitted / fitted.sum(1, keepdims=True))
    return float(-(seen * logs).sum() / seen.sum())


def test_a_recurrent_model_learns_a_pattern_that_needs_memory() -> None:
    """0 0 1 1 2 2 ..: whether a symbol is repeated depends on the symbol before it."""
    tokens = np.repeat(np.tile(np.arange(V), 60), 2).astype(np.uint8)
    corpus = Corpus(tokens, np.array([0, len(tokens)]), is_stream=True)
    options = TrainingOptions(learning_rate=0.03, steps=120, batch_size=8, length=12)
    history = fit(Recurrent(), corpus, corpus, options)
    assert history.best_valid_nats is not None
    assert history.best_valid_nats < 0.1  # a bigram gets ln 2 = 0.69


def test_a_corpus_shorter_than_a_window_still_trains() -> None:
    for carry in (True, False):
        history = fit(Bigram(), stream(7), stream(3), small(carry=carry))
        assert history.best_step > 0
        assert "the stream has 7 symbols, too few" in history.notes[0]


def test_padding_is_reported() -> None:
    exact = fit(Bigram(), stream(), None, small())
    ragged = fit(Bigram(), lines(), None, small())
    assert exact.padding_fraction == 0.0
    assert 0.0 < ragged.padding_fraction < 0.5


# ---- clipping and decay --------------------------------------------------------------------------


def test_a_clipped_step_has_the_length_of_the_clip_and_the_full_norm_is_reported() -> None:
    moved, norms = [], []
    for clip in (None, 1e-3):
        model = Bigram()
        options = small(
            steps=1, optimizer="sgd", learning_rate=1.0, schedule="constant", clip=clip, seed=3
        )
        history = fit(model, stream(), None, options)
        moved.append(float(weights(model).norm()))
        norms.append(history.evaluations[-1].gradient_norm)
    assert norms[0] == norms[1] == pytest.approx(moved[0], rel=1e-9)
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(1e-3, rel=1e-3)


def test_weight_decay_is_for_matrices_only() -> None:
    model = Recurrent()
    model.head.weight = model.embedding.weight  # tied: then it is an embedding
    decayed = {
        id(p)
        for group in make_optimizer(model, small(weight_decay=0.1)).param_groups
        for p in group["params"]
        if group["weight_decay"] == 0.1
    }
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    assert names == {"cell.weight_ih", "cell.weight_hh"}


# ---- endings -------------------------------------------------------------------------------------


def opposite(size: int = 300) -> Corpus:
    """A chain in the other direction: a model that learns `chain` gets worse on it."""
    corpus = stream(size)
    return Corpus(corpus.tokens[::-1].copy(), corpus.offsets, is_stream=True)


def test_early_stopping_ends_after_patience_evaluations_and_keeps_the_best_weights() -> None:
    model = Bigram()
    history = fit(model, stream(), opposite(), small(steps=50, evaluate_every=2, patience=3))
    assert history.stopped == "patience"
    assert [e.step for e in history.evaluations] == [0, 2, 4, 6]
    assert (history.best_step, history.steps_done, history.steps) == (0, 6, 50)
    assert torch.equal(weights(model), torch.zeros(V * V, dtype=torch.float64))


def test_a_run_ends_with_the_weights_of_its_best_evaluation() -> None:
    options = small(steps=400, learning_rate=0.3, schedule="constant", evaluate_every=5)
    train, valid = stream(30, seed=1), stream(300, seed=2)  # too little data: it overfits
    model = Bigram()
    history = fit(model, train, valid, options)
    assert 0 < history.best_step < 400
    nats = [e.valid_nats for e in history.evaluations]
    assert history.best_valid_nats == min(n for n in nats if n is not None)
    assert nats[-1] != history.best_valid_nats
    assert mean_nats(model, a_pass(valid, 4, 10)) == history.best_valid_nats
    assert not model.training


def test_without_validation_the_last_weights_are_kept() -> None:
    model = Bigram()
    history = fit(model, stream(), None, small())
    assert (history.best_step, history.best_valid_nats, history.stopped) == (12, None, "finished")
    assert model.table.abs().sum() > 0


@pytest.mark.parametrize("options", [{"patience": 2}, {"schedule": "plateau"}])
def test_options_that_depend_on_validation_need_a_corpus(
    options: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError, match="needs a validation corpus"):
        fit(Bigram(), stream(), None, small(**options))


class Trap(Bigram):
    """A model whose loss is not finite at a given training call."""

    def __init__(self, at: int, value: float = math.nan) -> None:
        super().__init__()
        self.at, self.value, self.seen = at, value, 0

    def emit(self, features: Tensor) -> Distribution:
        self.seen += self.training
        return Categorical(features * (self.value if self.seen == self.at else 1.0))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("valid", [stream, lambda: None])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_best_weights(
    value: float, valid: Callable[[], TokenSequences | None]
) -> None:
    options = small(steps=30, evaluate_every=5, learning_rate=0.25, schedule="constant")
    model, healthy = Trap(13, value), Bigram()
    with pytest.raises(TrainingError, match=r"at step 13 with a learning rate of 0.25"):
        fit(model, stream(), valid(), options)
    fit(healthy, stream(), valid(), small(**{**options.__dict__, "steps": 10}))
    assert torch.equal(weights(model), weights(healthy))
    assert not model.training and model.table.grad is None


def test_an_error_names_the_learning_rate_that_made_training_diverge() -> None:
    model = Recurrent().float()
    options = small(optimizer="sgd", learning_rate=1e38, clip=None, schedule="constant", steps=50)
    with pytest.raises(TrainingError, match=r"learning rate of 1e\+38") as error:
        fit(model, stream(), stream(), options)
    assert "lower learning_rate" in str(error.value)
    assert torch.equal(weights(model), weights(Recurrent().float()))


def interrupt_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step >= step:
            raise KeyboardInterrupt

    return report


def test_ctrl_c_ends_the_run_with_the_best_weights_so_far() -> None:
    model, healthy = Bigram(), Bigram()
    options = small(steps=100, evaluate_every=5, schedule="constant")
    clock = SteppingClock(1.0, 0.0)
    clock.attach(model)  # a second a step: every step is reported
    history = fit(
        model,
        stream(),
        stream(),
        options,
        callbacks=Callbacks(progress=interrupt_at(13), clock=clock),
    )
    fit(healthy, stream(), stream(), small(steps=10, evaluate_every=5, schedule="constant"))
    assert history.stopped == "interrupted"
    assert (history.best_step, history.steps_done, history.steps) == (10, 13, 100)
    assert torch.equal(weights(model), weights(healthy))
    assert not model.training


def test_ctrl_c_before_the_first_evaluation_keeps_the_last_weights() -> None:
    model, healthy = Bigram(), Bigram()
    clock = SteppingClock(1.0, 0.0)
    clock.attach(model)
    options = small(steps=100, evaluate_every=50, schedule="constant")
    history = fit(
        model,
        stream(),
        stream(),
        options,
        callbacks=Callbacks(progress=interrupt_at(7), clock=clock),
    )
    fit(healthy, stream(), None, small(steps=7, schedule="constant"))
    assert (history.stopped, history.best_step, history.best_valid_nats) == ("interrupted", 7, None)
    assert torch.equal(weights(model), weights(healthy))


def test_ctrl_c_with_broken_weights_restores_the_first_weights() -> None:
    model = Bigram()

    def stop() -> bool:
        if model.calls < 20:
            return False
        with torch.no_grad():
            model.table.fill_(math.nan)
        raise KeyboardInterrupt

    history = fit(
        model,
        stream(),
        stream(),
        small(steps=100, evaluate_every=50),
        callbacks=Callbacks(should_stop=stop),
    )
    assert history.best_step == 0
    assert torch.equal(weights(model), torch.zeros(V * V, dtype=torch.float64))


def test_a_callback_can_stop_a_run() -> None:
    answers: Iterator[bool] = iter([False] * 8 + [True])
    options = small(steps=100, evaluate_every=5)
    history = fit(
        Bigram(),
        stream(),
        stream(),
        options,
        callbacks=Callbacks(should_stop=lambda: next(answers)),
    )
    assert (history.stopped, history.steps_done, history.best_step) == ("stopped", 8, 5)


def test_a_model_without_parameters_is_refused() -> None:
    model = Bigram()
    model.table.requires_grad_(False)
    with pytest.raises(ConfigError, match="Bigram has no trainable parameter"):
        fit(model, stream(), stream(), small())


def test_an_empty_validation_corpus_is_refused_before_training() -> None:
    model = Bigram()
    empty = Corpus(np.empty(0, np.uint8), np.array([0, 0]), is_stream=True)
    with pytest.raises(DataError, match="holds no symbol"):
        fit(model, stream(), empty, small())
    assert not model.table.any()


# ---- minutes -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [(1.0, 0.0), (0.5, 0.2), (0.2, 3.0), (4.0, 0.1)])
def test_minutes_become_steps_that_fill_the_time_including_evaluations(
    seconds: tuple[float, float],
) -> None:
    model, clock = Bigram(), SteppingClock(*seconds)
    clock.attach(model)
    began = clock()
    history = fit(
        model, stream(), stream(200), small(steps=None, minutes=5), callbacks=Callbacks(clock=clock)
    )
    assert 0.95 * 300 < clock() - began <= 300.001
    assert history.stopped == "finished"
    assert history.steps_done == history.steps
    assert history.seconds == pytest.approx(clock() - began)


def test_a_machine_that_slows_down_midway_still_ends_in_time_with_a_small_rate() -> None:
    model, clock = Bigram(), SteppingClock(0.2, 0.1)
    clock.attach(model)

    def slow_down(progress: Progress) -> None:
        if progress.step > 300:
            clock.training = 0.8

    began = clock()
    options = small(steps=None, minutes=5)
    callbacks = Callbacks(clock=clock, progress=slow_down)
    history = fit(model, stream(), stream(200), options, callbacks=callbacks)
    assert 0.95 * 300 < clock() - began <= 1.02 * 300
    assert history.evaluations[-1].learning_rate < 0.2 * options.peak_rate
    assert len(history.pace) > 10


def test_repeating_the_recorded_number_of_steps_gives_the_same_weights() -> None:
    timed, again = Recurrent(dropout=0.3), Recurrent(dropout=0.3)
    clock = SteppingClock(1.0, 0.5)
    clock.attach(timed)
    history = fit(
        timed, stream(), stream(200), small(steps=None, minutes=1), callbacks=Callbacks(clock=clock)
    )
    repeated = fit(again, stream(), stream(200), configure_training(history.repetition))
    assert 20 < history.steps < 60
    assert torch.equal(weights(timed), weights(again))
    assert [e.valid_nats for e in history.evaluations] == [
        e.valid_nats for e in repeated.evaluations
    ]


def test_a_budget_too_short_for_a_step_takes_one_step() -> None:
    model, clock = Bigram(), SteppingClock(10.0, 10.0)
    clock.attach(model)
    history = fit(
        model, stream(), stream(), small(steps=None, minutes=0.01), callbacks=Callbacks(clock=clock)
    )
    assert history.steps == 1


def test_measuring_ends_even_if_the_clock_stands_still() -> None:
    options = small(steps=None, minutes=1e-9)
    assert fit(Bigram(), stream(), None, options, callbacks=Callbacks(clock=lambda: 0.0)).steps >= 1


# ---- history and progress ------------------------------------------------------------------------


def test_epochs_become_steps() -> None:
    history = fit(Bigram(), stream(), None, small(steps=None, epochs=2.5))
    assert (history.steps_per_epoch, history.steps) == (10, 25)
    assert history.evaluations[-1].epoch == 2.5
    assert history.num_targets == 1000


def test_about_twenty_evaluations_are_made_and_the_last_step_is_one() -> None:
    options = TrainingOptions(steps=1010, batch_size=32, length=16)
    history = fit(Bigram(), stream(5000), stream(), options)
    assert history.evaluate_every == 51
    assert len(history.evaluations) == 21
    assert history.evaluations[-1].step == 1010


def test_short_runs_have_few_evaluations() -> None:
    history = fit(Bigram(), stream(16384), stream(), TrainingOptions(steps=6))
    assert [e.step for e in history.evaluations] == [0, 4, 6]  # 16,384 symbols are 4 steps
    rare = fit(Bigram(), stream(), None, small(evaluate_every=100))
    assert (rare.evaluate_every, len(rare.evaluations)) == (12, 2)


def test_the_training_loss_of_an_evaluation_is_the_mean_since_the_previous_one() -> None:
    options = small(steps=8, evaluate_every=4, carry=False, optimizer="sgd", learning_rate=1e-12)
    history = fit(Recurrent(), lines(), None, options)
    model = Recurrent().eval()
    expected = mean_nats(model, a_pass(lines(), 4, 10))  # the weights hardly move
    for evaluation in history.evaluations[1:]:
        assert evaluation.train_nats == pytest.approx(expected, rel=0.1)
    assert history.evaluations[0].train_nats is None
    source = StreamWindows(stream(), 1, batch_size=4, length=10, seed=0)
    history = fit(Recurrent(), stream(), None, options)
    with torch.no_grad():
        nats = [float(-model.log_prob(source.batch(step)).mean()) for step in range(8)]
    assert history.evaluations[1].train_nats == pytest.approx(np.mean(nats[:4]))
    assert history.evaluations[2].train_nats == pytest.approx(np.mean(nats[4:]))


def test_progress_is_reported_at_most_four_times_a_second_and_at_every_evaluation() -> None:
    model, clock, reports = Bigram(), SteppingClock(0.1, 0.0), list[Progress]()
    clock.attach(model)
    fit(
        model,
        stream(),
        stream(),
        small(evaluate_every=6),
        callbacks=Callbacks(progress=reports.append, clock=clock),
    )
    assert [p.step for p in reports] == [0, 3, 6, 9, 12]
    assert [p.is_best for p in reports] == [True, False, True, False, True]
    assert [round(p.seconds_left, 6) for p in reports] == [0.0, 0.9, 0.6, 0.3, 0.0]
    assert reports[-1].tokens_per_second == pytest.approx(400)  # 40 symbols in a tenth of a second
    assert all(p.valid_nats is not None and p.steps == 12 for p in reports)


def test_a_history_survives_json() -> None:
    history = fit(Bigram(), stream(), stream(), small(warmup=100))
    assert from_json(History, to_json(history), name="history") == history
    assert history.options["learning_rate"] == 0.002
    assert history.notes == ("warmup of 100 steps is more than half of 12: shortened to 6",)
