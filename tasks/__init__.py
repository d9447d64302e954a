"""Tasks: what is asked, how it is graded, and where suites come from."""

from collections.abc import Sequence
from pathlib import Path

from plateau_bench.tasks.formats.rows import IMPORTED, SUFFIXES
from plateau_bench.tasks.suite import Suite


def load_suite(name: str, network: Sequence[str] | None = None) -> Suite:
    """The built-in suite 'katas' or 'repo-katas', the task folders in a folder, or a file of rows.

    A folder holds Harbor task folders or imported rows; a file (.jsonl, .jsonl.gz, .json) holds rows of
    HumanEval, EvalPlus or MBPP. `network`: hosts for the tasks in folders that ask for all of the internet;
    None refuses those. Raises ValueError if it is none of these, or if a task in it is malformed.
    """
    if name == "katas":
        from plateau_bench.tasks.suites import katas

        return katas
    if name == "repo-katas":
        from plateau_bench.tasks.suites import repo_katas

        return repo_katas
    path = Path(name)
    if (path / IMPORTED).is_file():
        from plateau_bench.tasks.formats.humaneval import PublishedSuite

        return PublishedSuite(path / IMPORTED, path.resolve().name)
    if path.is_dir():
        from plateau_bench.tasks.formats.harbor import FolderSuite

        return FolderSuite(path, network)
    if path.is_file() and name.endswith(SUFFIXES):
        from plateau_bench.tasks.formats.humaneval import PublishedSuite

        return PublishedSuite(path)
    raise ValueError(
        f"tasks.suite: {name!r} is neither 'katas' nor 'repo-katas' nor a folder of Harbor task folders "
        f"nor a file of rows ({', '.join(SUFFIXES)})"
    )
