"""Results in the form that the commands print them, made up: what a report must be able to show."""

import math
from collections.abc import Sequence
from typing import Any

FAMILIES = ("markov", "autoregressive", "rnn", "lstm", "gru", "transformer")
CONTEXTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def comparison(names: Sequence[str] = FAMILIES, *, seeds: int = 3) -> dict[str, Any]:
    """A comparison of models of these names; the first is counted, the others trained."""
    models = [_model(name, i, seeds) for i, name in enumerate(names)]
    pairs = [_pair(a, b) for i, a in enumerate(models) for b in models[i + 1 :]]
    weights = [1.0 / (i + 1) for i in range(len(names))]
    return {
        "format": 1,
        "data": {"name": "novels", "characters": {"train": 5_200_000, "test": 600_000}},
        "budget": {"kind": "minutes", "amount": 3, "sentence": "3 minutes of training each"},
        "metric": "bits per character",
        "models": models,
        "texts": pairs,
        "families": pairs if seeds else [],
        "mixture": {
            "weights": {n: w / sum(weights) for n, w in zip(names, weights, strict=True)},
            "bits": 1.62,
            "gain": 0.13,
            "best": names[0] if names else None,
            "interval": [1.60, 1.64],
            "adds": {n: 0.1 * w for n, w in zip(names, weights, strict=True)},
        },
        "recommendation": {
            "model": names[0] if names else None,
            "sentence": f"Take {names[0]}: no other needs fewer bits, and it is trained soonest."
            if names
            else "",
        },
        "notes": ["nothing is said of families"],
        "overhead": {"training_seconds": 900.0, "other_seconds": 40.0},
    }


def not_run(name: str, reason: str) -> dict[str, Any]:
    """A model that could not take a step."""
    return {"name": name, "family": name, "status": "not run", "reason": reason, "config": {}}


def _model(name: str, i: int, seeds: int) -> dict[str, Any]:
    bits, grows = 1.75 + 0.06 * i, i % 6 == 5
    return {
        "name": name,
        "family": name,
        "symbols": "char",
        "config": {},
        "status": "ok",
        "reason": None,
        "bits": bits,
        "bits_per_character": bits,
        "interval": [bits - 0.02, bits + 0.02],
        "bits_per_symbol": bits,
        "bits_per_byte": bits * 0.98,
        "parameters": 250_000 * (i + 1),
        "bytes": 1_000_000 * (i + 1),
        "state_bytes": [[2**p, 1000 * 2**p if grows else 400 * (i + 1)] for p in range(0, 13, 2)],
        "train_seconds": 2.0 if i == 0 else 180.0,
        "train_symbols_per_second": 40_000.0 / (i + 1),
        "generate_symbols_per_second": 9_000.0 / (i + 1),
        "operations_per_symbol": 500_000.0 * (i + 1),
        "history": [] if i == 0 else _history(bits),
        "seeds": [{"seed": s, "bits": bits + 0.01 * (s - 1)} for s in range(seeds)],
        "folder": None,
    }


def _history(bits: float) -> list[dict[str, Any]]:
    return [
        {
            "step": 50 * t,
            "seconds": 9.0 * t,
            "epoch": 0.1 * t,
            "train": bits + 2 / t,
            "valid": bits + 2.2 / t,
        }
        for t in range(1, 21)
    ]


def _pair(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    difference = a["bits"] - b["bits"]
    is_real = abs(difference) > 0.1
    verb = "beats" if is_real else "is not told apart from"
    return {
        "a": a["name"],
        "b": b["name"],
        "difference": difference,
        "interval": [difference - 0.09, difference + 0.09],
        "p_value": 0.0004 if is_real else 0.3,
        "is_real": is_real,
        "sentence": f"{a['name']} {verb} {b['name']} on text like this",
    }


def effective_context(*, memory: float = 20.0, gradients: bool = True) -> dict[str, Any]:
    """An effective context that ends after about `memory` elements."""
    bits = [2.0 + 2.2 * math.exp(-k / memory) for k in CONTEXTS]
    distance = list(range(1, 65))
    past = {
        "at": CONTEXTS[1:],
        "bits": [b * 0.97 for b in bits[1:]],
        "intervals": [[b * 0.96, b * 0.98] for b in bits[1:]],
    }
    return {
        "contexts": CONTEXTS,
        "bits": bits,
        "intervals": [[b - 0.03, b + 0.03] for b in bits],
        "nothing": 4.2,
        "nothing_interval": [4.1, 4.3],
        "full": 2.0,
        "full_interval": [1.97, 2.03],
        "effective": round(4.7 * memory),
        "effective_interval": [round(3 * memory), round(6 * memory)],
        "reach": None,
        "targets": 100_000,
        "unit": "bits per symbol",
        "categories": {
            kind: {"bits": [b * f for b in bits], "full": 2.0 * f, "effective": 30, "targets": 9000}
            for kind, f in {"letter": 1.1, "space": 0.5, "punctuation": 1.4}.items()
        },
        "shuffled": past,
        "replaced": {**past, "bits": [b * 1.02 for b in bits[1:]]},
        "influence": {
            "distance": distance,
            "share": [math.exp(-d / memory) / memory for d in distance],
            "how": "gradient" if gradients else "replacement",
        },
        "gradient_decay": {
            "distance": distance,
            "layers": {str(n): [0.9**d * (n + 1) for d in distance] for n in range(2)},
        }
        if gradients
        else None,
    }


def robustness(*, perturbation: float = 1.0) -> dict[str, Any]:
    """Perturbations that cost in proportion to their strength."""
    kinds = {
        "trimmed-start": [0.1, 0.25, 0.5],
        "trimmed-end": [0.1, 0.25, 0.5],
        "omitted": [0.01, 0.05, 0.1, 0.2],
        "swapped": [0.01, 0.05, 0.1, 0.2],
        "blocks": [0.25, 0.5, 1.0],
    }
    return {
        "intact": 2.0,
        "metric": "bits per symbol",
        "perturbations": [
            {
                "kind": kind,
                "strength": s,
                "bits": 2.0 + perturbation * s / max(strengths),
                "interval": [1.9, 3.2],
                "intact": 2.0,
                "chance": [1.93, 2.07],
                "targets": 9000,
            }
            for kind, strengths in kinds.items()
            for s in strengths
        ],
    }
