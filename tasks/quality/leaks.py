"""Whether an agent could read a folder task's hidden tests or its solution in the box that it works in."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing

from plateau_bench.sandbox.base import Backend, SandboxError
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.files import files_below
from plateau_bench.tasks.grading.boxes import folder_tests, open_box, stages, tests_of
from plateau_bench.tasks.grading.pytest_tests import FILES

SHARE = 0.95
"""The share of a hidden file's telling lines that makes another file a copy of it."""
_LONG = 12
"""The fewest characters of a telling line."""


def leak(task: Task, backend: Backend) -> str:
    """Where in the untouched box of the task its hidden files can be read; "" if nowhere.

    Looks for equal files anywhere, for files that hold nearly all telling lines of a hidden one, and for
    anything in /tests or /solution. Of a patch, the lines that it adds and its file does not hold anyway are
    looked for, and not those of the files that pytest's tests restore, most of which the task shows.
    Not found: what is compressed, encoded, or in a repository's history.
    Raises SandboxError if the box cannot be opened or searched.
    """
    hidden: dict[str, bytes] = {}
    files: Mapping[str, bytes] = {}
    for stage in stages(task):
        own = folder_tests(stage)
        files = own.files  # the last step begins with those of all
        place = "" if stage is task else f"steps/{stage.id.rpartition('/')[2]}/"
        hidden |= {f"{place}tests/{path}": data for path, data in tests_of(own).items()}
        solution = files_below(own.solution_dir) if own.solution_dir is not None else {}
        hidden |= {f"{place}solution/{path}": data for path, data in solution.items()}
    needles = json.dumps({"hidden": _needles(hidden), "share": SHARE, "long": _LONG}).encode()
    with closing(open_box(backend, task.box, files)) as box:
        done = box.run(["python3", "-I", "-S", "-c", _SEARCH], timeout_s=600, stdin=needles)
    if done.exit_code != 0:
        raise SandboxError(f"the box could not be searched: {done.stderr.strip()[-200:] or 'out of time'}")
    return done.stdout.strip()[:300]


def _needles(hidden: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    return {
        name: {
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "lines": sorted(_lines(name, data.decode(errors="replace"))),
        }
        for name, data in hidden.items()
        if data.strip()
    }


def _lines(name: str, text: str) -> set[str]:
    if name.startswith(f"tests/{FILES}"):
        return set()
    lines = text.splitlines()
    if not name.endswith((".patch", ".diff")):
        return {line.strip() for line in lines}
    body = [line for line in lines if not line.startswith(("+++", "---"))]
    known = {line[1:].strip() for line in body if line.startswith((" ", "-"))}
    return {line[1:].strip() for line in body if line.startswith("+")} - known


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
