"""Every error that seriatim raises on purpose.

    SeriatimError
    ├── ConfigError          an option that does not exist, or whose value does not fit
    ├── DataError            the user's text, table or file cannot be used as it is
    │   ├── DecodingError      bytes that are not text in the stated encoding
    │   └── SymbolError        a symbol that the model does not know
    ├── ModelError           a model folder or a saved state that cannot be trusted
    ├── OutputError          an output path that is taken or cannot be written
    ├── TrainingError        training that cannot continue (a loss that is not a number)
    ├── ContractError        a model that breaks a law of the contract
    └── MissingExtraError    an optional package that is not installed

Each message says what was given, what was expected and what to do, in one sentence where
possible. The command line prints only the message and exits with the class's `exit_code`.
"""


class SeriatimError(Exception):
    """The root of every error that seriatim raises on purpose."""

    exit_code = 1


class ConfigError(SeriatimError, ValueError):
    """An option that does not exist, has an invalid value, or does not apply to this model."""

    exit_code = 2


class DataError(SeriatimError, ValueError):
    """The user's data cannot be used as it is: missing, empty, too short or of the wrong kind."""

    exit_code = 3


class DecodingError(DataError):
    """Bytes that are not text in the stated encoding; the message names the first such byte."""


class SymbolError(DataError):
    """A symbol outside a vocabulary that has no `<unk>`."""


NOT_NUMBERS = (
    "the model predicts probabilities that are not numbers: its weights are damaged, or its "
    "training diverged"
)


class ModelError(SeriatimError, ValueError):
    """A model folder or saved state that is truncated, altered, newer, or from another model."""

    exit_code = 4


class OutputError(SeriatimError, OSError):
    """An output path that is taken or cannot be written; nothing was lost."""

    exit_code = 5


class TrainingError(SeriatimError, ArithmeticError):
    """Training cannot continue; the model holds the last good weights."""

    exit_code = 6


class ContractError(SeriatimError, AssertionError):
    """A model breaks a law of the contract; the message names the law and the difference."""

    exit_code = 7


class MissingExtraError(SeriatimError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""

    exit_code = 8
