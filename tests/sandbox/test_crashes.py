"""When the harness or the engine is killed: nothing is left behind, and no attempt is blamed for it."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from plateau_bench.sandbox import BASE_IMAGE, Backend, SandboxError
from plateau_bench.tasks.base import Case, FunctionTests, Outcome, Split, Task
from plateau_bench.tasks.grading.functions import FunctionGrader

from .conftest import available

ROOT = Path(__file__).parents[2]
HARNESS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from plateau_bench.sandbox import SandboxSpec, open_backend
backend, spec = open_backend(sys.argv[1]), SandboxSpec(workdir=sys.argv[2])
with ThreadPoolExecutor(4) as pool:
    boxes = list(pool.map(lambda _: backend.open(spec), range(int(sys.argv[3]))))
    print("up", flush=True)
    sys.stdin.readline()
    print(*pool.map(lambda box: box.run("echo alive").stdout.strip(), boxes), flush=True)
for box in boxes:
    box.close()
"""


def harness(backend: Backend, mark: str, boxes: int) -> subprocess.Popen[str]:
    """Another process with boxes of its own, all of them open."""
    command = [sys.executable, "-c", HARNESS, backend.name, mark, str(boxes)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def guests(mark: str) -> list[int]:
    """Processes 1 of boxes with this workspace; a container's shows on this machine, too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes()
            if line.startswith(b"python3") and mark.encode() in line:
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_clean_after_kill_removes_the_dead_harness_s_boxes_and_no_other(backend: Backend) -> None:
    dead, living = f"/dead-{os.getpid()}", f"/living-{os.getpid()}"
    victim = harness(backend, dead, 16)
    neighbour = harness(backend, living, 3)
    assert (len(guests(dead)), len(guests(living))) == (16, 3)
    for pid in guests(dead)[:4]:  # these cannot see that their harness is gone
        os.kill(pid, signal.SIGSTOP)
    victim.kill()
    victim.communicate()
    backend.clean()
    deadline = time.monotonic() + 30
    while guests(dead):
        assert time.monotonic() < deadline, "clean left boxes of a dead run"
        time.sleep(0.1)
    assert backend.clean() == 0
    assert len(guests(living)) == 3
    said, _ = neighbour.communicate("go on\n", timeout=60)
    assert said.split() == ["alive"] * 3


class Engine:
    """A Docker engine of our own, which may be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, f"unix://{folder}/engine.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # In a network of its own: an engine without a bridge takes down the one that it finds.
        command = [
            "unshare",
            "--net",
            "dockerd",
            "--host",
            self.url,
            "--data-root",
            str(self.folder / "data"),
        ]
        command += ["--exec-root", str(self.folder / "exec"), "--pidfile", str(self.folder / "pid")]
        command += ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


@pytest.fixture
def engine() -> Iterator[Engine]:
    ours = available("docker")
    if os.geteuid() != 0 or not (shutil.which("dockerd") and shutil.which("unshare")):
        pytest.skip("an engine of our own needs root and dockerd")
    import docker

    folder = Path(f"/tmp/plateau-engine-{os.getpid()}")  # a socket's path must be short
    folder.mkdir()
    engine = Engine(folder)
    try:
        engine.start()
        deadline = time.monotonic() + 60
        while True:
            with suppress(Exception), closing(docker.DockerClient(engine.url, timeout=120)) as client:
                client.api.load_image(ours.api.get_image(BASE_IMAGE))  # type: ignore[attr-defined]
                break
            if time.monotonic() > deadline:
                pytest.skip(f"no second engine here: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.2)
        yield engine
    finally:
        engine.stop()
        for line in Path("/proc/mounts").read_text().splitlines():
            if str(folder) in line:
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def task(number: int) -> Task:
    visible, hidden = (Case(args=(a,), expected=number + a) for a in (1, 2))
    tests = FunctionTests(entry_point="f", visible=(visible,), hidden=(hidden,))
    return Task(id=f"add-{number}", instruction="", split=Split.TRAIN, digest=f"add-{number}", tests=tests)


BUSY = "def f(a):\n    for _ in range(200_000):\n        a += 0\n    return a + {}\n"


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket"
)  # docker-py forgets those that fail to connect
def test_an_engine_that_restarts_fails_no_attempt(engine: Engine) -> None:
    from plateau_bench.sandbox.backends.docker import DockerBackend

    backend = DockerBackend(base_url=engine.url, workers=2, min_free_gb=0.5, patience_s=60)
    pairs = [(task(i), BUSY.format(i)) for i in range(600)]
    pairs += [(task(i), BUSY.format(i + 1)) for i in range(20)]  # wrong answers stay wrong
    grader = FunctionGrader(backend, None)
    verdicts = []
    with closing(grader), closing(backend.open()) as box:
        thread = threading.Thread(target=lambda: verdicts.extend(grader.grade(pairs)))
        thread.start()
        time.sleep(1.5)
        assert not verdicts, "grading was over before the engine stopped"
        engine.stop()
        began = time.monotonic()
        with pytest.raises(SandboxError):
            box.run("true")
        assert time.monotonic() - began < 5, "a call on a dead box must not hang"
        time.sleep(1.0)
        engine.start()
        thread.join(120)
        with closing(backend.open()) as after:
            assert after.run("echo back").stdout == "back\n"
    gc.collect()
    outcomes = [v.outcome for v in verdicts]
    assert outcomes == [Outcome.PASSED] * 600 + [Outcome.FAILED] * 20
