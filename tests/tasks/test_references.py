"""Several references of one source: the source counts once, by its closest reference."""

import json
from pathlib import Path

import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.errors import ConfigError
from seriatim.metrics import bleu, chrf
from seriatim.tasks.translation import Translation
from seriatim.tasks.translation_quality import group_references, judge

WORDS = [f"word{i}" for i in range(10)]
SAID = [f"a{i} b c" for i in range(10)]
PAIRS = [(w, s) for w, s in zip(WORDS, SAID, strict=True)]
OTHERS = [(w, f"a{i} b d e") for i, w in enumerate(WORDS)]


def _results(texts: list[str]) -> list[Translation]:
    return [Translation(t, -1.0, -1.0, is_ended=True, symbols=()) for t in texts]


def test_ten_words_with_two_references_each_and_nine_right_are_90_percent() -> None:
    sources, references = group_references([*PAIRS, *OTHERS])
    assert sources == WORDS
    assert references == [[s, o] for s, (_, o) in zip(SAID, OTHERS, strict=True)]
    # Five are the first reference, four the second one, and the last is one edit from the second.
    outputs = [*SAID[:5], *(o for _, o in OTHERS[5:9]), "a9 b d"]
    vocabulary = fit_vocabulary("word", [*SAID, "d e"], sequences="document")
    quality = judge(_results(outputs), references, vocabulary, 1.0)
    assert quality.exact_match == pytest.approx(0.9)
    assert quality.pairs == 10
    assert quality.references == 20
    # The closest reference of the last: "a9 b c" (1 of 3) and "a9 b d e" (1 of 4) tie at one edit.
    assert quality.word_error_rate == pytest.approx(1 / (5 * 3 + 4 * 4 + 3))
    assert any("10 sources have several references" in note for note in quality.notes)


def test_pairs_of_one_reference_are_judged_as_before() -> None:
    sources, references = group_references([("a", "x"), ("b", "y"), ("b", "y"), ("c", "x")])
    assert sources == ["a", "b", "c"]
    assert references == [["x"], ["y"], ["x"]]


def test_bleu_and_chrf_with_several_references_are_those_of_sacrebleu() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics", reason="needs sacrebleu")
    outputs = ["the cat sat on a mat", "a dog barks", "it rains today again"]
    references = [
        ["the cat sat on the mat", "a cat was sitting on a mat"],
        ["a dog barked"],
        ["it is raining today", "today it rains again", "it rains today"],
    ]
    streams = [[r[k] if k < len(r) else None for r in references] for k in range(3)]
    for ours, theirs in ((bleu, metrics.BLEU()), (chrf, metrics.CHRF())):
        expected = theirs.corpus_score(outputs, streams)
        result = ours(outputs, references)
        assert result.score == pytest.approx(expected.score)
        assert "nrefs:var" in result.signature


def test_a_translator_takes_repeated_sources_as_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("ab", "ba"), ("bc", "cb"), ("ca", "ac")] * 10
    config = st.Seq2Seq(encoder="gru", decoder="gru", model_size=8)
    translator = st.Translator(config, symbols="char").fit(pairs, valid=pairs, options={"steps": 1})
    translations = translator.translate(["ab", "bc"], beam=1)
    decoding = st.Decoding(beam=1)
    truth = [("ab", translations[0].text), ("ab", "b"), ("bc", "b"), ("bc", translations[1].text)]
    assert translator.evaluate(truth, decoding=decoding).exact_match == 1
    assert translator.evaluate(truth, decoding=decoding, each_pair=True).exact_match == 0.5

    translator.save(tmp_path / "m")
    table = tmp_path / "pairs.tsv"
    table.write_text("".join(f"{s}\t{t}\n" for s, t in truth))
    command = ["evaluate", str(tmp_path / "m"), str(table), "--beam", "1", "--json"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["pairs"], result["references"], result["exact_match"]) == (2, 4, 1.0)
    assert main([*command, "--each-pair"]) == 0
    assert json.loads(capsys.readouterr().out)["exact_match"] == 0.5

    (tmp_path / "sources.txt").write_text("ab\nbc\n")
    (tmp_path / "first.txt").write_text(f"{translations[0].text}\nb\n")
    (tmp_path / "second.txt").write_text(f"b\n{translations[1].text}\n")
    command = ["evaluate", str(tmp_path / "m"), str(tmp_path / "sources.txt"), "--beam", "1"]
    command += ["--target", str(tmp_path / "first.txt"), "--target", str(tmp_path / "second.txt")]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exact_match"] == 1.0
    assert main([*command, "--each-pair"]) == ConfigError.exit_code
