"""Planted neurons are neurons and ranked first; unrelated states have no named neuron."""

import random

import pytest
import torch
from torch import Tensor

from seriatim.analysis.inspect.labels import Label, text_labels, user_label
from seriatim.analysis.inspect.probes import (
    LEAST_CORRELATION,
    chance_of,
    linear_probes,
    rank_neurons,
)


def code(lines: int, seed: int = 0) -> str:
    """Lines of random code; in a repetitive text shifted labels would align again."""
    draw = random.Random(seed)

    def word() -> str:
        return "".join(draw.choice("abcdeXYZ") for _ in range(draw.randint(1, 9)))

    made = []
    for _ in range(lines):
        text = " " * (4 * draw.randint(0, 4)) + " ".join(word() for _ in range(draw.randint(1, 5)))
        if draw.random() < 0.5:
            text += f' = "{word()} {word()}"'
        if draw.random() < 0.5:
            text += f"({word()}, [{word()}])"
        made.append(text + "\n")
    return "".join(made)


SYMBOLS = list(code(60)[:1300])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, size, generator=generator(seed))


def slow_noise(count: int, size: int, seed: int, memory: float) -> Tensor:
    """Units that drift: s_t = memory s_{t-1} + noise, of variance 1."""
    steps = noise(count, size, seed) * (1 - memory**2) ** 0.5
    steps[0] /= (1 - memory**2) ** 0.5
    states = [steps[0]]
    for step in steps[1:]:
        states.append(memory * states[-1] + step)
    return torch.stack(states)


def labels() -> list[Label]:
    return text_labels([SYMBOLS])


def ids() -> Tensor:
    return torch.tensor([ord(c) for c in SYMBOLS])


@pytest.mark.parametrize(
    "name",
    [
        "position in line",
        "inside quotes",
        "indentation",
        "depth of brackets",
        "inside a word",
        "letters of the word so far",
    ],
)
def test_a_planted_neuron_is_ranked_first_for_its_label_and_named(name: str) -> None:
    label = next(label for label in labels() if label.name == name)
    states = noise(len(SYMBOLS), 32, 0)
    values = label.values.float()
    states[:, 17] = 2 * (values - values.mean()) / values.std() + states[:, 17]
    neuron = rank_neurons(states, [label], top=1)[0]
    assert (neuron.index, neuron.label, neuron.is_named) == (17, name, True)
    assert neuron.correlation == pytest.approx(2 / 5**0.5, abs=0.06)
    assert neuron.p_value == pytest.approx(1 / len(SYMBOLS))


def test_the_correlation_equals_torchs_with_its_sign() -> None:
    label = labels()[0]
    states = noise(len(SYMBOLS), 8, 3)
    for neuron in rank_neurons(states, [label], top=8):
        pair = torch.stack([states[:, neuron.index].double(), label.values.double()])
        assert neuron.correlation == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-6)


def test_chance_at_every_shift_is_the_correlation_with_the_shifted_label() -> None:
    states, values = slow_noise(60, 5, 1, 0.8), noise(60, 1, 2)
    best = torch.tensor([[3, 0]])
    neurons = chance_of(states, values, best)
    for k in range(60):
        pairs = torch.cat([states.T, values.roll(k, 0).T]).double()
        r = torch.corrcoef(pairs)[-1, :5].abs()
        # The label shifted by k against the states is index -k of the states against the label.
        at = neurons[0, :, k], neurons[0, :, -k % 60]
        without = r[torch.tensor([0, 1, 2, 4])].max()
        assert any(
            torch.allclose(a.double(), torch.stack([r.max(), without]), atol=1e-4) for a in at
        )


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.99, 0.999])
def test_unrelated_states_have_a_named_neuron_at_most_once_in_twenty(
    memory: float,
) -> None:
    alarms = 0
    for seed in range(50):
        states = slow_noise(500, 24, seed, memory)
        neurons = rank_neurons(states, text_labels([SYMBOLS[:500]]), top=1)
        # Count every significant p, also of small correlations.
        alarms += any(n.p_value <= 0.05 / len(neurons) for n in neurons)
        assert memory or not any(n.is_named for n in neurons)
    # 50 trials at 5 %: more than 6 have a probability of 1 %.
    assert alarms <= 6


def test_a_second_neuron_that_follows_the_label_is_named_beside_the_first() -> None:
    label = labels()[0]
    values = (label.values - label.values.mean()) / label.values.std()
    states = noise(len(SYMBOLS), 16, 4)
    states[:, 2] += 3 * values
    states[:, 9] -= values
    neurons = rank_neurons(states, [label], top=3)
    assert [(n.index, n.is_named) for n in neurons] == [
        (2, True),
        (9, True),
        (neurons[2].index, False),
    ]


def test_a_weakly_correlated_neuron_is_not_named_however_significant() -> None:
    label = labels()[0]
    values = (label.values - label.values.mean()) / label.values.std()
    states = noise(len(SYMBOLS), 4, 5)
    states[:, 1] += 0.2 * values
    neuron = rank_neurons(states, [label], top=1)[0]
    assert neuron.index == 1
    assert abs(neuron.correlation) < LEAST_CORRELATION
    assert not neuron.is_named


def test_two_classes_are_one_label_and_several_are_one_each() -> None:
    states = noise(300, 3, 6)
    two = user_label("kind", ["a", "b"] * 150)
    three = user_label("kind", ["a", "b", "c"] * 100)
    assert {n.label for n in rank_neurons(states, [two], top=1)} == {"kind = b"}
    assert {n.label for n in rank_neurons(states, [three], top=1)} == {
        "kind = a",
        "kind = b",
        "kind = c",
    }


def test_a_probe_reads_what_is_spread_over_many_neurons() -> None:
    label = labels()[0]
    values = (label.values - label.values.mean()) / label.values.std()
    states = noise(len(SYMBOLS), 40, 7)
    direction = noise(40, 1, 8)
    direction /= direction.norm()
    # One direction encodes the label and nothing else; no single neuron encodes much of it.
    states = states - (states @ direction) @ direction.T + 3 * values[:, None] * direction.T
    (probe,) = linear_probes(states, [label], ids())
    assert probe.score > 0.95
    assert probe.chance < 0.1


def test_a_probe_of_unrelated_states_stays_at_chance() -> None:
    for probe in linear_probes(noise(len(SYMBOLS), 40, 9), labels(), ids()):
        is_class = probe.measure == "balanced accuracy"
        assert probe.score < (0.65 if is_class else 0.1), probe
        assert probe.chance < (0.65 if is_class else 0.1), probe


def test_the_score_of_the_symbol_alone_is_beside_the_score() -> None:
    """One-hot states encode the symbol and no context, so they tell no more than the symbol."""
    _, which = ids().unique(return_inverse=True)
    states = torch.nn.functional.one_hot(which).float()
    for probe in linear_probes(states, labels(), ids()):
        assert probe.score <= probe.by_symbol + 0.05, probe.label
        if probe.label == "inside a word":
            assert probe.by_symbol == 1.0


def test_the_control_task_is_learnt_only_by_states_that_encode_the_symbol() -> None:
    _, which = ids().unique(return_inverse=True)
    known = torch.nn.functional.one_hot(which).float()
    label = [label for label in labels() if label.name == "inside quotes"]
    (by_heart,) = linear_probes(known, label, ids())
    (blind,) = linear_probes(noise(len(SYMBOLS), 20, 10), label, ids())
    assert by_heart.control > 0.9
    assert by_heart.selectivity == pytest.approx(by_heart.score - by_heart.control)
    assert blind.control < 0.7


def test_probes_of_several_classes_are_scored_by_mean_recall() -> None:
    draw = generator(11)
    kinds = torch.randint(3, (900,), generator=draw)
    kinds[torch.rand(900, generator=draw) < 0.7] = 0  # one class is far more common
    states = noise(900, 6, 12)
    states[:, 0] += 6 * (kinds == 1)
    states[:, 1] += 6 * (kinds == 2)
    label = user_label("kind", [f"kind {k}" for k in kinds.tolist()])
    (probe,) = linear_probes(states, [label], torch.zeros(900, dtype=torch.int64))
    assert probe.measure == "balanced accuracy"
    assert probe.score > 0.95
    assert probe.chance == pytest.approx(1 / 3, abs=0.1)


def test_a_label_too_rare_to_be_held_out_has_no_probe() -> None:
    rare = user_label("rare", ["no"] * 490 + ["yes"] * 10)
    assert linear_probes(noise(500, 4, 13), [rare], torch.zeros(500, dtype=torch.int64)) == []
