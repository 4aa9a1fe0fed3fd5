"""Language models of the Transformer for CTranslate2's Generator, which continues texts in C++.

CTranslate2 keeps the keys and values of the last `sliding_window` symbols, which is our context.
Tried with version 4.8: symbol by symbol it agrees with us beyond the context as well, but a prompt
that is longer than the window is read in pieces that see too little (0.1 nats off for the first
symbols after it), and `forward_batch` and `score_batch` of more than the window stop with an error.

No folder appears before it has agreed with the model, at batch 1 and 3, from prompts within the
context to three times beyond it, to `checks.TOLERANCE`.

Shapes: B rows, V symbols.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.distributions import as_discrete
from seriatim.core.extras import import_extra
from seriatim.data.vocab.bpe import BPEVocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError
from seriatim.export.checks import (
    ROWS,
    checked_difference,
    new_folder,
    on_cpu,
    transformer_parts,
    whole_folder,
)
from seriatim.export.ctranslate2 import NUM_POSITIONS, names_of
from seriatim.export.ctranslate2_spec import (
    MISSING,
    Spec,
    as_array,
    fill_feedforward,
    fill_linear,
    fill_norm,
    fill_self_attention,
    layer_options,
    library,
)
from seriatim.layers.positions import sinusoids
from seriatim.models.transformer import TransformerModel
from seriatim.tasks.language_model import LanguageModel

_MASKED = -1e30  # CTranslate2 writes the lowest float where a symbol is not allowed


def language_model_to_ctranslate2(model: LanguageModel, path: str | PathLike[str]) -> float:
    """Write a fitted Transformer language model as a folder that `ctranslate2.Generator` opens.

    A text begins with the boundary, whose name is the folder's `bos_token`. Prompts have at most
    as many symbols as the context; what is generated may be longer.

    Args:
        model: the language model.
        path: the folder; it must not exist, or be empty.

    Returns:
        The largest difference that was seen between the log-probabilities of CTranslate2 and ours.

    Raises:
        ConfigError: the model is not fitted, or not one that CTranslate2 can run.
        OutputError: the folder is not empty, or does not compute what the model computes.
        MissingExtraError: CTranslate2 is not installed.
    """
    network, vocabulary = transformer_parts(model, "CTranslate2")
    config = network.config
    if config.value_size not in (None, config.head_size):
        raise ConfigError(
            f"CTranslate2 needs values and keys of one size, and these are {config.value_size} and "
            f"{config.head_size}: fit without --value-size"
        )
    generator = import_extra("ctranslate2", MISSING).Generator
    folder, names = new_folder(path), names_of(vocabulary)
    with whole_folder(folder) as part:
        plain = on_cpu(network)
        _write(part, plain, vocabulary, names)
        opened = generator(str(part), compute_type="float32", inter_threads=1, intra_threads=1)
        return check_generator(opened, plain, names)


def _write(
    folder: Path, model: TransformerModel, vocabulary: Vocabulary, names: Sequence[str]
) -> None:
    spec = generator_spec(model)
    spec.register_vocabulary(list(names))
    config = spec.config
    config.bos_token = config.eos_token = names[vocabulary.boundary]
    unknown = vocabulary.unknown
    config.unk_token = names[vocabulary.boundary if unknown is None else unknown]
    config.layer_norm_epsilon = _first_norm(model).eps
    spec.validate()
    spec.optimize(quantization=None)  # shared weights are written once
    spec.save(str(folder))
    if isinstance(vocabulary, BPEVocabulary):
        (folder / "tokenizer.json").write_text(vocabulary.tokenizer_json(), "utf-8")


def _first_norm(model: TransformerModel) -> Any:
    blocks: Any = model.blocks
    return blocks[0].attention_norm


def generator_spec(model: TransformerModel) -> Spec:
    """The specification, filled with the weights."""
    config, parts = model.config, model
    spec = library("specs.transformer_spec").TransformerDecoderModelSpec.from_config(
        config.num_layers, config.num_heads, sliding_window=config.context, **layer_options(config)
    )
    decoder = spec.decoder
    decoder.scale_embeddings = config.scale_embeddings
    decoder.embeddings.weight = as_array(model.embedding.weight)
    fill_linear(decoder.projection, model.embedding if model.head is None else model.head)
    if config.positions == "sinusoidal":
        table = sinusoids(torch.arange(NUM_POSITIONS), config.model_size, torch.float32)
        decoder.position_encodings.encodings = table.numpy()
    if config.norm_first:
        fill_norm(decoder.layer_norm, parts.norm)
    for layer, block in zip(decoder.layer, parts.blocks, strict=True):
        fill_self_attention(layer.self_attention, block)
        fill_feedforward(layer.ffn, block)
    return spec


# ---- the proof -----------------------------------------------------------------------------------


def check_generator(generator: Any, model: TransformerModel, names: Sequence[str]) -> float:
    """The largest difference to the model, as `checks.checked_difference` has it.

    CTranslate2 gives the scores of every symbol but the end, which it is not allowed to choose
    here; so each batch runs with two ends.
    """
    context, largest = model.config.context, 0.0
    for rows in ROWS:
        draw = torch.Generator().manual_seed(rows)
        size = min(context, 4)
        prompts = torch.randint(model.num_symbols, (rows, size), generator=draw)
        prompts[:, 0] = model.boundary
        for end in (model.boundary, (model.boundary + 1) % model.num_symbols):
            results = generator.generate_batch(
                [[names[i] for i in row] for row in prompts.tolist()],
                max_length=3 * context,
                min_length=3 * context,
                end_token=[end],
                include_prompt_in_result=False,
                return_logits_vocab=True,
                sampling_topk=1,
            )
            for prompt, result in zip(prompts, results, strict=True):
                scores = torch.stack([torch.as_tensor(np.array(s)) for s in result.logits[0]])
                difference = checked_difference(
                    *_both(model, prompt, result.sequences_ids[0], scores.flatten(1)),
                    tool="CTranslate2's",
                    where=f"in a batch of {rows}",
                    what="folder",
                )
                largest = max(largest, difference)
    return largest


@torch.no_grad()
def _both(
    model: TransformerModel, prompt: Tensor, chosen: Sequence[int], scores: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Our log-probabilities of what may be chosen at each step, and CTranslate2's."""
    x = torch.cat([prompt, torch.tensor(chosen[:-1], dtype=torch.int64)])[None]
    features, _ = model.advance(model.empty(1), x, None, keep=False)
    ours = as_discrete(model.emit(features)).dense()[0, len(prompt) - 1 :]
    allowed = (scores > _MASKED).all(0)
    pair = [t[:, allowed].log_softmax(-1).numpy() for t in (ours, scores)]
    return pair[0], pair[1]
