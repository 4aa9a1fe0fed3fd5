"""A surprisal for every event of a log as it arrives; only the state is kept."""

import seriatim as st

NORMAL = [["open", "read", "read", "close"], ["open", "write", "close"], ["open", "close"]] * 50
lm = st.LanguageModel(st.Markov(order=3), symbols="word").fit(NORMAL, valid=NORMAL)

stream = lm.stream()
for event in ["open", "read", "write", "read", "close"]:
    print(f"{event:6s} {stream.push(event):6.2f} bits")
print(f"{'end':6s} {stream.end():6.2f} bits")

saved = stream.save()  # a few hundred bytes, to resume from anywhere
print(f"{len(saved)} bytes of state; next most probable: {lm.stream(saved).top(1)[0].symbol}")
