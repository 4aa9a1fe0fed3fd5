"""Every family on one text: fitted, scored and sampled by the same lines of code."""

import tempfile
from pathlib import Path

import seriatim as st

LINES = ["the cat sat on the mat", "the dog sat on the cat", "a dog and a cat sat"]
text = Path(tempfile.mkdtemp()) / "text.txt"
text.write_text("\n".join(LINES * 100) + "\n")

for model in (
    st.Markov(order=4),
    st.Autoregressive(window=6, hidden_size=64),
    st.RNN(hidden_size=32),
    st.LSTM(hidden_size=32),
    st.GRU(hidden_size=32),
    st.Transformer(model_size=32, num_layers=2, num_heads=2, context=32),
):
    lm = st.LanguageModel(model).fit(text, steps=60)
    score = lm.score(text)
    sample = lm.generate("the ", 30, seed=1, temperature=0.8)
    print(f"{model.family:15s}{score.bits_per_character:6.3f} bits per character  {sample!r}")
