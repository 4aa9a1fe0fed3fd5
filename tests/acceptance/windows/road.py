"""The commands that most people use, one after the other in one process; each has to end well."""

import os
import random
import sys
from pathlib import Path

from seriatim.cli import main

_WORDS = ["the", "cat", "sät", "on", "mat", "—", "once", "a", "time", "dog", "“there”", "猫"]
_SMALL = ("--hidden-size", "8", "--symbols", "word", "--quiet")
_LSTM = ("fit", "train.txt", "--model", "lstm", *_SMALL, "--out", "lstm")
_TRAINED = ("--model", "gru", "--model-size", "16", "--symbols", "word", "--quiet", "--steps", "3")
_COUNTED = ("fit", "train.txt", "--model", "markov", "--symbols", "word")
_COMPARED = ("compare", "train.txt", "--symbols", "word", "--steps", "3", "--out", "compared")
_COMMANDS = (
    ("look", "train.txt", "--out", "look.html"),
    (*_LSTM, "--steps", "4", "--keep-checkpoints"),
    (*_LSTM, "--steps", "4", "--resume"),
    (*_LSTM, "--steps", "4", "--overwrite"),
    (*_LSTM[:-2], "--steps", "20", "--verify"),
    (*_COUNTED, "--out", "counted"),
    (*_COUNTED, "--out", "counted", "--overwrite"),
    ("fit", "long.txt", *_COUNTED[2:], "--memory", "18MB", "--out", "merged"),  # in three runs
    ("score", "lstm", "test.txt"),
    ("generate", "lstm", "the cat", "-n", "20", "--seed", "1"),
    ("surprisal", "lstm", "--text", "the cat —", "--by", "word"),
    ("export", "counted", "--to", "arpa", "--out", "counted.arpa"),
    (*_COMPARED, "--models", "markov,gru:hidden_size=8"),
    (*_COMPARED, "--models", "markov,gru:hidden_size=8,rnn:hidden_size=8", "--resume"),
    ("report", "compared", "test.txt", "--limit", "200"),
    ("inspect", "lstm", "test.txt", "--out", "inside.html"),
    ("fit", "pairs.tsv", "--task", "translation", *_TRAINED, "--out", "translator"),
    ("fit", "labels.tsv", "--task", "label", *_TRAINED, "--out", "labeller"),
)


def run() -> None:
    """Write data and run the commands; the exit code says whether all of them ended well."""
    assert not hasattr(os, "fork"), "the imitation is not in place"
    draw = random.Random(1)
    lines = [" ".join(draw.choices(_WORDS, k=8)) for _ in range(400)]
    texts = {
        "train.txt": lines,
        "test.txt": lines[:60],
        "long.txt": lines * 60,
        "pairs.tsv": [f"{line}\t{line[::-1]}" for line in lines],
        "labels.tsv": [f"{line}\t{'odd' if i % 2 else 'even'}" for i, line in enumerate(lines)],
    }
    for name, content in texts.items():
        Path(name).write_text("\n".join(content) + "\n", encoding="utf-8")
    failed = []
    for command in _COMMANDS:
        print("+", *command, file=sys.stderr, flush=True)
        if main(command) != 0:
            failed.append(command[0])
    sys.exit(f"failed: {failed}" if failed else 0)


if __name__ == "__main__":
    run()
