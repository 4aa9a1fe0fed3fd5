"""Generating: samples, lists of prompts and stop texts, as one prompt alone would give them."""

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
