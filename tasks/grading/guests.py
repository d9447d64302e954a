"""The harness's side of the modules in `tasks/guest`: their text, and how one is asked to run tests."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plateau_bench.sandbox.base import Sandbox
from plateau_bench.tasks.guest.process import CHILD


def texts(*names: str) -> list[tuple[str, str]]:
    """The module name and the source of each guest; name those first that others import."""
    folder = Path(__file__).parents[1] / "guest"
    return [
        (f"plateau_bench.tasks.guest.{n}", (folder / f"{n}.py").read_text(encoding="utf-8")) for n in names
    ]


def ask(
    box: Sandbox, guests: tuple[str, ...], plan: Mapping[str, Any], seconds: float
) -> tuple[dict[str, Any], str]:
    """Run `main` of the last guest in the box with a plan, for at most `seconds` and half a minute.

    Returns its answer and "", or {} and why there is no answer that carries the nonce. Raises SandboxError.
    """
    nonce = secrets.token_hex(16)
    payload = {"nonce": nonce, "modules": texts(*guests), "seconds": seconds, **plan}
    command = ["python3", "-I", "-B", "-c", CHILD % "main"]
    done = box.run(command, timeout_s=seconds + 30, stdin=json.dumps(payload).encode())
    try:
        answer = json.loads(done.stdout)
        if not done.timed_out and secrets.compare_digest(str(answer["nonce"]), nonce):
            return answer, ""
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    ended = f"exit code {done.exit_code}: {done.stderr.strip()[-100:]}"
    return {}, f"the tests gave no report ({'took too long' if done.timed_out else ended})"
