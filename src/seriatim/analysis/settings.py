"""The usual sizes of analyses, where a default is read without importing the analyses."""

# Numbers of elements before a target, of which the effective context is measured.
CONTEXTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
CONTEXT_LIMIT = 100_000  # elements of a text that are read to measure it
ROBUSTNESS_LIMIT = 20_000  # targets whose robustness is measured
SEEDS = 3  # of the damage to them
MAX_GIGABYTES = 4.0  # what may be recorded of a model
