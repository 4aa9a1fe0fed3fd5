"""`python -m benchmarks.fingerprint FILE`: what every family computes, to the last bit.

Trains six families, two translators and two labellers on made-up text for 50 steps by seed, and
records checksums of their weights, scores, samples and searches. Two commits that must compute the
same write the same file on the same machine with the same versions. `named` covers the names of
the parameters too; where those changed on purpose, `values` must still agree.
"""

import argparse
import hashlib
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import seriatim as st

STEPS, SEED = 50, 1
WORDS = "the cat sat on a mat dog ran to red house and then blue sea".split()  # noqa: SIM905
CONFIGS = {
    "markov": st.Markov(order=4),
    "autoregressive": st.Autoregressive(window=6, hidden_size=32, embedding_size=16),
    "rnn": st.RNN(hidden_size=48),
    "lstm": st.LSTM(hidden_size=48, num_layers=2),
    "gru": st.GRU(hidden_size=48),
    "transformer": st.Transformer(model_size=32, num_layers=2, num_heads=2, context=32),
}


def lines() -> list[str]:
    """600 made-up sentences: 500 to train, 50 to validate, 50 to test."""
    rng = random.Random(0)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 9))) for _ in range(600)]


def digest(value: Any) -> str:
    """24 hexadecimal digits of anything that JSON or `str` can write."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def weights(model: nn.Module) -> dict[str, str]:
    """Checksums of a model's tensors, with their names and without."""
    tensors = {n: t.detach().cpu().contiguous() for n, t in sorted(model.state_dict().items())}
    named = hashlib.sha256()
    for name, tensor in tensors.items():
        named.update(name.encode())
        named.update(tensor.numpy().tobytes())
    values = sorted(hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in tensors.values())
    return {
        "named": named.hexdigest()[:24],
        "values": hashlib.sha256("".join(values).encode()).hexdigest()[:24],
    }


def language_model(name: str, folder: Path) -> dict[str, Any]:
    """One family on lines of characters, scored again after saving and loading."""
    text = lines()
    budget = {} if name == "markov" else {"steps": STEPS}
    lm = st.LanguageModel(CONFIGS[name], symbols="char", device="cpu")
    lm.fit(text[:500], valid=text[500:550], seed=SEED, **budget)
    score = lm.score(text[550:])
    record: dict[str, Any] = {
        "weights": weights(lm.model),
        "bits_per_symbol": float(score.bits_per_symbol),
        "bits_per_character": score.bits_per_character,
        "sample": lm.generate("the ", 60, seed=3),
        "next": [(p.symbol, p.probability) for p in lm.next("the c", 3)],
    }
    lm.save(folder / name)
    again = st.load(folder / name, device="cpu").score(text[550:])
    assert again.bits_per_symbol == score.bits_per_symbol, f"{name}: another score after loading"
    if name in ("gru", "transformer"):
        context = lm.effective_context(text[550:], contexts=[1, 2, 4, 8], limit=400)
        record["effective_context"] = digest(context.to_json())
        record["robustness"] = digest(lm.robustness(text[550:], limit=200, seeds=1).to_json())
    return record


def translator(kind: str) -> dict[str, Any]:
    """An encoder-decoder that learns to reverse: beam, greedy, sampled."""
    pairs = [(line, line[::-1]) for line in lines()]
    model = st.Translator(kind, symbols="char", device="cpu")
    model.fit(pairs[:500], valid=pairs[500:550], test=pairs[550:], steps=STEPS, seed=SEED)
    sources = [source for source, _ in pairs[550:556]]
    sampled = st.Decoding(sampling=st.Sampling(), num_best=2, seed=5)
    return {
        "weights": weights(model.model),
        "bits_per_symbol": float(model.score(pairs[550:]).bits_per_symbol),
        "beam": [
            (t.text, t.log_prob, t.score, [other.text for other in t.others])
            for t in model.translate(sources, beam=4, num_best=2)
        ],
        "greedy": [t.text for t in model.translate(sources, beam=1)],
        "sampled": [t.text for t in model.translate(sources, decoding=sampled)],
    }


def labeller(per: str) -> dict[str, Any]:
    """A bidirectional LSTM that labels sequences, or their elements."""
    data: list[Any] = [(line, "odd" if len(line) % 2 else "even") for line in lines()]
    if per == "element":
        data = [(line.split(), [word[0] for word in line.split()]) for line in lines()]
    model = st.Labeller("lstm", symbols="char", device="cpu")
    model.fit(data[:500], valid=data[500:550], test=data[550:], steps=STEPS, seed=SEED)
    rows = model.label([text for text, _ in data[550:556]])
    labels = [[(x.label, x.probability) for x in (r if per == "element" else [r])] for r in rows]
    return {
        "weights": weights(model.model),
        "temperature": model.temperature,
        "labels": digest(labels),
        "accuracy": model.score(data[550:]).accuracy,
    }


def main() -> None:
    """Record everything into one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CONFIGS:
            record[name] = language_model(name, Path(folder))
            print(f"{name}: {record[name]['bits_per_symbol']:.6f} bits per symbol", flush=True)
    for kind in ("gru", "transformer"):
        record[f"translator, {kind}"] = translator(kind)
    for per in ("sequence", "element"):
        record[f"labeller, {per}"] = labeller(per)
    args.file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{args.file}: {digest(record)}")


if __name__ == "__main__":
    main()
