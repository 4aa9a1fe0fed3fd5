"""`seriatim import`: read a model in the format of another tool."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seriatim.cli.output import Flag
from seriatim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor


def import_model(
    source: str,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    symbols: Path | None = None,
    boundary: str | None = None,
    unknown: str | None = None,
    overwrite: Flag = False,
) -> None:
    """Read a model in the format of another tool, and save it as a model folder.

    Args:
        source: a folder of transformers with a Llama or Mistral; an ARPA file of words; weights of
            nn.LSTM, nn.GRU or nn.RNN with embedding and head, as .safetensors; or OWNER/NAME, a
            repository of the Hugging Face Hub.
        out: the model folder to write.
        symbols: a file with the text of every id, one on a line, for weights and for folders
            whose tokenizer is not one of seriatim; a line end is written as backslash n.
        boundary: the symbol that is fed before a text and ends it, of --symbols.
        unknown: the symbol of everything that is not among --symbols.
        overwrite: replace the model folder if it exists.
    """
    path = Path(source)
    names = None if symbols is None else read_symbols(symbols)
    if path.suffix in (".arpa", ".gz"):
        from seriatim.export.arpa import language_model_from_arpa

        model = language_model_from_arpa(path)
    elif path.suffix == ".safetensors":
        from seriatim.export.torch_layers import from_torch

        if names is None:
            raise ConfigError(f"{source} has weights alone: give --symbols FILE")
        model = from_torch(_weights(path), names, boundary=boundary, unknown=unknown)
    elif path.is_file():
        raise ConfigError(
            f"{source} is a file of no format that is read: give an .arpa or .arpa.gz file, "
            "weights as .safetensors, a folder of transformers, or OWNER/NAME"
        )
    else:
        from seriatim.export.huggingface_import import from_huggingface
        from seriatim.tasks.hub import fetch_folder

        folder = path if path.is_dir() else fetch_folder(source)
        model = from_huggingface(folder, symbols=names, boundary=boundary, unknown=unknown)
    model.save(out, overwrite=overwrite)
    print(f"{model.headline()}\nsaved to {out}")


def read_symbols(path: Path) -> list[str]:
    """The texts in a file, one on a line."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    lines = lines[:-1] if lines and lines[-1] == "" else lines
    return [line if "\\" not in line else _unescape(line) for line in lines]


def _unescape(line: str) -> str:
    escapes = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\\\": "\\"}
    return escapes.get(line, line)


def _weights(path: Path) -> dict[str, "Tensor"]:
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # errors of safetensors' own classes
        raise DataError(f"{path} cannot be read as weights: {error}") from None
