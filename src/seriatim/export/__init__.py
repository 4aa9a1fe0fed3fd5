"""Models in the formats of other tools: ARPA, CTranslate2, Hugging Face and ONNX."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.export.arpa import language_model_from_arpa as language_model_from_arpa
    from seriatim.export.arpa import language_model_to_arpa as language_model_to_arpa
    from seriatim.export.ctranslate2 import translator_to_ctranslate2 as translator_to_ctranslate2
    from seriatim.export.ctranslate2_generator import (
        language_model_to_ctranslate2 as language_model_to_ctranslate2,
    )
    from seriatim.export.huggingface import (
        language_model_to_huggingface as language_model_to_huggingface,
    )
    from seriatim.export.huggingface_import import from_huggingface as from_huggingface
    from seriatim.export.onnx import language_model_to_onnx as language_model_to_onnx
    from seriatim.export.onnx_labeller import labeller_to_onnx as labeller_to_onnx
    from seriatim.export.onnx_sherpa import language_model_to_sherpa as language_model_to_sherpa
    from seriatim.export.onnx_translator import translator_to_onnx as translator_to_onnx
    from seriatim.export.pretrained import from_pretrained as from_pretrained
    from seriatim.export.torch_layers import from_torch as from_torch

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "arpa": ["language_model_from_arpa", "language_model_to_arpa"],
        "ctranslate2": ["translator_to_ctranslate2"],
        "ctranslate2_generator": ["language_model_to_ctranslate2"],
        "huggingface": ["language_model_to_huggingface"],
        "huggingface_import": ["from_huggingface"],
        "onnx": ["language_model_to_onnx"],
        "onnx_labeller": ["labeller_to_onnx"],
        "onnx_sherpa": ["language_model_to_sherpa"],
        "onnx_translator": ["translator_to_onnx"],
        "pretrained": ["from_pretrained"],
        "torch_layers": ["from_torch"],
    },
)
