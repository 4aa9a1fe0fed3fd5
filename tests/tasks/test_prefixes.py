"""Targets that begin with a given prefix: in every search, with the model's own log-probability."""

from pathlib import Path

import pytest
import torch

import seriatim as st
from seriatim.cli import main
from seriatim.errors import ConfigError, SymbolError

PAIRS = [("ab", "ba"), ("abc", "cba"), ("bca", "acb"), ("c", "c")] * 10


@pytest.fixture(scope="module")
def translator() -> st.Translator:
    """A translator of characters that has learned next to nothing."""
    config = st.Seq2Seq(encoder="gru", decoder="gru", model_size=8)
    return st.Translator(config, symbols="char").fit(PAIRS, valid=PAIRS, options={"steps": 1})


@pytest.mark.parametrize(
    "decoding",
    [
        st.Decoding(beam=1),
        st.Decoding(beam=4, num_best=4),
        st.Decoding(beam=4, num_best=2, num_groups=2),
        st.Decoding(num_best=3, sampling=st.Sampling()),
        st.Decoding(num_best=3, sampling=st.Sampling(top_k=1)),
    ],
)
def test_every_result_begins_with_its_prefix_and_is_scored_whole(
    translator: st.Translator, decoding: st.Decoding
) -> None:
    sources, prefixes = ["ab", "abc", "bca", "c"], ["b", "", "acb", "ac"]
    results = translator.translate(sources, decoding=decoding, prefixes=prefixes)
    free = translator.translate(["abc"], decoding=decoding, first=1)[0]
    assert results[1].text == free.text
    for source, prefix, result in zip(sources, prefixes, results, strict=True):
        for candidate in (result, *result.others):
            assert candidate.text.startswith(prefix)
            if candidate.is_ended:
                expected = translator.log_probs([(source, candidate.text)])[0]
                assert candidate.log_prob == pytest.approx(expected, abs=1e-4)


def test_one_prefix_serves_all_sources_and_others_are_counted(translator: st.Translator) -> None:
    results = translator.translate(["ab", "abc"], prefixes="ca")
    assert all(r.text.startswith("ca") for r in results)
    with pytest.raises(ConfigError, match="2 sources and 1 prefixes"):
        translator.translate(["ab", "abc"], prefixes=["ca"])
    with pytest.raises(SymbolError, match=r"'z'.*no target"):
        translator.translate(["ab"], prefixes="z")
    with pytest.raises(ConfigError, match=r"the prefix of source 1 has 3 symbols.*max_length 3"):
        translator.translate(["ab"], prefixes="abc", decoding=st.Decoding(max_length=3))


def test_a_prefix_longer_than_the_length_rule_leaves_room(translator: st.Translator) -> None:
    prefix = "abc" * 40
    assert translator.translate("c", prefixes=prefix).text.startswith(prefix)


def test_a_prefix_goes_with_required_texts_and_ensembles(translator: st.Translator) -> None:
    result = translator.translate(["abc"], prefixes="a", require=[["cc"]], ensemble=[translator])[0]
    assert result.text.startswith("a")
    assert "cc" in result.text


def test_prefixes_are_a_file_on_the_command_line(
    translator: st.Translator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    translator.save(tmp_path / "m")
    (tmp_path / "sources.txt").write_text("ab\nabc\n")
    (tmp_path / "prefixes.txt").write_text("ca\n\n")
    command = ["translate", str(tmp_path / "m"), str(tmp_path / "sources.txt")]
    assert main([*command, "--prefixes", str(tmp_path / "prefixes.txt")]) == 0
    with torch.inference_mode():
        expected = [t.text for t in translator.translate(["ab", "abc"], prefixes=["ca", ""])]
    assert capsys.readouterr().out.splitlines() == expected
    (tmp_path / "prefixes.txt").write_text("ca\n")
    assert main([*command, "--prefixes", str(tmp_path / "prefixes.txt")]) == ConfigError.exit_code
    assert "2 sources and 1 prefixes" in capsys.readouterr().err
