"""Families and modules of a user's own: fitted, saved, loaded, compared, or refused."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import seriatim as st
from seriatim.data.vocab import fit_vocabulary
from seriatim.errors import ConfigError, ContractError, ModelError, OutputError
from seriatim.models.options import own
from seriatim.models.options.registry import configure, describe, families, restore
from tests.tasks.my_models import Fading, FadingAverage

TEXT = ["the cat sat on the mat", "a dog sat on the cat", "the dog and a cat"] * 20
SMALL: dict[str, Any] = {"batch_size": 4, "length": 8}


@pytest.fixture(autouse=True)
def registered() -> None:
    own._REGISTERED.clear()
    st.register(Fading)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "model"
    lm = st.LanguageModel(Fading(size=4)).fit(TEXT, valid=TEXT, steps=3, options=SMALL)
    lm.save(path)
    return path


# ---- families ------------------------------------------------------------------------------------


def test_a_family_of_ones_own_loads_with_the_same_scores(saved: Path) -> None:
    lm = st.load(saved)
    assert isinstance(lm.config, Fading) and lm.config.size == 4  # type: ignore[union-attr]
    own._REGISTERED.clear()
    again = st.load(saved, classes=[Fading])
    assert lm.score(TEXT).nats == again.score(TEXT).nats
    assert json.loads((saved / "training.json").read_text())["run"]["model"]["model"] == {
        "family": "fading",
        "options": {"size": 4},
        "own_class": "Fading",
        "file": "my_models.py",
    }


def test_a_missing_class_is_named_with_the_ways_to_give_it(saved: Path) -> None:
    own._REGISTERED.clear()
    with pytest.raises(ModelError) as refusal:
        st.load(saved)
    for part in ("your class Fading", "classes=[Fading]", "register", "--classes my_models.py"):
        assert part in str(refusal.value)


def test_nothing_that_a_folder_names_is_imported(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text("raise AssertionError('executed')\n")
    record = {"family": "x", "options": {}, "own_class": "Evil", "file": "my_models.py"}
    with pytest.raises(ConfigError, match="your class Evil, which is not known here"):
        restore(record)


def test_a_family_is_used_by_its_name() -> None:
    assert configure("fading", {"size": "8"}) == Fading(size=8)
    assert "fading" in families()
    assert restore(describe(Fading(size=3))) == Fading(size=3)
    with pytest.raises(ConfigError, match=r"no such model 'fadin'; did you mean fading\?"):
        st.LanguageModel("fadin")
    with pytest.raises(ConfigError, match=r"unknown option siez; did you mean size\?"):
        Fading(siez=3)  # type: ignore[call-arg]


@pytest.mark.slow
def test_a_family_is_compared_beside_others_at_a_number_of_parameters(tmp_path: Path) -> None:
    found = st.compare(
        TEXT,
        {"mine": Fading(), "counted": st.Markov(order=2)},
        steps=3,
        parameters=1000,
        options=SMALL,
        out=tmp_path / "compared",
    )
    mine = next(m for m in found.record.ranked if m.name == "mine")
    assert mine.family == "fading" and mine.parameters == pytest.approx(1000, rel=0.05)
    again = st.ModelComparison.load(tmp_path / "compared").model("mine")
    assert isinstance(again.config, Fading)


def test_a_class_that_is_defined_again_replaces_the_one_before() -> None:
    def cell() -> type:
        class Again(st.ModelConfig):
            family: ClassVar[str] = "again"

        return st.register(Again)

    first, second = cell(), cell()
    assert first is not second and families()["again"] is second


def test_names_that_are_taken_are_refused() -> None:
    class Other(st.ModelConfig):
        family: ClassVar[str] = "lstm"

    with pytest.raises(ConfigError, match="lstm is a family of seriatim"):
        st.register(Other)
    Other.family = "fading"
    with pytest.raises(ConfigError, match="Fading and Other are both of the family fading"):
        st.register(Other)
    stranger = type("Fading", (st.Cell,), {"__module__": "elsewhere"})
    with pytest.raises(ConfigError, match=r"two classes named Fading, in my_models.py and in else"):
        st.register(stranger)
    with pytest.raises(ConfigError, match='write family = "a-name"'):
        st.register(type("Nameless", (st.ModelConfig,), {}))


class Mistaken(st.ModelConfig):
    family: ClassVar[str] = "mistaken"


class NoEmit(FadingAverage):
    emit = st.SequenceModel.emit  # as if it had not been written


def test_mistakes_in_a_family_are_named() -> None:
    with pytest.raises(ConfigError, match=r"decorate it with @seriatim\.register"):
        Mistaken()
    mistaken = st.register(type("Mistaken2", (Mistaken,), {"family": "mistaken"}))
    with pytest.raises(ConfigError, match="does not say how its model is built"):
        st.build_model(mistaken(), 5, 1)

    def returns(value: Any) -> Any:
        return type("Returns", (Fading,), {"build": lambda self, v, b: value(v, b)})()

    with pytest.raises(ContractError, match=r"abstract method emit.*empty, advance and emit"):
        st.build_model(returns(NoEmit), 5, 1)
    with pytest.raises(ContractError, match="returns a Linear: return a SequenceModel"):
        st.build_model(returns(torch.nn.Linear), 5, 1)
    with pytest.raises(ContractError, match="of 9 symbols with boundary 1, and was asked for 5"):
        st.build_model(returns(lambda v, b: FadingAverage(9, 1)), 5, 1)
    with pytest.raises(ConfigError, match="is not the configuration of a model"):
        st.build_model("lstm", 5, 1)  # type: ignore[arg-type]


def test_an_option_that_is_no_json_is_refused_before_training() -> None:
    class Noted(st.ModelConfig):
        family: ClassVar[str] = "noted"
        weights: Any = None

    noted = st.register(Noted)
    with pytest.raises(ConfigError, match="noted could not be saved: its option weights is a Ten"):
        st.LanguageModel(noted(weights=torch.zeros(2))).fit(TEXT, valid=TEXT, steps=1)


# ---- modules -------------------------------------------------------------------------------------


def test_a_trained_module_scores_generates_and_streams_with_a_vocabulary(tmp_path: Path) -> None:
    text = "\n".join(TEXT) + "\n"
    vocabulary = fit_vocabulary("char", [text], sequences="stream")
    model = FadingAverage(vocabulary.num_symbols, vocabulary.boundary)
    st.train(model, vocabulary.encode(text), options={"steps": 20, "learning_rate": 0.02, **SMALL})
    lm = st.LanguageModel(model, symbols=vocabulary)
    assert lm.score([text]).bits_per_symbol < 4
    assert len(lm.generate("the ", 10)) == 14
    assert lm.stream().push("t") > 0
    with pytest.raises(ConfigError, match="nothing says how to build it again"):
        lm.save(tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    assert not isinstance(OutputError, ConfigError)
    model.config = Fading()  # type: ignore[assignment]
    lm = st.LanguageModel(model, symbols=vocabulary)
    lm.save(tmp_path / "saved")
    assert st.load(tmp_path / "saved").score([text]).nats == lm.score([text]).nats


def test_a_module_is_fitted_where_the_vocabulary_has_its_size() -> None:
    lm = st.LanguageModel(FadingAverage(3, 1))
    with pytest.raises(ConfigError, match="this FadingAverage has 3 symbols and the boundary 1"):
        lm.fit(TEXT, valid=TEXT, steps=1, options=SMALL)
    assert lm.vocabulary is not None
    model = FadingAverage(lm.vocabulary.num_symbols, lm.vocabulary.boundary)
    before = model.head.weight.detach().clone()
    lm = st.LanguageModel(model).fit(TEXT, valid=TEXT, steps=2, options=SMALL)
    assert lm.model is model and not torch.equal(before, model.head.weight)


@pytest.mark.parametrize("given", [FadingAverage, 3, None])
def test_what_is_no_model_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="a language model cannot be made of"):
        st.LanguageModel(given)
