"""Answers as bytes: JSON in UTF-8, and events of a stream, each a whole JSON value.

Knows JSON; no route.
"""

import json
from typing import Any


def json_bytes(value: Any) -> bytes:
    """A JSON value, without white space; what is not finite is a fault of ours, and raises."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def event_bytes(value: Any) -> bytes:
    """An event of a stream; whole characters, since it is a whole JSON value."""
    return b"data: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
