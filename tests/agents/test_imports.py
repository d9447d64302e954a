"""What an agent needs must not drag in what a model needs."""

import subprocess
import sys
from pathlib import Path

from tests.without import run_without


def test_agents_import_without_torch_transformers_and_langchain() -> None:
    program = (
        "import sys\n"
        "import plateau_bench.agents.models.cohort, plateau_bench.agents.oneshot\n"
        "heavy = {'torch', 'transformers', 'langchain', 'langchain_core', 'pydantic', 'docker'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_only_weights_need_torch() -> None:
    """Every module of sandbox and agents but the three that sample imports without torch."""
    program = (
        "import importlib, pkgutil\n"
        "import plateau_bench.agents, plateau_bench.sandbox\n"
        "failed = []\n"
        "for package in (plateau_bench.agents, plateau_bench.sandbox):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        try:\n"
        "            importlib.import_module(found.name)\n"
        "        except ImportError as error:\n"
        "            failed.append((found.name.rpartition('.')[2], error.name.split('.')[0]))\n"
        "print(sorted(failed))"
    )
    done = run_without(program)
    assert done.stderr == ""
    assert done.stdout == "[('checkpoint', 'torch'), ('local', 'torch'), ('sampler', 'torch')]\n"


def test_weights_without_torch_are_refused_with_the_line_to_type() -> None:
    program = (
        "from plateau_bench.agents.models import require_torch\n"
        "try:\n    require_torch('model.path: x')\nexcept ValueError as error:\n    print(error)"
    )
    for hidden, named in ((("torch",), "torch"), (("torch", "transformers"), "torch and transformers")):
        done = run_without(program, hidden=hidden)
        assert done.stdout == f"model.path: x needs {named}: pip install 'plateau-bench[train]'\n"
