"""Linguistics: the surprisal of every word under several models, as one table and as CSV."""

import random
from pathlib import Path

import seriatim as st
from seriatim.tasks import join_surprisals

random.seed(0)
NOUNS, VERBS = ["dog", "cat", "child", "woman"], ["sees", "chases", "likes", "hears"]
train = [
    f"the {random.choice(NOUNS)} {random.choice(VERBS)} the {random.choice(NOUNS)}"
    for _ in range(600)
]
items = ["the dog chases the cat", "the dog chases the zebra", "the cat the dog chases sleeps"]

# Three models of the same text, with other symbols; each sentence is read by itself.
source = st.open_source(train, sequences="line")
models = {
    "letters": st.LanguageModel(st.GRU(hidden_size=64), symbols="char"),
    "words": st.LanguageModel(st.Markov(order=3), symbols="word", min_count=2),
    "pieces": st.LanguageModel(st.Markov(order=4), symbols="bpe:300"),
}
for lm in models.values():
    lm.fit(source, steps=120 if isinstance(lm.config, st.GRU) else None)

# One table for each model: sentence, word, start, end, bits, unknown.
tables = {name: lm.surprisal(items, by="word") for name, lm in models.items()}
print(tables["words"])
for row in tables["words"]:
    if row.unknown:
        written = items[row.sentence - 1][row.start : row.end]
        print(f"{written}: {row.bits:.1f} bits, {row.spelling_bits:.1f} of them for its spelling")

# Beside one another, word by word, though the symbols differ; `.to_pandas()`, `.to_polars()` too.
joined = join_surprisals(tables)
print(joined)
joined.to_csv("surprisal.csv")
print(Path("surprisal.csv").read_text().splitlines()[0])
