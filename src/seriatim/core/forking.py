"""Forked processes: torch's threads do not exist in them, so each computes with one thread.

OpenMP starts its threads at the first large operation. A process that is forked afterwards believes
that it has them and waits for ever at its own first large operation; with one thread it never asks
for them. This is what torch's own loaders do in their workers.
"""

import os
from functools import cache

import torch


@cache
def use_one_thread_in_children() -> None:
    """From now on, a process that is forked from this one computes with one thread."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
