"""FASTA files: every record is a sequence, its name and description are columns."""

import gzip
from pathlib import Path

import pytest

import seriatim as st
from seriatim.data.labels import open_labelled
from seriatim.data.sources import open_source
from seriatim.data_profile import look
from seriatim.errors import ConfigError, DataError

RECORDS = ">s1 first one\nACGT\nACgt\n\n>s2\r\nTT T\r\nT*\r\n;a comment\n>s3 | x\nA\n"
SEQUENCES = ["ACGTACgt", "TTTT*", "A"]


@pytest.mark.parametrize("name", ["x.fasta", "x.FA", "x.fna.gz", "x.faa"])
def test_every_record_is_a_sequence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = RECORDS.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(open_source(path).texts()) == SEQUENCES
    assert list(open_source(path, sequences="line").texts()) == SEQUENCES
    assert list(open_source(path, column="id").texts()) == ["s1", "s2", "s3"]
    assert open_source(path).sequences == "document"


def test_another_suffix_is_read_with_the_format(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(RECORDS)
    assert list(open_source(path, format="fasta").texts()) == SEQUENCES
    path.write_text(RECORDS.replace("TT T", "TTT"))
    report = look(path)
    assert "FASTA" in str(report)
    assert "--format fasta" in str(report)


def test_a_description_may_be_the_label(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(">a helix\nACGT\n>b sheet\nTTTT\n")
    pairs = open_labelled(path, source_column="sequence", target_column="description")
    assert list(pairs.pairs()) == [("ACGT", "helix"), ("TTTT", "sheet")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACGT\n>a\nACGT\n", r"line 1, is not FASTA \('ACGT' comes before"),
        (">a\n>b\nACGT\n", r"line 1: >a has no sequence after it"),
        (">a\nACGT\n>b\n", r"line 3: >b has no sequence after it"),
    ],
)
def test_what_is_not_fasta_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        list(open_source(path).texts())


def test_a_file_without_records_and_a_column_that_is_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text("; nothing\n")
    with pytest.raises(DataError, match="is empty"):
        list(open_source(path).texts())
    path.write_text(RECORDS)
    with pytest.raises(ConfigError, match="no column 'label'"):
        list(open_source(path, column="label").texts())


def test_a_model_is_fitted_to_sequences(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text("".join(f">s{i}\nACGTACGT\nAC{'GT'[i % 2]}\n" for i in range(30)))
    lm = st.LanguageModel(st.Markov(order=3)).fit(path, valid=path)
    assert lm.vocabulary is not None
    assert lm.vocabulary.num_symbols == 6  # A, C, G, T, the end and <unk>
    assert "FASTA" in str(look(path))
