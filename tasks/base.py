"""What a task is and what a grade says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from plateau_bench.sandbox.base import SandboxSpec
from plateau_bench.validate import Text

Command = Annotated[Text, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Split(StrEnum):
    """Which side of the wall a task is on. Held-out tasks never enter training."""

    TRAIN = "train"
    HELD_OUT = "held_out"


class Outcome(StrEnum):
    """What is known about an attempt after grading."""

    PASSED = "passed"
    FAILED = "failed"
    INVALID = "invalid"
    """Tampering was detected: not passed, and never trained on."""
    INFRA = "infra"
    """The box or the grader broke, also after retries: not passed, shown on its own line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A grade. `Verdict(outcome=Outcome.FAILED, verified=True, reason="hidden case 3: 4 != 5")`."""

    outcome: Outcome
    """What the hidden tests say: the truth that pass rates report."""
    verified: bool
    """Whether the visible tests pass: the signal that a strategy may select on. Equals `outcome is PASSED`
    for suites with one test set. A weak verifier makes the two differ; that gap is measured, not hidden."""
    reason: str = ""
    """One line for people; empty when everything passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One call of a function-level task and the exact value it must return."""

    args: tuple[Any, ...]
    expected: Any
    tolerance: float | None = None
    """None: equal on exact types. 0: equal as Python's `==` has it. Above 0: numbers this close are equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionTests:
    """Tests of a function-level task: outputs come out of the box and are compared in the harness."""

    entry_point: str
    visible: tuple[Case, ...]
    hidden: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Healthcheck:
    """A command that has to succeed before anybody works in a box; seconds, with Docker's meaning.

    The other names are those of the table `healthcheck` in a task.toml.
    """

    command: Command
    interval_s: Annotated[NotNegative, Field(alias="interval_sec")] = 5.0
    timeout_s: Annotated[Positive, Field(alias="timeout_sec")] = 30.0
    start_s: Annotated[NotNegative, Field(alias="start_period_sec")] = 0.0
    start_interval_s: Annotated[NotNegative, Field(alias="start_interval_sec")] = 5.0
    retries: Annotated[NotNegative, AfterValidator(lambda number: max(1, int(number)))] = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Verifier:
    """A box of the tests' own, which is given the artifacts of an attempt and nothing else."""

    box: SandboxSpec
    artifacts: Mapping[str, tuple[str, ...]]
    """Absolute path of a file or folder in the agent's box -> patterns of names left out below it."""
    collect: tuple[tuple[str, float], ...] = ()
    """(command, seconds) run in the agent's box before the artifacts are taken."""
    healthcheck: Healthcheck | None = None
    bundled: bool = False
    """Whether the image brings `/tests` with it."""
    build: Path | None = None
    """The folder whose Dockerfile makes the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderTests:
    """Tests of a Harbor task folder, which run in a fresh box; how is told by the files in `tests_dir`."""

    tests_dir: Path
    shared_dir: Path | None = None
    """Tests that all steps have; files of `tests_dir` take the place of those of the same name."""
    timeout_s: float = 600.0
    solution_dir: Path | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The workspace the agent starts from: relative path -> content."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of the environment in which the tests' script runs."""
    solution_env: Mapping[str, str] = field(default_factory=dict)
    network: tuple[str, ...] = ()
    """What tests may reach that have no box of their own."""
    verifier: Verifier | None = None
    healthcheck: Healthcheck | None = None
    steps: "tuple[Task, ...]" = ()
    """Steps in order, each a task in the same box on what the one before it left; then they have all the
    tests, and `tests_dir` is not looked at."""
    last_decides: bool = False
    """Whether, in a task with steps, only the last step and the gates count, or all steps."""
    gate: bool = False
    """Whether this is a step that has to pass in any case."""
    staged: Mapping[str, bytes] = field(default_factory=dict)
    """What is put into the workspace when this step begins; in `files`, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageTests:
    """Tests of a function in a small package that an agent works on in a box.

    What the agent changed is put on top of `files`; then the function is graded like a function-level task.
    """

    module: str
    """Where the function is imported from: 'ops', or 'pkg.ops'."""
    cases: FunctionTests
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The workspace the agent starts from: relative path -> content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One problem. An agent is given `instruction` (and, for folder tasks, a box); never this object.

    `Task(id="katas/7f3a", instruction="Write f(a): keep the even numbers, then sum", ...)`
    """

    id: str
    instruction: str
    split: Split
    digest: str
    """sha256 over everything that can change a verdict: instruction, tests, limits, image."""
    tests: FunctionTests | FolderTests | PackageTests
    solution: str = ""
    """Reference program of a function-level task; empty where the suite keeps it in a folder."""
    stratum: str = ""
    """'head', 'torso' or 'tail' by how rare the needed knowledge is in the human corpus; '' if unknown."""
    cluster: str = ""
    """Unit of inference: tasks of one repository or family share it. Defaults to the task's own id."""
    box: SandboxSpec = field(default_factory=SandboxSpec)
    tags: Mapping[str, str] = field(default_factory=dict)
