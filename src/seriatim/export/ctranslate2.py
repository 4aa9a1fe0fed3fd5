"""Translators of Transformer layers for CTranslate2, which decodes them in C++.

CTranslate2 looks weights up by the names of its specification; the equations are the same, so
nothing is computed here but two tables: sinusoids, which it cannot make in the paper's layout,
and zeros where its norms have a bias and ours have none. It goes by the names of symbols, adds
the end of a source itself, and knows no position beyond the table.

Knows encoder-decoders, symbols and CTranslate2's specification; no decoding.

Shapes: D features, H heads, d_k the size of a key of one head, P positions.
"""

import importlib
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.data.vocab.bpe import BPEVocabulary
from seriatim.data.vocab.vocabulary import END, Vocabulary
from seriatim.errors import ConfigError, MissingExtraError, OutputError
from seriatim.layers.attention import MultiHeadAttention
from seriatim.layers.blocks import RMSNorm, SwiGLU
from seriatim.layers.positions import sinusoids
from seriatim.models.encoder_decoder import Seq2SeqModel
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.tasks.translator import Translator

Spec: TypeAlias = Any  # CTranslate2 has no types of its own

NUM_POSITIONS = 4096  # of the table of sinusoids: the longest source or target, its end included
_ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "swiglu": "SWISH"}


def translator_to_ctranslate2(
    translator: Translator,
    path: str | PathLike[str],
    *,
    num_positions: int = NUM_POSITIONS,
) -> None:
    """Write a fitted translator as a folder that `ctranslate2.Translator` opens.

    A source is given as names of symbols, without its end. Of byte-pair encoding these are the
    tokens of the tokenizer, which is written beside the weights (source_tokenizer.json and
    target_tokenizer.json); of other symbols what `Symbols.name` says.

    Args:
        translator: of Transformer layers, fitted.
        path: the folder; it must not exist, or be empty.
        num_positions: as in `model_to_ctranslate2`.

    Raises:
        ConfigError: not fitted, or layers that CTranslate2 does not have.
        OutputError: something stands there.
        MissingExtraError: CTranslate2 is not installed.
    """
    model, source, target = translator.model, translator.source_vocabulary, translator.vocabulary
    if model is None or source is None or target is None:
        raise ConfigError("the translator is not fitted yet: call fit")
    if not isinstance(model, Seq2SeqModel):
        raise ConfigError(f"{type(model).__name__} is no encoder-decoder that CTranslate2 knows")
    place = Path(path)
    model_to_ctranslate2(
        model,
        place,
        source_names=names_of(source),
        target_names=names_of(target),
        source_boundary=source.boundary,
        unknown=source.unknown,
        num_positions=num_positions,
    )
    for side, symbols in (("source", source), ("target", target)):
        if isinstance(symbols, BPEVocabulary):
            (place / f"{side}_tokenizer.json").write_text(symbols.tokenizer_json(), "utf-8")


def names_of(vocabulary: Vocabulary) -> list[str]:
    """A name for every symbol, no two alike."""
    if isinstance(vocabulary, BPEVocabulary):
        found = [END] * vocabulary.num_symbols
        for token, i in vocabulary.to_json()["tokenizer"]["model"]["vocab"].items():
            found[i] = token
        return found
    found = [vocabulary.name(i) for i in range(vocabulary.num_symbols)]
    count = Counter(found)
    return [name if count[name] == 1 else f"{name}#{i}" for i, name in enumerate(found)]


def model_to_ctranslate2(
    model: Seq2SeqModel,
    path: str | PathLike[str],
    *,
    source_names: Sequence[str],
    target_names: Sequence[str],
    source_boundary: int,
    unknown: int | None = None,
    num_positions: int = NUM_POSITIONS,
) -> None:
    """Write an encoder-decoder of Transformer layers as a folder for CTranslate2.

    The weights are in float32; `compute_type` chooses at loading what they are computed in.

    Args:
        model: what `unsupported` finds nothing against.
        path: the folder; it must not exist, or be empty.
        source_names: of the symbols of the sources, no two alike.
        target_names: of those of the targets.
        source_boundary: the symbol that ends a source.
        unknown: the symbol of a source that stands for names it does not know; None: there is
            none, and such a name ends the source.
        num_positions: P, the longest source or target, its end included, where positions are
            sinusoids: CTranslate2 stops with an error beyond it.

    Raises:
        ConfigError: layers that CTranslate2 does not have, or boundaries of different names.
        OutputError: something stands there.
        MissingExtraError: CTranslate2 is not installed.
    """
    reason = unsupported(model.config)
    if reason is not None:
        raise ConfigError(f"CTranslate2 cannot run this model: {reason}")
    end = target_names[model.boundary]
    if source_names[source_boundary] != end:
        raise ConfigError(
            f"CTranslate2 has one name for the end of both sides, and the source ends with "
            f"{source_names[source_boundary]!r}, the target with {end!r}: fit with joint symbols"
        )
    place = Path(path)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise OutputError(f"{place} exists: choose another name, or remove it first")
    spec = _spec(model, num_positions)
    spec.register_source_vocabulary(list(source_names))
    spec.register_target_vocabulary(list(target_names))
    config = spec.config
    config.bos_token = config.eos_token = config.decoder_start_token = end
    config.unk_token = end if unknown is None else source_names[unknown]
    config.add_source_eos = True
    config.layer_norm_epsilon = _epsilon(model)
    spec.validate()
    spec.optimize(quantization=None)  # weights that are shared are written once
    place.mkdir(parents=True, exist_ok=True)
    spec.save(str(place))


def unsupported(config: Seq2Seq) -> str | None:
    """Why CTranslate2 cannot run such a model, and what to do; None: it can."""
    if config.parts != ("transformer", "transformer"):
        kinds = " and ".join(config.parts)
        return f"it has layers for Transformers, and these are {kinds}: fit a Transformer"
    if config.value_size not in (None, config.head_size):
        return f"values of {config.value_size} differ from keys of {config.head_size}: equal them"
    return None


# ---- the specification ---------------------------------------------------------------------------


def _library(module: str) -> Any:
    try:
        return importlib.import_module(f"ctranslate2.{module}")
    except ImportError as missing:
        raise MissingExtraError(
            "this export needs ctranslate2, which is not installed: pip install 'seriatim[ct2]'"
        ) from missing


def _spec(model: Seq2SeqModel, num_positions: int) -> Spec:
    """The specification with the weights in it."""
    specs, config = _library("specs.transformer_spec"), model.config
    activation = _library("specs.common_spec").Activation[_ACTIVATIONS[config.feedforward]]
    is_rotary = config.positions == "rotary"
    options = {
        "pre_norm": config.norm_first,
        "activation": activation,
        "ffn_glu": config.feedforward == "swiglu",
        "rms_norm": config.norm == "rms",
        "rotary_dim": 0 if is_rotary else None,  # 0: all of a head
        "rotary_interleave": False,
        "head_dim": config.head_size,
    }
    encoder = specs.TransformerEncoderSpec(config.encoder_layers, config.num_heads, **options)
    decoder = specs.TransformerDecoderSpec(config.decoder_layers, config.num_heads, **options)
    ours: Any = model
    embedding = ours.encoder.embedding
    encoder.embeddings[0].weight = _array(embedding.weight)
    decoder.embeddings.weight = _array(model.embedding.weight)
    _linear(decoder.projection, model.embedding if model.head is None else model.head)
    table = sinusoids(torch.arange(num_positions), config.model_size, torch.float32)
    for spec, part in ((encoder, ours.encoder), (decoder, ours.decoder)):
        spec.scale_embeddings = config.scale_embeddings
        if not is_rotary:
            spec.position_encodings.encodings = table.numpy()
        if config.norm_first:
            _norm(spec.layer_norm, part.norm)
    for layer, block in zip(encoder.layer, ours.encoder.blocks, strict=True):
        _self_attention(layer.self_attention, block)
        _feedforward(layer.ffn, block)
    for layer, block in zip(decoder.layer, ours.decoder.blocks, strict=True):
        _self_attention(layer.self_attention, block)
        _cross_attention(layer.attention, block)
        _feedforward(layer.ffn, block)
    return specs.TransformerSpec(encoder, decoder)


def _self_attention(spec: Spec, block: Any) -> None:
    attention: MultiHeadAttention = block.attention
    _norm(spec.layer_norm, block.attention_norm)
    _rows(spec.linear[0], attention, 0, len(attention.weight))
    _linear(spec.linear[1], attention.output)


def _cross_attention(spec: Spec, block: Any) -> None:
    attention: MultiHeadAttention = block.cross
    queries = attention.num_heads * attention.key_size
    _norm(spec.layer_norm, block.cross_norm)
    _rows(spec.linear[0], attention, 0, queries)
    _rows(spec.linear[1], attention, queries, len(attention.weight))
    _linear(spec.linear[2], attention.output)


def _rows(spec: Spec, attention: MultiHeadAttention, begin: int, end: int) -> None:
    """Some rows of W_q, W_k and W_v as a layer."""
    spec.weight = _array(attention.weight[begin:end])
    if attention.bias is not None:
        spec.bias = _array(attention.bias[begin:end])


def _feedforward(spec: Spec, block: Any) -> None:
    network = block.feedforward
    _norm(spec.layer_norm, block.feedforward_norm)
    _linear(spec.linear_1, network.output)
    if not isinstance(network, SwiGLU):
        _linear(spec.linear_0, network.inner)
        return
    inner: nn.Linear = network.inner
    biases = (None, None) if inner.bias is None else inner.bias.chunk(2)
    layers = (spec.linear_0, spec.linear_0_noact)
    for layer, weight, bias in zip(layers, inner.weight.chunk(2), biases, strict=True):
        layer.weight = _array(weight)
        if bias is not None:
            layer.bias = _array(bias)


def _linear(spec: Spec, layer: nn.Module) -> None:
    """A linear layer, or an embedding as one."""
    made: Any = layer
    spec.weight = _array(made.weight)
    bias = dict(layer.named_parameters()).get("bias")
    if bias is not None:
        spec.bias = _array(bias)


def _norm(spec: Spec, norm: nn.Module) -> None:
    made: Any = norm
    spec.gamma = _array(made.weight)
    if not isinstance(norm, RMSNorm):
        spec.beta = _array(made.bias if made.bias is not None else torch.zeros_like(made.weight))


def _epsilon(model: Seq2SeqModel) -> float:
    norms = (m for m in model.modules() if isinstance(m, RMSNorm | nn.LayerNorm))
    return next(norms).eps


def _array(weight: Tensor) -> NDArray[np.float32]:
    return weight.detach().float().cpu().contiguous().numpy()
