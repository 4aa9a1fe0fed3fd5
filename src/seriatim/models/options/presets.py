"""Models as papers give them, and how the papers train them: option values, nothing else.

Knows names and numbers. Does not know what the options mean: `configuration` does.
"""

from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Any]

# The Transformer of Vaswani et al. 2017: as a model of text, and as its base model for pairs.
CLASSIC: Options = {
    "positions": "sinusoidal",
    "norm": "layer",
    "norm_first": False,
    "feedforward": "relu",
    "bias": True,
    "tie_embeddings": True,
    "scale_embeddings": True,
}
CLASSIC_PAIRS: Options = {
    **CLASSIC,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "model_size": 512,
    "num_heads": 8,
    "feedforward_size": 2048,
    "share_embeddings": True,
    "dropout": 0.1,
}

# Word models of the Penn Treebank (Zaremba et al. 2014, section 4.1).
ZAREMBA: Mapping[str, Options] = {
    "zaremba-small": {
        "hidden_size": 200,
        "num_layers": 2,
        "forget_bias": 0.0,
        "init_uniform": 0.1,
    },
    "zaremba-medium": {
        "hidden_size": 650,
        "num_layers": 2,
        "dropout": 0.5,
        "forget_bias": 0.0,
        "init_uniform": 0.05,
    },
}

# The paper's loss is summed over the L elements of a chunk, where ours is their mean: its learning
# rate of 1 is L here, and its greatest norm of 5 is 5 / L.
_ZAREMBA_TRAINING: Options = {
    "optimizer": "sgd",
    "batch_size": 20,
    "carry": True,
    "schedule": "step",
}

# Training options that belong to a preset.
TRAINING: Mapping[str, Options] = {
    "zaremba-small": {
        **_ZAREMBA_TRAINING,
        "epochs": 13,
        "length": 20,
        "learning_rate": 20.0,
        "clip": 5 / 20,
        "decay": 0.5,
        "decay_after": 4,
    },
    "zaremba-medium": {
        **_ZAREMBA_TRAINING,
        "epochs": 39,
        "length": 35,
        "learning_rate": 35.0,
        "clip": 5 / 35,
        "decay": 1 / 1.2,
        "decay_after": 6,
    },
}
