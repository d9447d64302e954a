"""Grades a function in a package: the agent's files, put together into one program.

The package is imported from memory in the grading box, where its function answers calls like any
function-level program; the expected values never get there.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from plateau_bench.sandbox.base import Diff
from plateau_bench.tasks.base import PackageTests, Task
from plateau_bench.tasks.grading.sift import tampering

_LOADER = """import importlib.abc as _abc, importlib.util as _util, sys as _sys
class _Files(_abc.MetaPathFinder, _abc.Loader):
    def find_spec(self, name, path=None, target=None):
        stem = name.replace(".", "/")
        for file in (stem + ".py", stem + "/__init__.py"):
            if file in _FILES:
                return _util.spec_from_loader(name, self, origin=file, is_package=file != stem + ".py")
        if any(file.startswith(stem + "/") for file in _FILES):
            return _util.spec_from_loader(name, self, origin="", is_package=True)
    def exec_module(self, module):
        origin = module.__spec__.origin
        exec(compile(_FILES.get(origin, ""), origin or "<package>", "exec"), module.__dict__)
_sys.meta_path.insert(0, _Files())
"""


def bundle(tests: PackageTests, diff: Diff) -> str:
    """One program that imports the package from memory and offers the function under test.

    Text that is not UTF-8 is replaced: Python would refuse it anyway.
    """
    files: Mapping[str, bytes] = {**tests.files, **diff.written}
    gone = set(diff.deleted) - set(diff.written)
    sources = {
        path: data.decode(errors="replace")
        for path, data in sorted(files.items())
        if path.endswith(".py") and path not in gone
    }
    return f"_FILES = {sources!r}\n{_LOADER}from {tests.module} import {tests.cases.entry_point}\n"


def as_function_task(task: Task) -> Task:
    """The task as the function-level grader takes it. Same digest: it covers files, tests and module."""
    assert isinstance(task.tests, PackageTests)
    return replace(task, tests=task.tests.cases)


def evidence(diff: Diff) -> str:
    """The first path that no honest diff holds, or ''."""
    paths = (*diff.written, *diff.deleted)
    return next((path for path in paths if tampering(path) or str(PurePosixPath(path)) != path), "")
