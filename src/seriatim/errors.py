"""Every error that seriatim raises on purpose.

    SeriatimError
    ├── ConfigError          an option that does not exist, does not fit, or does not belong here
    ├── DataError            the user's text, table or file cannot be used as it is
    │   ├── DecodingError      bytes that are not text in the stated encoding
    │   └── SymbolError        a symbol that the model does not know
    ├── ModelError           a model folder or a saved state that cannot be trusted
    ├── OutputError          a place to write that is taken, or that cannot hold the result
    ├── TrainingError        training that cannot go on (a loss that is not a number)
    ├── ContractError        a model that breaks a law of the contract
    └── MissingExtraError    an optional package that is not installed

Each message says what was given, what was expected and what to do, in one sentence where it
can. The command line prints the message alone and leaves with the class's `exit_code`.
"""


class SeriatimError(Exception):
    """The root: whatever seriatim refuses, it refuses with one of these."""

    exit_code = 1


class ConfigError(SeriatimError, ValueError):
    """An option that does not exist, has no such value, or does not belong to this model."""

    exit_code = 2


class DataError(SeriatimError, ValueError):
    """The user's data cannot be used as it is: missing, empty, too short, of another kind."""

    exit_code = 3


class DecodingError(DataError):
    """Bytes that are not text in the stated encoding; the message names the first such byte."""


class SymbolError(DataError):
    """A symbol that the model does not know and that has no `<unk>` to stand for it."""


class ModelError(SeriatimError, ValueError):
    """A model folder or saved state that is truncated, altered, newer, or of another model."""

    exit_code = 4


class OutputError(SeriatimError, OSError):
    """A place to write that is taken, or that cannot hold the result; nothing was lost."""

    exit_code = 5


class TrainingError(SeriatimError, ArithmeticError):
    """Training cannot go on; the model holds the last good weights."""

    exit_code = 6


class ContractError(SeriatimError, AssertionError):
    """A model breaks a law of the contract; the message names the law and the difference."""

    exit_code = 7


class MissingExtraError(SeriatimError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""

    exit_code = 8
