"""Functions that are not compiled: skipped by the compiler, and free of it where none is loaded."""

import subprocess
import sys

import pytest
import torch

from seriatim.core.compiling import not_compiled


def test_importing_a_task_does_not_import_the_compiler() -> None:
    code = "import sys, seriatim.tasks.language_model; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_compiled_function_runs_it_outside_of_its_graphs() -> None:
    traced = []

    @not_compiled
    def doubled(x: torch.Tensor) -> torch.Tensor:
        traced.append(torch.compiler.is_compiling())
        return 2 * x

    def whole(x: torch.Tensor) -> torch.Tensor:
        return doubled(x + 1) + 1

    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(whole, backend="eager", fullgraph=True)(torch.ones(2))
    assert torch.compile(whole, backend="eager")(torch.ones(2)).tolist() == [5.0, 5.0]
    assert traced == [False]
