"""Grades by tests that pytest runs in the box: the harness's half of `guest.pytest_tests`.

This is for suites whose tests are pytest's own kind: fixtures, parameters, plugins, the project's
configuration. `tests/expected.json` names the tests; what lies below `tests/files/` is put over the workspace
after the agent's changes.
"""

import inspect
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from plateau_bench.sandbox.base import Sandbox
from plateau_bench.tasks.base import Outcome, Verdict
from plateau_bench.tasks.grading.canaries import Canary, canaries
from plateau_bench.tasks.grading.compare import graded
from plateau_bench.tasks.grading.expected_file import Expected
from plateau_bench.tasks.guest import pytest_tests as guest

FILES = "files/"
_FOREIGN = re.compile(r"\[/[\w.-]+/[\w.-]+/")
_random = secrets.SystemRandom()


def grade_pytest(box: Sandbox, expected: Expected, files: Mapping[str, bytes], timeout_s: float) -> Verdict:
    """Run the files of the expected tests on what is in the box's workspace.

    `files` are the task's tests. Raises SandboxError.
    """
    paths = list(dict.fromkeys(test.partition("::")[0] for test in expected.tests))
    planted = {_place(canary, paths): canary for canary in canaries()}
    ids = ["::".join([path, *canary.names]) for path, canary in planted.items()]
    restored = {path.removeprefix(FILES): data for path, data in files.items() if path.startswith(FILES)}
    try:
        if expected.deleted:
            box.run(["rm", "-f", "--", *expected.deleted])
        for path, data in (restored | {p: c.source.encode() for p, c in planted.items()}).items():
            box.write(path, data)
    except (OSError, ValueError) as error:
        return graded(Outcome.FAILED, f"what was changed is in the way of the tests: {error}")
    _random.shuffle(paths)
    for path in planted:
        paths.insert(_random.randrange(len(paths) + 1), path)
    plan = {"files": paths, "wanted": expected.tests, "canaries": ids}
    answer, problem = _ask(box, plan, timeout_s)
    return graded(Outcome.FAILED, problem) if problem else _verdict_of(expected, ids, answer)


def _ask(box: Sandbox, plan: Mapping[str, Any], seconds: float) -> tuple[dict[str, Any], str]:
    """Run `main` of the guest in the box with a plan, for at most `seconds` and half a minute.

    Returns its answer and "", or {} and why there is no answer that carries the nonce. Raises SandboxError.
    """
    nonce = secrets.token_hex(16)
    payload = {"nonce": nonce, "source": inspect.getsource(guest), "seconds": seconds, **plan}
    command = ["python3", "-I", "-B", "-c", guest.CHILD % "main"]
    done = box.run(command, timeout_s=seconds + 30, stdin=json.dumps(payload).encode())
    try:
        answer = json.loads(done.stdout)
        if not done.timed_out and secrets.compare_digest(str(answer["nonce"]), nonce):
            return answer, ""
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    ended = f"exit code {done.exit_code}: {done.stderr.strip()[-100:]}"
    return {}, f"the tests gave no report ({'took too long' if done.timed_out else ended})"


def _place(canary: Canary, paths: list[str]) -> str:
    """Where one canary lies: beside a test file, so that its configuration holds for it, too."""
    word = canary.names[-1].removeprefix("test_")
    return str(PurePosixPath(_random.choice(paths)).parent / f"test_{word}_{secrets.token_hex(2)}.py")


def _verdict_of(expected: Expected, ids: list[str], answer: Mapping[str, Any]) -> Verdict:
    """PASSED if every wanted test passed and every canary (`ids`) failed in its call."""
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
        if troubles:
            why += f"; {troubles[0]}"
        elif len(other) >= len(expected.tests):
            why += f"; pytest says: {tail}"
        return graded(Outcome.FAILED, f"{_named([expected.tests[number] for number in missing])}: {why}")
    if any(not str(ends.get(name, "")).startswith("failed in call") for name in ids):
        return graded(Outcome.FAILED, "the tests of the grader's own that must fail were not run")
    return graded(Outcome.PASSED)


def _named(missing: list[str]) -> str:
    """The first of the tests that did not pass, and how many others there are."""
    besides = [f"and {len(missing) - 1} more"] if len(missing) > 1 else []
    if foreign := sum(bool(_FOREIGN.search(test)) for test in missing):
        besides.append(f"{foreign} with absolute paths, perhaps another machine's")
    return missing[0] + (f" ({'; '.join(besides)})" if besides else "")
