"""`seriatim export`: a model in a format of other tools."""

from pathlib import Path
from typing import Literal

from seriatim.cli.output import Flag
from seriatim.errors import OutputError


def export(model: Path, /, *, to: Literal["arpa"], out: Path, overwrite: Flag = False) -> None:
    """Write a model in a format of other tools.

    Args:
        model: a model folder.
        to: arpa, for Markov models: read by KenLM, SRILM and others; .gz packs it.
        out: the file to write.
        overwrite: replace the file if it exists.
    """
    from seriatim.export.arpa import language_model_to_arpa
    from seriatim.tasks.language import load

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists: choose another name, or allow it with --overwrite")
    language_model_to_arpa(load(model), out)
    print(f"written to {out}")
