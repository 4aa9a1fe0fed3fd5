"""Models as papers describe them, and how they are trained: values of options, nothing else."""

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

# The paper sums the loss over the L elements of a chunk where we take the mean: its learning rate
# of 1 is L here, and its maximum norm of 5 is 5 / L.
_ZAREMBA_TRAINING: Options = {
    "optimizer": "sgd",
    "batch_size": 20,
    "carry": True,
    "schedule": "step",
}

# Training options of each preset.
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

# Presets of each family, by name.
PRESETS: Mapping[str, Mapping[str, Options]] = {
    "lstm": ZAREMBA,
    "transformer": {"classic": CLASSIC},
    "seq2seq": {"classic": CLASSIC_PAIRS},
}

# Training options of encoder-decoders.
PAIRS_TRAINING: Options = {
    "learning_rate": 1e-3,
    "warmup": 400,
    "label_smoothing": 0.1,
    "betas": (0.9, 0.98),
}
RECURRENT_PAIRS_TRAINING: Options = {"learning_rate": 2e-3, "label_smoothing": 0.1}


def classic_training(model_size: int) -> Options:
    """The training of Vaswani et al. 2017, 5.3 and 5.4.

    rate = d_model^-0.5 min(step^-0.5, step warmup^-1.5) is highest at the end of the warm-up,
    (d_model warmup)^-0.5.

    Args:
        model_size: d_model.
    """
    warmup = 4000
    return {
        "schedule": "inverse-sqrt",
        "warmup": warmup,
        "learning_rate": (model_size * warmup) ** -0.5,
        "betas": (0.9, 0.98),
        "label_smoothing": 0.1,
        "weight_decay": 0.0,
        "average": 0.995,  # the rate is still high at the end; theirs average checkpoints (6.1)
    }
