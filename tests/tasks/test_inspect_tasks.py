"""One function inspects every task and finds whatever its model records."""

from typing import Any

import pytest
import torch

import seriatim as st
from seriatim.data.sources import open_source
from seriatim.errors import ConfigError, DataError
from seriatim.tasks import inspection as module
from seriatim.tasks.inspection import inspect
from seriatim.tasks.labeller import Labeller
from seriatim.tasks.translator import Translator

TEXT = "the cat (a grey one) sat on the mat\nthe dog saw it\n" * 40
BUDGET = {"steps": 2, "options": st.TrainingOptions(batch_size=4, length=16)}


def fitted(config: Any, **more: Any) -> st.LanguageModel:
    torch.manual_seed(0)
    lm = st.LanguageModel(config, **{"symbols": "char", "device": "cpu", **more})
    sequences = lm.sequences or "stream"
    texts = TEXT.splitlines() if sequences == "line" else [TEXT]
    source = open_source(texts, sequences=sequences)
    budget = {} if config.family == "markov" else BUDGET
    return lm.fit(source, valid=source, **budget)


CONFIGS = {
    "markov": (st.Markov(order=4), {"order"}),
    "autoregressive": (st.Autoregressive(window=3, hidden_size=8), {"state"}),
    "rnn": (st.RNN(hidden_size=8), {"state"}),
    "lstm": (st.LSTM(hidden_size=8, num_layers=2), {"state", "gate"}),
    "gru": (st.GRU(hidden_size=8), {"state", "gate"}),
    "transformer": (
        st.Transformer(num_layers=2, model_size=16, num_heads=2, context=16),
        {"state", "map"},
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def every(request: pytest.FixtureRequest) -> tuple[st.LanguageModel, set[str]]:
    config, kinds = CONFIGS[request.param]
    return fitted(config, device="cpu"), kinds


def test_every_family_has_its_kinds_of_findings(every: tuple[st.LanguageModel, set[str]]) -> None:
    lm, kinds = every
    inspection = inspect(lm, TEXT[:300])
    shown = {
        "order": inspection.orders,
        "state": inspection.states,
        "gate": inspection.gates,
        "map": inspection.maps,
    }
    assert {kind for kind, findings in shown.items() if findings} == kinds
    assert str(inspection).startswith("the model: 300 symbols")


def test_the_bits_equal_surprisal(every: tuple[st.LanguageModel, set[str]]) -> None:
    lm, _ = every
    inspection = inspect(lm, TEXT[:300])
    expected = [s.bits for s in lm.surprisal(TEXT[:300])]
    assert inspection.passages[0].bits is not None
    assert inspection.passages[0].bits.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_alternatives_are_the_most_probable_symbols(
    every: tuple[st.LanguageModel, set[str]],
) -> None:
    lm, _ = every
    inspection = inspect(lm, "the cat", top=3)
    wanted = [(p.symbol, pytest.approx(p.probability, abs=1e-5)) for p in lm.next("the ", 3)]
    assert [tuple(pair) for pair in inspection.passages[0].alternatives[4]] == wanted


def test_lines_are_read_each_from_its_own_beginning() -> None:
    lm = fitted(st.GRU(hidden_size=8), sequences="line")
    inspection = inspect(lm, "the cat\n\nthe cat\n")
    assert len(inspection.passages) == 2  # an empty line has nothing to inspect
    first, second = inspection.passages
    assert first.targets == [*"the", "␣", *"cat", "\\n"]
    assert torch.equal(first.taps["layers.0.hidden"], second.taps["layers.0.hidden"])


def test_a_window_is_read_without_the_text_before_it_and_a_note_says_so() -> None:
    lm = fitted(st.GRU(hidden_size=8))
    inspection = inspect(lm, TEXT, start=36, length=15)
    alone = inspect(lm, TEXT[36:51])
    assert inspection.passages[0].target_pieces == list(TEXT[36:51])
    assert torch.equal(inspection.passages[0].bits, alone.passages[0].bits)
    assert any(
        "15 of 2,040 symbols are inspected, from symbol 36 on" in note for note in inspection.notes
    )
    assert alone.notes[0].startswith("14 symbols")


def test_a_long_text_is_cut_and_its_maps_more_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SYMBOLS", 400)
    monkeypatch.setattr(module, "MAX_MAP_LENGTH", 50)
    monkeypatch.setattr(module, "MAX_MAP_SYMBOLS", 120)
    lm = fitted(CONFIGS["transformer"][0])
    inspection = inspect(lm, TEXT)
    assert len(inspection.states[0].trajectory.path) == 400
    assert inspection.maps[0].weights.shape[1:] == (50, 50)
    assert any("400 of 2,040 symbols are inspected" in note for note in inspection.notes)
    assert any("attention is inspected for 100 symbols" in note for note in inspection.notes)


def test_a_window_beyond_the_end_is_refused() -> None:
    lm = fitted(st.GRU(hidden_size=8), device="cpu")
    with pytest.raises(DataError, match="has 7 symbols, none of them from 7 on"):
        inspect(lm, "the cat", start=7)
    with pytest.raises(ConfigError, match="length = 0: give 1 or more"):
        inspect(lm, "the cat", length=0)


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_text_is_refused(text: str) -> None:
    lm = fitted(st.GRU(hidden_size=8), sequences="line", device="cpu")
    with pytest.raises(DataError, match="nothing to inspect"):
        inspect(lm, text)


def test_unknown_symbols_are_noted_and_read_as_unknown() -> None:
    lm = fitted(st.GRU(hidden_size=8))
    inspection = inspect(lm, "the ßat Q")
    assert inspection.notes[0].startswith("2 symbols of the text are unknown to the model")
    assert "'ß', 'Q'" in inspection.notes[0]
    assert "<unk>" in inspection.passages[0].targets


def test_labels_belong_to_the_symbols_that_were_read() -> None:
    """A label is compared with the state after its symbol; the last of a stream is not read."""
    lm = fitted(st.GRU(hidden_size=8), device="cpu")
    text = TEXT[:400]
    seen: list[list[str]] = []

    def is_space(pieces: list[str]) -> list[object]:
        seen.append(pieces)
        return ["space" if piece == " " else "none" for piece in pieces]

    inspection = inspect(lm, text, labels={"gap": is_space, "place": list(range(400))}, start=30)
    assert seen == [list(text)]
    ours = {n.label for n in inspection.states[0].neurons}
    assert {"gap = space", "place"} <= ours
    # A GRU's state after a space differs from all others: the probe must tell them apart.
    gap = next(p for p in inspection.states[0].probes if p.label == "gap")
    assert gap.by_symbol == 1.0
    with pytest.raises(DataError, match="3 labels 'gap' were given for 400 symbols"):
        inspect(lm, text, labels={"gap": [1, 2, 3]})


def test_labels_of_lines_cover_all_of_their_symbols() -> None:
    lm = fitted(st.GRU(hidden_size=8), sequences="line", device="cpu")
    text = TEXT[:600]
    kinds = ["space" if c == " " else "none" for c in text if c != "\n"]
    inspection = inspect(lm, text, labels={"gap": kinds})
    gap = next(p for p in inspection.states[0].probes if p.label == "gap")
    assert gap.by_symbol == 1.0


def test_a_single_layer_can_be_inspected() -> None:
    lm = fitted(CONFIGS["lstm"][0])
    inspection = inspect(lm, TEXT[:250], only=["layers.1"])
    names = {s.name for s in inspection.states} | {g.name for g in inspection.gates}
    assert names
    assert all(name.startswith("layers.1.") for name in names)
    with pytest.raises(ConfigError, match=r"nothing is recorded under layers\.7"):
        inspect(lm, TEXT[:250], only=["layers.7"])


def test_inspecting_changes_no_later_result() -> None:
    lm = fitted(CONFIGS["transformer"][0], device="cpu")
    before = lm.surprisal("the cat")
    inspect(lm, TEXT[:100])
    assert lm.surprisal("the cat") == before


@pytest.fixture(scope="module")
def translator() -> Translator:
    pairs = [("abc", "cba"), ("bca", "acb"), ("cab", "bac"), ("bbc", "cbb")] * 10
    return Translator("transformer", symbols="char", device="cpu").fit(
        pairs, valid=pairs, steps=3, options=st.TrainingOptions(batch_size=4)
    )


def test_a_translator_shows_its_attention_over_the_source(translator: Translator) -> None:
    inspection = inspect(translator, [("abc", "cba")])
    (passage,) = inspection.passages
    assert passage.source is not None
    assert list(passage.source.names) == [*"abc", "<end>"]
    cross = [m for m in inspection.maps if m.name.endswith(".cross")]
    assert cross
    for m in cross:
        assert m.weights.shape[1:] == (4, 4)
        assert torch.allclose(m.weights.sum(-1), torch.ones(()), atol=1e-5)
        assert list(m.queries) == [*"cba", "<end>"]
        assert list(m.keys) == [*"abc", "<end>"]
    assert "decoder.layers.0.attention.cross" in str(inspection)


def test_without_a_target_a_translators_own_translation_is_inspected(
    translator: Translator,
) -> None:
    inspection = inspect(translator, "abc", beam=2)
    translation = translator.translate("abc", beam=2)
    assert "".join(inspection.passages[0].target_pieces).removesuffix("∎") == translation.text


def test_a_labeller_shows_its_encoder() -> None:
    cases = [("so good", "pos"), ("so bad", "neg")] * 10
    labeller = Labeller("lstm", symbols="word", device="cpu")
    labeller.fit(cases, valid=cases, options=st.TrainingOptions(steps=2))
    inspection = inspect(labeller, ["so good", "so bad"])
    assert inspection.bits is None
    assert inspection.states
    assert "bits per symbol" not in str(inspection)
    with pytest.raises(
        ConfigError, match="labels, start and length are options of language models"
    ):
        inspect(labeller, "so good", labels={"x": [1, 2]})


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(ConfigError, match="not fitted"):
        inspect(st.LanguageModel("gru"), "a")


class LineCounter(st.Cell):
    """Its one unit counts the symbols since the last line end, which has 1 in its embedding."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > 0.5, torch.zeros_like(h), h + self.scale)


def test_the_counter_in_a_users_own_cell_is_found() -> None:
    config = st.Latent(cell=LineCounter, hidden_size=1, embedding_size=4)
    lm = fitted(config, device="cpu")
    model, symbols = lm.model, lm.vocabulary
    assert model is not None
    assert symbols is not None
    with torch.no_grad():
        model.get_submodule("cell").get_parameter("scale").fill_(1.0)
        weight = model.get_submodule("embedding").get_parameter("weight")
        weight.zero_()
        weight[symbols.encode("\n")[0], 0] = 1.0
    inspection = inspect(lm, TEXT[:500])
    best = {n.label: n for n in inspection.states[0].neurons}["position in line"]
    assert best.correlation == pytest.approx(1.0)
    assert best.is_named
