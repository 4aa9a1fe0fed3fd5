"""The structure that the design promises: import order, the size budget, the public door."""

import ast
import graphlib
import os
import re
import subprocess
import sys
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

# Import order is reading order: a room may import those before it in this list, and itself.
ROOMS = [
    "_version",
    "_lazy",
    "errors",
    "core",
    "report",
    "data",
    "layers",
    "models",
    "train",
    "decode",
    "metrics",
    "laws",
    "analysis",
    "data_profile",
    "tasks",
    "comparison",
    "export",
    "serve",
    "cli",
    "__main__",
]
# Code that must work for every family, so it may know none.
GENERIC = ["core", "report", "data", "train", "decode", "metrics", "laws", "analysis", "serve"]
# The pure data of a family's options, and the one place that maps them to a model.
MODELS_DOORS = ("seriatim.models.options", "seriatim.models.build")
# What a model may declare that it can do; any family, and a user's own, may declare it.
CAPABILITIES = [
    "Ahead",
    "ClosedForm",
    "CountsOperations",
    "FitsSeries",
    "HasWidths",
    "PreparesSeries",
    "ReadsCarries",
    "ScoresCorpora",
    "Smooths",
]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 60


def _room(module: str) -> int:
    name = module.removeprefix("seriatim.").partition(".")[0]
    assert name in ROOMS, f"{module} has no place in ROOMS: say where it belongs"
    return ROOMS.index(name)


def _is_face(module: str) -> bool:
    """Whether a module only hands on the names of its package."""
    return MODULES[module].name == "__init__.py" and module != "seriatim.cli"


def _imports(module: str) -> set[str]:
    """Modules of ours that a module imports: at once, late, or for the type checker alone."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("seriatim"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("seriatim")}
    return found


INNER = [m for m in MODULES if not _is_face(m)]


@pytest.mark.parametrize("module", INNER)
def test_a_module_imports_only_rooms_that_are_read_before_it(module: str) -> None:
    for imported in _imports(module):
        assert imported in MODULES, f"{module} imports {imported}, which does not exist"
        assert not _is_face(imported), f"{module} imports a package's face, {imported}"
        assert _room(imported) <= _room(module), f"{module} imports {imported}"


def test_a_face_hands_on_only_what_is_inside_its_package() -> None:
    for module in MODULES:
        if _is_face(module) and module != "seriatim":
            outside = {i for i in _imports(module) if not i.startswith(f"{module}.")}
            assert outside <= {"seriatim._lazy"}, f"{module} imports {outside}"


def test_no_modules_import_one_another_in_a_circle() -> None:
    """Late imports and those for the type checker count: a circle is a circle to its reader."""
    order = graphlib.TopologicalSorter({m: _imports(m) & set(INNER) for m in INNER})
    try:
        order.prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_public_class_names_are_unique() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert not {name: where for name, where in homes.items() if len(where) > 1}


@pytest.mark.parametrize("page", ["README.md", "docs/idea.md", "CONTRIBUTING.md"])
def test_the_pages_name_the_rooms_in_the_same_order(page: str) -> None:
    text = (PACKAGE.parents[1] / page).read_text()
    start = re.search(r"The rooms of the code|## Where to read on|\\| room \\| holds", text)
    assert start is not None
    rooms = [room for room in ROOMS if not room.startswith("_")]
    named = [name for name in re.findall(r"`(\w+)`", text[start.start() :]) if name in rooms]
    assert list(dict.fromkeys(named)) == rooms


@pytest.mark.parametrize("room", GENERIC)
def test_generic_code_knows_no_family(room: str) -> None:
    for module, path in MODULES.items():
        if module == f"seriatim.{room}" or module.startswith(f"seriatim.{room}."):
            families = [i for i in _imports(module) if i.startswith("seriatim.models")]
            assert not families, f"{module} imports {families}"
            text = path.read_text()
            for capability in CAPABILITIES:
                text = text.replace(f"isinstance(model, {capability})", "")
            assert "isinstance(model," not in text, f"{module} asks what a model is"


def test_only_models_build_maps_options_to_a_model() -> None:
    for module in INNER:
        if module.startswith(("seriatim.models", "seriatim.export")):
            continue
        for imported in _imports(module):
            assert not imported.startswith("seriatim.models") or imported.startswith(
                MODELS_DOORS
            ), f"{module} imports {imported}"


def test_options_are_pure_data() -> None:
    for module in INNER:
        if module.startswith("seriatim.models.options"):
            models = [
                i
                for i in _imports(module)
                if i.startswith("seriatim.models") and not i.startswith("seriatim.models.options")
            ]
            assert not models, f"{module} imports {models}"


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
        "Autoregressive Batch beam_search build_model Callbacks Categorical Cell check_model "
        "Checkpoints compare Decoding Discrete Distribution EncoderConfig Entrant "
        "Backtest BacktestComparison backtest Forecast Forecaster GRU HMM inspect "
        "Labeller LanguageModel Latent LinearGaussian load look LSTM Markov Mixture "
        "ModelComparison ModelConfig Numbers NumberInput open_labelled open_pairs open_series "
        "open_source Product record "
        "register RNN sample Sampling Scorer Seq2Seq SequenceModel SeriatimError State "
        "StopTraining Stream Symbols train TrainingOptions Transformer Translator Values "
        "at_precision from_pretrained from_torch "
        "AR Drift Naive SeasonalNaive VAR"
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
