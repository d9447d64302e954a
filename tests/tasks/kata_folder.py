"""Writes a kata as a Harbor task folder."""

import json
import re
from pathlib import Path

from plateau_bench.sandbox.base import BASE_IMAGE
from plateau_bench.tasks.base import FunctionTests, Task
from plateau_bench.tasks.files import write_tree
from plateau_bench.tasks.formats.task_toml import to_toml
from plateau_bench.tasks.grading.published_programs import PublishedTests

_CHECK = '''"""Runs solution.py in a child process and compares its answers here, on exact types."""

import json, os, subprocess, sys

CHILD = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
space = {}
exec(compile(open("solution.py").read(), "solution.py", "exec"), space)
answers.write(json.dumps([space[sys.argv[1]](*args) for args in json.load(sys.stdin)]))
answers.close()
"""


def exact(values):
    """As text in which True is not 1, and 1 not 1.0."""
    return json.dumps(values, sort_keys=True)


tests = json.load(open(os.path.join(os.path.dirname(__file__), "cases.json")))
calls = json.dumps([args for args, _ in tests["cases"]])
command = [sys.executable, "-I", "-c", CHILD, tests["entry_point"]]
child = subprocess.run(command, input=calls, stdout=subprocess.PIPE, text=True, timeout=30)
answers = json.loads(child.stdout)
sys.exit(0 if exact(answers) == exact([expected for _, expected in tests["cases"]]) else 1)
'''

_TEST_SH = """#!/bin/sh
mkdir -p /logs/verifier
if python3 -I "$(dirname "$0")/check.py"; then reward=1; else reward=0; fi
echo $reward > /logs/verifier/reward.txt
"""


def write_folder(task: Task, folder: Path) -> None:
    """Write a function-level task as a Harbor task folder, for other tools; its hidden cases are the tests.

    Raises ValueError for a task that already is a folder.
    """
    if not isinstance(task.tests, FunctionTests):
        raise ValueError(f"task {task.id} is a folder task already")
    if isinstance(task.tests, PublishedTests):
        raise ValueError(f"task {task.id}: only tasks made of exact cases can be written as a folder")
    settings = to_toml(
        {
            "task": {"name": "plateau/" + re.sub(r"[^\w.-]", "-", task.id)},
            "metadata": {
                "split": task.split.value,
                "stratum": task.stratum,
                "cluster": task.cluster or task.id,
                "image": BASE_IMAGE,
                "workdir": "/work",
                "answer_file": "solution.py",
                "grading": "values",
            },
            "verifier": {"timeout_sec": 60.0},
            "environment": {"cpus": 1, "memory_mb": 512, "storage_mb": 256, "allow_internet": False},
        }
    )
    cases = [[list(case.args), case.expected] for case in task.tests.hidden]
    marker = "END_" + task.digest[:8]
    files = {
        "instruction.md": f"{task.instruction}\n\nPut the function in `solution.py` in the working folder.\n",
        "task.toml": settings,
        "environment/Dockerfile": "FROM python:3.11-slim\nWORKDIR /work\n",
        "tests/test.sh": _TEST_SH,
        "tests/check.py": _CHECK,
        "tests/cases.json": json.dumps({"entry_point": task.tests.entry_point, "cases": cases}) + "\n",
        "solution/solve.sh": f"#!/bin/sh\ncat > solution.py <<'{marker}'\n{task.solution}{marker}\n",
    }
    write_tree(folder, {name: content.encode() for name, content in files.items()})
