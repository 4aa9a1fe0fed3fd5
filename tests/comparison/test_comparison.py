"""A comparison from text to recommendation: small models, real runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.comparison.entrants import Entrant
from seriatim.comparison.result import ModelComparison
from seriatim.comparison.runner import ComparisonCallbacks, compare
from seriatim.comparison.store import slug
from seriatim.data.corpus import build_corpus
from seriatim.data.sources import open_source
from seriatim.data.splits import split_source
from seriatim.errors import ConfigError, DataError, OutputError
from seriatim.metrics.significance import pairwise_differences
from seriatim.tasks.language_model import LanguageModel
from tests.oracles.sources import markov_chain, markov_entropy_rate

CHAIN = markov_chain(2)
SMALL: dict[str, Any] = {"batch_size": 8, "length": 32, "learning_rate": 0.02}


def lines(count: int = 400, length: int = 40, seed: int = 0) -> list[str]:
    """Sequences of a chain that looks two symbols back."""
    symbols = CHAIN.sample(count * length, seed).reshape(count, length)
    return ["".join("abc"[x] for x in row) for row in symbols]


def three() -> dict[str, st.Markov | st.LSTM]:
    return {
        "order 2": st.Markov(order=2),
        "order 3": st.Markov(order=3),
        "lstm": st.LSTM(hidden_size=8),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three models with three seeds, kept."""
    out = tmp_path_factory.mktemp("compared") / "out"
    compare(lines(), three(), sequences="line", steps=12, seeds=3, options=SMALL, out=out)
    return out


@pytest.fixture(scope="module")
def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "compare.json").read_text())
    return found


def model(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(m for m in record["models"] if m["name"] == name)


def test_the_bits_are_those_of_the_saved_model_scored_on_the_same_test_text(
    folder: Path, record: dict[str, Any]
) -> None:
    """All from the folder: split again, load, score."""
    source = open_source(lines(), sequences="line")
    test = split_source(source, (0.8, 0.1, 0.1))[0][2]
    assert test is not None
    for found in record["models"]:
        score = LanguageModel.load(found["folder"]).score(test)
        assert found["bits_per_character"] == pytest.approx(score.bits_per_character, rel=1e-5)
        assert found["bits_per_symbol"] == pytest.approx(score.bits_per_symbol, rel=1e-5)
        assert found["bits_per_byte"] == pytest.approx(score.bits_per_byte, rel=1e-5)
        low, high = found["interval"]
        assert low < found["bits"] < high


def test_no_model_beats_the_entropy_of_the_source_and_the_true_order_is_recommended(
    record: dict[str, Any],
) -> None:
    """41 symbols of a line are scored, its end too, which nobody can foresee after 40 for certain:
    what it costs is less than log2(41) / 40."""
    rate = markov_entropy_rate(CHAIN)
    assert model(record, "order 3")["bits"] < rate + np.log2(41) / 40 + 0.05
    for found in record["models"]:
        assert found["bits"] * 41 / 40 > rate - 0.05
    assert record["recommendation"]["model"] == "order 3"


def test_two_statements_are_made_of_each_pair_and_name_what_they_rest_on(
    record: dict[str, Any],
) -> None:
    assert [len(record[key]) for key in ("texts", "families")] == [3, 3]
    for found in record["texts"]:
        assert "on text like this" in found["sentence"]
    for found in record["families"]:
        assert "under this budget (12 steps each)" in found["sentence"]
    assert [len(m["seeds"]) for m in record["models"]] == [1, 1, 3]


def test_statements_can_be_repeated_from_what_is_saved(
    folder: Path, record: dict[str, Any]
) -> None:
    """Nats of every symbol lie in the folder; here by whole lines of 41 symbols."""
    bits = {
        name: np.load(folder / "runs" / f"{slug(name)}.0.test.npy").reshape(-1, 41).sum(1)
        for name in ("order 2", "order 3")
    }
    sizes = np.full(len(bits["order 2"]), 41.0)
    (found,) = pairwise_differences({n: b[None] / np.log(2) for n, b in bits.items()}, sizes)
    assert found.is_significant
    names = {"order 2", "order 3"}
    saved = next(s for s in record["texts"] if {s["a"], s["b"]} == names)
    assert saved["is_significant"]
    assert saved["difference"] == pytest.approx(found.difference, rel=1e-5)


def test_models_that_differ_only_in_their_seed_are_not_called_two_families(tmp_path: Path) -> None:
    """The same configuration twice; the seeds of one are those after the seeds of the other."""
    config, given = {"lstm": st.LSTM(hidden_size=6)}, {"sequences": "line", "steps": 10, "seeds": 3}
    nats = {}
    for name, first in (("a", 0), ("b", 3)):
        out = tmp_path / name
        compare(lines(200), config, **given, seed=first, options=SMALL, out=out)  # type: ignore[arg-type]
        runs = [np.load(out / "runs" / f"lstm.{first + i}.test.npy") for i in range(3)]
        nats[name] = np.stack(runs).reshape(3, -1, 41).sum(2).astype(np.float64)
    assert not np.array_equal(nats["a"], nats["b"])
    (found,) = pairwise_differences(nats, np.full(nats["a"].shape[1], 41.0))
    assert not found.is_significant


def test_the_mixture_is_at_least_as_good_as_its_best_model_and_its_weights_sum_to_one(
    record: dict[str, Any],
) -> None:
    mixed = record["mixture"]
    assert sum(mixed["weights"].values()) == pytest.approx(1)
    best = min(m["bits"] for m in record["models"])
    assert mixed["bits"] <= best + 0.003
    assert mixed["gain"] == pytest.approx(best - mixed["bits"])
    assert set(mixed["contributions"]) == set(mixed["weights"]) == {"order 2", "order 3", "lstm"}


def test_what_is_finished_is_not_trained_again_and_seeds_can_be_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int | None]] = []
    fit = LanguageModel.fit

    def counted(self: LanguageModel, *args: Any, **options: Any) -> LanguageModel:
        trained.append((self.config.family, options["options"].seed))
        return fit(self, *args, **options)

    monkeypatch.setattr(LanguageModel, "fit", counted)
    given: dict[str, Any] = {
        "sequences": "line",
        "steps": 2,
        "options": SMALL,
        "out": tmp_path / "c",
    }
    models: dict[str, Any] = {"lstm": st.LSTM(hidden_size=4), "markov": st.Markov(order=2)}
    first = compare(lines(60), models, **given).to_json()
    assert trained == [("lstm", 0), ("markov", 0)]
    again = compare(lines(60), models, **given, resume=True).to_json()
    assert len(trained) == 2
    assert {k: again[k] for k in ("models", "texts", "mixture")} == {
        k: first[k] for k in ("models", "texts", "mixture")
    }
    compare(lines(60), {**models, "gru": st.GRU(hidden_size=4)}, **given, seeds=2, resume=True)
    assert trained[2:] == [("gru", 0), ("lstm", 1), ("gru", 1)]


@pytest.mark.slow
def test_an_interrupted_comparison_is_resumed_to_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of the second model; the first is not trained again."""
    models: dict[str, Any] = {"gru": st.GRU(hidden_size=4), "lstm": st.LSTM(hidden_size=4)}
    given: dict[str, Any] = {"sequences": "line", "steps": 8, "options": SMALL}
    whole = compare(lines(60), models, **given, out=tmp_path / "whole").to_json()

    def ctrl_c(name: str, progress: Any) -> None:
        if name == "lstm" and progress.step >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(
            lines(60),
            models,
            **given,
            out=tmp_path / "cut",
            checkpoint_minutes=0,
            callbacks=ComparisonCallbacks(progress=ctrl_c),
        )
    kept = sorted(path.name for path in (tmp_path / "cut" / "runs").glob("*.json"))
    assert kept == ["gru.0.json"]
    resumed = compare(lines(60), models, **given, out=tmp_path / "cut", resume=True).to_json()
    for name in models:
        assert model(resumed, name)["bits"] == model(whole, name)["bits"]
    assert not list((tmp_path / "cut").rglob("checkpoints"))


def test_changed_data_and_options_are_not_resumed(folder: Path) -> None:
    given: dict[str, Any] = {"sequences": "line", "seeds": 3, "options": SMALL, "out": folder}
    with pytest.raises(OutputError, match="holds a comparison"):
        compare(lines(), three(), steps=12, **given)
    with pytest.raises(DataError, match="begun with other data"):
        compare(lines(seed=1), three(), steps=12, **given, resume=True)
    with pytest.raises(ConfigError, match="begun with the budget"):
        compare(lines(), three(), steps=13, **given, resume=True)


def test_models_of_other_symbols_are_compared_by_the_same_characters() -> None:
    """One model of characters twice: as characters and as bytes, of ASCII the same text."""
    models = {
        "characters": Entrant(config=st.Markov(order=3)),
        "bytes": Entrant(config=st.Markov(order=3), symbols="byte"),
        "pieces": Entrant(config=st.Markov(order=2), symbols="bpe:270"),
    }
    found = compare(lines(), models, sequences="line").to_json()
    assert found["metric"] == "bits per character"
    assert set(found["data"]["symbols"]) == {"char", "byte", "bpe:270"}
    a, b, pieces = (model(found, name) for name in models)
    assert a["bits"] == pytest.approx(b["bits"], abs=0.01)
    assert pieces["bits_per_symbol"] > 1.2 * pieces["bits"]  # a symbol is more than a character
    assert found["mixture"] is None  # models of other symbols cannot be mixed


def test_events_are_compared_by_symbols() -> None:
    events = [[f"event {x}" for x in line] for line in lines(100)]
    found = compare(
        events, {"a": st.Markov(order=2), "b": st.Markov(order=3)}, symbols="word"
    ).to_json()
    assert found["metric"] == "bits per symbol"
    for m in found["models"]:
        assert m["bits"] == pytest.approx(m["bits_per_symbol"])


def test_words_that_do_not_spell_the_text_are_not_compared_with_characters() -> None:
    texts = ["one  two   three " + "x" * i for i in range(150)]  # several spaces are lost
    with pytest.raises(ConfigError, match="models of word symbols cannot be compared"):
        compare(texts, {"a": Entrant(config=st.Markov(), symbols="word"), "b": st.Markov()})


def test_a_budget_too_small_for_a_model_leaves_it_in_the_table_as_not_run() -> None:
    models: dict[str, Any] = {"markov": st.Markov(order=2), "lstm": st.LSTM(hidden_size=8)}
    found = compare(lines(60), models, tokens=10, sequences="line").to_json()
    lstm = model(found, "lstm")
    assert lstm["status"] == "not run" and "one step of training takes" in lstm["reason"]
    assert "bits" not in lstm
    assert model(found, "markov")["status"] == "ok"
    assert found["recommendation"]["model"] == "markov"


def test_a_size_that_no_width_gives_leaves_a_model_as_not_run() -> None:
    models: dict[str, Any] = {"rnn": st.RNN(), "transformer": st.Transformer()}
    found = compare(
        lines(60), models, parameters=900, steps=2, sequences="line", options=SMALL
    ).to_json()
    assert abs(model(found, "rnn")["parameters"] - 900) <= 18
    assert "no width gives transformer 900 parameters" in model(found, "transformer")["reason"]


def test_a_text_too_short_to_split_or_to_judge_by() -> None:
    with pytest.raises(DataError, match="too few to split"):
        compare(["ab"], ["markov"], sequences="line")
    found = compare(lines(30), {"a": st.Markov(order=2), "b": st.Markov(order=3)}, sequences="line")
    record = found.to_json()
    assert record["texts"] == [] and record["families"] == []
    assert ", and 10 are needed to say" in record["notes"][0]
    assert "too short to say" in found.recommendation


def test_without_seeds_no_families_are_compared() -> None:
    models: dict[str, Any] = {"a": st.Markov(order=2), "lstm": st.LSTM(hidden_size=4)}
    given: dict[str, Any] = {"sequences": "line", "steps": 2, "options": SMALL}
    for seeds, words in ((1, "One seed"), (2, "Fewer than 3 seeds")):
        found = compare(lines(), models, **given, seeds=seeds).to_json()
        assert found["families"] == [] and len(found["texts"]) == 1
        assert f"{words} cannot show that a family is better; use --seeds 3" in found["notes"][0]


def test_a_comparison_is_a_value_and_can_be_loaded(folder: Path, record: dict[str, Any]) -> None:
    loaded = ModelComparison.load(folder)
    assert loaded.to_json() == record
    assert loaded.recommendation == record["recommendation"]["sentence"]
    assert loaded.model("lstm").config == st.LSTM(hidden_size=8)
    with pytest.raises(st.SeriatimError, match="there is no model 'gru' here"):
        loaded.model("gru")
    with pytest.raises(st.SeriatimError, match="holds no finished comparison"):
        ModelComparison.load(folder.parent)


def test_in_memory_the_models_are_there_too() -> None:
    found = compare(lines(60), {"a": st.Markov(order=2), "b": st.Markov(order=3)}, sequences="line")
    assert found.model("b").config == st.Markov(order=3)
    assert found.to_json()["models"][0]["folder"] is None


def test_mistakes_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    texts = lines(60)
    with pytest.raises(ConfigError, match="seeds = 0"):
        compare(texts, seeds=0)
    with pytest.raises(ConfigError, match="resume and overwrite need a folder"):
        compare(texts, resume=True)
    with pytest.raises(ConfigError, match="lstm: unknown option learning_rat; did you mean"):
        compare(texts, {"lstm": Entrant(config=st.LSTM(), training={"learning_rat": 1})})
    with pytest.raises(ConfigError, match="there is no test text: give both"):
        compare(texts, valid=texts)
    with pytest.raises(ConfigError, match="there is no valid text: give both"):
        compare(texts, split=(0.9, 0.0, 0.1), sequences="line")
    with pytest.raises(ConfigError, match="would share a folder"):
        compare(texts, {"a b": st.Markov(), "a-b": st.Markov()}, out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_parts_that_are_given_are_used_as_they_are() -> None:
    models = {"a": st.Markov(order=2), "b": st.Markov(order=3)}
    found = compare(
        lines(200), models, valid=lines(50, seed=1), test=lines(70, seed=2), sequences="line"
    ).to_json()
    assert found["split"] is None
    assert found["data"]["num_sequences"] == {"train": 200, "valid": 50, "test": 70}


def test_no_more_text_is_held_back_than_scoring_is_worth() -> None:
    long = ["abcdefghi " * 40_000]  # one line of 400,000 bytes: a stream
    found = compare(long, {"a": st.Markov(order=2)}, sequences="stream", split=None).to_json()
    assert sum(found["data"]["characters"].values()) == 400_001
    assert found["data"]["characters"]["test"] == pytest.approx(40_000, abs=20)
    longer = ["abcdefghi " * 160_000]
    kept = compare(longer, {"a": st.Markov(order=2)}, sequences="stream").to_json()
    assert kept["data"]["characters"]["test"] == pytest.approx(100_000, abs=20)


def test_the_mixture_is_a_model_that_gives_the_figures_of_the_table(
    folder: Path, record: dict[str, Any]
) -> None:
    from seriatim.metrics.likelihood import surprisals

    loaded = ModelComparison.load(folder)
    mixed, symbols = loaded.mixture(), loaded.model("lstm").vocabulary
    assert symbols is not None
    source = split_source(open_source(lines(), sequences="line"), (0.8, 0.1, 0.1))[0][2]
    assert source is not None
    corpus = build_corpus(source, symbols)
    bits = surprisals(mixed, corpus)[0].sum(dtype=np.float64) / np.log(2) / corpus.num_characters
    assert bits == pytest.approx(record["mixture"]["bits"], rel=1e-5)


def test_a_model_whose_training_breaks_down_is_not_run_and_the_others_are() -> None:
    models: dict[str, Any] = {
        "broken": Entrant(
            config=st.RNN(hidden_size=8, nonlinearity="relu"),
            training={"learning_rate": 1e30, "clip": None, "optimizer": "sgd"},
        ),
        "markov": st.Markov(order=2),
    }
    found = compare(lines(60), models, sequences="line", steps=20, options={"batch_size": 8})
    broken = model(found.to_json(), "broken")
    assert broken["status"] == "not run" and "the loss is nan at step" in broken["reason"]
    assert found.to_json()["recommendation"]["model"] == "markov"
    assert "broken: not run" in str(found)


def test_a_budget_among_the_training_options_is_refused() -> None:
    with pytest.raises(ConfigError, match="minutes is the same for all models"):
        compare(lines(60), ["markov"], options={"minutes": 3})
    with pytest.raises(ConfigError, match="seed is the same for all models"):
        compare(lines(60), {"a": Entrant(config=st.LSTM(), training={"seed": 3})})


def test_what_comparing_takes_beyond_training_is_measured(
    folder: Path, record: dict[str, Any]
) -> None:
    found = record["overhead"]
    assert found["training_seconds"] > 0 and found["other_seconds"] > 0
    fraction = ModelComparison.load(folder).record.overhead.fraction
    assert fraction == pytest.approx(found["other_seconds"] / found["training_seconds"])
