"""Keys: who may ask. Compared in constant time, kept as digests, never written anywhere.

Knows a file of keys and a header; no route.
"""

import hashlib
import hmac
import stat
from dataclasses import dataclass
from pathlib import Path

from seriatim.errors import ConfigError

_SHORTEST = 16


@dataclass(frozen=True, repr=False)
class Keys:
    """The keys of a server.

    Attributes:
        digests: SHA-256 of each key; none: everybody may ask.
    """

    digests: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: list[str]) -> "Keys":
        """These keys."""
        return cls(tuple(hashlib.sha256(key.encode()).digest() for key in keys))

    @classmethod
    def read(cls, path: Path) -> "Keys":
        """The keys in a file, one on each line; empty lines and those that begin with # are none.

        Raises:
            ConfigError: if there is no key, or one is too short to be safe.
        """
        try:
            lines = path.read_text("utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"--api-key-file {path} cannot be read: name a text file") from None
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise ConfigError(f"--api-key-file {path} has no key: write one on each line")
        if any(len(key) < _SHORTEST or not key.isascii() for key in keys):
            raise ConfigError(
                f"--api-key-file {path} has a key of fewer than {_SHORTEST} characters of ASCII: "
                "longer ones cannot be guessed (python -c 'import secrets; "
                "print(secrets.token_urlsafe())')"
            )
        return cls.of(keys)

    def owner(self, given: str) -> str | None:
        """The name of the owner of a key, which tells nothing about it; None: it is no key.

        Without keys everybody is the owner "".
        """
        if not self.digests:
            return ""
        digest, found = hashlib.sha256(given.encode("utf-8", "replace")).digest(), None
        for i, known in enumerate(self.digests):  # all of them: the time tells nothing
            if hmac.compare_digest(digest, known):
                found = f"key {i + 1}"
        return found


def is_open_to_others(path: Path) -> bool:
    """Whether other users of this machine can read a file."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
