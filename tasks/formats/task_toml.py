"""The schema of a Harbor `task.toml`, versions 1.0 to 1.4 and the old spellings, as dataclasses.

A field is a key that has an effect here. Other keys are allowed and reported (`read_task_toml`), so a new key
is accepted by adding a field, and refused, with a reason, by a field that is `_refused`.
"""

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from plateau_bench.sandbox.network.allow import AllowList
from plateau_bench.tasks.base import Command, Healthcheck, Positive, Split
from plateau_bench.tasks.files import inside, text_of
from plateau_bench.validate import Text, must_be, validated_loosely

_STEP = re.compile(r'(?!.*[. ]\Z)[^<>:"/\\|?*\x00-\x1f\x7f]{1,200}')
_FREE = ("schema_version", "version", "source", "task", "metadata")
"""Keys that describe a task; they, and what is in them and means nothing here, are not reported."""


def taken(path: str) -> str:
    """The folder that graders or the system need for themselves and that `path` is in; "" if in none."""
    for place in ("/tests", "/solution", "/logs/verifier", "/proc", "/sys", "/dev"):
        if inside(path, place) or inside(place, path):
            return place
    return ""


# --- values --------------------------------------------------------------------------------------------


def _refused(why: str, harmless: str = "") -> AfterValidator:
    """A check that refuses every value but an empty one and `harmless`."""

    def check(value: Any) -> Any:
        if value and value != harmless:
            raise ValueError(why)
        return value

    return AfterValidator(check)


def _size(text: Any) -> int:
    """MiB of a size as schema 1.0 writes it, such as '2G'."""
    size = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([KMG]?)i?B?\s*", str(text), re.IGNORECASE)
    if not isinstance(text, str) or size is None:
        raise ValueError(f"must be a size such as '2G', not {repr(text)[:80]}")
    return max(1, math.ceil(float(size[1]) * {"K": 1 / 1024, "G": 1024}.get(size[2].upper(), 1)))


def _folder(path: str) -> str:
    if path and (not path.startswith("/") or path == "/" or ".." in PurePosixPath(path).parts):
        raise ValueError(f"must be an absolute path below /, not {path[:80]!r}")
    if path and taken(path):
        raise ValueError(f"must be somewhere else: {taken(path)} is where graders write")
    return path


def _values(variables: dict[str, str]) -> dict[str, str]:
    """Variables with `${NAME:-default}` replaced; `${NAME}` would be one of this machine."""
    found = {}
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name[:80]} must be named by letters, digits and _")
        template = re.fullmatch(r"\$\{([^}:]+)(:-([^}]*))?\}", value)
        if template and not template[2]:
            raise ValueError(f"{name} must have a value, for boxes get no variables of this machine")
        found[name] = template[3] if template else value
    return found


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    AllowList(hosts)  # raises ValueError for what is no host
    return hosts


def _gate(reward: Any) -> bool:
    """Whether a `min_reward` asks for something: a number, or one for each key of the rewards."""
    least = list(reward.values()) if isinstance(reward, dict) else [reward]
    if not all(type(one) in (int, float) for one in least):
        raise ValueError(f"must be a number, or a table of numbers, not {repr(reward)[:80]}")
    return any(one > 0 for one in least)


Mebibytes = Annotated[int, Field(gt=0, le=10**9)]
Size = Annotated[int, BeforeValidator(_size)]
Workdir = Annotated[Text, AfterValidator(_folder)]
Variables = Annotated[dict[str, Text], AfterValidator(_values)]
OneContainer = Annotated[Any, _refused("tasks have one container", "main")]


# --- tables --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Network:
    """The keys of a table that may say what a box reaches."""

    network_mode: Literal["public", "no-network", "allowlist"] | None = None
    allow_internet: bool = False
    """The spelling of schema 1.0; `network_mode` goes before it."""
    allowed_hosts: Annotated[tuple[str, ...], AfterValidator(_hosts)] = ()

    def __post_init__(self) -> None:
        if self.network_mode == "allowlist" and not self.allowed_hosts:
            raise ValueError("allowed_hosts must be a list of hosts, for network_mode is 'allowlist'")
        if self.network_mode != "allowlist" and self.allowed_hosts:
            raise ValueError("allowed_hosts must be absent unless network_mode is 'allowlist'")

    def hosts(self, public: Sequence[str] | None, place: str) -> tuple[str, ...]:
        """The hosts that are asked for; `public` stands in for a wish for all of them.

        Raises ValueError that names `place` for such a wish if `public` is None.
        """
        wish = self.network_mode or ("public" if self.allow_internet else "no-network")
        if wish != "public":
            return self.allowed_hosts
        if public is None:
            key = "network_mode" if self.network_mode else "allow_internet"
            raise ValueError(
                f"{place}.{key} asks for all of the internet, and boxes reach only hosts that are named; "
                'say which in tasks.network: ["example.org"], ["*"] for every public host, [] for none'
            )
        return tuple(public)


@dataclass(frozen=True, kw_only=True)
class EnvironmentTable(Network):
    """`environment`: what a box offers."""

    docker_image: Text = ""
    workdir: Workdir = ""
    env: Variables = field(default_factory=dict)
    cpus: Positive = 1.0
    memory_mb: Mebibytes | None = None
    memory: Size | None = None
    """The spelling of schema 1.0, as is `storage`."""
    storage_mb: Mebibytes | None = None
    storage: Size | None = None
    healthcheck: Healthcheck | None = None
    os: Annotated[Literal["", "linux"], BeforeValidator(lambda name: str(name).lower())] = ""
    gpus: Annotated[Any, _refused("boxes have no GPU")] = None
    tpu: Annotated[Any, _refused("boxes have no TPU")] = None
    mcp_servers: Annotated[Any, _refused("agents bring their own tools")] = None
    skills_dir: Annotated[Any, _refused("agents bring their own skills")] = None


@dataclass(frozen=True, kw_only=True)
class CollectTable:
    """`verifier.collect`: a command that is run before the artifacts are taken."""

    command: Command
    timeout_sec: Positive = 60.0
    service: OneContainer = None


@dataclass(frozen=True, kw_only=True)
class VerifierTable(Network):
    """`verifier`, of the task or of a step."""

    timeout_sec: Positive | None = None
    env: Variables = field(default_factory=dict)
    environment_mode: Literal["shared", "separate"] | None = None
    environment: EnvironmentTable | None = None
    collect: tuple[CollectTable, ...] = ()

    def __post_init__(self) -> None:
        Network.__post_init__(self)
        if self.environment_mode == "shared" and self.environment:
            raise ValueError("environment_mode must be 'separate', for there is an environment table in it")

    @property
    def separate(self) -> bool | None:
        """Whether tests have a box of their own; None where the table says nothing of it."""
        if self.environment_mode is None and self.environment is None:
            return None
        return self.environment_mode != "shared"


@dataclass(frozen=True, kw_only=True)
class ArtifactTable:
    """`artifacts`: what a separate verifier is given; a text instead of a table is its `source`."""

    source: Text
    destination: Text = ""
    """A place beside a trial's records, which plateau does not write."""
    exclude: list[str] = field(default_factory=list)
    service: OneContainer = None


Artifact = Annotated[
    ArtifactTable, BeforeValidator(lambda row: {"source": row} if isinstance(row, str) else row)
]


@dataclass(frozen=True, kw_only=True)
class StepTable:
    """`steps`: one step of a task that has several."""

    name: Annotated[str, must_be("the name of a folder in steps/", _STEP.fullmatch)]
    agent: Network = field(default_factory=Network)
    verifier: VerifierTable = field(default_factory=VerifierTable)
    healthcheck: Healthcheck | None = None
    artifacts: tuple[Artifact, ...] = ()
    min_reward: Annotated[bool, BeforeValidator(_gate)] = False
    """In the file a number, or a table of numbers: whether one of them is above 0."""

    def __post_init__(self) -> None:
        if self.agent.network_mode:
            raise ValueError(
                "agent.network_mode: a box keeps its network; say it in [agent] or [environment]"
            )


@dataclass(frozen=True, kw_only=True)
class MetadataTable:
    """`metadata`: the free keys that mean something here."""

    grading: Literal["", "values"] = ""
    split: Split | None = None
    stratum: Text = ""
    cluster: Text = ""
    repo: Text = ""
    repository: Text = ""
    image: Text = ""
    workdir: Workdir = ""
    answer_file: Text = ""


@dataclass(frozen=True, kw_only=True)
class NameTable:
    """`task`: of its keys only the name has an effect."""

    name: Text = ""


@dataclass(frozen=True, kw_only=True)
class SolutionTable:
    """`solution`: what the script of the solution is given."""

    env: Variables = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskToml:
    """The whole file."""

    task: NameTable = field(default_factory=NameTable)
    metadata: MetadataTable = field(default_factory=MetadataTable)
    environment: EnvironmentTable = field(default_factory=EnvironmentTable)
    agent: Network = field(default_factory=Network)
    verifier: VerifierTable = field(default_factory=VerifierTable)
    solution: SolutionTable = field(default_factory=SolutionTable)
    artifacts: tuple[Artifact, ...] = ()
    steps: tuple[StepTable, ...] = ()
    multi_step_reward_strategy: Literal["mean", "final"] = "mean"

    def __post_init__(self) -> None:
        names = [step.name.lower() for step in self.steps]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"steps must each have a name of their own, and two are called {twice[0]!r}")


def read_task_toml(file: Path) -> tuple[TaskToml, list[str]]:
    """The content of a task.toml, and the dotted names of keys in it that have no effect.

    Raises ValueError that names the file and the key.
    """
    try:
        data = tomllib.loads(text_of(file))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: {error}") from error
    except RecursionError:
        raise ValueError(f"{file}: nested too deeply") from None
    found, unknown = validated_loosely(TaskToml, data, str(file))
    stages = {"": found} | {f"steps[{i}].": step for i, step in enumerate(found.steps)}
    if not any(stage.verifier.separate for stage in stages.values()):  # only then they have an effect
        unknown += [f"{place}artifacts" for place, stage in stages.items() if stage.artifacts]
        unknown += [f"{place}verifier.collect" for place, stage in stages.items() if stage.verifier.collect]
    return found, sorted(key for key in unknown if key.partition(".")[0] not in _FREE)


def to_toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The text of a task.toml. Strings, numbers and booleans are written in TOML as in JSON."""
    text = 'schema_version = "1.1"\n'
    for name, table in tables.items():
        text += f"\n[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    return text
