"""ARPA files: written and read exactly, readable by other tools, refused with a clear message."""

import gzip
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from seriatim.errors import ConfigError, DataError, OutputError
from seriatim.export import arpa_files
from seriatim.export.arpa import language_model_from_arpa, language_model_to_arpa
from seriatim.export.arpa_files import read_arpa, write_arpa
from seriatim.models import LSTM, Markov
from seriatim.models.build import build_model
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.tasks.language_model import LanguageModel

TOY = """\
made by hand
\\data\\
ngram 1=5
ngram 2=4
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.75\t</s>
-0.5\tcat\t-0.25
-0.4\tthe\t-0.125

\\2-grams:
-0.1\t<s> the\t-0.2
-0.3\tthe cat\t0.1
-0.6\tcat </s>
-0.7\tcat the

\\3-grams:
-0.05\t<s> the cat

\\end\\
"""


def toy(tmp_path: Path, text: str = TOY) -> Path:
    path = tmp_path / "toy.arpa"
    path.write_text(text, encoding="utf-8")
    return path


def fitted(order: int = 3, sequences: str = "line", **options: object) -> LanguageModel:
    rng = np.random.default_rng(0)
    words = np.array(["the", "cat", "sat", "\u00e9t\u00e9", "on", "a", "mat\u2003", "x"])[:6]
    lines = [" ".join(rng.choice(words, rng.integers(1, 8))) for _ in range(60)]
    lm = LanguageModel(Markov(order=order, **options), symbols="word", sequences=sequences)
    return lm.fit(lines, valid=lines[:5])


def same(one: BackoffModel, other: BackoffModel) -> bool:
    names = ("starts", "key", "log_prob", "log_backoff")
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


# ---- reading ------------------------------------------------------------------------------------


def test_a_file_becomes_a_model_with_the_probabilities_it_states(tmp_path: Path) -> None:
    lm = language_model_from_arpa(toy(tmp_path))
    bits = [s.bits * np.log10(2) for s in lm.surprisal("the cat")]
    assert bits == pytest.approx([0.1, 0.05, 0.6 - 0.1], abs=1e-7)
    # "the cat" continues with "cat </s>"; its backoff 0.1 is above 0, which is allowed.
    bits = [(s.bits - s.spelling_bits) * np.log10(2) for s in lm.surprisal("cat dog")]
    assert bits == pytest.approx([0.5 + 0.5, 1.0 + 0.25, 0.75], abs=1e-7)


def test_a_model_read_from_a_file_scores_generates_and_streams(tmp_path: Path) -> None:
    language_model_to_arpa(fitted(), tmp_path / "m.arpa")
    lm = language_model_from_arpa(tmp_path / "m.arpa")
    assert lm.check(seconds=5).ok
    assert lm.generate("the", 5, seed=1) == lm.generate("the", 5, seed=1)
    assert lm.score(["the cat sat", "on a"]).perplexity > 1
    stream = lm.stream()
    total = stream.push("the") + stream.push("cat") + stream.end()
    assert total == pytest.approx(sum(s.bits for s in lm.surprisal("the cat")))
    lm.save(tmp_path / "model")
    assert LanguageModel.load(tmp_path / "model").next("the", 3) == lm.next("the", 3)


def test_spaces_for_tabs_capital_unk_and_missing_backoffs_are_read(tmp_path: Path) -> None:
    plain = read_arpa(toy(tmp_path))
    text = TOY.replace("\t", "  ").replace("<unk>", "<UNK>").replace("\n\n\\", "\n\n\n\\")
    assert same(read_arpa(toy(tmp_path, text)).model, plain.model)
    packed = tmp_path / "toy.arpa.gz"
    packed.write_bytes(gzip.compress(TOY.encode()))
    assert same(read_arpa(packed).model, plain.model)


def test_the_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    lines = TOY.splitlines(keepends=True)
    at = lines.index("\\2-grams:\n")
    lines[at + 1 : at + 5] = lines[at + 4 : at : -1]
    shuffled = read_arpa(toy(tmp_path, "".join(lines)))
    assert same(shuffled.model, read_arpa(toy(tmp_path)).model)


def test_without_unk_unknown_words_have_the_probability_of_kenlm(tmp_path: Path) -> None:
    text = TOY.replace("-1.0\t<unk>\n", "").replace("ngram 1=5", "ngram 1=4")
    arpa = read_arpa(toy(tmp_path, text))
    assert not arpa.has_unknown
    assert arpa.model.log_prob[0] == -100


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "ngram 2=4",
            "ngram 2=5",
            "promises 5 n-grams of order 2 and the next section begins before",
        ),
        ("ngram 2=4", "ngram 2=3", "promises 3 n-grams of order 2 and line 18 is one more"),
        ("-0.7\tcat the", "-0.7\tthe cat", "the 2-gram 'the cat' is listed twice"),
        ("-0.7\tcat the", "-0.7\tcat dog", "has the word 'dog', which is not a unigram"),
        ("-0.7\tcat the", "0.7\tcat the", "above 0, which is no probability"),
        ("-0.7\tcat the", "nan\tcat the", "expected a log10 probability, 2 words"),
        ("-0.7\tcat the", "much\tcat the", "expected a log10 probability, 2 words"),
        ("-0.7\tcat the", "-0.7\tcat", "expected a log10 probability, 2 words"),
        ("-0.7\tcat the", "-0.7\tcat the the the the", "expected a log10 probability, 2 words"),
        ("-0.05\t<s> the cat", "-0.05\tthe the cat", "its first 2 words are no 2-gram"),
        ("-0.4\tthe\t-0.125", "-0.4\tcat\t-0.125", "lists 'cat' a second time"),
        ("-0.75\t</s>\n", "-0.75\tdog\n", "there is no </s>"),
        ("\\3-grams:", "\\4-grams:", "expected \\3-grams: but got \\4-grams:"),
        ("ngram 1=5\n", "", "expected `ngram 1=COUNT`"),
        ("\\data\\", "data", "ends before \\data\\"),
        ("\\end\\", "", "ends before \\end\\"),
    ],
)
def test_an_inconsistent_file_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in TOY
    with pytest.raises(DataError, match=re.escape(message)):
        read_arpa(toy(tmp_path, TOY.replace(old, new, 1)))


def test_a_missing_order_is_named(tmp_path: Path) -> None:
    begin, end = TOY.index("\\2-grams:"), TOY.index("\\3-grams:")
    with pytest.raises(DataError, match=r"expected \\2-grams: but got .*3-grams:"):
        read_arpa(toy(tmp_path, TOY[:begin] + TOY[end:]))


def test_truncated_anywhere_it_is_refused(tmp_path: Path) -> None:
    """Cut at every line: no prefix of the file is accepted as complete."""
    lines = TOY.splitlines(keepends=True)
    for cut in range(len(lines) - 1):
        with pytest.raises(DataError):
            read_arpa(toy(tmp_path, "".join(lines[:cut]) or "\n"))
    packed = tmp_path / "cut.arpa.gz"
    packed.write_bytes(gzip.compress(TOY.encode())[:-10])
    with pytest.raises(DataError, match="not a complete gzip file"):
        read_arpa(packed)


# ---- both ways ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_fitted_model_is_read_back_bit_by_bit(order: int, name: str, tmp_path: Path) -> None:
    lm = fitted(order)
    language_model_to_arpa(lm, tmp_path / name)
    back = language_model_from_arpa(tmp_path / name)
    assert back.vocabulary.to_json() == lm.vocabulary.to_json()
    assert same(back.model.table.backoff_model(), lm.model.table.backoff_model())
    language_model_to_arpa(back, tmp_path / f"again-{name}")
    unpack = gzip.decompress if name.endswith("gz") else bytes
    first, again = ((tmp_path / n).read_bytes() for n in (name, f"again-{name}"))
    assert unpack(first) == unpack(again)


def test_files_longer_than_a_chunk_are_read_back_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arpa_files, "_CHUNK", 7)
    lm = fitted(3)
    language_model_to_arpa(lm, tmp_path / "m.arpa")
    arpa = read_arpa(tmp_path / "m.arpa")
    assert same(arpa.model, lm.model.table.backoff_model())


def test_a_stream_model_is_read_back_with_its_line_ends_inside(tmp_path: Path) -> None:
    lm = fitted(3, "stream")
    language_model_to_arpa(lm, tmp_path / "m.arpa")
    assert " </s> " in (tmp_path / "m.arpa").read_text()
    arpa = read_arpa(tmp_path / "m.arpa")
    assert same(arpa.model, lm.model.table.backoff_model())


# ---- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["<s>", "</s>", "two words", "", "cat"])
def test_a_word_that_arpa_cannot_represent_is_refused(word: str, tmp_path: Path) -> None:
    table = build_model(LanguageModel(Markov(order=1)).config, 4, 1).table
    with pytest.raises(DataError, match=re.escape(f"cannot represent the symbol {word!r}")):
        write_arpa(
            tmp_path / "m.arpa", table.backoff_model(), ["<unk>", "", "cat", word], boundary=1
        )
    assert not list(tmp_path.iterdir())


def test_only_markov_models_are_written(tmp_path: Path) -> None:
    lm = LanguageModel(LSTM(hidden_size=4), symbols="char")
    with pytest.raises(ConfigError, match="this model is of family lstm"):
        language_model_to_arpa(lm, tmp_path / "m.arpa")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="nothing was left there"):
        language_model_to_arpa(fitted(1), tmp_path / "file" / "m.arpa")


def test_a_model_read_from_a_file_cannot_be_fitted() -> None:
    model = build_model(Markov(order=2, smoothing="arpa"), 4, 1)
    tokens = np.array(list(itertools.repeat(2, 5)), np.uint8)
    corpus = type("C", (), {"tokens": tokens, "offsets": np.array([0, 5]), "is_stream": False})()
    with pytest.raises(ConfigError, match="was read from a file and cannot be fitted"):
        model.fit_closed_form(corpus)


def test_a_spoiled_number_is_noticed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = LanguageModel(Markov(order=2), symbols="word", sequences="line")
    lines = [f"the cat {i} sat" for i in range(20)]
    lm.fit(lines, valid=lines[:2], test=lines[:2])
    assert language_model_to_arpa(lm, tmp_path / "honest.arpa") < 1e-5
    honest = arpa_files.arpa_text

    def spoiled(*args: object) -> Iterator[str]:
        for text in honest(*args):  # type: ignore[arg-type]
            yield re.sub(r"^-[0-9.]+(?=\tcat\b)", "-0.01", text, flags=re.M)

    monkeypatch.setattr(arpa_files, "arpa_text", spoiled)
    (tmp_path / "honest.arpa").unlink()
    with pytest.raises(OutputError, match="differ from the model's by"):
        language_model_to_arpa(lm, tmp_path / "spoiled.arpa")
    assert list(tmp_path.iterdir()) == []
