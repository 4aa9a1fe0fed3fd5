"""The version: the single source for the package, the files it writes and its builds."""

__version__ = "0.1.0"
