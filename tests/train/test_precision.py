"""Precision: chosen for a reason, applied for a time, and restored."""

import pytest
import torch
from torch import Tensor

import seriatim as st
from seriatim.core.records import from_json, to_json
from seriatim.data.batches.corpus import batch_source
from seriatim.data.corpus import Corpus
from seriatim.layers.blocks import Unit
from seriatim.models.build import build_model
from seriatim.models.transformer import TransformerModel
from seriatim.train import compiled, precision
from seriatim.train.callbacks.history import History
from seriatim.train.loop import fit
from seriatim.train.options import TrainingOptions
from seriatim.train.precision import (
    Exact,
    PrecisionChoice,
    autocast,
    choose_precision,
    exact_float32,
    process_settings,
)
from seriatim.train.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def fresh() -> None:
    """Clear the cached measurements, before and after."""
    precision._fastest.cache_clear()
    precision.exact_float32.cache_clear()
    yield
    precision._fastest.cache_clear()
    precision.exact_float32.cache_clear()


def small() -> TransformerModel:
    torch.manual_seed(0)
    config = st.Transformer(model_size=16, num_layers=2, num_heads=2, context=8, dropout=0.2)
    return build_model(config, 5, 1)


def wide(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    return torch.nn.Linear(precision.WIDE, 1, dtype=dtype)


def corpus() -> Corpus:
    return Corpus.from_tokens([torch.arange(400).remainder(5).numpy()], is_stream=True)


def trained(model: st.SequenceModel, **options: object) -> Trainer:
    training = TrainingOptions(batch_size=4, length=8, steps=5, **options)
    source = batch_source(
        corpus(), 1, batch_size=4, length=8, carry=False, seed=0, token_budget=None
    )
    trainer = Trainer(model.train(), source, training, 5)
    torch.manual_seed(1)
    for _ in range(3):
        trainer.update()
    trainer.flush()
    return trainer


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("has_amx", "has_avx512", "limit", "products"),
    [
        (True, True, None, "bf16"),
        (False, True, None, "bf16"),
        (False, False, None, "float32"),
        (True, True, "AVX512_CORE_BF16", "bf16"),
        (True, True, "AVX2", "float32"),
        (True, True, "all", "bf16"),
    ],
)
def test_bfloat16_is_chosen_by_the_processor_and_not_by_a_clock(
    has_amx: bool,
    has_avx512: bool,
    limit: str | None,
    products: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    choice = choose_precision("auto", wide())
    assert choice.products == products
    assert "this processor" in choice.why


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("error", "setting"), [(4e-7, "medium"), (2e-3, "highest")])
def test_float32_uses_the_fast_setting_only_where_it_is_exact(
    error: float, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_error", lambda: error)
    assert exact_float32(CPU).setting == setting
    with process_settings(CPU):
        assert torch.get_float32_matmul_precision() == setting


@pytest.mark.usefixtures("fresh")
def test_products_within_a_run_are_as_exact_as_float32_is() -> None:
    with process_settings(CPU):
        assert precision._error() < precision.EXACT


def test_small_models_and_other_dtypes_keep_float32() -> None:
    assert choose_precision("auto", torch.nn.Linear(3, 3)).products == "float32"
    assert "9 weights" in choose_precision("auto", torch.nn.Linear(3, 3)).why
    assert choose_precision("auto", wide(torch.float64)) == PrecisionChoice("float32", "")


@pytest.mark.parametrize(
    ("seconds", "products"), [(0.5, "bf16"), (0.7, "float32"), (2.0, "float32")]
)
def test_measuring_takes_bfloat16_where_it_is_half_as_fast_again(
    seconds: float, products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_dtype = {torch.float32: 1.0, torch.bfloat16: seconds}
    monkeypatch.setattr(precision, "_seconds", lambda _, dtype: by_dtype[dtype])
    precision._measured.cache_clear()
    choice = choose_precision("measure", wide())
    precision._measured.cache_clear()
    assert choice.products == products
    assert f"bf16 products are {1 / seconds:.1f} times as fast" in choice.why


def test_the_time_of_a_product_is_positive() -> None:
    assert precision._seconds(CPU, torch.bfloat16) > 0


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_a_given_precision_is_taken(asked: str) -> None:
    assert choose_precision(asked, torch.nn.Linear(3, 3)).products == asked


def test_process_settings_are_restored_even_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "exact_float32", lambda _: Exact("medium", "said so"))
    before = torch.get_float32_matmul_precision()

    def nested() -> None:
        with process_settings(CPU):
            with process_settings(CPU):
                assert torch.get_float32_matmul_precision() == "medium"
            assert torch.get_float32_matmul_precision() == "medium"
            raise KeyError

    with pytest.raises(KeyError):
        nested()
    assert torch.get_float32_matmul_precision() == before


def test_an_allocator_tuned_by_the_user_is_not_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    assert precision._glibc() is None


def test_autocast_applies_only_inside_its_context() -> None:
    a = torch.ones(2, 2)
    with autocast("bf16", CPU):
        assert (a @ a).dtype == torch.bfloat16
    with autocast("float32", CPU):
        assert (a @ a).dtype == torch.float32
    assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize(
    "config",
    [
        st.Transformer(model_size=16, num_layers=1, num_heads=2, context=8),
        st.LSTM(hidden_size=8),
        st.GRU(hidden_size=8, reset="before"),
        st.RNN(hidden_size=8),
        st.Autoregressive(window=3, embedding_size=4, hidden_size=8),
    ],
    ids=lambda c: type(c).__name__,
)
def test_training_in_bfloat16_reaches_nearly_the_loss_of_float32(config: object) -> None:
    result = {}
    for requested in ("float32", "bf16"):
        torch.manual_seed(0)
        options = TrainingOptions(
            steps=40, batch_size=8, length=16, learning_rate=0.01, precision=requested
        )
        history = fit(build_model(config, 5, 1), corpus(), corpus(), options)
        assert history.options["precision"] == requested
        result[requested] = history.best_valid_nats
    assert result["bf16"] == pytest.approx(result["float32"], rel=0.05, abs=0.02)


def test_the_history_has_the_chosen_precision_and_the_reason() -> None:
    history = fit(small(), corpus(), None, TrainingOptions(steps=2, batch_size=2, length=8))
    assert history.options["precision"] == "float32"
    assert any(note.startswith("precision float32") for note in history.notes)
    assert from_json(History, to_json(history), name="history") == history


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_recomputed_blocks_have_the_same_gradients_to_the_bit(asked: str) -> None:
    stored, again = small(), small()
    trained(stored, precision=asked)
    trained(again, precision=asked, recompute=True)
    for a, b in zip(stored.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_recomputed_blocks_save_less_memory() -> None:
    def kept(recomputes: bool) -> int:
        model, sizes = small().train(), []
        for unit in model.modules():
            if isinstance(unit, Unit):
                unit.recomputes = recomputes

        def pack(t: Tensor) -> Tensor:
            sizes.append(t.numel())
            return t

        x = torch.zeros(2, 8, dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            model(st.Batch(x, x))
        return sum(sizes)

    assert kept(True) < 0.7 * kept(False)


def test_a_model_without_blocks_notes_that_recompute_changes_nothing() -> None:
    trainer = trained(build_model(st.LSTM(hidden_size=4), 5, 1), recompute=True)
    assert trainer.notes == (
        "recompute: this model has no blocks to recompute, so the option changes nothing",
    )


def test_without_a_compiler_training_continues_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        raise RuntimeError("no C++ compiler was found\nlong trace")

    monkeypatch.setattr(compiled.torch, "compile", broken)
    plain, asked = small(), small()
    trained(plain)
    trainer = trained(asked, compile=True)
    (note,) = trainer.notes
    assert "no C++ compiler was found" in note and "continues without it" in note
    for a, b in zip(plain.parameters(), asked.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_error_of_the_model_is_not_taken_for_one_of_the_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled.torch, "compile", lambda f: f if f is compiled._probe else fails)

    def fails() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        compiled.Compiled(lambda: None)()
