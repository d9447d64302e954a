"""Reads `tests/expected.json`, which names the tests of the project's own that pytest has to pass.

{"runner": "pytest", "tests": ["checks/test_a.py::test_b[1]"], "deleted": ["old.py"], "own": ["_pytest"]}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from plateau_bench.tasks.files import json_of
from plateau_bench.validate import must_be, validated

NAME = "expected.json"


def is_path(text: str) -> bool:
    """Whether a text is a path below the workspace, and no option of a command's."""
    return bool(text) and not text.startswith(("/", "-")) and ".." not in PurePosixPath(text).parts


def is_id(text: str) -> bool:
    """Whether a text could be a test, named as pytest does: 'a/test_b.py::test_c'."""
    path, _, inner = text.partition("::")
    return bool(inner) and path.endswith(".py") and is_path(path)


def _once(tests: tuple[str, ...]) -> tuple[str, ...]:
    if not tests:
        raise ValueError("must name at least one test, such as 'a/test_b.py::test_c'")
    return tuple(dict.fromkeys(tests))


Id = Annotated[str, must_be("an id such as 'a/test_b.py::test_c'", is_id)]
Below = Annotated[str, must_be("a path below the workspace", is_path)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What `expected.json` asks for."""

    runner: Literal["pytest"]
    tests: Annotated[tuple[Id, ...], AfterValidator(_once)]
    """Ids as pytest writes them, relative to the workspace. All of these tests have to pass."""
    deleted: tuple[Below, ...] = ()
    """Files of the workspace that are deleted before the tests run."""
    own: frozenset[Annotated[str, Field(min_length=1)]] = frozenset()
    """Modules of the project that share a name with one of the standard library or of pytest."""


def read_expected(files: Mapping[str, bytes], place: Path) -> Expected | None:
    """The content of `expected.json` among a task's tests; None if there is none.

    Raises ValueError that names the file, the key and what is wrong.
    """
    if NAME not in files:
        return None
    data = json_of(files[NAME], str(place / NAME))
    if isinstance(data, dict) and "runner" not in data:
        raise ValueError(
            f'{place / NAME}: missing key runner: write "runner": "pytest", with ids as pytest names them, '
            "relative to the workspace, and the test files below tests/files/"
        )
    return validated(Expected, data, str(place / NAME))
