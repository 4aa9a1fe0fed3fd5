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
from typing import Any

import numpy as np
import torch
from torch import nn

from seriatim.core.extras import import_extra
from seriatim.data.batches.pairs import PairBoundaries, PairReader
from seriatim.data.pairs import PairCorpus
from seriatim.data.vocab.bpe import BPEVocabulary
from seriatim.data.vocab.vocabulary import END, Vocabulary
from seriatim.errors import ConfigError
from seriatim.export.checks import ROWS, checked_difference, new_folder, on_cpu, whole_folder
from seriatim.export.ctranslate2_spec import (
    MISSING,
    Spec,
    as_array,
    fill_cross_attention,
    fill_feedforward,
    fill_linear,
    fill_norm,
    fill_self_attention,
    layer_options,
    library,
)
from seriatim.layers.blocks import RMSNorm
from seriatim.layers.positions import sinusoids
from seriatim.models.encoder_decoder import Seq2SeqModel
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.tasks.translator import Translator

LENGTHS = (1, 7, 60)  # at which the folder is compared with the model
NUM_POSITIONS = 4096  # of the sinusoid table: the longest source or target, its end included


def translator_to_ctranslate2(
    translator: Translator,
    path: str | PathLike[str],
    *,
    num_positions: int = NUM_POSITIONS,
) -> float:
    """Write a fitted translator as a folder that `ctranslate2.Translator` opens.

    CTranslate2 takes a source as names of symbols, without its end. For byte-pair encoding these
    are the tokens of the tokenizer, which is written beside the weights (source_tokenizer.json and
    target_tokenizer.json); for other vocabularies those of `Vocabulary.name`.

    Args:
        translator: a fitted translator of Transformer layers.
        path: the folder; it must not exist, or be empty.
        num_positions: as in `model_to_ctranslate2`.

    Returns:
        The largest difference that was seen between the log-probabilities of CTranslate2 and ours.

    Raises:
        ConfigError: the translator is not fitted, or has layers that CTranslate2 does not have.
        OutputError: the folder is not empty, or does not compute what the model computes.
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
    difference = model_to_ctranslate2(
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
    return difference


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
) -> float:
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

    Returns:
        The largest difference that was seen between the log-probabilities of CTranslate2 and ours.

    Raises:
        ConfigError: the model has layers that CTranslate2 does not have, or its source and target
            end with different names.
        OutputError: the folder is not empty, or does not compute what the model computes.
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
    plain = on_cpu(model)
    spec = translator_spec(plain, num_positions)
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
    translator = import_extra("ctranslate2", MISSING).Translator
    with whole_folder(folder) as part:
        spec.save(str(part))
        opened = translator(str(part), compute_type="float32", inter_threads=1, intra_threads=1)
        return check_translator(opened, plain, source_names, target_names, source_boundary)


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


def translator_spec(model: Seq2SeqModel, num_positions: int) -> Spec:
    """The specification, filled with the weights."""
    specs, config = library("specs.transformer_spec"), model.config
    is_rotary, options = config.positions == "rotary", layer_options(config)
    encoder = specs.TransformerEncoderSpec(config.encoder_layers, config.num_heads, **options)
    decoder = specs.TransformerDecoderSpec(config.decoder_layers, config.num_heads, **options)
    parts: Any = model
    embedding = parts.encoder.embedding
    encoder.embeddings[0].weight = as_array(embedding.weight)
    decoder.embeddings.weight = as_array(model.embedding.weight)
    fill_linear(decoder.projection, model.embedding if model.head is None else model.head)
    table = sinusoids(torch.arange(num_positions), config.model_size, torch.float32)
    for spec, part in ((encoder, parts.encoder), (decoder, parts.decoder)):
        spec.scale_embeddings = config.scale_embeddings
        if not is_rotary:
            spec.position_encodings.encodings = table.numpy()
        if config.norm_first:
            fill_norm(spec.layer_norm, part.norm)
    for layer, block in zip(encoder.layer, parts.encoder.blocks, strict=True):
        fill_self_attention(layer.self_attention, block)
        fill_feedforward(layer.ffn, block)
    for layer, block in zip(decoder.layer, parts.decoder.blocks, strict=True):
        fill_self_attention(layer.self_attention, block)
        fill_cross_attention(layer.attention, block)
        fill_feedforward(layer.ffn, block)
    return specs.TransformerSpec(encoder, decoder)


# ---- the proof -----------------------------------------------------------------------------------


@torch.no_grad()
def check_translator(
    translator: Any,
    model: Seq2SeqModel,
    source_names: Sequence[str],
    target_names: Sequence[str],
    source_boundary: int,
) -> float:
    """The largest difference to the model, as `checks.checked_difference` has it."""
    largest = 0.0
    for rows in ROWS:
        for longest in LENGTHS:
            draw = np.random.default_rng(longest)
            lengths = [max(1, longest - i * max(1, longest // 3)) for i in range(rows)]
            sources = [_symbols(draw, len(source_names), source_boundary, n) for n in lengths]
            targets = [_symbols(draw, len(target_names), model.boundary, n) for n in lengths]
            theirs = translator.score_batch(
                [[source_names[i] for i in row] for row in sources],
                [[target_names[i] for i in row] for row in targets],
            )
            pairs = PairCorpus.from_tokens(zip(sources, targets, strict=True))
            ends = PairBoundaries(source_boundary, model.boundary)
            ours = model.log_prob(PairReader(pairs, ends).batch(np.arange(rows))).numpy()
            difference = checked_difference(
                np.concatenate([row[: n + 1] for row, n in zip(ours, lengths, strict=True)]),
                np.concatenate([np.array(row.log_probs, np.float32) for row in theirs]),
                tool="CTranslate2's",
                where=f"for {longest} symbols in a batch of {rows}",
                what="folder",
            )
            largest = max(largest, difference)
    return largest


def _symbols(draw: np.random.Generator, count: int, boundary: int, length: int) -> list[int]:
    """Random symbols that are not the boundary."""
    symbols = draw.integers(0, count - 1, length)
    return [int(i) for i in symbols + (symbols >= boundary)]
