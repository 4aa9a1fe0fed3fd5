"""The campaign against faults, `python -m tests.campaign`: kills, full disks, altered files.

Every trial is made from its number alone, so that a failure can be repeated. It takes minutes to
hours, and is no part of the daily tests.
"""
