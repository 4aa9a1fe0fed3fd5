"""A lecture's worth of pictures: equations and fast paths, gates, attention, vanishing gradients.

Writes attention.svg, and gradients.png if the extra `report` is installed.
"""

import importlib.util
from pathlib import Path

import torch

import seriatim as st
from seriatim.report import LineSeries, alignment_svg, line_plot

TEXT = "".join(f"({c}{c}{c}){c}, " for c in "abcdefgh" * 60)  # what follows ) stands before it
SENTENCE = "(aaa)a, (ccc)c, "
SMALL = {"batch_size": 8, "length": 32, "learning_rate": 0.01}
FAMILIES = {
    "autoregressive": st.Autoregressive(window=8, hidden_size=32),
    "rnn": st.RNN(hidden_size=32),
    "lstm": st.LSTM(hidden_size=32),
    "gru": st.GRU(hidden_size=32),
    "transformer": st.Transformer(model_size=32, num_layers=1, num_heads=2, context=64),
}
fitted = {
    name: st.LanguageModel(family).fit([TEXT], valid=[TEXT], steps=120, options=SMALL)
    for name, family in FAMILIES.items()
}

print("1. The equations, one step after another, and the fast path over a whole chunk")
for name, lm in fitted.items():
    model = lm.model
    x = torch.tensor(lm.vocabulary.encode(SENTENCE))[None]
    with torch.inference_mode():
        whole = model.predict(model.update(model.start(1), x)).dense()
        state = model.start(1)
        for symbol in x[0]:
            state = model.step(state, symbol[None])
        difference = (model.predict(state).dense() - whole).abs().max()
    bits = lm.score([SENTENCE]).bits_per_symbol
    print(f"  {name:16s}{bits:6.3f} bits a symbol, greatest difference {float(difference):.0e}")

print("2. The gates of an LSTM over a sentence, mean of all units")
trace = fitted["lstm"].trace(SENTENCE)
gates = {name: trace.taps[f"layers.0.{name}"][0].mean(-1) for name in ("input", "forget", "output")}
print("  read  " + "".join(f"{name:>8s}" for name in gates) + "    bits of the next")
for t, symbol in enumerate(trace.inputs[:9]):
    print(f"  {symbol:6s}" + "".join(f"{float(g[t]):8.2f}" for g in gates.values()), end="")
    print(f"{trace.bits[t]:10.2f}  {trace.symbols[t]}")

print("3. Where a Transformer looks: for each symbol, the one that its first head weighs most")
trace = fitted["transformer"].trace(SENTENCE)
tap = next(name for name in trace.taps.names if name.endswith("attention.self"))
weights = trace.taps[tap][0, 0]
for t in range(4, 8):
    looked_at = int(weights[t].argmax())
    print(f"  after {trace.inputs[t]!r:5} at {trace.inputs[looked_at]!r}, {t - looked_at} back")
Path("attention.svg").write_text(alignment_svg(trace.inputs, trace.inputs, weights.numpy()))

print("4. The gradient of a prediction with respect to the state d steps before")
decay = {
    name: fitted[name]
    .effective_context([TEXT], limit=300, contexts=(1, 2, 4), gradients=True)
    .gradient_decay.layers[0][:32]
    for name in ("rnn", "lstm")
}
print("  steps back" + "".join(f"{name:>10s}" for name in decay))
for d in (1, 2, 4, 8, 16, 32):
    print(f"  {d:10d}" + "".join(f"{norms[d - 1]:10.0e}" for norms in decay.values()))
if importlib.util.find_spec("altair") and importlib.util.find_spec("vl_convert"):
    steps = range(1, 33)
    series = [LineSeries(name, list(steps), norms.tolist()) for name, norms in decay.items()]
    caption = "The mean norm of d ln p / d h, d steps back."
    axes = {"x": "steps back", "y": "norm of the gradient"}
    plot = line_plot(series, "The vanishing gradient", caption, **axes, y_scale="log")
    plot.png("gradients.png")
