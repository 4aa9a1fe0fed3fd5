"""The version, in the one place from which the package, its files and its builds take it."""

__version__ = "0.1.0"
