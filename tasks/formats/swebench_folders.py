"""SWE-bench instances as task folders: the repository as it was, tests only for grading, the gold patch.

    <instance_id>/instruction.md  task.toml
        environment/Dockerfile  repo.tar.gz      the repository at base_commit, nothing later
        tests/expected.json  test.patch  files/  what the test patch changes, as it is afterwards
        solution/solve.sh  gold.patch

Nothing of a repository is executed here, but for git's own work on it.
"""

import configparser
import gzip
import io
import json
import os
import re
import shlex
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plateau_bench.tasks.base import Split
from plateau_bench.tasks.files import write_tree
from plateau_bench.tasks.formats.harbor import FolderSuite
from plateau_bench.tasks.formats.importing import Imported, import_into
from plateau_bench.tasks.formats.swebench import Instance, read_instances
from plateau_bench.tasks.formats.task_toml import to_toml
from plateau_bench.tasks.grading.sift import shadows

WORKDIR = "/testbed"
TIMEOUT_S = 1800
"""Seconds for one run of the tests, as in the published harness."""
_PATH = "/opt/miniconda3/envs/testbed/bin:/opt/miniconda3/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH in the published images, where the project's own Python comes first."""
_GIT = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", "-c", "core.logAllRefUpdates=false",
    "-c", "gc.auto=0", "-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false",
)  # fmt: skip
_UPLOAD = "git -c uploadpack.allowAnySHA1InWant=true -c safe.directory=* upload-pack"
_NEEDS = (
    "requirements_dev.txt", "requirements-dev.txt", "dev-requirements.txt", "test-requirements.txt",
    "requirements-test.txt", "requirements_test.txt", "requirements/tests.txt", "requirements/test.txt",
)  # fmt: skip
_PIP = "python3 -m pip install --no-cache-dir"
_EXTRAS = ("test", "tests", "testing")
_SOLVE = '#!/bin/sh\nset -e\ngit apply --whitespace=nowarn "$(dirname "$0")/gold.patch"\n'
_ASK = """{problem}

The repository is in the working folder, {workdir}. Change it so that this is resolved. Hidden tests will be
run; changes of test files and of test configuration do not reach them.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How folders are made."""

    repos: str
    """A folder of repositories, a URL that goes before owner/name, or a pattern with {owner} and {name}."""
    published: bool = False
    """Use the published images by name instead of building one."""
    base: str = ""
    """The image to build on; default: python:3.X-slim of the instance's time."""
    install: str = ""
    """The shell command that installs the project; default: pip, with extras and requirements for tests."""
    split: Split | None = None
    """All on this side; default: by the hash of the repository's name."""


def import_swebench(source: Path, out: Path, wanted: Wanted, *, skip: bool = False) -> Imported:
    """Make a task folder of each instance below the new folder `out`.

    `skip` and the errors are those of `import_into`.
    """

    def add(folder: Path, read: Callable[[], Instance]) -> None:
        instance = read()
        if (folder / instance.id).exists():
            raise ValueError(f"{instance.place}: instance_id {instance.id!r} was there before")
        write_tree(folder / instance.id, _folder(instance, wanted))

    card = {"repos": wanted.repos}
    refused = import_into(out, source, read_instances(source), add, skip=skip, card=card)
    return Imported(tasks=FolderSuite(out).tasks, refused=refused)


def _folder(instance: Instance, wanted: Wanted) -> dict[str, bytes]:
    """Path -> content of the task folder. Raises ValueError if the row does not fit its repository."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place) / "repo"
        check_out(_found(instance, wanted.repos), instance.base_commit, work)
        paths = _git(work, "ls-files", "-z").decode("utf-8", "surrogateescape").split("\0")
        files = {}
        if not wanted.published:
            files["environment/repo.tar.gz"] = pack(work)
            files["environment/Dockerfile"] = _dockerfile(instance, wanted, work).encode()
        restored, deleted = _after(instance, work)
    expected = {
        "runner": "pytest",
        "tests": [*instance.fail_to_pass, *instance.pass_to_pass],
        "deleted": deleted,
        "own": sorted({name for path in paths if (name := shadows(path))}),
    }
    return files | {
        "instruction.md": _ASK.format(problem=instance.problem, workdir=WORKDIR).encode(),
        "task.toml": _settings(instance, wanted).encode(),
        "tests/expected.json": (json.dumps(expected, indent=1) + "\n").encode(),
        "tests/test.patch": instance.test_patch.encode(),
        **{f"tests/files/{path}": data for path, data in restored.items()},
        "solution/solve.sh": _SOLVE.encode(),
        "solution/gold.patch": instance.gold.encode(),
    }


def _settings(instance: Instance, wanted: Wanted) -> str:
    metadata = {"cluster": instance.repo, "workdir": WORKDIR, "base_commit": instance.base_commit}
    metadata |= {"split": wanted.split.value} if wanted.split else {}
    metadata |= {"image": instance.image} if wanted.published else {}
    return to_toml(
        {
            "task": {"name": instance.id},
            "metadata": metadata,
            "verifier": {"timeout_sec": float(TIMEOUT_S)},
            "environment": {"cpus": 2, "memory_mb": 4096, "storage_mb": 1024, "allow_internet": False},
            **({"environment.env": {"PATH": _PATH}} if wanted.published else {}),
        }
    )


# --- the repository ------------------------------------------------------------------------------------


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """What git prints. Raises ValueError with its complaint."""
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    env = {key: value for key, value in os.environ.items() if key not in elsewhere}
    env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    command = ["git", *_GIT, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, env=env, check=False)
    except FileNotFoundError:
        raise ValueError("git is not installed, and SWE-bench needs it to read repositories") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise ValueError(f"git {arguments[0]}: {said}")
    return done.stdout


def _found(instance: Instance, repos: str) -> str:
    """Where the instance's repository is: a URL, or the first folder of several spellings."""
    owner, name = instance.repo.split("/")
    if "{" in repos:
        return repos.replace("{owner}", owner).replace("{name}", name)
    if "://" in repos or repos.startswith("git@"):
        return f"{repos.rstrip('/')}/{owner}/{name}"
    both = [f"{owner}{sign}{name}" for sign in ("/", "__", "+")]
    for spelling in [*both, name]:
        for place in (Path(repos, spelling), Path(repos, f"{spelling}.git"), Path(repos, spelling, "repo")):
            if (place / "HEAD").is_file() or (place / ".git").exists():
                return str(place.resolve())
    raise ValueError(f"{instance.place}: --repos: {repos} holds no repository {both[0]}, {both[1]} or {name}")


def check_out(source: str, commit: str, folder: Path) -> None:
    """Make a repository with one commit, on a branch `main`, and no object that it does not need.

    Its history is not fetched at all, so neither what came later nor other branches can be in it: no remote,
    no tags, no reflogs. Raises ValueError if the source lacks the commit.
    """
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "--template=", "-b", "main")
    local = [f"--upload-pack={_UPLOAD}"] if Path(source).exists() else []  # a server has its own
    _git(folder, "fetch", "-q", "--depth=1", "--no-tags", *local, "--", source, commit)
    _git(folder, "update-ref", "refs/heads/main", commit)
    _git(folder, "reset", "-q", "--hard", "main")
    for name in ("FETCH_HEAD", "ORIG_HEAD"):
        (folder / ".git" / name).unlink(missing_ok=True)


def pack(folder: Path) -> bytes:
    """The folder as a tar.gz that does not tell who made it and when."""

    def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 946684800  # before 1980 no wheel can be built of it
        return info

    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        tar.add(folder, arcname=".", filter=anonymous)
    return raw.getvalue()


def _after(instance: Instance, work: Path) -> tuple[dict[str, bytes], list[str]]:
    """(files that the test patch writes, files that it takes away). Changes the work tree."""
    for name, patch in (("patch", instance.gold), ("test_patch", instance.test_patch)):
        try:
            _git(work, "apply", "--check", "--whitespace=nowarn", "-", stdin=patch.encode())
        except ValueError as error:
            raise ValueError(f"{instance.place}: {name} does not fit base_commit: {error}") from None
    _git(work, "apply", "--index", "--whitespace=nowarn", "-", stdin=instance.test_patch.encode())
    told = _git(work, "diff", "--cached", "--name-status", "--no-renames", "-z", "HEAD").decode().split("\0")
    changes = dict(zip(told[1::2], told[0::2], strict=False))
    restored = {}
    for path in (path for path, how in changes.items() if how != "D"):
        if (work / path).is_symlink() or not (work / path).is_file():
            raise ValueError(f"{instance.place}: test_patch makes {path}, which is no regular file")
        restored[path] = (work / path).read_bytes()
    return restored, [path for path, how in changes.items() if how == "D"]


# --- the image -----------------------------------------------------------------------------------------


def _dockerfile(instance: Instance, wanted: Wanted, work: Path) -> str:
    year = int(instance.created[:4]) if re.match(r"\d{4}", instance.created) else 2023
    base = wanted.base or f"python:3.{min(max(year - 2012, 9), 13)}-slim"
    install = wanted.install or _install(instance, work)
    return f"""FROM {base}
RUN command -v git >/dev/null || (apt-get update && apt-get install -y --no-install-recommends git)
WORKDIR {WORKDIR}
ADD repo.tar.gz {WORKDIR}/
RUN {" ".join(install.split())}
"""


def _install(instance: Instance, work: Path) -> str:
    """The shell command that installs the project in place, pytest, and what its tests need as files say.

    Where a list holds something that the index no longer has, its lines are tried one by one: tests that miss
    one will tell.
    """
    version = f"SETUPTOOLS_SCM_PRETEND_VERSION={instance.version} "  # there are no tags to tell it by
    extras = [name for name in _EXTRAS if name in _extras(work)]
    project = shlex.quote(f".[{','.join(extras)}]" if extras else ".")
    first = version if re.fullmatch(r"\d+(\.\d+)*", instance.version) else ""
    needs = [
        f"({_PIP} -r {name} || sed 's/ *#.*//; /^ *$/d; /^-/d' {name} | xargs -rd '\\n' -n1 {_PIP} || true)"
        for name in _NEEDS
        if (work / name).is_file()
    ]
    return " && ".join([f"{first}{_PIP} -e {project} pytest", *needs])


def _extras(work: Path) -> Sequence[str]:
    """Optional dependencies that pyproject.toml and setup.cfg name; what cannot be read names none."""
    found: list[str] = []
    try:
        project = tomllib.loads((work / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        found += project.get("optional-dependencies", {})
    except (OSError, ValueError, AttributeError, TypeError):
        pass
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string((work / "setup.cfg").read_text(encoding="utf-8"))
        found += parser["options.extras_require"]
    except (OSError, ValueError, KeyError, configparser.Error):
        pass
    return found
