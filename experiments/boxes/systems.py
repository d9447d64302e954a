"""What is compared: no sandbox, our backends, and others through their own interfaces."""

import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from experiments.boxes import workloads
from experiments.boxes.workloads import COMMANDS, FILES, HIDDEN, HIDDEN_NAME, TEST, Cell, Step, drive
from plateau_bench.sandbox.base import Backend, Program, ProgramBox, Sandbox

_PATH = "/usr/local/bin:/usr/bin:/bin"


class System(Protocol):
    """Something that can do a workload."""

    name: str
    workloads: tuple[str, ...]

    def cell(self, workload: str, concurrency: int, seconds: float) -> Cell:
        """Work for a while; returns when nothing of it is left. Raises RuntimeError with a sentence."""

    def close(self) -> None: ...


class NoSandbox:
    """The reference: a temporary folder and a subprocess per command."""

    name = "no sandbox"
    workloads: tuple[str, ...] = workloads.NAMES

    def __init__(self) -> None:
        self._puzzles: queue.SimpleQueue[workloads.Puzzle] = queue.SimpleQueue()
        for puzzle in workloads.puzzles():
            self._puzzles.put(puzzle)

    def cell(self, workload: str, concurrency: int, seconds: float) -> Cell:
        attempt = partial(self._attempt, fresh=workload == "w2")
        steps = {"w3": self._w3, "command": self._command}
        return drive(lambda: _same(steps.get(workload, attempt)), concurrency, seconds)

    def close(self) -> None:
        pass

    def _attempt(self, *, fresh: bool) -> int:
        """Workload w, or w2: the test runs in a fresh folder."""
        with ExitStack() as stack:
            home = stack.enter_context(_folder())
            _fill(home, FILES)
            answers = [_sh(home, command).stdout for command in COMMANDS]
            if fresh:
                left, home = home, stack.enter_context(_folder())
                _fill(home, {name: (left / name).read_text() for name in FILES})
            _fill(home, {HIDDEN_NAME: HIDDEN})
            done = _sh(home, TEST)
        workloads.check(answers, done.returncode, done.stdout + done.stderr)
        return 1

    def _w3(self) -> int:
        puzzle = self._puzzles.get()
        self._puzzles.put(puzzle)
        with _folder() as home:
            _fill(home, {"program.py": puzzle.script()})
            done = _sh(home, "exec python3 program.py")
        if done.returncode:
            raise ValueError(f"a correct program failed: {done.stderr[-300:]}")
        return 1

    def _command(self) -> int:
        for _ in range(50):
            _sh(Path("/"), "true")
        return 50


class Boxes:
    """One of our backends."""

    workloads: tuple[str, ...] = workloads.NAMES

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._backend = backend
        self._puzzles = workloads.puzzles()
        self._programs = [Program(source=p.source, entry_point="f", calls=p.calls) for p in self._puzzles]
        self._grader: ProgramBox | None = None
        self._lock = threading.Lock()

    def cell(self, workload: str, concurrency: int, seconds: float) -> Cell:
        if workload == "command":
            return drive(self._open_box, concurrency, seconds)
        if workload == "w3":  # one grading box serves a whole run, so its start is not in the figures
            self._grade()
            return drive(lambda: _same(self._grade), concurrency, seconds)
        attempt = partial(self._attempt, fresh=workload == "w2")
        return drive(lambda: _same(attempt), concurrency, seconds)

    def close(self) -> None:
        if self._grader:
            self._grader.close()

    def _attempt(self, *, fresh: bool) -> int:
        """Workload w, or w2: the test runs in a fresh box."""
        with ExitStack() as stack:
            files = {name: text.encode() for name, text in FILES.items()}
            box = self._filled(files, stack)
            before = box.snapshot() if fresh else {}
            answers = [box.run(command).stdout for command in COMMANDS]
            if fresh:
                files |= box.diff(before).written
                box.close()
                box = self._filled(files, stack)
            box.write(HIDDEN_NAME, HIDDEN.encode())
            done = box.run(TEST)
        workloads.check(answers, done.exit_code, done.stdout + done.stderr)
        return 1

    def _filled(self, files: dict[str, bytes], stack: ExitStack) -> Sandbox:
        box = stack.enter_context(closing(self._backend.open()))
        for name, data in files.items():
            box.write(name, data)
        return box

    @contextmanager
    def _open_box(self) -> Iterator[Step]:
        with closing(self._backend.open()) as box:
            box.run("true")

            def step() -> int:
                for _ in range(50):
                    box.run("true")
                return 50

            yield step

    def _grade(self) -> int:
        with self._lock:
            if self._grader is None:
                self._grader = self._backend.open_program_box()
        results = self._grader.run(self._programs)
        for puzzle, result in zip(self._puzzles, results, strict=True):
            if result.outputs is None or tuple(o.value for o in result.outputs) != puzzle.expected:
                raise ValueError(f"a correct program failed: {result}")
        return len(results)


class Peer:
    """Somebody else's sandbox, driven by `peers.py` in the interpreter in which it is installed."""

    def __init__(self, python: str, name: str) -> None:
        """Raises RuntimeError, with the reason, when the peer is not installed or does not work."""
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("peers.py")), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        hello = self._answer()
        self.name = str(hello["name"])
        self.workloads = tuple(hello["workloads"])

    def cell(self, workload: str, concurrency: int, seconds: float) -> Cell:
        assert self._process.stdin
        request = {"workload": workload, "concurrency": concurrency, "seconds": seconds}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        found = self._answer()
        return Cell(walls=found["walls"], units=found["units"], elapsed=found["elapsed"])

    def close(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._process.kill)
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    stack.callback(stream.close)
            with suppress(OSError, subprocess.TimeoutExpired):
                if self._process.stdin:
                    self._process.stdin.close()
                self._process.wait(60)
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": "its driver ended"}
        if "error" in found:
            self.close()
            raise RuntimeError(str(found["error"]))
        return found


@contextmanager
def _same(step: Step) -> Iterator[Step]:
    yield step


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="plateau-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _fill(home: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (home / name).write_text(text)


def _sh(home: Path, command: str) -> subprocess.CompletedProcess[str]:
    """As a box would run it, with the same interpreter."""
    env = {"PATH": _PATH, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    return subprocess.run(
        ["sh", "-c", command],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
