"""`seriatim export`: write a model in the format of another tool."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from seriatim.cli.output import Flag, Reporter
from seriatim.errors import ConfigError, OutputError


def export(
    model: Path,
    /,
    *,
    to: Literal["arpa", "ctranslate2", "huggingface", "onnx", "sherpa-onnx"],
    out: Annotated[Path, Parameter(alias="-o")],
    overwrite: Flag = False,
    push: str | None = None,
    public: Flag = False,
) -> None:
    """Write a model in the format of another tool.

    Args:
        model: the model folder.
        to: the format. arpa, for Markov models: a file that KenLM, SRILM and others read.
            ctranslate2, for translators and language models of Transformer layers: a folder that
            CTranslate2 loads.
            huggingface, for language models of the Transformer: a folder that transformers loads.
            onnx, for language models with weights and for labellers: a file that onnxruntime runs;
            for translators: a folder of two such files.
            sherpa-onnx, for LSTM language models: a folder that its recognizers take as their lm.
        out: the file or folder to write; an ARPA file whose name ends in .gz is packed.
        overwrite: replace the file if it exists; folders are never replaced.
        push: a repository of the Hugging Face Hub, OWNER/NAME, to which a folder of --to
            huggingface is uploaded as well; it is made if it is not there.
        public: let everybody see a repository that --push makes; otherwise its owner alone does.
    """
    if out.exists() and not (overwrite and out.is_file()):
        raise OutputError(
            f"{out} exists: choose another name, or "
            + ("remove the folder first" if out.is_dir() else "allow it with --overwrite")
        )
    if push is not None and to != "huggingface":
        raise ConfigError(f"--push uploads what --to huggingface writes, and this is {to}")
    reporter = Reporter()
    reporter.doing(f"exporting to {to}")
    agrees = WRITERS[to](model, out)
    reporter.done()
    print(f"{agrees}\nwritten to {out}")
    if push is not None:
        from seriatim.tasks.hub import push_folder

        push_folder(
            out, push, message=f"Exported by seriatim from {model.name}", private=not public
        )
        print(f"pushed to {push}")


def _arpa(model: Path, out: Path) -> str:
    from seriatim.export.arpa import language_model_to_arpa
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as

    difference = language_model_to_arpa(load_as(LanguageModel, model, "export --to arpa"), out)
    return f"the file agrees with the model to {difference:.1g} nats"


def _ctranslate2(model: Path, out: Path) -> str:
    from seriatim.export.ctranslate2 import translator_to_ctranslate2
    from seriatim.export.ctranslate2_generator import language_model_to_ctranslate2
    from seriatim.tasks import storage
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as
    from seriatim.tasks.translator import Translator

    needed = "export --to ctranslate2"
    if storage.read_header(model).task == LanguageModel.name:
        difference = language_model_to_ctranslate2(load_as(LanguageModel, model, needed), out)
        limit = "a prompt may be as long as the model's context; what is generated may be longer\n"
    else:
        difference = translator_to_ctranslate2(load_as(Translator, model, needed), out)
        limit = ""
    return f"{limit}CTranslate2 agrees with the model to {difference:.1g} nats"


def _huggingface(model: Path, out: Path) -> str:
    from seriatim.export.huggingface import language_model_to_huggingface
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as

    source = load_as(LanguageModel, model, "export --to huggingface")
    difference = language_model_to_huggingface(source, out)
    return f"transformers agrees with the model to {difference:.1g} nats"


def _onnx(model: Path, out: Path) -> str:
    from seriatim.export.onnx import language_model_to_onnx
    from seriatim.export.onnx_labeller import labeller_to_onnx
    from seriatim.export.onnx_translator import translator_to_onnx
    from seriatim.tasks import storage
    from seriatim.tasks.labeller import Labeller
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as
    from seriatim.tasks.translator import Translator

    needed = "export --to onnx"
    task = storage.read_header(model).task
    if task == Translator.name:
        difference = translator_to_onnx(load_as(Translator, model, needed), out)
    elif task == Labeller.name:
        difference = labeller_to_onnx(load_as(Labeller, model, needed), out)
    else:
        difference = language_model_to_onnx(load_as(LanguageModel, model, needed), out)
    return f"onnxruntime agrees with the model to {difference:.1g} nats"


def _sherpa(model: Path, out: Path) -> str:
    from seriatim.export.onnx_sherpa import language_model_to_sherpa
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as

    source = load_as(LanguageModel, model, "export --to sherpa-onnx")
    difference = language_model_to_sherpa(source, out)
    return f"onnxruntime agrees with the model to {difference:.1g} nats"


# Each writes a file or folder, and returns what to say of it.
WRITERS: Mapping[str, Callable[[Path, Path], str]] = {
    "arpa": _arpa,
    "ctranslate2": _ctranslate2,
    "huggingface": _huggingface,
    "onnx": _onnx,
    "sherpa-onnx": _sherpa,
}
