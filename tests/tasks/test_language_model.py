"""The language model: fitted, scored, sampled, streamed, saved; its figures agree."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seriatim as st
from seriatim.errors import ConfigError, DataError, ModelError
from seriatim.models import ModelConfig
from seriatim.train.options import TrainingOptions

TEXT = "the cat sat on the mat\nthe dog sat on the cat\na dog and a cat\n" * 40
SMALL: dict[str, ModelConfig] = {
    "markov": st.Markov(order=3),
    "autoregressive": st.Autoregressive(window=4, embedding_size=8, hidden_size=16),
    "rnn": st.RNN(hidden_size=16),
    "lstm": st.LSTM(hidden_size=16),
    "gru": st.GRU(hidden_size=16),
    "transformer": st.Transformer(model_size=16, num_layers=2, num_heads=2, context=8),
}
QUICK = TrainingOptions(steps=30, batch_size=8, length=16, learning_rate=1e-2)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def lstm() -> st.LanguageModel:
    """A character model of a stream."""
    source = st.open_source([TEXT], sequences="stream")
    return st.LanguageModel(SMALL["lstm"]).fit(source, options=QUICK)


@pytest.fixture(scope="module")
def words() -> st.LanguageModel:
    """A word model of lines, in which rare words are unknown."""
    source = st.open_source(TEXT.splitlines(), sequences="line")
    return st.LanguageModel(st.Markov(order=3), symbols="word", min_count=50).fit(
        source, valid=source
    )


@pytest.mark.parametrize("family", SMALL)
def test_every_family_learns_and_survives_saving(
    family: str, text_file: Path, tmp_path: Path
) -> None:
    lm = st.LanguageModel(SMALL[family], symbols="char").fit(text_file, options=QUICK)
    score = lm.score(text_file)
    assert score.bits_per_character is not None
    assert score.bits_per_character < math.log2(len(set(TEXT))), "better than guessing"
    lm.save(tmp_path / "model")
    again = st.load(tmp_path / "model")
    assert again.score(text_file).nats == pytest.approx(score.nats, rel=1e-6)
    assert again.generate("the", 20, seed=3) == lm.generate("the", 20, seed=3)
    assert again.training.to_json() == lm.training.to_json()
    assert again.model is not None
    assert lm.model is not None
    assert again.model.fingerprint() == lm.model.fingerprint()


def test_the_same_seed_gives_the_same_model_bit_for_bit(text_file: Path) -> None:
    prints = set()
    for seed in (1, 1, 2):
        lm = st.LanguageModel(SMALL["gru"]).fit(text_file, options=QUICK, seed=seed)
        assert lm.model is not None
        prints.add((seed, lm.model.fingerprint()))
    assert len(prints) == 2


def test_fitting_leaves_the_callers_randomness_alone(text_file: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    st.LanguageModel(SMALL["rnn"]).fit(text_file, steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_score_surprisal_and_stream_agree(lstm: st.LanguageModel) -> None:
    text = "the dog sat on a mat\n"
    surprisal = lstm.surprisal(text)
    stream = lstm.stream()
    pushed = [stream.push(c) for c in text]
    assert [s.bits for s in surprisal] == pytest.approx(pushed, rel=1e-4)
    score = lstm.score(st.open_source([text], sequences="stream"))
    assert score.bits_per_symbol * score.symbols == pytest.approx(sum(pushed), rel=1e-4)
    assert "".join(s.symbol for s in surprisal) == text.replace("\n", "\\n")


def test_a_stream_is_resumed_from_saved_bytes(lstm: st.LanguageModel) -> None:
    stream = lstm.stream()
    for c in "the cat ":
        stream.push(c)
    resumed = lstm.stream(stream.save())
    assert resumed.top(3) == stream.top(3)
    assert [resumed.push(c) for c in "sat"] == [stream.push(c) for c in "sat"]


def test_next_is_a_distribution(lstm: st.LanguageModel) -> None:
    assert lstm.vocabulary is not None
    predictions = lstm.next("the ca", top=lstm.vocabulary.num_symbols)
    assert sum(p.probability for p in predictions) == pytest.approx(1, abs=1e-4)
    assert [p.probability for p in predictions] == sorted(
        (p.probability for p in predictions), reverse=True
    )


def test_lines_end_and_their_end_is_scored(words: st.LanguageModel) -> None:
    text = words.generate("", 1000, seed=0)
    assert "\n" not in text
    assert len(text.split()) < 100
    surprisal = words.surprisal("the cat sat\nthe dog")
    assert [s.symbol for s in surprisal] == ["the", "cat", "sat", "\\n", "the", "dog", "\\n"]


def test_generating_pieces_make_up_the_text(lstm: st.LanguageModel) -> None:
    assert "the" + "".join(lstm.generating("the", 30, seed=4)) == lstm.generate("the", 30, seed=4)


def test_greedy_takes_the_most_probable(lstm: st.LanguageModel) -> None:
    greedy = lstm.generate("the ", 1, temperature=0)
    assert greedy[4:] == lstm.next("the ", 1)[0].symbol.replace("␣", " ").replace("\\n", "\n")


def test_an_unfitted_model_says_so() -> None:
    with pytest.raises(ConfigError, match="not fitted yet"):
        st.LanguageModel().generate()


def test_a_prompt_with_symbols_never_seen_is_read_as_unknown(lstm: st.LanguageModel) -> None:
    assert lstm.generate("a €", 3).startswith("a €")
    assert lstm.prompt_note("a €") == (
        "the prompt has 1 symbol that the model has never seen ('€'), read as <unk>"
    )
    assert lstm.next("a €") == lstm.next("a ¥")


def test_a_word_prompt_may_hold_unknown_words_where_training_had_some(
    words: st.LanguageModel,
) -> None:
    assert words.training.data["train"].unknown > 0
    assert words.generate("the zebra", 0) == "the zebra"


def test_unknown_test_symbols_are_counted_and_leave_no_bits_per_character(
    lstm: st.LanguageModel,
) -> None:
    score = lstm.score(st.open_source(["the cät\n"], sequences="stream"))
    assert score.unknown == 1
    assert score.bits_per_character is None
    assert score.not_spelled
    assert score.perplexity_known is not None
    assert score.perplexity_known < score.perplexity


def test_bits_per_character_need_no_particular_symbols(text_file: Path) -> None:
    """Every kind of symbols codes the same text, so their figures per byte can be compared."""
    scores = {}
    for symbols in ("byte", "char", "bpe:300"):
        lm = st.LanguageModel(st.Markov(order=3), symbols=symbols).fit(text_file)
        scores[symbols] = lm.score(text_file)
    assert {s.characters for s in scores.values()} == {len(TEXT)}
    byte, char = scores["byte"], scores["char"]
    assert byte.bits_per_byte == pytest.approx(char.bits_per_byte, rel=0.05)
    for s in scores.values():
        assert s.bits_per_character == pytest.approx(s.nats / math.log(2) / len(TEXT))


def test_training_a_model_further_improves_it_on_new_data(text_file: Path) -> None:
    lm = st.LanguageModel(SMALL["lstm"]).fit(text_file, options=QUICK)
    new = st.open_source(["mat on the dog\n" * 100], sequences="stream")
    before = lm.score(new).nats
    vocabulary = lm.vocabulary
    lm.fit(new, options=QUICK)
    assert lm.vocabulary is vocabulary
    assert lm.score(new).nats < before


def test_a_counted_model_cannot_be_trained_further(text_file: Path) -> None:
    lm = st.LanguageModel(SMALL["markov"]).fit(text_file)
    with pytest.raises(ConfigError, match="fit a new one on all of the data"):
        lm.fit(text_file)


def test_parts_are_split_off_and_recorded(text_file: Path) -> None:
    lm = st.LanguageModel(SMALL["markov"]).fit(text_file)
    sizes = {name: part.characters for name, part in lm.training.data.items()}
    assert sum(sizes.values()) == len(TEXT)
    assert sizes["train"] > 7 * sizes["valid"]
    assert lm.training.split["fractions"] == [0.8, 0.1, 0.1]


def test_an_empty_text_has_nothing_to_score(lstm: st.LanguageModel) -> None:
    with pytest.raises(DataError, match="empty"):
        lstm.score(st.open_source([], sequences="stream"))


def test_restarting_costs_bits(lstm: st.LanguageModel) -> None:
    source = st.open_source([TEXT], sequences="stream")
    assert lstm.score(source, restart_every=2).nats > lstm.score(source).nats


class Elman(st.Cell):
    """A user's cell: h_t = tanh(W x + U h)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W = nn.Linear(input_size, hidden_size)
        self.U = nn.Linear(hidden_size, hidden_size)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.W(x) + self.U(h))


def test_a_users_cell_is_trained_saved_and_loaded_with_its_class(
    text_file: Path, tmp_path: Path
) -> None:
    lm = st.LanguageModel(st.Latent(cell=Elman, hidden_size=16)).fit(text_file, options=QUICK)
    score = lm.score(text_file)
    assert score.bits_per_symbol < math.log2(len(set(TEXT)))
    lm.save(tmp_path / "model")
    with pytest.raises(ModelError, match=r"load\(path, classes=\[Elman\]\)"):
        st.load(tmp_path / "model")
    again = st.load(tmp_path / "model", classes=[Elman])
    assert again.score(text_file).nats == pytest.approx(score.nats, rel=1e-6)
    assert again.generate("the", 10) == lm.generate("the", 10)
    assert lm.check(seconds=2).ok


def test_a_saved_state_of_another_model_is_refused(lstm: st.LanguageModel, text_file: Path) -> None:
    other = st.LanguageModel(SMALL["lstm"]).fit(text_file, options=QUICK, seed=9)
    with pytest.raises(ModelError, match="belongs to model"):
        other.stream(lstm.stream().save())


def test_a_mixture_fitted_on_validation_beats_its_members(text_file: Path) -> None:
    from seriatim.data.corpus import Corpus
    from seriatim.metrics.likelihood import as_batches, surprisals

    members = [st.LanguageModel(SMALL[n]).fit(text_file, options=QUICK) for n in ("markov", "gru")]
    models = [m.model for m in members if m.model is not None]
    vocabulary = members[0].vocabulary
    assert vocabulary is not None
    corpus = Corpus.from_tokens([vocabulary.encode(TEXT[-500:])], is_stream=True)
    mixture = st.Mixture(models)
    weights = mixture.fit_weights(as_batches(corpus, vocabulary.boundary, length=1000))
    assert sum(weights) == pytest.approx(1)
    best = min(float(np.sum(surprisals(m, corpus)[0])) for m in models)
    assert float(np.sum(surprisals(mixture, corpus)[0])) <= best * 1.0001


def test_spelling_unknown_words_makes_a_code_of_the_whole_text(
    text_file: Path, tmp_path: Path
) -> None:
    """With the bits that spell unknown words, a word model has bits per character for any text."""
    lm = st.LanguageModel(st.Markov(order=2), symbols="word").fit(text_file, valid=text_file)
    new = st.open_source(["the cat sat on the zebra\n"], sequences="stream")
    score = lm.score(new)
    assert (score.unknown, score.bits_per_character) == (1, None)
    assert score.bits_per_character_spelled is not None
    assert score.bits_per_character_spelled > score.nats / math.log(2) / score.characters
    lm.save(tmp_path / "model")
    again = st.load(tmp_path / "model").score(new).bits_per_character_spelled
    assert again == pytest.approx(score.bits_per_character_spelled)
    spaced = st.open_source(["the  zebra\n"], sequences="stream")  # two spaces do not come back
    assert lm.score(spaced).bits_per_character_spelled is None
