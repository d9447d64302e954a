"""Whether an agent could read a folder task's hidden tests or its solution in the box that it works in."""

import hashlib
import json
from collections.abc import Mapping

from sandbox.base import Backend, SandboxError
from tasks.base import FolderTests, Task
from tasks.harbor import files_below, tests_of

SHARE = 0.95
"""Of a hidden file's telling lines: with fewer in one file it is a relative, not a copy."""
_LONG = 12
"""Characters of a telling line."""


def leak(task: Task, backend: Backend) -> str:
    """Where in the untouched box of the task its hidden files can be read; "" if nowhere.

    Looks for equal files anywhere, for files that hold nearly all telling lines of a hidden one, and for
    anything in /tests or /solution. Not found: what is compressed, encoded, or in a repository's history.
    Raises SandboxError if the box cannot be opened or searched.
    """
    assert isinstance(task.tests, FolderTests)
    hidden = {f"tests/{path}": data for path, data in tests_of(task.tests).items()}
    if task.tests.solution_dir is not None:
        hidden |= {f"solution/{path}": data for path, data in files_below(task.tests.solution_dir).items()}
    box = backend.open(task.box)
    try:
        for path, data in task.tests.files.items():
            box.write(path, data)
        needles = json.dumps({"hidden": _needles(hidden), "share": SHARE, "long": _LONG}).encode()
        done = box.run(["python3", "-I", "-S", "-c", _SEARCH], timeout_s=600, stdin=needles)
    except OSError as error:
        raise SandboxError(f"the box did not take the task's files: {error}") from error
    finally:
        box.close()
    if done.exit_code != 0:
        raise SandboxError(f"the box could not be searched: {done.stderr.strip()[-200:] or 'out of time'}")
    return done.stdout.strip()[:300]


def _needles(hidden: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    return {
        name: {
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "lines": sorted({line.strip() for line in data.decode(errors="replace").splitlines()}),
        }
        for name, data in hidden.items()
        if data.strip()
    }


_SEARCH = r"""
import hashlib, json, os, stat, sys
wanted = json.load(sys.stdin)
hidden, sizes = wanted["hidden"], {}
for name, file in hidden.items():
    sizes.setdefault(file["size"], []).append(name)
    plain = ("import ", "from ", "#")
    file["lines"] = {l for l in file["lines"] if len(l) >= wanted["long"] and not l.startswith(plain)}
SKIP = {"/proc", "/sys", "/dev"}
DISTRIBUTION = ("/usr/", "/lib", "/etc/", "/bin/", "/sbin/", "/var/lib/", "/var/cache/", "/opt/conda/")
def tell(text):
    print(text)
    sys.exit()
for folder, inner, files in os.walk("/"):
    inner[:] = sorted(n for n in inner if os.path.join(folder, n) not in SKIP)
    for name in sorted(files):
        path = os.path.join(folder, name)
        try:
            info = os.lstat(path)
            if not stat.S_ISREG(info.st_mode) or not 0 < info.st_size < 4_000_000:
                continue
            if path.startswith(("/tests/", "/solution/")):
                tell(path + " is in the box before grading")
            foreign = not path.startswith(DISTRIBUTION) and info.st_size < 1_000_000
            if info.st_size not in sizes and not foreign:
                continue
            data = open(path, "rb").read()
        except OSError:
            continue
        for one in sizes.get(info.st_size, ()):
            if hashlib.sha256(data).hexdigest() == hidden[one]["sha256"]:
                tell(path + " in the box is a copy of " + one)
        if foreign:
            lines = {l.strip() for l in data.decode(errors="replace").splitlines()}
            for one, file in hidden.items():
                both, all_ = len(file["lines"] & lines), len(file["lines"])
                if all_ >= 3 and both >= wanted["share"] * all_:
                    tell(path + " in the box holds what " + one + " says")
"""
