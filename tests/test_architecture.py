"""The structure that the design promises: import order, the size budget, the public door."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import seriatim

PACKAGE = Path(seriatim.__file__).parent
MODULES = {
    ".".join(("seriatim", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): p
    for p in sorted(PACKAGE.rglob("*.py"))
}

# Import order is reading order: a layer may import those above it in this list, and itself.
LAYERS = [
    ["errors"],
    ["options"],
    ["writing"],
    ["tree"],
    ["columns"],
    ["taps"],
    ["batch"],
    ["distributions"],
    ["model"],
    ["compose"],
    ["decode"],
    ["trial"],
    ["laws"],
    ["contract"],
    ["families.presets"],
    ["families.bases"],
    ["families.pairs"],
    ["families.configuration", "train.options", "train.history", "train.closed_form"],
    ["layers"],
    ["families"],
    ["data"],
    ["train"],
    ["evaluate"],
    ["trace"],
    ["tasks"],
    ["comparing"],
    ["doctor"],
    ["export"],
    ["cli"],
]
# Code that must work for every family, so it may know none.
GENERIC = [
    "decode",
    "trial",
    "laws",
    "contract",
    "compose",
    "evaluate",
    "trace",
    "train",
    "data",
    "model",
]
# What a model may declare that it can do; any family, and a user's own, may declare it.
CAPABILITIES = ["ClosedForm", "CountsOperations", "ScoresCorpora"]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 60


def _layer(module: str) -> int:
    name = module.removeprefix("seriatim").removeprefix(".")
    matches = [
        (len(prefix), rank)
        for rank, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if name == prefix or name.startswith(prefix + ".")
    ]
    assert matches, f"{module} has no place in LAYERS: say where it belongs"
    return max(matches)[1]


def _imports(path: Path, *, types: bool = True) -> Iterator[tuple[str, bool]]:
    """(module, whether at run time on import) of every import of seriatim's own.

    Args:
        types: whether those that only a type checker follows are wanted.
    """
    tree = ast.parse(path.read_text())
    if not types:
        tree.body = [n for n in tree.body if not _is_for_types(n)]
    late = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.If)
        for n in ast.walk(f)
        if n is not f
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("seriatim"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in MODULES else node.module), id(node) not in late
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("seriatim"):
                    yield alias.name, id(node) not in late


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "seriatim"])
def test_a_module_imports_only_what_is_read_before_it(module: str) -> None:
    if module.count(".") == 1 and MODULES[module].name == "__init__.py" and "cli" not in module:
        assert not list(_imports(MODULES[module])), "packages hold no code but their modules"
        return
    for imported, is_at_once in _imports(MODULES[module]):
        if imported == "seriatim" or not is_at_once:
            continue
        assert _layer(imported) <= _layer(module), f"{module} imports {imported}"


@pytest.mark.parametrize("part", GENERIC)
def test_generic_code_knows_no_family(part: str) -> None:
    for module, path in MODULES.items():
        if module == f"seriatim.{part}" or module.startswith(f"seriatim.{part}."):
            families = [i for i, _ in _imports(path) if i.startswith("seriatim.families")]
            assert not families, f"{module} imports {families}"
            text = path.read_text()
            for capability in CAPABILITIES:
                text = text.replace(f"isinstance(model, {capability})", "")
            assert "isinstance(model," not in text, f"{module} asks what a model is"


def test_only_the_configuration_maps_a_name_to_a_family() -> None:
    for module, path in MODULES.items():
        if module.startswith("seriatim.families"):
            continue
        for imported, _ in _imports(path, types=False):
            is_family = imported.startswith("seriatim.families.")
            assert (
                not is_family
                or imported == "seriatim.families.configuration"
                or (module.startswith("seriatim.export"))
            ), f"{module} imports {imported}"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_fits_in_a_reading_and_a_function_on_a_page(module: str) -> None:
    text = MODULES[module].read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = node.body[1].lineno if has_docstring and len(node.body) > 1 else node.lineno
            length = (node.end_lineno or start) - start + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("module", [m for m, p in MODULES.items() if p.stat().st_size])
def test_a_module_opens_with_what_it_knows_and_public_things_are_explained(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name} has no docstring"


def test_no_module_of_ours_evaluates_or_unpickles() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in {"eval", "exec", "torch.load", "torch.save"}, module
                assert not name.startswith("pickle."), module


def test_the_public_names_are_these() -> None:
    names = (
        "Autoregressive Batch beam_search Categorical Cell check_model Checkpoints compare "
        "Decoding Discrete Distribution EncoderConfig Entrant GRU inspect Labeller "
        "LanguageModel Latent load look LSTM Markov Mixture ModelComparison open_labelled "
        "open_pairs open_source Product record register RNN sample Sampling Scorer Seq2Seq "
        "SequenceModel SeriatimError State Stream TrainingOptions Transformer Translator"
    )
    assert set(seriatim.__all__) == {*names.split(), "__version__"}
    for name in seriatim.__all__:
        assert getattr(seriatim, name) is not None


def test_torch_is_not_imported_by_the_package_or_by_the_help() -> None:
    code = (
        "import sys, seriatim, seriatim.cli; seriatim.cli.main(['fit', '--help']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, env={**os.environ}, check=False
    )
    assert done.returncode == 0
