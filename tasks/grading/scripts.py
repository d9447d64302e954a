"""Grades by a script: `tests/test.sh` runs in the box and writes a reward, which is read from outside.

Code under test runs as the user that writes the reward, so a pass can be forged: see docs/grading.md.
"""

import json
import math
from collections.abc import Mapping

from plateau_bench.sandbox.base import Sandbox
from plateau_bench.tasks.base import FolderTests, Outcome, Verdict
from plateau_bench.tasks.grading.boxes import write_files
from plateau_bench.tasks.grading.compare import graded

_LOGS = "/logs/verifier"
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPYCACHEPREFIX": "/nonexistent",
    "PYTHONNOUSERSITE": "1",
    "PYTEST_ADDOPTS": "-p no:cacheprovider",
}
"""What `tests/test.sh` finds in its environment, unless the task sets it itself."""


def grade_script(box: Sandbox, own: FolderTests, tests: Mapping[str, bytes]) -> Verdict:
    """Run `tests/test.sh`, make sure that nothing outlived it, and read its reward. Raises SandboxError."""
    try:
        write_files(box, {f"/tests/{path}": data for path, data in tests.items()})
        made = box.run(["mkdir", "-p", _LOGS])
    except OSError as error:
        return graded(Outcome.INFRA, f"the box did not take the task's tests: {error}")
    if made.exit_code != 0:
        return graded(Outcome.INFRA, f"no {_LOGS} in the box: {made.stderr.strip()}")
    settings = {key: value for key, value in _ENVIRONMENT.items() if key not in box.spec.env} | dict(own.env)
    command = ["env", *(f"{key}={value}" for key, value in settings.items()), "bash", "/tests/test.sh"]
    known = _processes(box) if box.spec.network else []  # what carries connections outlives everything
    done = box.run(command, timeout_s=own.timeout_s)
    if done.timed_out:
        return graded(Outcome.FAILED, f"tests/test.sh took longer than {own.timeout_s:g} s")
    if done.exit_code is None or done.exit_code > 128:
        return graded(Outcome.FAILED, f"tests/test.sh was killed (exit code {done.exit_code})")
    left = None if known is None else _processes(box)
    if left is None or known is None:
        return graded(Outcome.INVALID, "processes outlived tests/test.sh: they could not be listed")
    if names := [str(process[-1]) for process in left if process not in known]:
        return graded(Outcome.INVALID, f"processes outlived tests/test.sh: {' '.join(names)}")
    return _reward(box)


def _processes(box: Sandbox) -> list[list[object]] | None:
    """The id, start and name of each process of a box but its guest; None if they cannot be listed.

    A process that rewrites the reward has to run after the tests, so none may be left.
    """
    listed = box.run(["python3", "-I", "-S", "-c", _LIST], timeout_s=30)
    try:
        return list(json.loads(listed.stdout)) if listed.exit_code == 0 else None
    except (ValueError, TypeError):
        return None


_LIST = """import json, os
found = []
for name in filter(str.isdigit, os.listdir("/proc") if os.getppid() == 1 else []):
    try:
        text = open(f"/proc/{name}/stat", "rb").read().decode(errors="replace")
    except OSError:
        continue
    words = text.rpartition(")")[2].split()
    if int(name) not in (1, os.getpid()) and words[0] not in "ZX":
        found.append([name, words[19], text.partition(" ")[2].rpartition(")")[0][1:]])
print(json.dumps(found))
"""


def _reward(box: Sandbox) -> Verdict:
    """The verdict that the one reward file means; a missing, second or odd one is never a pass."""
    found: dict[str, bytes] = {}
    for name in ("reward.txt", "reward.json"):
        try:
            found[name] = box.read(f"{_LOGS}/{name}", max_bytes=65_536)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return graded(Outcome.INVALID, f"{name} is not a plain file")
    if len(found) != 1:
        return graded(
            Outcome.FAILED, "tests/test.sh wrote no reward file" if not found else "two reward files"
        )
    name, data = next(iter(found.items()))
    try:
        value = _lowest(json.loads(data)) if name == "reward.json" else float(data.decode().strip())
    except (ValueError, OverflowError, RecursionError):
        value = math.nan
    if not math.isfinite(value):
        return graded(Outcome.FAILED, f"{name} does not hold a number")
    if value < 1:
        return graded(Outcome.FAILED, f"reward {value:g}")
    return graded(Outcome.PASSED)


def _lowest(rewards: object) -> float:
    """The number under the key "reward" of a reward.json; without that key, the lowest of all its numbers."""
    if not isinstance(rewards, dict) or not rewards:
        raise ValueError("not a table of numbers")
    values = [rewards["reward"]] if "reward" in rewards else list(rewards.values())
    if not all(type(value) in (int, float) for value in values):
        raise ValueError("not a number")
    return float(min(values)) if all(map(math.isfinite, values)) else math.nan
