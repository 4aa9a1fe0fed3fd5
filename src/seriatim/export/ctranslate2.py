"""Translators of Transformer layers for CTranslate2, which decodes them in C++.

CTranslate2 looks weights up by the names of its specification; the equations are the same, so
only two tables are computed here: sinusoids, which it cannot compute in the paper's layout, and
zeros where its norms have a bias and ours have none. It identifies symbols by name, adds the end
of a source itself, and knows no position beyond the table.

Knows encoder-decoders, vocabularies and CTranslate2's specification; no decoding.

Shapes: D features, H heads, d_k the size of a key of one head, P positions.
"""

from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core.extras import import_extra
from seriatim.data.vocab.bpe import BPEVocabulary
from seriatim.data.vocab.vocabulary import END, Vocabulary
from seriatim.errors import ConfigError
from seriatim.export.checks import new_folder
from seriatim.layers.attention import MultiHeadAttention
from seriatim.layers.blocks import RMSNorm, SwiGLU
from seriatim.layers.positions import sinusoids
from seriatim.models.encoder_decoder import Seq2SeqModel
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.tasks.translator import Translator

Spec: TypeAlias = Any  # CTranslate2 has no types of its own

NUM_POSITIONS = 4096  # of the sinusoid table: the longest source or target, its end included
_ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "swiglu": "SWISH"}


def translator_to_ctranslate2(
    translator: Translator,
    path: str | PathLike[str],
    *,
    num_positions: int = NUM_POSITIONS,
) -> None:
    """Write a fitted translator as a folder that `ctranslate2.Translator` opens.

    CTranslate2 takes a source as names of symbols, without its end. For byte-pair encoding these
    are the tokens of the tokenizer, which is written beside the weights (source_tokenizer.json and
    target_tokenizer.json); for other vocabularies those of `Vocabulary.name`.

    Args:
        translator: a fitted translator of Transformer layers.
        path: the folder; it must not exist, or be empty.
        num_positions: as in `model_to_ctranslate2`.

    Raises:
        ConfigError: the translator is not fitted, or has layers that CTranslate2 does not have.
        OutputError: the folder is not empty.
        MissingExtraError: CTranslate2 is not installed.
    """
    model, source, target = translator.model, translator.source_vocabulary, translator.vocabulary
    if model is None or source is None or target is None:
        raise ConfigError("the translator is not fitted yet: call fit")
    if not isinstance(model, Seq2SeqModel):
        raise ConfigError(
            f"CTranslate2 cannot run a {type(model).__name__}: fit a translator of Transformer "
            "layers"
        )
    folder = Path(path)
    model_to_ctranslate2(
        model,
        folder,
        source_names=names_of(source),
        target_names=names_of(target),
        source_boundary=source.boundary,
        unknown=source.unknown,
        num_positions=num_positions,
    )
    for side, symbols in (("source", source), ("target", target)):
        if isinstance(symbols, BPEVocabulary):
            (folder / f"{side}_tokenizer.json").write_text(symbols.tokenizer_json(), "utf-8")


def names_of(vocabulary: Vocabulary) -> list[str]:
    """A distinct name for every symbol."""
    if isinstance(vocabulary, BPEVocabulary):
        names = [END] * vocabulary.num_symbols
        for token, i in vocabulary.to_json()["tokenizer"]["model"]["vocab"].items():
            names[i] = token
        return names
    names = [vocabulary.name(i) for i in range(vocabulary.num_symbols)]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name}#{i}" for i, name in enumerate(names)]


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

    The weights are in float32; CTranslate2's `compute_type` sets the type of the computation when
    the folder is loaded.

    Args:
        model: an encoder-decoder that `unsupported` accepts.
        path: the folder; it must not exist, or be empty.
        source_names: distinct names of the source symbols.
        target_names: distinct names of the target symbols.
        source_boundary: the symbol that ends a source.
        unknown: the source symbol of unknown names; None: there is none, and an unknown name
            ends the source.
        num_positions: P, the longest source or target, its end included, of a model with
            sinusoidal positions: CTranslate2 stops with an error beyond it.

    Raises:
        ConfigError: the model has layers that CTranslate2 does not have, or its source and target
            end with different names.
        OutputError: the folder is not empty.
        MissingExtraError: CTranslate2 is not installed.
    """
    reason = unsupported(model.config)
    if reason is not None:
        raise ConfigError(f"CTranslate2 cannot run this model: {reason}")
    end = target_names[model.boundary]
    if source_names[source_boundary] != end:
        raise ConfigError(
            f"CTranslate2 has one name for the end of both sides, but the source ends with "
            f"{source_names[source_boundary]!r} and the target with {end!r}: fit with a joint "
            "vocabulary"
        )
    folder = new_folder(path)
    spec = _spec(model, num_positions)
    spec.register_source_vocabulary(list(source_names))
    spec.register_target_vocabulary(list(target_names))
    config = spec.config
    config.bos_token = config.eos_token = config.decoder_start_token = end
    config.unk_token = end if unknown is None else source_names[unknown]
    config.add_source_eos = True
    norms = (m for m in model.modules() if isinstance(m, RMSNorm | nn.LayerNorm))
    config.layer_norm_epsilon = next(norms).eps
    spec.validate()
    spec.optimize(quantization=None)  # shared weights are written once
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def unsupported(config: Seq2Seq) -> str | None:
    """Why CTranslate2 cannot run a configuration, and what to do; None: it can."""
    if config.parts != ("transformer", "transformer"):
        kinds = " and ".join(config.parts)
        return f"it knows Transformer layers, and these are {kinds}: fit a Transformer"
    if config.value_size not in (None, config.head_size):
        return (
            f"it needs values and keys of one size, and these are {config.value_size} and "
            f"{config.head_size}: fit without --value-size"
        )
    return None


# ---- the specification ---------------------------------------------------------------------------


def _library(module: str) -> Any:
    return import_extra(
        f"ctranslate2.{module}",
        "this export needs ctranslate2, which is not installed: pip install 'seriatim[ct2]'",
    )


def _spec(model: Seq2SeqModel, num_positions: int) -> Spec:
    """The specification, filled with the weights."""
    specs, config = _library("specs.transformer_spec"), model.config
    activation = _library("specs.common_spec").Activation[_ACTIVATIONS[config.feedforward]]
    is_rotary = config.positions == "rotary"
    options = {
        "pre_norm": config.norm_first,
        "activation": activation,
        "ffn_glu": config.feedforward == "swiglu",
        "rms_norm": config.norm == "rms",
        "rotary_dim": 0 if is_rotary else None,  # 0: the whole head
        "rotary_interleave": False,
        "head_dim": config.head_size,
    }
    encoder = specs.TransformerEncoderSpec(config.encoder_layers, config.num_heads, **options)
    decoder = specs.TransformerDecoderSpec(config.decoder_layers, config.num_heads, **options)
    parts: Any = model
    embedding = parts.encoder.embedding
    encoder.embeddings[0].weight = _array(embedding.weight)
    decoder.embeddings.weight = _array(model.embedding.weight)
    _linear(decoder.projection, model.embedding if model.head is None else model.head)
    table = sinusoids(torch.arange(num_positions), config.model_size, torch.float32)
    for spec, part in ((encoder, parts.encoder), (decoder, parts.decoder)):
        spec.scale_embeddings = config.scale_embeddings
        if not is_rotary:
            spec.position_encodings.encodings = table.numpy()
        if config.norm_first:
            _norm(spec.layer_norm, part.norm)
    for layer, block in zip(encoder.layer, parts.encoder.blocks, strict=True):
        _self_attention(layer.self_attention, block)
        _feedforward(layer.ffn, block)
    for layer, block in zip(decoder.layer, parts.decoder.blocks, strict=True):
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
    """Rows of the joint weight of W_q, W_k and W_v as a layer."""
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
    """The weights of a linear layer, or of an embedding as one."""
    typed: Any = layer
    spec.weight = _array(typed.weight)
    bias = dict(layer.named_parameters()).get("bias")
    if bias is not None:
        spec.bias = _array(bias)


def _norm(spec: Spec, norm: nn.Module) -> None:
    typed: Any = norm
    spec.gamma = _array(typed.weight)
    if not isinstance(norm, RMSNorm):
        spec.beta = _array(torch.zeros_like(typed.weight) if typed.bias is None else typed.bias)


def _array(weight: Tensor) -> NDArray[np.float32]:
    return weight.detach().float().cpu().contiguous().numpy()
