"""The boxes that a Harbor task folder asks for: the agent's, and one for its tests if they want one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from plateau_bench.sandbox.base import BASE_IMAGE, SandboxSpec
from plateau_bench.tasks.base import Healthcheck, Verifier
from plateau_bench.tasks.files import files_below, tree_digest
from plateau_bench.tasks.formats.task_toml import Table, taken

_COMPOSE = ("docker-compose.yaml", "docker-compose.yml")
_BUILD_FILES = ("Dockerfile", *_COMPOSE, ".dockerignore")
PUBLISHED = "/logs/artifacts"
"""Where agents put what a separate verifier shall see, whether a task says so or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What the parts of one task folder have in common."""

    path: Path
    root: Table
    box: SandboxSpec
    built: bool
    files: Mapping[str, bytes]
    """Of `environment/`."""
    public: Sequence[str] | None
    values: bool

    @property
    def start(self) -> dict[str, bytes]:
        return {} if self.built else {p: data for p, data in self.files.items() if p not in _BUILD_FILES}


def verifier_of(
    common: Folder,
    table: Table,
    levels: Sequence[Table],
    place: Path,
    network: tuple[str, ...] | None,
) -> Verifier | None:
    """The tests' own box, if they have one. `levels`: `[verifier]` of a step and of the task."""
    settled = []
    for level in levels:
        mode, described = level.choice("environment_mode", "shared", "separate"), level.has("environment")
        if mode == "shared" and described:
            raise level.wrong("environment_mode", "'separate', for there is a [verifier.environment]")
        if mode or described:
            settled.append(mode or "separate")
    if next(iter(settled), "shared") == "shared":
        return None
    own = [level.table("environment") for level in levels if level.has("environment")]
    for settings in own:
        _refuse_hardware(settings)
    image, bundled, build, recipe = common.box.image, False, None, b""
    folders = [place / "tests", common.path / "tests"] if len(levels) > 1 else [place / "tests"]
    for level, folder in zip(levels, folders, strict=True):
        files = files_below(folder)
        _refuse_compose(folder, files)
        if named := level.table("environment").text("docker_image"):
            image, bundled = named, True
        elif "Dockerfile" in files:
            image, bundled = f"plateau-task:{tree_digest(files)[:16]}", True
            build, recipe = folder, files["Dockerfile"]
        if bundled:
            break
    if build is None and not bundled and common.built:
        build = common.path / "environment"
    settings = own[0] if own else common.root.table("environment")
    if network is None:
        network = own[0].network(common.public) if own else ()
    box = _spec(settings, image, settings.folder("workdir") or _workdir(build, recipe) or common.box.workdir)
    return Verifier(
        box=replace(box, network=network),
        artifacts=_artifacts([common.root, *([table] if len(levels) > 1 else [])], common.box.workdir),
        collect=tuple(hook for level in reversed(levels) for hook in _hooks(level)),
        healthcheck=healthcheck_of(own[0]) if own else None,
        bundled=bundled,
        build=build,
    )


def _hooks(verifier: Table) -> list[tuple[str, float]]:
    hooks = []
    for row in verifier.tables("collect"):
        row.refuse("service", "tasks have one container", harmless=("main",))
        if not (command := row.text("command")):
            raise row.wrong("command", "a shell command")
        hooks.append((command, row.number("timeout_sec", 60.0)))
    return hooks


def _artifacts(tables: Sequence[Table], workdir: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {PUBLISHED: ()}
    for row in (row for table in tables for row in table.tables("artifacts", bare="source")):
        row.refuse("service", "tasks have one container", harmless=("main",))
        row.text("destination")  # a place beside a trial's records, which plateau does not write
        source, exclude = row.text("source"), row.get("exclude")[1] or []
        path = (PurePosixPath(workdir) / source).as_posix()
        if not source or ".." in PurePosixPath(source).parts or path == "/" or taken(path):
            raise row.wrong(
                "source", f"a path in the agent's box, not one of the graders' ({taken(path) or '..'})"
            )
        if not isinstance(exclude, list) or not all(isinstance(one, str) for one in exclude):
            raise row.wrong("exclude", "a list of patterns")
        found[path] = tuple(exclude)
    return found


def healthcheck_of(table: Table) -> Healthcheck | None:
    if not table.has("healthcheck"):
        return None
    row = table.table("healthcheck")
    if not (command := row.text("command")):
        raise row.wrong("command", "a shell command")
    return Healthcheck(
        command=command,
        interval_s=row.number("interval_sec", 5.0, zero=True),
        timeout_s=row.number("timeout_sec", 30.0),
        start_s=row.number("start_period_sec", 0.0, zero=True),
        start_interval_s=row.number("start_interval_sec", 5.0, zero=True),
        retries=max(1, int(row.number("retries", 3, zero=True))),
    )


def _refuse_hardware(environment: Table) -> None:
    environment.refuse("gpus", "boxes have no GPU")
    environment.refuse("tpu", "boxes have no TPU")
    environment.refuse("mcp_servers", "agents bring their own tools")
    environment.refuse("skills_dir", "agents bring their own skills")
    if environment.text("os").lower() not in ("", "linux"):
        raise environment.wrong("os", "'linux'")


def _refuse_compose(folder: Path, files: Mapping[str, bytes]) -> None:
    if found := [name for name in _COMPOSE if name in files]:
        raise ValueError(
            f"{folder / found[0]}: tasks of several containers are not supported; use a Dockerfile"
        )


def box_of(
    root: Table, metadata: Table, folder: Path, files: Mapping[str, bytes], public: Sequence[str] | None
) -> tuple[SandboxSpec, bool]:
    """(what the task's box offers, whether its image has to be built first)."""
    table, agent = root.table("environment"), root.table("agent")
    _refuse_hardware(table)
    _refuse_compose(folder, files)
    recipe = files.get("Dockerfile")
    image = metadata.text("image") or table.text("docker_image")
    built = recipe is not None and not image
    if built:
        image = f"plateau-task:{tree_digest(files)[:16]}"
    asked = metadata.folder("workdir") or table.folder("workdir")
    spec = _spec(table, image or BASE_IMAGE, asked or _workdir(folder, recipe or b"") or "/work")
    return replace(spec, network=(agent if agent.has("network_mode") else table).network(public)), built


def _workdir(folder: Path | None, recipe: bytes) -> str:
    """The last absolute WORKDIR of a Dockerfile, or ""."""
    named = re.findall(rb"^WORKDIR +(/[\w./-]*)", recipe, re.MULTILINE)
    path = named[-1].decode() if named else ""
    if path and (path == "/" or taken(path) or ".." in PurePosixPath(path).parts):
        raise ValueError(f"{folder}/Dockerfile: WORKDIR {path} must be a path below /, and none of graders'")
    return path


def _spec(table: Table, image: str, workdir: str) -> SandboxSpec:
    return SandboxSpec(
        image=image,
        workdir=workdir,
        env=table.variables("env"),
        cpus=table.number("cpus", 1.0),
        memory_mb=table.megabytes("memory_mb", "memory", 2048),
        disk_mb=table.megabytes("storage_mb", "storage", 1024),
    )
