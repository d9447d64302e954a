"""The Harbor task folder: how it is read, and how a kata is written as one.

    <task>/instruction.md  task.toml  environment/  tests/test.sh  solution/solve.sh

Format: harborframework.com, `task.toml` schema up to 1.4, old spellings (`version`, `memory`, `storage`)
included. Two differences on purpose: network access is off unless the file asks for it, and a task that asks
for all of the internet gets what the user says instead (`read_folder`).

Free keys under `[metadata]` that mean something here: `split` ("train" or "held_out"), `stratum`,
`cluster` (or `repo`), `image`, `workdir`, `answer_file`, which names the file that the answer of a one-shot
agent becomes, and `grading = "values"`, which says that `tests/cases.json` is all there is to check.
"""

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sandbox.allow import AllowList
from sandbox.base import BASE_IMAGE, SandboxSpec
from tasks import expected, values
from tasks.base import FolderTests, FunctionTests, Split, Task
from tasks.programs import PublishedTests
from tasks.suite import FixedSuite, split_of

_BUILD_FILES = ("Dockerfile", "docker-compose.yaml", "docker-compose.yml", ".dockerignore")
_MAX_BYTES = 50_000_000
"""Of one folder's tests, or of its workspace files."""
_DESCRIPTIVE = ("schema_version", "version", "source", "task", "metadata")


class _Table:
    """A table of a task.toml that knows its place, for errors, and which keys were read."""

    def __init__(
        self, data: Mapping[str, Any], file: Path, name: str = "", read: set[str] | None = None
    ) -> None:
        self._data, self._file, self._name = data, file, name
        self.read: set[str] = set() if read is None else read

    def _at(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def wrong(self, key: str, expected: str) -> ValueError:
        shown = repr(self._data.get(key))[:80]
        return ValueError(f"{self._file}: {self._at(key)} must be {expected}, not {shown}")

    def get(self, *keys: str) -> tuple[str, Any]:
        """The first of several spellings that is present, else the first one with None."""
        self.read |= {self._at(key) for key in keys}
        return next(((key, self._data[key]) for key in keys if key in self._data), (keys[0], None))

    def table(self, key: str) -> "_Table":
        _, value = self.get(key)
        if not isinstance(value, dict | None):
            raise self.wrong(key, "a table")
        return _Table(value or {}, self._file, self._at(key), self.read)

    def text(self, *keys: str) -> str:
        key, value = self.get(*keys)
        if not isinstance(value, str | None) or "\0" in (value or ""):
            raise self.wrong(key, "a string")
        return value or ""

    def number(self, key: str, default: float) -> float:
        _, value = self.get(key)
        if value is None:
            return default
        if type(value) not in (int, float) or not 0 < value <= 1e9:
            raise self.wrong(key, "a number above 0")
        return float(value)

    def megabytes(self, key: str, old: str, default: int) -> int:
        """`memory_mb = 2048`, or the old `memory = "2G"`."""
        name, value = self.get(key, old)
        if value is None:
            return default
        if type(value) is int and 0 < value <= 10**9:
            return value
        size = re.fullmatch(r"\s*(\d{1,9})\s*([KMG]?)i?B?\s*", str(value), re.IGNORECASE)
        if name == key or not isinstance(value, str) or size is None:
            raise self.wrong(name, "a whole number of MiB" if name == key else "a size such as '2G'")
        return max(1, math.ceil(int(size[1]) * {"K": 1 / 1024, "G": 1024}.get(size[2].upper(), 1)))

    def strings(self, key: str) -> dict[str, str]:
        _, value = self.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self.wrong(key, "a table of strings")
        return dict(value)

    def network(self, public: Sequence[str] | None) -> tuple[str, ...]:
        """The hosts that the file asks for; `public` stands in for a wish for all of them."""
        mode, allow = self.text("network_mode"), self.get("allow_internet")[1]
        if mode not in ("", "public", "no-network", "allowlist"):
            raise self.wrong("network_mode", "'public', 'no-network' or 'allowlist'")
        if not isinstance(allow, bool | None):
            raise self.wrong("allow_internet", "true or false")
        if mode == "allowlist":
            return self._hosts()
        if mode == "no-network" or not (mode or allow):
            return ()
        if public is None:
            key = self._at("network_mode" if mode else "allow_internet")
            raise ValueError(
                f"{self._file}: {key} asks for all of the internet, "
                'and boxes reach only hosts that are named; say which in tasks.network: ["pypi.org"], '
                '["*"] for every public host, [] for none'
            )
        return tuple(public)

    def _hosts(self) -> tuple[str, ...]:
        """`allowed_hosts`."""
        _, hosts = self.get("allowed_hosts")
        if not isinstance(hosts, list) or not hosts:
            raise self.wrong("allowed_hosts", "a list of hosts, for network_mode is 'allowlist'")
        try:
            AllowList(hosts)
        except ValueError as error:
            raise ValueError(f"{self._file}: {self._at('allowed_hosts')}: {error}") from None
        return tuple(hosts)

    def unread(self) -> list[str]:
        """Dotted keys that nothing asked for and that do more than describe."""

        def walk(data: Mapping[str, Any], prefix: str) -> Iterator[str]:
            for key, value in data.items():
                name = prefix + key
                if name not in self.read and name not in _DESCRIPTIVE:
                    yield name
                elif isinstance(value, dict) and name not in (*_DESCRIPTIVE, "environment.env"):
                    yield from walk(value, name + ".")

        return sorted(walk(self._data, ""))


def read_folder(folder: Path, *, name: str = "", network: Sequence[str] | None = None) -> Task:
    """The task in a Harbor task folder; `tags["unknown_keys"]` lists keys of task.toml without effect here.

    `network`: the hosts that a task may reach which asks for all of the internet; None refuses such a task.
    An image that must be built is named after its content; `tags["dockerfile"]` is the folder to build.
    Raises ValueError naming the file and the key.
    """
    file = folder / "task.toml"
    root = _Table(_parse(file), file)
    if root.get("steps")[1] is not None:
        raise ValueError(f"{file}: [[steps]]: tasks of several steps are not supported")
    instruction = _text(folder / "instruction.md").strip()
    if not instruction:
        raise ValueError(f"{folder / 'instruction.md'}: is empty")
    if not any((folder / "tests" / name).is_file() for name in ("test.sh", expected.NAME)):
        raise ValueError(f"{folder / 'tests' / 'test.sh'}: is missing")
    environment = _files(folder / "environment")
    tests = _files(folder / "tests")
    expected.read_expected(tests, folder / "tests")
    metadata = root.table("metadata")
    grading = metadata.text("grading")
    if grading not in ("", "values"):
        raise metadata.wrong("grading", "'values', with the calls in tests/cases.json")
    if grading:
        values.read_cases(tests, folder / "tests")
    spec, built = _box(root, metadata, environment, network)
    timeout_s = root.table("verifier").number("timeout_sec", 600.0)
    split = metadata.text("split")
    if split not in ("", *Split):
        raise metadata.wrong("split", "'train' or 'held_out'")
    identity = root.table("task").text("name") or name or folder.resolve().name
    cluster = metadata.text("cluster", "repo", "repository") or identity
    known = {} if built else {p: data for p, data in environment.items() if p not in _BUILD_FILES}
    tags = {
        "suite": "harbor",
        "answer_file": metadata.text("answer_file") or "solution.py",
        "grading": grading,
        "tests_sha256": tree_digest(tests),
        "unknown_keys": ", ".join(root.unread()),
        "dockerfile": str(folder / "environment") if built else "",
    }
    solution = folder / "solution"
    return Task(
        id=identity,
        instruction=instruction,
        split=Split(split) if split else split_of(cluster),
        digest=_digest(instruction, file, spec, tests, environment),
        tests=FolderTests(
            tests_dir=folder / "tests",
            timeout_s=timeout_s,
            solution_dir=solution if (solution / "solve.sh").is_file() else None,
            files=known,
        ),
        stratum=metadata.text("stratum"),
        cluster=cluster,
        box=spec,
        tags={key: value for key, value in tags.items() if value},
    )


def _box(
    root: _Table, metadata: _Table, environment: Mapping[str, bytes], public: Sequence[str] | None
) -> tuple[SandboxSpec, bool]:
    """(what the task's box offers, whether its image has to be built first)."""
    table = root.table("environment")
    recipe = environment.get("Dockerfile")
    image = metadata.text("image") or table.text("docker_image")
    built = recipe is not None and not image
    if built:
        image = f"plateau-task:{tree_digest(environment)[:16]}"
    named = re.findall(rb"^WORKDIR +(/[\w./-]*)", recipe or b"", re.MULTILINE)
    workdir = metadata.text("workdir") or (named[-1].decode() if named else "/work")
    if not workdir.startswith("/") or workdir == "/" or ".." in PurePosixPath(workdir).parts:
        raise metadata.wrong("workdir", "an absolute path below /")
    spec = SandboxSpec(
        image=image or BASE_IMAGE,
        workdir=workdir,
        env=table.strings("env"),
        network=table.network(public),
        cpus=table.number("cpus", 1.0),
        memory_mb=table.megabytes("memory_mb", "memory", 2048),
        disk_mb=table.megabytes("storage_mb", "storage", 1024),
    )
    return spec, built


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(file))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: {error}") from error
    except RecursionError:
        raise ValueError(f"{file}: nested too deeply") from None


def _text(file: Path) -> str:
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise ValueError(f"{file}: only regular files can be part of a task")
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{file}: is larger than {_MAX_BYTES // 10**6} MB")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{file}: is missing") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror})") from error


def _files(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of all regular files. Raises ValueError for symlinks and too much data."""
    found: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path}: only regular files can be part of a task")
        if path.is_file():
            total += path.stat().st_size
            if total > _MAX_BYTES:
                raise ValueError(f"{folder}: holds more than {_MAX_BYTES // 10**6} MB")
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def files_below(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of all regular files. Raises ValueError for symlinks and too much data."""
    return _files(folder)


def tests_of(tests: FolderTests) -> dict[str, bytes]:
    """The files below `tests_dir` as they are now."""
    return _files(tests.tests_dir)


def tree_digest(files: Mapping[str, bytes]) -> str:
    """sha256 over paths and contents."""
    whole = hashlib.sha256()
    for path, data in sorted(files.items()):
        whole.update(f"{path}\0{hashlib.sha256(data).hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _digest(
    instruction: str,
    file: Path,
    spec: SandboxSpec,
    tests: Mapping[str, bytes],
    environment: Mapping[str, bytes],
) -> str:
    parts = [instruction, _text(file), spec.image, tree_digest(tests), tree_digest(environment)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class FolderSuite(FixedSuite):
    """The task folders in a folder (or one task folder)."""

    def __init__(self, path: Path, network: Sequence[str] | None = None) -> None:
        single = (path / "task.toml").exists()
        folders = [path] if single else sorted(p.parent for p in path.glob("*/task.toml"))
        if not folders:
            raise ValueError(f"{path}: holds no task folder, that is, no */task.toml")
        super().__init__(path.resolve().name, [read_folder(f, network=network) for f in folders], str(path))


_CHECK = '''"""Runs solution.py in a child process and compares its answers here, on exact types."""

import json, os, subprocess, sys

CHILD = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
space = {}
exec(compile(open("solution.py").read(), "solution.py", "exec"), space)
answers.write(json.dumps([space[sys.argv[1]](*args) for args in json.load(sys.stdin)]))
answers.close()
"""


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


tests = json.load(open(os.path.join(os.path.dirname(__file__), "cases.json")))
calls = json.dumps([args for args, _ in tests["cases"]])
command = [sys.executable, "-I", "-c", CHILD, tests["entry_point"]]
child = subprocess.run(command, input=calls, stdout=subprocess.PIPE, text=True, timeout=30)
answers = json.loads(child.stdout)
sys.exit(0 if same(answers, [expected for _, expected in tests["cases"]]) else 1)
'''

_TEST_SH = """#!/bin/sh
mkdir -p /logs/verifier
if python3 -I "$(dirname "$0")/check.py"; then reward=1; else reward=0; fi
echo $reward > /logs/verifier/reward.txt
"""


def write_folder(task: Task, folder: Path) -> None:
    """Write a function-level task as a Harbor task folder, for other tools; its hidden cases are the tests.

    Raises ValueError for a task that already is a folder.
    """
    if not isinstance(task.tests, FunctionTests):
        raise ValueError(f"task {task.id} is a folder task already")
    if isinstance(task.tests, PublishedTests):
        raise ValueError(f"task {task.id}: only tasks made of exact cases can be written as a folder")
    quoted = {
        key: json.dumps(value)
        for key, value in {
            "name": "plateau/" + re.sub(r"[^\w.-]", "-", task.id),
            "split": task.split.value,
            "stratum": task.stratum,
            "cluster": task.cluster or task.id,
            "image": BASE_IMAGE,
        }.items()
    }
    settings = (
        f'schema_version = "1.1"\n\n[task]\nname = {quoted["name"]}\n\n[metadata]\n'
        + "".join(f"{key} = {quoted[key]}\n" for key in ("split", "stratum", "cluster", "image"))
        + 'workdir = "/work"\nanswer_file = "solution.py"\ngrading = "values"\n\n'
        + "[verifier]\ntimeout_sec = 60.0\n\n"
        + "[environment]\ncpus = 1\nmemory_mb = 512\nstorage_mb = 256\nallow_internet = false\n"
    )
    cases = [[list(case.args), case.expected] for case in task.tests.hidden]
    marker = "END_" + task.digest[:8]
    files = {
        "instruction.md": f"{task.instruction}\n\nPut the function in `solution.py` in the working folder.\n",
        "task.toml": settings,
        "environment/Dockerfile": "FROM python:3.11-slim\nWORKDIR /work\n",
        "tests/test.sh": _TEST_SH,
        "tests/check.py": _CHECK,
        "tests/cases.json": json.dumps({"entry_point": task.tests.entry_point, "cases": cases}) + "\n",
        "solution/solve.sh": f"#!/bin/sh\ncat > solution.py <<'{marker}'\n{task.solution}{marker}\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
