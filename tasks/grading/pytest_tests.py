"""Grading by tests that pytest has to run: the harness's half of `pytest_guest`.

For suites whose tests are pytest's own kind: fixtures, parameters, plugins, the project's configuration.
`tests/expected.json` says `"runner": "pytest"`; what lies below `tests/files/` is put over the workspace
after the agent's changes, and `deleted` is taken away.
"""

import re
import secrets
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from plateau_bench.sandbox.base import Sandbox
from plateau_bench.tasks.base import Outcome, Verdict
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.guests import ask

if TYPE_CHECKING:
    from plateau_bench.tasks.grading.named_tests import Expected

FILES = "files/"
_FOREIGN = re.compile(r"\[/[\w.-]+/[\w.-]+/")
_random = secrets.SystemRandom()


def is_path(text: str) -> bool:
    """Whether it is a path below the workspace, and no option of a command's."""
    return not text.startswith(("/", "-")) and ".." not in PurePosixPath(text).parts


def is_id(text: str) -> bool:
    """Whether it could be a test, named as pytest does: 'a/test_b.py::test_c'."""
    path, _, inner = text.partition("::")
    return bool(inner) and path.endswith(".py") and is_path(path)


def grade_pytest(
    box: Sandbox,
    expected: "Expected",
    files: Mapping[str, bytes],
    canaries: list[dict[str, Any]],
    timeout_s: float,
) -> Verdict:
    """Run the files of the expected tests on what is in the box's workspace. Raises SandboxError."""
    paths = list(dict.fromkeys(test.partition("::")[0] for test in expected.tests))
    planted = {_place(canary, paths): canary for canary in canaries}
    ids = ["::".join([path, *canary["names"]]) for path, canary in planted.items()]
    restored = {path.removeprefix(FILES): data for path, data in files.items() if path.startswith(FILES)}
    try:
        if expected.deleted:
            box.run(["rm", "-f", "--", *expected.deleted])
        for path, data in (restored | {p: c["source"].encode() for p, c in planted.items()}).items():
            box.write(path, data)
    except (OSError, ValueError) as error:
        return graded(Outcome.FAILED, f"what was changed is in the way of the tests: {error}")
    _random.shuffle(paths)
    for path in planted:
        paths.insert(_random.randrange(len(paths) + 1), path)
    plan = {"files": paths, "wanted": expected.tests, "canaries": ids}
    answer, problem = ask(box, ("process", "pytest_tests"), plan, timeout_s)
    return graded(Outcome.FAILED, problem) if problem else _judge(expected, ids, answer)


def _place(canary: Mapping[str, Any], paths: list[str]) -> str:
    """Where one canary lies: beside a test file, so that its configuration holds for it, too."""
    word = canary["names"][-1].removeprefix("test_")
    return str(PurePosixPath(_random.choice(paths)).parent / f"test_{word}_{secrets.token_hex(2)}.py")


def _judge(expected: "Expected", canaries: list[str], answer: Mapping[str, Any]) -> Verdict:
    """Passed: every wanted test by number, every canary failed in its call, and nothing is odd about it."""
    report: Any = answer.get("report")
    tail = str(answer.get("tail", ""))
    try:
        passed, other = set(report["passed"]), dict(report["other"])
        ends, alive, troubles = dict(report["canaries"]), list(report["alive"]), list(report["troubles"])
    except (ValueError, TypeError, KeyError):
        return graded(Outcome.FAILED, f"pytest gave no report ({answer.get('ended')}): {tail}")
    if alive:
        return graded(Outcome.INVALID, f"tampering: a canary that must fail did not ({alive[0]})")
    missing = [number for number in range(len(expected.tests)) if number not in passed]
    if missing:
        why = str(other.get(str(missing[0]), "did not pass"))
        besides = [f"and {len(missing) - 1} more"] if len(missing) > 1 else []
        if foreign := sum(bool(_FOREIGN.search(expected.tests[number])) for number in missing):
            besides.append(f"{foreign} with absolute paths, perhaps another machine's")
        which = expected.tests[missing[0]] + (f" ({'; '.join(besides)})" if besides else "")
        if troubles:
            why += f"; {troubles[0]}"
        elif len(other) >= len(expected.tests):
            why += f"; pytest says: {tail}"
        return graded(Outcome.FAILED, f"{which}: {why}")
    if any(not str(ends.get(name, "")).startswith("failed in call") for name in canaries):
        return graded(Outcome.FAILED, "the tests of the grader's own that must fail were not run")
    return graded(Outcome.PASSED)
