"""Events in production: fit to normal sessions, choose a threshold, judge sessions and streams."""

import random
from pathlib import Path

import seriatim as st

random.seed(0)


def visit() -> list[str]:
    """A normal session of a shop."""
    middle = [random.choice(["view item", "search"]) for _ in range(random.randint(1, 6))]
    return ["open shop", *middle, random.choice(["buy", "log out"])]


def write(name: str, visits: list[list[str]]) -> Path:
    """A table with one row for each event, as a log has it."""
    events = [(i, event) for i, events in enumerate(visits) for event in events]
    rows = [f"{time},{session},{event}" for time, (session, event) in enumerate(events)]
    Path(name).write_text("\n".join(["time,session,action", *rows]) + "\n")
    return Path(name)


# Fit to normal sessions. The columns are remembered: other tables of this shape need no options.
train = st.open_source(
    write("train.csv", [visit() for _ in range(400)]),
    column="action",
    sequence_column="session",
    order_column="time",
)
lm = st.LanguageModel(st.Markov(order=3), symbols="word").fit(train)

# Choose the threshold on other normal sessions: one false alarm in a hundred sessions.
print(lm.threshold(write("normal.csv", [visit() for _ in range(300)]), false_alarms=0.01).text())
lm.save("shop", overwrite=True)  # with the threshold

# Judge: every event with its time, surprisal and verdict; unknown events as they are.
odd = ["open shop", "break in", "search", "log out"]
found = lm.detect(write("today.csv", [*(visit() for _ in range(4)), odd]))
print(found.sequences)
for event in found.anomalies:
    print(f"session {event.sequence} at {event.time}: {event.event!r}, {event.bits:.1f} bits")

# As events arrive: one stream for each open session.
lm = st.load("shop")
assert isinstance(lm, st.LanguageModel)
assert lm.alarm is not None
stream = lm.stream()
for action in odd:
    bits = stream.push(action)
    print(f"{action:10s} {bits:6.2f} bits {'ANOMALY' if bits > lm.alarm.bits else ''}")
