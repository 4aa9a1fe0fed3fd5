"""The translator: it learns, its results do not depend on the batch, and it notes failures."""

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.data.batches.pairs import PairBoundaries, PairReader
from seriatim.data.pairs import PairCorpus, build_pair_corpus, open_pairs
from seriatim.decode.sampling import Sampling
from seriatim.decode.settings import Decoding
from seriatim.errors import ConfigError, DataError, ModelError, SymbolError
from seriatim.report.plots import DARK, LIGHT
from seriatim.tasks.translation import Alignment, LengthRule
from seriatim.tasks.translator import Translator
from seriatim.tasks.translator_defaults import configured
from seriatim.train.checkpoint.store import Checkpoints

LETTERS = "abcd"
SMALL: dict[str, Any] = {
    "model_size": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "dropout": 0.0,
}


def reversals(count: int, seed: int = 0, longest: int = 5) -> list[tuple[str, str]]:
    """Words and their reversals; empty ones among them."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(LETTERS), rng.integers(0, longest + 1))) for _ in range(count)]
    return [(word, word[::-1]) for word in words]


def translator(kind: str = "gru", **options: Any) -> Translator:
    return Translator(configured(kind, {**SMALL, **options}), symbols="char", device="cpu")


@pytest.fixture(scope="module")
def learned() -> Translator:
    """A translator that has learned to reverse words of up to three letters."""
    torch.set_num_threads(1)
    model = translator(model_size=32)
    options = {"learning_rate": 1e-2, "label_smoothing": 0.0, "warmup": 20}
    pairs = reversals(300, longest=3)
    return model.fit(pairs, valid=pairs[:50], test=pairs[50:90], steps=200, options=options)


@pytest.fixture(scope="module")
def untrained() -> Translator:
    """A translator in float64 with its initial weights."""
    model = translator(model_size=16)
    model.fit(reversals(60), steps=1, seed=1, options={"learning_rate": 1e-9})
    assert model.model is not None
    model.model.double()
    return model


# ---- learning -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_toy_language_is_learned_in_seconds_and_its_alignment_runs_backwards(
    learned: Translator,
) -> None:
    words = ["abc", "dab", "", "cc", "a"]
    results = learned.translate(words, alignment=True)
    assert [t.text for t in results] == [word[::-1] for word in words]
    assert all(t.is_ended for t in results)
    for word, t in zip(words, results, strict=True):
        assert t.alignment is not None
        assert t.alignment.weights.shape == (len(word) + 1, len(word) + 1)
        assert np.allclose(t.alignment.weights.sum(1), 1, atol=1e-5)
        assert t.alignment.source == (*word, "<end>")
        assert t.alignment.target == (*word[::-1], "<end>")


def test_an_alignment_is_drawn_as_an_svg_with_a_square_for_every_weight() -> None:
    weights = np.array([[0.9, 0.1], [0.0, 1.0], [0.5, 0.5]], np.float32)
    picture = Alignment(("<a>", "b"), ("x", "y", "&"), weights).svg()
    root = ElementTree.fromstring(picture)
    tag = "{http://www.w3.org/2000/svg}"
    squares = root.findall(f"{tag}rect")[1:]
    assert [float(s.attrib["fill-opacity"]) for s in squares] == [0.9, 0.1, 0.03, 1.0, 0.5, 0.5]
    assert [t.text for t in root.findall(f"{tag}text")] == ["<a>", "b", "x", "y", "&"]
    assert squares[4].findtext(f"{tag}title") == "& attends to <a>: 0.50"
    dark = Alignment(("<a>", "b"), ("x", "y", "&"), weights).svg(is_dark=True)
    assert DARK["paper"] in dark and LIGHT["paper"] not in dark


def test_fitting_leaves_a_record_of_everything(learned: Translator) -> None:
    record = learned.training
    assert record.data["train"].pairs == 300
    assert record.data["train"].longest_source == 3
    assert record.fit is not None
    assert 0 <= record.fit.padding_fraction < 0.3
    assert record.scores["test"].bits_per_symbol < 0.5
    assert learned.length_rule == LengthRule(slope=2.0, extra=20)
    assert record.fit.options["label_smoothing"] == 0.0
    info = learned.info()
    assert info["task"] == "translation"
    assert info["source_symbols"] == {"kind": "char", "number": 6}


def test_the_recipe_is_chosen_by_the_model_and_the_data_unless_something_is_given() -> None:
    model = translator("gru")
    pairs = open_pairs(reversals(400))
    corpus = model._encode({"train": pairs}, lambda sentence: None)["train"]
    chosen = model._suited({}, corpus)
    assert chosen.label_smoothing == model.config.recipe["label_smoothing"]
    assert chosen.token_budget == 512
    assert chosen.steps == 2000
    assert model._suited({"batch_size": 7}, corpus).token_budget is None
    assert model._suited({"minutes": 1}, corpus).steps is None
    assert model._suited({"token_budget": 300}, corpus).token_budget == 300
    with pytest.raises(ConfigError, match="a pair is never cut"):
        model.training_options({"length": 30})


def test_a_fitted_translator_is_trained_further_with_its_symbols(
    learned: Translator, tmp_path: Path
) -> None:
    learned.save(tmp_path / "m")
    again = Translator.load(tmp_path / "m")
    pairs = [("ab", "xy"), ("b", "y")] * 10
    again.fit(pairs, valid=[("ab", "ba")], steps=1, allow_unknown=True)
    assert again.vocabulary is not None
    assert learned.vocabulary is not None
    assert again.vocabulary.fingerprint() == learned.vocabulary.fingerprint()


@pytest.mark.parametrize(
    ("symbols", "source_symbols"), [("byte", None), ("word", "char"), ("bpe", None)]
)
def test_the_two_sides_have_the_symbols_they_are_given(
    symbols: str, source_symbols: str | None
) -> None:
    pairs = [(f"w{i % 7} x", f"p {i % 7} q") for i in range(40)]
    model = Translator(
        configured("gru", SMALL), symbols=symbols, source_symbols=source_symbols, device="cpu"
    )
    model.fit(pairs, steps=1)
    assert model.vocabulary is not None
    assert model.source_vocabulary is not None
    assert model.vocabulary.kind == symbols
    assert model.source_vocabulary.kind == (source_symbols or symbols)
    assert model.translate("w1 x") == model.translate(["w1 x"])[0]


def test_joint_symbols_are_one_vocabulary_of_both_sides() -> None:
    model = Translator(configured("gru", SMALL), symbols="char", joint=True, device="cpu")
    pairs = [("ab", "yz"), ("b", "z"), ("a", "y")]
    model.fit(pairs, valid=pairs, steps=1)
    assert model.vocabulary is model.source_vocabulary
    assert model.vocabulary is not None
    assert not model.vocabulary.unknown_symbols("abyz")
    with pytest.raises(ConfigError, match="leave out source_symbols"):
        Translator(symbols="char", source_symbols="word", joint=True)


# ---- decoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(beam=1),
        Decoding(beam=3, num_best=2),
        Decoding(sampling=Sampling(temperature=1.2), num_best=2, seed=3),
    ],
)
def test_results_are_in_order_and_do_not_depend_on_the_batch(
    untrained: Translator, decoding: Decoding
) -> None:
    words = [word for word, _ in reversals(12, seed=5)]
    together = untrained.translate(words, decoding=decoding)
    for i, word in enumerate(words):
        alone = untrained.translate([word], decoding=decoding, first=i)[0]
        assert alone.symbols == together[i].symbols
        assert alone.log_prob == pytest.approx(together[i].log_prob, abs=1e-9)
        assert [o.symbols for o in alone.others] == [o.symbols for o in together[i].others]


def test_the_log_probability_of_a_result_is_that_of_forcing_it(untrained: Translator) -> None:
    words = ["abc", "", "dd"]
    results = untrained.translate(words, decoding=Decoding(beam=3, max_length=3))
    forced = untrained.log_probs([(w, t.text) for w, t in zip(words, results, strict=True)])
    for t, value in zip(results, forced, strict=True):
        if t.is_ended and "�" not in t.text:
            assert value == pytest.approx(t.log_prob, abs=1e-5)


def test_a_target_that_reaches_its_limit_says_so(untrained: Translator) -> None:
    result = untrained.translate(["abcd"], decoding=Decoding(beam=1, max_length=1))[0]
    long = untrained.translate(["abcd"], decoding=Decoding(beam=1, max_length=40))[0]
    assert len(result.symbols) <= 1
    if not result.is_ended:
        assert "the target was cut at 1 symbol: the model had not ended it" in result.notes
    assert result.symbols == long.symbols[:1]


def test_the_length_rule_comes_from_the_training_pairs() -> None:
    def rule(source: int, target: int) -> LengthRule:
        pair = ([2] * (source - 1), [2] * (target - 1))  # the end is one more
        return LengthRule.of(PairCorpus.from_tokens([pair] * 3))

    assert rule(10, 10) == LengthRule(2.0, 20)
    assert rule(10, 30) == LengthRule(6.0, 20)
    assert rule(30, 10) == LengthRule(2.0, 20)
    assert LengthRule(2.5, 20).limit(3) == 28


def test_an_ensemble_of_a_translator_with_itself_is_the_translator(untrained: Translator) -> None:
    words = ["abc", "dcba"]
    one = untrained.translate(words)
    two = untrained.translate(words, ensemble=[untrained])
    for a, b in zip(one, two, strict=True):
        assert a.symbols == b.symbols
        assert a.log_prob == pytest.approx(b.log_prob, abs=1e-6)


@pytest.mark.slow
def test_an_ensemble_of_other_symbols_is_refused(
    untrained: Translator, learned: Translator
) -> None:
    other = Translator(configured("gru", SMALL), symbols="byte", device="cpu")
    other.fit(reversals(20), steps=1)
    with pytest.raises(ConfigError, match="the same target vocabulary"):
        learned.translate(["ab"], ensemble=[other])


# ---- scoring ------------------------------------------------------------------------------------


def test_scores_are_those_of_the_model_row_by_row(untrained: Translator) -> None:
    pairs = reversals(9, seed=3)
    corpus = build_pair_corpus(open_pairs(pairs), *untrained._vocabularies())
    source, target = untrained._vocabularies()
    reader = PairReader(corpus, PairBoundaries(source.boundary, target.boundary))
    assert untrained.model is not None
    expected = []
    with torch.inference_mode():
        for i in range(len(pairs)):
            expected.append(float(untrained.model.log_prob(reader.batch(np.array([i]))).sum()))
    assert untrained.log_probs(pairs) == pytest.approx(expected, abs=1e-5)
    score = untrained.score(pairs)
    assert score.nats == pytest.approx(-sum(expected), rel=1e-6)
    assert score.symbols == sum(len(t) + 1 for _, t in pairs)
    assert score.bits_per_character == pytest.approx(
        score.nats / math.log(2) / sum(len(t) for _, t in pairs)
    )


# ---- on disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [False, True])
def test_a_saved_translator_is_the_same_one(tmp_path: Path, joint: bool) -> None:
    first = Translator(configured("gru", SMALL), symbols="char", joint=joint, device="cpu")
    first.fit(reversals(30), steps=2)
    first.save(tmp_path / "m")
    again = st.load(tmp_path / "m")
    assert isinstance(again, Translator)
    assert again.is_joint == joint
    assert again.length_rule == first.length_rule
    assert again.training.data == first.training.data
    words = ["ab", "", "dcb"]
    assert [t.log_prob for t in again.translate(words)] == [
        t.log_prob for t in first.translate(words)
    ]


def test_a_folder_of_another_task_is_refused_in_both_directions(
    tmp_path: Path, learned: Translator
) -> None:
    learned.save(tmp_path / "t")
    with pytest.raises(ModelError, match=r"is a translator; LanguageModel\.load"):
        st.LanguageModel.load(tmp_path / "t")
    lm = st.LanguageModel(st.Markov(order=2)).fit(["aba", "bab", "ab"] * 9)
    lm.save(tmp_path / "l")
    with pytest.raises(ModelError, match=r"is a language model; Translator\.load"):
        Translator.load(tmp_path / "l")


# ---- bad input ----------------------------------------------------------------------------------


def test_an_unknown_symbol_is_translated_with_a_note_that_names_it(learned: Translator) -> None:
    results = learned.translate(["axb", "ab"])
    assert "never seen in training ('x'), read as <unk>" in results[0].notes[0]
    assert results[1].notes == ()


def test_a_source_longer_than_any_in_training_is_translated_whole_with_a_note(
    learned: Translator,
) -> None:
    result = learned.translate("abcdabcdab")
    assert "has 10 symbols and the longest in training had 3" in result.notes[0]


def test_requests_that_cannot_be_met_are_refused_in_one_sentence(learned: Translator) -> None:
    with pytest.raises(ConfigError, match="beam is 0: give 1"):
        learned.translate(["a"], beam=0)
    with pytest.raises(ConfigError, match="a beam of 4 cannot return 5 results"):
        learned.translate(["a"], num_best=5)
    with pytest.raises(ConfigError, match="not fitted yet"):
        Translator("gru").translate(["a"])
    with pytest.raises(ConfigError, match="there is no translator 'markov'"):
        Translator("markov")
    with pytest.raises(DataError, match="too few to split into 3 parts"):
        translator().fit([("a", "b")])


def test_a_model_without_attention_to_its_source_has_no_alignment() -> None:
    model = translator("gru", attention="none")
    model.fit(reversals(30), steps=1)
    with pytest.raises(ConfigError, match="attention to the source"):
        model.translate(["ab"], alignment=True)


def test_an_empty_list_gives_no_translations(learned: Translator) -> None:
    assert learned.translate([]) == []


# ---- constraints --------------------------------------------------------------------------------


def test_required_texts_occur_and_forbidden_ones_do_not(untrained: Translator) -> None:
    words = ["abc", "d", "ca"]
    required = [["dd"], [], ["ba", "c"]]
    results = untrained.translate(words, beam=6, require=required)
    for t, texts in zip(results, required, strict=True):
        assert all(text in t.text for text in texts)
    free = untrained.translate(words, decoding=Decoding(beam=3, max_length=6, num_best=3))
    used = sorted({c for t in free for r in (t, *t.others) for c in r.text})
    banned = Decoding(beam=3, max_length=6, num_best=3, forbid=tuple(used[:2]))
    for t in untrained.translate(words, decoding=banned):
        assert not any(text in r.text for r in (t, *t.others) for text in banned.forbid)


def test_unknown_never_comes_out_where_training_had_none(untrained: Translator) -> None:
    results = untrained.translate(["ab", "", "ddd"], decoding=Decoding(beam=4, num_best=4))
    assert all(0 not in r.symbols for t in results for r in (t, *t.others))


def test_constraints_that_cannot_be_met_name_the_source(untrained: Translator) -> None:
    with pytest.raises(ConfigError, match="source 2: the phrase"):
        untrained.translate(["ab", "cd"], decoding=Decoding(max_length=2), require=[[], ["abcd"]])
    with pytest.raises(ConfigError, match="2 sources and 1 lists of required texts"):
        untrained.translate(["ab", "cd"], require=[["a"]])
    with pytest.raises(SymbolError, match="'xa' has symbols that no target"):
        untrained.translate(["ab"], require=[["xa"]])
    with pytest.raises(SymbolError, match="text is empty"):
        untrained.translate(["ab"], decoding=Decoding(forbid=("",)))
    with pytest.raises(ConfigError, match="not to sampling"):
        Decoding(sampling=Sampling(), forbid=("a",))


def test_a_fused_language_model_changes_the_ranking_and_must_share_the_symbols(
    untrained: Translator,
) -> None:
    assert untrained.vocabulary is not None
    lm = st.LanguageModel(st.Markov(order=2), symbols=untrained.vocabulary)
    lm.fit(["dddd", "ddd", "dd"] * 20)
    alone = untrained.translate("abc", decoding=Decoding(max_length=6))
    fused = untrained.translate("abc", decoding=Decoding(max_length=6, fuse=lm, fuse_weight=5.0))
    assert set(fused.text) <= {"d"}
    assert fused.score < alone.score
    other = st.LanguageModel(st.Markov(order=2)).fit(["ab", "ba", "aa"] * 9)
    with pytest.raises(ConfigError, match="fuse needs a language model"):
        untrained.translate("abc", decoding=Decoding(fuse=other, fuse_weight=1.0))


def test_groups_of_a_beam_find_results_that_differ(untrained: Translator) -> None:
    result = untrained.translate("abc", decoding=Decoding(beam=4, num_groups=2, num_best=4))
    texts = [result.text, *(o.text for o in result.others)]
    assert len(set(texts)) == len(texts) > 1


def test_minimum_bayes_risk_ranks_first_the_sample_that_the_others_agree_with_most(
    learned: Translator,
) -> None:
    drawing = Decoding(sampling=Sampling(), num_best=12, minimum_bayes_risk=True, seed=2)
    result = learned.translate("abc", decoding=drawing)
    scores = [result.score, *(o.score for o in result.others)]
    assert scores == sorted(scores, reverse=True)
    assert len({o.text for o in result.others} | {result.text}) == len(scores)
    with pytest.raises(ConfigError, match="give sampling as well"):
        Decoding(minimum_bayes_risk=True)


# ---- evaluation ---------------------------------------------------------------------------------


def test_evaluation_counts_what_is_exact_and_the_edits_of_the_rest(learned: Translator) -> None:
    pairs = [("abc", "cba"), ("dab", "bad"), ("a", "b")]
    quality = learned.evaluate(pairs)
    assert quality.pairs == 3
    assert quality.exact_match == pytest.approx(2 / 3)
    assert quality.character_error_rate == pytest.approx(1 / 7)
    assert quality.symbol_error_rate == pytest.approx(1 / 7)
    assert quality.word_error_rate == pytest.approx(1 / 3)
    assert quality.ended == 1
    assert (quality.bleu is None) == bool(quality.notes)


def test_a_bound_translator_is_held_to_the_laws(untrained: Translator) -> None:
    report = untrained.check(seconds=2)
    assert report.ok, str(report)


def test_a_run_that_is_cut_short_is_resumed_to_the_same_weights(tmp_path: Path) -> None:
    pairs = reversals(80)

    def fitted(folder: Path, *, report: Any = None, resume: bool = False) -> Translator:
        checkpoints = Checkpoints(folder=folder, minutes=0, resume=resume)
        model = translator("gru", dropout=0.1)
        options = {"batch_size": 16, "precision": "float32", "evaluate_every": 1}
        return model.fit(
            pairs,
            steps=6,
            options=options,
            callbacks=st.Callbacks(progress=report),
            checkpoints=checkpoints,
        )

    def cut(progress: Any) -> None:
        if progress.step == 3:
            raise RuntimeError("the power failed")

    whole = fitted(tmp_path / "whole")
    with pytest.raises(st.SeriatimError, match="the power failed"):
        fitted(tmp_path / "cut", report=cut)
    again = fitted(tmp_path / "cut", resume=True)
    assert whole.model is not None
    assert again.model is not None
    assert again.model.fingerprint() == whole.model.fingerprint()
    checkpoints = Checkpoints(folder=tmp_path / "cut", resume=True)
    with pytest.raises(ConfigError, match="begun with another model"):
        translator("lstm").fit(pairs, steps=6, checkpoints=checkpoints)
