"""Transformer language models as Hugging Face folders, in the shape of Mistral.

Our default Transformer is Mistral's: RMS norms first, SwiGLU, rotary positions, and attention to
the last `context` positions in every layer, which is its sliding window. (Llama's shape has no
window: it agrees within the context only.) The folder has config.json, model.safetensors, a
tokenizer.json for whatever symbols the model has, and a model card.

No folder appears before transformers has loaded it and agrees with the model at batch 1 and 3,
three times beyond the context, to `checks.TOLERANCE`, and its tokenizer with the vocabulary.

Knows the Transformer's weights, vocabularies and the record of training.

Shapes: B rows, L symbols, V symbols of the vocabulary, D features, H heads.
"""

import dataclasses
import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from seriatim.core import atomic
from seriatim.core.batch import Batch
from seriatim.core.extras import import_extra
from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, OutputError
from seriatim.export.checks import (
    ROWS,
    checked_difference,
    new_folder,
    transformer_parts,
    whole_folder,
)
from seriatim.export.tokenizer_json import end_token, tokenizer_json
from seriatim.layers.attention import MultiHeadAttention
from seriatim.layers.blocks import RMSNorm, SwiGLU
from seriatim.models.options.transformer import Transformer
from seriatim.models.transformer import TransformerModel
from seriatim.tasks.language_model import LanguageModel


def language_model_to_huggingface(model: LanguageModel, path: str | PathLike[str]) -> float:
    """Write a fitted Transformer language model as a folder that transformers loads.

    `AutoModelForCausalLM.from_pretrained(path)` and `AutoTokenizer.from_pretrained(path)` then
    give the model and its symbols; the tokenizer puts the boundary before a text.

    Args:
        model: the language model.
        path: the folder; it must not exist, or be empty.

    Returns:
        The largest difference that was seen between the log-probabilities of transformers and ours.

    Raises:
        ConfigError: the model is not fitted, of another family, or has parts that Mistral has not.
        OutputError: the folder is not empty, or does not compute what the model computes.
        MissingExtraError: transformers is not installed.
    """
    network, vocabulary = transformer_parts(model, "transformers")
    reason = unsupported(network.config)
    if reason is not None:
        raise ConfigError(f"Mistral's shape cannot hold this model: {reason}")
    library = _library()
    folder = new_folder(path)
    with whole_folder(folder) as part:
        _write(part, model, network, vocabulary)
        _check_tokenizer(library, part, vocabulary)
        return _check_model(library, part, network)


def unsupported(config: Transformer) -> str | None:
    """Why Mistral's shape cannot hold a configuration, and what to do; None: it can."""
    wanted: dict[str, tuple[object, str]] = {
        "positions": ("rotary", "rotary positions"),
        "norm": ("rms", "RMS norms"),
        "norm_first": (True, "norms before each sublayer"),
        "feedforward": ("swiglu", "SwiGLU"),
        "bias": (False, "no biases"),
        "attention_bias": (False, "no biases of attention"),
        "scale_embeddings": (False, "embeddings that are not scaled"),
    }
    for name, (value, what) in wanted.items():
        if getattr(config, name) != value:
            return f"it has {what}, and this model was built with {name}={getattr(config, name)!r}"
    if config.value_size not in (None, config.head_size):
        return (
            f"its values and keys have one size, and these are {config.value_size} and "
            f"{config.head_size}: fit without --value-size"
        )
    return None


# ---- writing -------------------------------------------------------------------------------------


def _write(
    folder: Path, model: LanguageModel, network: TransformerModel, vocabulary: Vocabulary
) -> None:
    weights = {name: tensor.contiguous() for name, tensor in _weights(network)}
    with atomic.keep_umask(folder / "model.safetensors"):
        safetensors.torch.save_file(
            weights, folder / "model.safetensors", metadata={"format": "pt"}
        )
    documents: dict[str, Json] = {
        "config.json": _config(network, vocabulary),
        "generation_config.json": _generation(vocabulary),
        "tokenizer.json": tokenizer_json(vocabulary),
        "tokenizer_config.json": _tokenizer_config(vocabulary),
    }
    for name, content in documents.items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / name).write_text(text + "\n", "utf-8")
    (folder / "README.md").write_text(model_card(model), "utf-8")


def _weights(network: TransformerModel) -> Iterator[tuple[str, Tensor]]:
    """Every weight under the name that transformers looks for."""
    state: Any = network
    yield "model.embed_tokens.weight", _plain(state.embedding.weight)
    for i, block in enumerate(state.blocks):
        name = f"model.layers.{i}"
        attention: MultiHeadAttention = block.attention
        size = attention.num_heads * attention.key_size
        parts = torch.split(attention.weight, [size, size, len(attention.weight) - 2 * size])
        for letter, weight in zip("qkv", parts, strict=True):
            yield f"{name}.self_attn.{letter}_proj.weight", _plain(weight)
        yield f"{name}.self_attn.o_proj.weight", _plain(attention.output.weight)
        network_part: SwiGLU = block.feedforward
        gate, up = network_part.inner.weight.chunk(2)
        yield f"{name}.mlp.gate_proj.weight", _plain(gate)
        yield f"{name}.mlp.up_proj.weight", _plain(up)
        yield f"{name}.mlp.down_proj.weight", _plain(network_part.output.weight)
        yield f"{name}.input_layernorm.weight", _plain(block.attention_norm.weight)
        yield f"{name}.post_attention_layernorm.weight", _plain(block.feedforward_norm.weight)
    yield "model.norm.weight", _plain(state.norm.weight)
    if state.head is not None:
        yield "lm_head.weight", _plain(state.head.weight)


def _plain(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", torch.float32).clone()


def _config(network: TransformerModel, vocabulary: Vocabulary) -> Json:
    config, blocks = network.config, list(network.blocks)
    block: Any = blocks[0]
    norm: RMSNorm = block.attention_norm
    inner: Tensor = block.feedforward.output.weight
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "vocab_size": network.num_symbols,
        "hidden_size": config.model_size,
        "intermediate_size": inner.shape[1],
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": 2**20,  # positions are computed: there is no longest text
        "rms_norm_eps": norm.eps,
        "rope_theta": config.rotary_base,
        "sliding_window": config.context,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
        "torch_dtype": "float32",
        "bos_token_id": vocabulary.boundary,
        "eos_token_id": vocabulary.boundary,
        "pad_token_id": None,
    }


def _generation(vocabulary: Vocabulary) -> Json:
    """Sample as our `generate` does, until the boundary."""
    boundary = vocabulary.boundary
    return {
        "do_sample": True,
        "top_k": 0,
        "bos_token_id": boundary,
        "eos_token_id": boundary,
        "pad_token_id": boundary,
    }


def _tokenizer_config(vocabulary: Vocabulary) -> Json:
    """A line end that is the boundary stays text: a special token would vanish from the output."""
    end = end_token(vocabulary)
    special = {} if end is None else {"bos_token": end, "eos_token": end, "pad_token": end}
    if vocabulary.unknown is not None:
        special["unk_token"] = vocabulary.name(vocabulary.unknown)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **special,
    }


def model_card(model: LanguageModel) -> str:
    """The model card: what it is, how it was trained and how good it is, from its record."""
    training, network, vocabulary = model.training, model.model, model.vocabulary
    if not isinstance(network, TransformerModel) or vocabulary is None:
        raise ConfigError("there is no fitted Transformer to describe: call fit")
    weights = sum(p.numel() for p in network.parameters())
    facts = [
        f"{weights:,} weights; {vocabulary.num_symbols:,} symbols ({vocabulary.kind}).",
        *(f"Trained in {training.seconds:,.0f} s." for _ in range(training.seconds > 0)),
        *(
            f"On its {part} text: {score.bits_per_symbol:.4f} bits per symbol."
            for part, score in training.scores.items()
        ),
    ]
    config = network.config
    options = json.dumps({"family": config.family, **dataclasses.asdict(config)}, indent=2)
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- seriatim\n---\n\n"
        f"# A {config.family} language model\n\n"
        + "\n".join(f"- {fact}" for fact in facts)
        + f"\n\nTrained with seriatim as\n\n```json\n{options}\n```\n\n"
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained(".")\n'
        'model = AutoModelForCausalLM.from_pretrained(".")\n```\n'
    )


# ---- the proof -----------------------------------------------------------------------------------


def _check_model(library: Any, folder: Path, network: TransformerModel) -> float:
    """The largest difference of a log-probability, relative to 1 + |ln p|."""
    library.utils.logging.disable_progress_bar()
    theirs = library.AutoModelForCausalLM.from_pretrained(folder).float().eval()
    length, largest = 3 * network.config.context, 0.0
    for rows in ROWS:
        generator = torch.Generator().manual_seed(rows)
        x = torch.randint(network.num_symbols, (rows, length + 1), generator=generator)
        x[:, 0] = network.boundary
        with torch.no_grad():
            device = network.device
            batch = Batch(x[:, :-1].to(device), x[:, 1:].to(device))
            ours = network.log_prob(batch).float().cpu()
            logits = theirs(input_ids=x[:, :-1]).logits.log_softmax(-1)
        scores = logits.gather(-1, x[:, 1:, None])[..., 0]
        where = f"in a batch of {rows}"
        difference = checked_difference(
            ours.numpy(), scores.numpy(), tool="transformers'", where=where, what="folder"
        )
        largest = max(largest, difference)
    return largest


def _check_tokenizer(library: Any, folder: Path, vocabulary: Vocabulary) -> None:
    """Texts of random symbols must be encoded as our vocabulary does."""
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    for seed in range(8):
        random = np.random.default_rng(seed)
        text = vocabulary.decode(random.integers(0, vocabulary.num_symbols, 50))
        ours = [vocabulary.boundary, *vocabulary.encode(text).tolist()]
        theirs = tokenizer(text)["input_ids"]
        if theirs != ours:
            raise OutputError(
                f"the tokenizer cuts {text[:40]!r} into other symbols than the model's vocabulary: "
                "the folder is not written"
            )


def _library() -> Any:
    return import_extra(
        "transformers",
        "this export needs transformers, which is not installed: pip install "
        "'seriatim[huggingface]'",
    )
