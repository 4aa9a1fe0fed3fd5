"""Generating: samples, lists of prompts and stop texts, as one prompt alone would give them."""

import math

import pytest

import seriatim as st
from seriatim.errors import ConfigError

TEXTS = [f"the {a} sat on {b}" for a in ("cat", "dog", "rat") for b in ("a mat", "it", "a hat")]
FAMILIES = [
    st.Markov(order=3),
    st.GRU(hidden_size=8),
    st.Transformer(model_size=16, num_layers=1, context=8),
]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda config: config.family)
def lm(request: pytest.FixtureRequest) -> st.LanguageModel:
    model = st.LanguageModel(request.param, sequences="line", device="cpu")
    return model.fit(TEXTS * 4, valid=TEXTS, steps=5, options={"batch_size": 4, "length": 8})


def test_a_prompt_gives_the_same_text_beside_others(lm: st.LanguageModel) -> None:
    prompts = ["the", "a d", ""]
    assert lm.generate(prompts, 20, seed=1) == [lm.generate(p, 20, seed=1) for p in prompts]


def test_a_sample_is_the_same_among_any_number(lm: st.LanguageModel) -> None:
    three = lm.generate("the", 20, seed=1, samples=3)
    assert three[0] == lm.generate("the", 20, seed=1)
    assert three[:2] == lm.generate("the", 20, seed=1, samples=2)
    both = lm.generate(["the", "a"], 20, seed=1, samples=3)
    assert both == [three, lm.generate("a", 20, seed=1, samples=3)]


def test_many_prompts_are_continued_in_groups(
    lm: st.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ["the", "a", "", "t", "th"]
    whole = lm.generate(prompts, 9, samples=2)
    monkeypatch.setattr("seriatim.tasks.generation.ROWS", 4)
    assert lm.generate(prompts, 9, samples=2) == whole


def test_a_beam_finds_what_the_model_scores_so_and_more_than_greedy(lm: st.LanguageModel) -> None:
    best = lm.beam("the", 12, beam=6, num_best=4)
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    assert len({one.text for one in best}) == 4
    for one in best:
        assert isinstance(one.text, str) and one.text.startswith("the")
        # of one line: the bits of its symbols beyond the prompt, the end included
        rows = lm.surprisal(one.text, by="symbol").rows
        bits = sum(row.bits for row in rows[3 : len(one.text) + one.is_ended])
        assert one.log_prob == pytest.approx(-bits * math.log(2), abs=1e-4)
    greedy = lm.beam("the", 12, beam=1)
    assert [one.text for one in greedy] == [lm.generate("the", 12, temperature=0.0)]
    assert best[0].log_prob >= greedy[0].log_prob - 1e-5


def test_a_beam_continues_events() -> None:
    days = [["open", "view item", "buy"]] * 9
    events = st.LanguageModel(st.Markov(order=2), symbols="word", device="cpu")
    events.fit(days, valid=days)
    (best,) = events.beam(["open"], 5)
    assert best.text == ["open", "view item", "buy"] and best.is_ended


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_text_ends_before_a_stop_text(lm: st.LanguageModel, place: int) -> None:
    texts = {seed: lm.generate("the", 12, seed=seed)[3:] for seed in range(30)}
    seed, added = next((seed, text) for seed, text in texts.items() if len(text) > 5)
    stop = added[place : place + 2]
    expected = "the" + added[: added.index(stop)]
    assert lm.generate("the", 12, seed=seed, stop=[stop, "never"]) == expected
    assert "the" + "".join(lm.generating("the", 12, seed=seed, stop=stop)) == expected
    assert lm.generate("the", 12, seed=seed, stop="never") == "the" + added


def test_of_events_a_list_is_one_prompt_and_a_list_of_lists_several() -> None:
    days = [["open", "view item", "buy"], ["open", "log out"], ["open", "view item", "log out"]] * 9
    events = st.LanguageModel(st.Markov(order=2), symbols="word", device="cpu")
    events.fit(days, valid=days)
    one = events.generate(["open"], 3, seed=1)
    assert one[0] == "open" and len(one) > 1
    assert events.generate([["open"], ["open", "view item"]], 3, seed=1)[0] == one
    assert events.generate(["open"], 3, seed=1, stop=one[1]) == ["open"]
    assert events.generate([["open"]], 3, samples=2)[0][0][0] == "open"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples = 0: give 1 or more"),
        ({"stop": ""}, "an empty text stops before anything"),
        ({"length": -1}, "length -1 is negative"),
        ({"top_p": 2.0}, "top_p 2.0 is not a fraction"),
    ],
)
def test_values_out_of_range_are_refused(
    lm: st.LanguageModel, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        lm.generate("the", **options)  # type: ignore[call-overload]
