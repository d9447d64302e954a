"""A Sandbox without a box: for commands that this project itself wrote, in tests only."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from plateau_bench.sandbox.base import Diff, Execution, ProgramBox, Sandbox, SandboxError, SandboxSpec
from tests.tasks.trusted_box import TrustedBox


class LocalSandbox:
    """A folder of this machine; `/tests` and `/logs` lie in it too, so scripts get other paths."""

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.root = Path(tempfile.mkdtemp())
        self._path(spec.workdir).mkdir(parents=True)

    def _path(self, path: str) -> Path:
        return self.root / (path[1:] if path.startswith("/") else self.spec.workdir[1:] + "/" + path)

    def _move(self, data: bytes) -> bytes:
        for place in (b"/logs/", b"/tests/"):
            data = data.replace(place, os.fsencode(self.root) + place)
        return data

    def run(self, command: str | Sequence[str], *, timeout_s: float = 60.0, stdin: bytes = b"") -> Execution:
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        argv = [str(self._path(word)) if word.startswith(("/tests/", "/logs/")) else word for word in argv]
        started = time.monotonic()
        try:
            done = subprocess.run(
                argv,
                cwd=self._path(self.spec.workdir),
                input=stdin,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Execution(exit_code=None, stdout="", stderr="", duration_s=timeout_s, timed_out=True)
        return Execution(
            exit_code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
            duration_s=time.monotonic() - started,
        )

    def read(self, path: str, *, max_bytes: int = 10_000_000) -> bytes:
        file = self._path(path)
        if file.is_symlink():
            raise OSError(f"{path} is a symlink")
        data = file.read_bytes()
        if len(data) > max_bytes:
            raise ValueError(f"{path} is larger than {max_bytes} bytes")
        return data

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        file = self._path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self._move(data) if path.endswith(".sh") else data)
        file.chmod(mode)

    def snapshot(self) -> Mapping[str, str]:
        work = self._path(self.spec.workdir)
        return {
            p.relative_to(work).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in work.rglob("*")
            if p.is_file()
        }

    def diff(self, since: Mapping[str, str]) -> Diff:
        now = self.snapshot()
        written = {path: self.read(path) for path, digest in now.items() if since.get(path) != digest}
        return Diff(written=written, deleted=tuple(sorted(set(since) - set(now))))

    def visits(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


class LocalBackend:
    """Opens local sandboxes; the first `deaths` attempts to open one fail."""

    name = "local"

    def __init__(self, deaths: int = 0) -> None:
        self.deaths = deaths
        self.opened = 0

    def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        self.opened += 1
        if self.opened <= self.deaths:
            raise SandboxError("the engine is not well")
        return LocalSandbox(spec or SandboxSpec())

    def open_program_box(self) -> ProgramBox:
        return TrustedBox()

    def clean(self) -> int:
        return 0
