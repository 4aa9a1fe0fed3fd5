"""The nastiest faults that the campaign found, and a few trials of its quick scenarios.

The whole campaign is `python -m tests.campaign`.
"""

import json
import shutil
import struct
from pathlib import Path

import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import DataError, ModelError
from seriatim.export.arpa import language_model_from_arpa
from tests.campaign import folders, readers, strings
from tests.campaign.folders import original, seal
from tests.campaign.trials import LONGEST_MESSAGE, Scenario, run

QUICK = [*folders.SCENARIOS, *readers.SCENARIOS, *strings.SCENARIOS]


def _copy(name: str, place: Path) -> Path:
    return shutil.copytree(original(name)[0], place / "model")


def _tensors(file: Path) -> "tuple[dict[str, dict[str, list[int]]], bytes]":
    """The header and the bytes of a safetensors file."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _write_tensors(file: Path, head: object, values: bytes) -> None:
    text = json.dumps(head).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + values)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
def test_every_quick_scenario_survives(scenario: Scenario) -> None:
    tally = run(scenario, 8, 60.0, 0)
    assert tally.tried > 0
    assert not tally.failed


def test_a_flipped_bit_of_the_weights_is_noticed_at_loading(tmp_path: Path) -> None:
    model = _copy("markov", tmp_path)
    weights = model / "weights.safetensors"
    head, values = _tensors(weights)
    data = bytearray(weights.read_bytes())
    data[head["model.table.log_prob"]["data_offsets"][1] - len(values) - 3] ^= 16
    weights.write_bytes(data)
    with pytest.raises(ModelError, match=r"weights\.safetensors was altered .* verify=False"):
        st.load(model)
    st.load(model, verify=False)


def test_a_configuration_of_another_value_is_noticed_at_loading(tmp_path: Path) -> None:
    model = _copy("markov", tmp_path)
    config = model / "config.json"
    config.write_text(config.read_text().replace('"order": 3', '"order": 2'))
    with pytest.raises(ModelError, match=r"config\.json was altered"):
        st.load(model)


def test_a_table_of_ngrams_out_of_order_is_refused(tmp_path: Path) -> None:
    model = _copy("markov", tmp_path)
    head, values = _tensors(model / "weights.safetensors")
    at = head["model.table.symbol"]["data_offsets"][0] + 1
    _write_tensors(  # one bit of a symbol
        model / "weights.safetensors",
        head,
        values[:at] + bytes([values[at] ^ 32]) + values[at + 1 :],
    )
    seal(model)
    with pytest.raises(ModelError, match="n-grams out of order: the file was altered"):
        st.load(model)


@pytest.mark.slow
def test_weights_that_are_no_numbers_generate_nothing(tmp_path: Path) -> None:
    model = _copy("lstm", tmp_path)
    head, values = _tensors(model / "weights.safetensors")
    for name, tensor in head.items():
        if name.startswith("model."):  # and not the model that spells unknown words
            begin, end = tensor["data_offsets"]
            values = values[:begin] + b"\xff" * (end - begin) + values[end:]
    _write_tensors(model / "weights.safetensors", head, values)
    seal(model)
    lm = st.load(model, device="cpu")
    assert isinstance(lm, st.LanguageModel)
    with pytest.raises(ModelError, match="probabilities that are not numbers"):
        lm.generate("the", 5, seed=1)


@pytest.mark.parametrize("shape", [[2**40, 2**20], [-1], []])
def test_a_tensor_of_another_declared_size_is_refused(tmp_path: Path, shape: list[int]) -> None:
    model = _copy("markov", tmp_path)
    head, values = _tensors(model / "weights.safetensors")
    head["model.table.symbol"]["shape"] = shape
    _write_tensors(model / "weights.safetensors", head, values)
    seal(model)
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        st.load(model)


@pytest.mark.parametrize("name", ["config.json", "symbols.json", "training.json"])
def test_json_of_any_depth_is_refused_by_name(tmp_path: Path, name: str) -> None:
    model = _copy("markov", tmp_path)
    content = json.loads((model / name).read_text())
    key = "model" if name == "config.json" else next(iter(content))
    text = json.dumps({**content, key: "DEEP"}).replace('"DEEP"', "[" * 100_000 + "]" * 100_000)
    (model / name).write_text(text)
    seal(model)
    with pytest.raises(ModelError, match=name):
        st.load(model)
    with pytest.raises(ModelError, match=name):
        st.load(model, verify=False)


@pytest.mark.slow
def test_a_rule_of_length_without_end_is_refused(tmp_path: Path) -> None:
    model = _copy("translator", tmp_path)
    config = json.loads((model / "config.json").read_text())
    config["length_rule"]["extra"] = 10**12
    (model / "config.json").write_text(json.dumps(config))
    seal(model)
    with pytest.raises(ModelError, match=r"config\.json is damaged: length_rule"):
        st.load(model)


def test_a_model_left_aside_by_a_killed_save_is_named(tmp_path: Path) -> None:
    model = _copy("markov", tmp_path)
    aside = tmp_path / ".model.old.1a2b3c4d" / "model"
    aside.parent.mkdir()
    model.rename(aside)
    with pytest.raises(
        ModelError, match=r"the old model is in .*old\.1a2b3c4d/model; move it back"
    ):
        st.load(model)


def test_a_long_line_of_an_arpa_file_is_cut_off_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n" + "-1\tword" * 5000 + "\n\n\\end\\\n")
    with pytest.raises(DataError, match=r"line 5 is .*expected a log10 probability") as refusal:
        language_model_from_arpa(path)
    assert len(str(refusal.value)) < LONGEST_MESSAGE


@pytest.mark.parametrize(
    "arguments",
    [[], ["info"], ["score", "model"], ["look"], ["fit"], ["label", "model"], ["export"]],
)
@pytest.mark.parametrize("value", ["1" * 5000, "a\nb", "\u202e\x1b[31m"])
def test_a_nasty_name_is_refused_in_one_line(
    arguments: list[str], value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(original("words")[0])
    code = main([*(model if token == "model" else token for token in arguments), value])
    refusal = capsys.readouterr().err.strip()
    assert code in (2, 3, 4, 5)
    assert len(refusal.splitlines()) == 1
    assert len(refusal) < LONGEST_MESSAGE
