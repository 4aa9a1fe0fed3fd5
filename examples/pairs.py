"""An encoder-decoder on pairs: it learns to write numbers backwards, and shows where it looks.

Fitted, searched by beam, aligned, evaluated, saved and loaded; writes alignment.svg.
"""

import random
import tempfile
from pathlib import Path

import seriatim as st

random.seed(0)
numbers = ["".join(random.choices("0123456789", k=random.randint(1, 4))) for _ in range(1500)]
pairs = [(number, number[::-1]) for number in numbers]

model = st.Seq2Seq(
    encoder="gru", decoder="gru", model_size=64, encoder_layers=1, decoder_layers=1, dropout=0.0
)
translator = st.Translator(model, symbols="char").fit(pairs, steps=400, seed=1)
for result in translator.translate(["123", "2026"], beam=4, alignment=True):
    print(result.text, f"ln p = {result.log_prob:.2f}")
    if result.alignment is not None:
        attended = result.alignment.weights.argmax(1)
        print("  attended to:", [result.alignment.source[s] for s in attended])
        Path("alignment.svg").write_text(result.alignment.svg())

folder = Path(tempfile.mkdtemp()) / "translator"
translator.save(folder)
again = st.load(folder)
unseen = [("98765"[:n], "98765"[:n][::-1]) for n in (2, 3, 4)]
print(f"after loading: {again.evaluate(unseen).exact_match:.0%} of {len(unseen)} pairs exact")
