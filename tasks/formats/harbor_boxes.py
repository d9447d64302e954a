"""The boxes that a Harbor task folder asks for: the agent's, and one for its tests if they want one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from plateau_bench.sandbox.base import BASE_IMAGE, SandboxSpec
from plateau_bench.tasks.base import Verifier
from plateau_bench.tasks.files import files_below, tree_digest
from plateau_bench.tasks.formats.task_toml import (
    ArtifactTable,
    EnvironmentTable,
    StepTable,
    TaskToml,
    VerifierTable,
    taken,
)

_COMPOSE = ("docker-compose.yaml", "docker-compose.yml")
_BUILD_FILES = ("Dockerfile", *_COMPOSE, ".dockerignore")
PUBLISHED = "/logs/artifacts"
"""The folder in a box whose content a separate verifier is given, whether a task says so or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What the parts of one task folder have in common."""

    path: Path
    toml: TaskToml
    box: SandboxSpec
    built: bool
    """Whether the image of the box has to be built first."""
    files: Mapping[str, bytes]
    """The content of `environment/`."""
    public: Sequence[str] | None
    """The hosts that a task may reach which asks for all of the internet; None refuses such a task."""

    @property
    def file(self) -> Path:
        """The task.toml, for messages."""
        return self.path / "task.toml"

    def place(self, step: StepTable | None) -> Path:
        """Where the instruction, the tests and the solution of a step lie, or those of the task."""
        return self.path / "steps" / step.name if step else self.path

    def levels(self, step: StepTable | None) -> list[tuple[VerifierTable, Path]]:
        """The `verifier` tables of a step, or of the task, and the folder of tests beside each; own first."""
        whole = [(self.toml.verifier, self.path / "tests")]
        return [(step.verifier, self.place(step) / "tests"), *whole] if step else whole

    @property
    def start(self) -> dict[str, bytes]:
        """The workspace that an agent starts from; an image that is built holds it already."""
        return {} if self.built else {p: data for p, data in self.files.items() if p not in _BUILD_FILES}

    def verifier(self, step: StepTable | None, network: tuple[str, ...] | None) -> Verifier | None:
        """The box of the tests of a step, or of the task; None if they have none of their own.

        `network`: what the `verifier` tables say, None if they do not. Raises ValueError.
        """
        levels = [level for level, _ in self.levels(step)]
        if not next((level.separate for level in levels if level.separate is not None), False):
            return None
        own = next((level.environment for level in levels if level.environment), None)
        image, bundled, build, recipe = self.box.image, False, None, b""
        for level, place in self.levels(step):
            files = files_below(place)
            refuse_compose(place, files)
            if level.environment and level.environment.docker_image:
                image, bundled = level.environment.docker_image, True
            elif "Dockerfile" in files:
                image, bundled = _image_of(files), True
                build, recipe = place, files["Dockerfile"]
            if bundled:
                break
        if not bundled and self.built:
            build = self.path / "environment"
        if network is None:
            network = own.hosts(self.public, f"{self.file}: verifier.environment") if own else ()
        settings = own or self.toml.environment
        workdir = settings.workdir or _workdir(build, recipe) or self.box.workdir
        artifacts = [*self.toml.artifacts, *(step.artifacts if step else ())]
        return Verifier(
            box=replace(_spec(settings, image, workdir), network=network),
            artifacts={PUBLISHED: (), **dict(self._artifact(row) for row in artifacts)},
            collect=tuple(
                (hook.command, hook.timeout_sec) for one in reversed(levels) for hook in one.collect
            ),
            healthcheck=own.healthcheck if own else None,
            bundled=bundled,
            build=build,
        )

    def _artifact(self, row: ArtifactTable) -> tuple[str, tuple[str, ...]]:
        path = (PurePosixPath(self.box.workdir) / row.source).as_posix()
        if not row.source or ".." in PurePosixPath(row.source).parts or path == "/" or taken(path):
            raise ValueError(
                f"{self.file}: artifacts: source must be a path in the agent's box, not one of the graders', "
                f"and is {row.source[:80]!r}"
            )
        return path, tuple(row.exclude)


def read_box(path: Path, toml: TaskToml, public: Sequence[str] | None) -> Folder:
    """The task's own box: what it offers, and what it starts with. Raises ValueError."""
    folder = path / "environment"
    files = files_below(folder)
    refuse_compose(folder, files)
    table, recipe = toml.environment, files.get("Dockerfile")
    image = toml.metadata.image or table.docker_image
    built = recipe is not None and not image
    workdir = toml.metadata.workdir or table.workdir or _workdir(folder, recipe or b"") or "/work"
    asked, key = (toml.agent, "agent") if toml.agent.network_mode else (table, "environment")
    spec = _spec(table, _image_of(files) if built else image or BASE_IMAGE, workdir)
    spec = replace(spec, network=asked.hosts(public, f"{path / 'task.toml'}: {key}"))
    return Folder(path=path, toml=toml, box=spec, built=built, files=files, public=public)


def refuse_compose(folder: Path, files: Mapping[str, bytes]) -> None:
    """Raise ValueError if a folder asks for several containers."""
    if found := [name for name in _COMPOSE if name in files]:
        raise ValueError(
            f"{folder / found[0]}: tasks of several containers are not supported; use a Dockerfile"
        )


def _image_of(files: Mapping[str, bytes]) -> str:
    """The name of an image that is built from these files."""
    return f"plateau-task:{tree_digest(files)[:16]}"


def _workdir(folder: Path | None, recipe: bytes) -> str:
    """The last absolute WORKDIR of a Dockerfile, "" if it has none. Raises ValueError for graders' paths."""
    named = re.findall(rb"^WORKDIR +(/[\w./-]*)", recipe, re.MULTILINE)
    path = named[-1].decode() if named else ""
    if path and (path == "/" or taken(path) or ".." in PurePosixPath(path).parts):
        raise ValueError(f"{folder}/Dockerfile: WORKDIR {path} must be a path below /, and none of graders'")
    return path


def _spec(table: EnvironmentTable, image: str, workdir: str) -> SandboxSpec:
    return SandboxSpec(
        image=image,
        workdir=workdir,
        env=table.env,
        cpus=table.cpus,
        memory_mb=table.memory_mb or table.memory or 2048,
        disk_mb=table.storage_mb or table.storage or 1024,
    )
