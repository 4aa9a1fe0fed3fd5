"""`python -m tests.campaign`: every scenario, and for each: tried, survived, failed, and seeds."""

import argparse
import logging
import sys
import warnings

from tests.campaign import disks, folders, kills, processes, readers, strings
from tests.campaign.trials import Scenario, run

MOST_PRINTED = 5  # failures of a scenario with their reasons
SCENARIOS: list[Scenario] = [
    scenario
    for module in (folders, readers, kills, disks, strings, processes)
    for scenario in module.SCENARIOS
]


def main() -> int:
    """Run the campaign; 1 if a trial failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument(
        "--trials", type=int, default=100, help="trials of a scenario; slow ones get fewer"
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="the longest time of a scenario")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; the others follow it")
    parser.add_argument("--only", default="", help="scenarios whose names begin with this")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    num_failed = 0
    for scenario in SCENARIOS:
        if not scenario.name.startswith(options.only):
            continue
        count = max(1, round(options.trials * scenario.weight))
        tally = run(scenario, count, options.minutes * 60, options.seed)
        print(f"{scenario.name}: {tally}", flush=True)
        for seed, reason in tally.failed[:MOST_PRINTED]:
            print(f"  --only {scenario.name!r} --trials 1 --seed {seed}: {reason}", flush=True)
        if len(tally.failed) > MOST_PRINTED:
            print(f"  and seeds {[seed for seed, _ in tally.failed[MOST_PRINTED:]]}", flush=True)
        num_failed += len(tally.failed)
    return num_failed > 0


if __name__ == "__main__":
    sys.exit(main())
