"""What the dataclasses of options have in common: pydantic's complaints in our words.

Knows pydantic; no torch, no option.
"""

import pydantic


def explain(error: pydantic.ValidationError) -> str:
    """The first complaint of pydantic as a clause: where, what was given, what was expected."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where} = {first['input']!r}: {message}" if where else message
