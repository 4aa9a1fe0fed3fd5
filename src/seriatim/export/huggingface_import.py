"""Folders of Llama and Mistral as Transformer language models.

Our default Transformer is their shape, so every weight is copied as it is: the rows of queries,
keys and values become one matrix, and heads that share keys and values (Ainslie et al. 2023) get
copies of them. Mistral's sliding window becomes the context. Llama has none: what was its longest
text becomes the context, up to which both agree.

Knows the Transformer's weights, the names that transformers gives them, and vocabularies.

Shapes: V symbols, D features, H heads of queries, K heads of keys and values, d_k of one head.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from seriatim.data.vocab.vocabulary import LINE_END, Vocabulary
from seriatim.errors import ConfigError, ModelError
from seriatim.export.foreign_symbols import Sequences, arrange_symbols
from seriatim.export.tokenizer_json import vocabulary_from_tokenizer_json
from seriatim.models.options.transformer import Transformer
from seriatim.models.transformer import TransformerModel
from seriatim.tasks.language_model import LanguageModel

Config = Mapping[str, Any]
Weights = Mapping[str, Tensor]

SHAPES = ("llama", "mistral")


def from_huggingface(
    path: str | PathLike[str],
    *,
    symbols: Sequence[str] | None = None,
    boundary: str | None = None,
    unknown: str | None = None,
    sequences: Sequences | None = None,
    device: str | None = None,
) -> LanguageModel:
    """A language model from a folder that transformers would load.

    Args:
        path: the folder: config.json, weights as safetensors, and a tokenizer.json of bytes,
            characters, words or byte pairs as seriatim writes them, or `symbols`.
        symbols: the text of every id, where the folder has no such tokenizer.
        boundary: among `symbols` the one that is fed before a text; None: a usual one.
        unknown: among `symbols` the one of everything else; None: a usual one.
        sequences: what one sequence is; None: a document if its end is a symbol of its own, else a
            stream.
        device: where to compute; None: a GPU if there is one.

    Raises:
        ModelError: there is no such folder, or a file is missing or damaged.
        ConfigError: the model is of another shape, or its symbols are not known.
    """
    folder = Path(path)
    config = _read_json(folder / "config.json")
    options = options_of(config)
    names = _symbols(folder, config, symbols, boundary, unknown, sequences)
    weights = _read_weights(folder)
    model = TransformerModel(options, names.vocabulary.num_symbols, names.vocabulary.boundary)
    state = dict(_renamed(weights, options, config))
    for name in ("embedding.weight", "head.weight"):
        if name in state:
            state[name] = state[name][torch.tensor(names.order)]
    _fill(model, state, folder)
    return LanguageModel.of_model(
        model,
        config=options,
        vocabulary=names.vocabulary,
        sequences=names.sequences,
        words=names.words,
        imported={"name": folder.name, "shape": config["model_type"]},
        device=device,
    )


# ---- the shape ----------------------------------------------------------------------------------


def options_of(config: Config) -> Transformer:
    """Our options of a Llama or Mistral.

    Raises:
        ConfigError: it has a part that our Transformer does not have.
    """
    kind = config.get("model_type")
    if kind not in SHAPES:
        raise ConfigError(
            f"the folder holds a {kind or 'model of no known type'}, and what can be imported is "
            f"{' and '.join(SHAPES)}"
        )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    refused: dict[str, tuple[bool, str]] = {
        "hidden_act": (config.get("hidden_act", "silu") != "silu", "SwiGLU"),
        "rope_scaling": (
            rope.get("rope_type", rope.get("type", "default")) != "default",
            "rotary positions that are not scaled",
        ),
        "mlp_bias": (bool(config.get("mlp_bias", False)), "no biases beside those of attention"),
    }
    for name, (is_other, ours) in refused.items():
        if is_other:
            raise ConfigError(
                f"our Transformer has {ours}, and config.json says {name}={config.get(name)!r}"
            )
    heads, size = config["num_attention_heads"], config["hidden_size"]
    return Transformer(
        model_size=size,
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        key_size=config.get("head_dim") or size // heads,
        feedforward_size=config["intermediate_size"],
        context=config.get("sliding_window") or config["max_position_embeddings"],
        rotary_base=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        norm_epsilon=config.get("rms_norm_eps", 1e-6),
        attention_bias=bool(config.get("attention_bias", False)),
        tie_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def _renamed(weights: Weights, options: Transformer, config: Config) -> Any:
    """Every weight under our name."""
    heads = options.num_heads
    shared = heads // int(config.get("num_key_value_heads") or heads)

    def of_every_head(weight: Tensor) -> Tensor:
        parts = weight.view(-1, options.head_size, *weight.shape[1:])
        return parts.repeat_interleave(shared, 0).flatten(0, 1)

    yield "embedding.weight", weights["model.embed_tokens.weight"]
    for i in range(options.num_layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        for part in ("weight", "bias") if options.attention_bias else ("weight",):
            q, k, v = (weights[f"{theirs}.self_attn.{letter}_proj.{part}"] for letter in "qkv")
            yield f"{ours}.attention.{part}", torch.cat([q, of_every_head(k), of_every_head(v)])
            yield f"{ours}.attention.output.{part}", weights[f"{theirs}.self_attn.o_proj.{part}"]
        gate, up = (weights[f"{theirs}.mlp.{name}_proj.weight"] for name in ("gate", "up"))
        yield f"{ours}.feedforward.inner.weight", torch.cat([gate, up])
        yield f"{ours}.feedforward.output.weight", weights[f"{theirs}.mlp.down_proj.weight"]
        yield f"{ours}.attention_norm.weight", weights[f"{theirs}.input_layernorm.weight"]
        after = weights[f"{theirs}.post_attention_layernorm.weight"]
        yield f"{ours}.feedforward_norm.weight", after
    yield "norm.weight", weights["model.norm.weight"]
    if not options.tie_embeddings:
        yield "head.weight", weights["lm_head.weight"]


def _fill(model: TransformerModel, state: Mapping[str, Tensor], folder: Path) -> None:
    try:
        model.load_state_dict({name: weight.float() for name, weight in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the weights in {folder} do not fit its config.json: {reason}") from None


# ---- the symbols --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Names:
    """The symbols of a folder: as of `ForeignSymbols`, and what one sequence is."""

    vocabulary: Vocabulary
    words: Sequence[str]
    order: Sequence[int]
    sequences: Sequences


def _symbols(
    folder: Path,
    config: Config,
    given: Sequence[str] | None,
    boundary: str | None,
    unknown: str | None,
    sequences: Sequences | None,
) -> _Names:
    size = int(config["vocab_size"])
    if given is not None:
        if len(given) != size:
            raise ConfigError(f"{len(given):,} symbols were given, and the model has {size:,}")
        default: Sequences = (
            "stream" if LINE_END in (boundary, None) and LINE_END in given else "document"
        )
        kind = sequences or default
        arranged = arrange_symbols(given, boundary=boundary, unknown=unknown, sequences=kind)
        if not arranged.has_unknown:
            raise ConfigError(
                "the symbols need one for everything that is not among them: give unknown=..., "
                "the one to use"
            )
        return _Names(arranged.vocabulary, arranged.texts, arranged.order, kind)
    path = folder / "tokenizer.json"
    vocabulary = vocabulary_from_tokenizer_json(_read_json(path)) if path.exists() else None
    if vocabulary is None or vocabulary.num_symbols != size:
        raise ConfigError(
            f"{folder} has no tokenizer.json of {size:,} bytes, characters, words or byte pairs as "
            "seriatim writes them: give symbols (--symbols FILE), the text of every id"
        )
    words = [vocabulary.decode([i]) for i in range(2, size)] if vocabulary.unknown == 0 else []
    kind = sequences or ("document" if vocabulary.is_document else "stream")
    return _Names(vocabulary, words, range(size), kind)


# ---- files --------------------------------------------------------------------------------------


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError:
        raise ModelError(f"{path.parent} has no {path.name}") from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from None


def _read_weights(folder: Path) -> Weights:
    """All weights, of one file or of several."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"{folder} has no weights as safetensors")
    weights: dict[str, Tensor] = {}
    for path in paths:
        try:
            weights.update(safetensors.torch.load_file(path))
        except Exception as error:  # errors of safetensors' own classes
            raise ModelError(f"{path} is damaged: {error}") from None
    return weights
