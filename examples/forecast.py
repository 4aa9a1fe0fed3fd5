"""A series with gaps: which model predicts it best, a picture of the forecast, and new values."""

import math
import random
from datetime import date, timedelta
from pathlib import Path

import seriatim as st

random.seed(0)

# Visitors of a museum each day: a week, a summer, days that resemble the day before, and gaps.
mood, lines = 0.0, ["day,visitors"]
for t in range(700):
    mood = 0.7 * mood + random.gauss(0, 0.12)
    weekend = 1.6 if t % 7 > 4 else 1.0
    summer = 1 + 0.4 * math.sin(2 * math.pi * t / 365)
    visitors = "" if random.random() < 0.03 else str(round(240 * weekend * summer * math.exp(mood)))
    lines.append(f"{date(2024, 1, 1) + timedelta(days=t)},{visitors}")
Path("museum.csv").write_text("\n".join(lines) + "\n")

# Which model? Each predicts two weeks from ten origins, knowing only what came before.
models = {
    "naive": st.Naive(),
    "seasonal-naive": st.SeasonalNaive(),
    "ar": st.AR(order=14),
    "log ar": st.AR(order=14, transform="log"),
}
found = st.backtest("museum.csv", models, horizon=14, season_length=7)
print(found)

# The best one, fitted to everything.
best = st.Forecaster(models[found.best.name], season_length=7).fit("museum.csv")
forecast = best.predict(14, level=80)
print(forecast)

# New values arrive: no refit, and each says how surprising it was.
stream = best.stream()
for value in (250.0, None, 900.0):
    print(value, stream.push(value))
