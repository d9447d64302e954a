"""What an agent needs must not drag in what a model needs."""

import subprocess
import sys
from pathlib import Path


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
