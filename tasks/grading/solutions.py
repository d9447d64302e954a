"""The reference solution of a task, applied in an open box: one way for proofs and for the oracle."""

from dataclasses import replace

from plateau_bench.sandbox.base import Sandbox, SandboxSpec
from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import FolderTests, PackageTests, Task
from plateau_bench.tasks.files import files_below
from plateau_bench.tasks.grading.boxes import put

FOLDER = "/solution"


def with_solution_folder(spec: SandboxSpec) -> SandboxSpec:
    """The box of a task with a folder outside the workspace in which its solution can lie."""
    return replace(spec, mounts=(*spec.mounts, FOLDER))


def apply_solution(task: Task, box: Sandbox) -> str:
    """Let the solution of a task, or of a step of one, change the box; returns what went wrong, or "".

    The folder of a Harbor task is put into `/solution` of a box `with_solution_folder`, and its `solve.sh` is
    run in the workspace with the environment of `[solution.env]`. What counts in the end is what the tests
    say of the workspace, so a script that fails is no verdict. Raises SandboxError.
    """
    if isinstance(task.tests, PackageTests) and task.solution:
        put(box, diff_from_text(task.solution).written, "the solution")
        return ""
    own = task.tests if isinstance(task.tests, FolderTests) else None
    if own is None or own.solution_dir is None:
        return f"{task.id} has no solution"
    box.run(f"rm -rf {FOLDER}/* {FOLDER}/.[!.]*")
    files = {f"{FOLDER}/{path}": data for path, data in files_below(own.solution_dir).items()}
    put(box, files, "the solution")
    settings = [f"{key}={value}" for key, value in own.solution_env.items()]
    done = box.run(["env", *settings, "bash", f"{FOLDER}/solve.sh"], timeout_s=own.timeout_s)
    if done.exit_code == 0:
        return ""
    how = "took too long" if done.timed_out else f"gave exit code {done.exit_code}"
    return f"{task.id}: solution/solve.sh {how}: {' '.join(done.stderr.split())[-200:]}"
