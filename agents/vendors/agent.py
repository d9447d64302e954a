"""Any vendor's agent: its own command line, in a box whose only way out is the gateway to the model."""

import hashlib
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from langchain_core.language_models import BaseChatModel
from pydantic import Field

from plateau_bench.agents.base import Agent, Ending, Limits, Trajectory
from plateau_bench.agents.gateway.server import PORT, Gateway, hang_up
from plateau_bench.agents.models.chat import model_name
from plateau_bench.agents.models.prices import require_price
from plateau_bench.sandbox.base import Backend, Sandbox, SandboxSpec
from plateau_bench.validate import read_yaml, validated

PIDS = 512
"""Processes and threads of a box at least; Node alone starts dozens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vendor:
    """A vendor's command line as a file of `agents/vendors/` describes it."""

    name: str
    command: str
    """Run in the workspace; {instruction} and {log} stand for paths in the box, {model} for the name."""
    install: str = ""
    """What an image needs before: run once per image by sh as root, with a network."""
    env: Mapping[str, str] = field(default_factory=dict)
    """{gateway} stands for http://127.0.0.1:PORT."""
    log: str = "/tmp/agent.log"
    """Where the agent writes what it did; its end is told when it fails."""
    model: str = "plateau"
    """The name by which the agent asks for its model; the gateway decides what answers."""
    memory_mb: Annotated[int, Field(ge=1)] = 2048
    """What a box has at least, MiB."""

    @property
    def digest(self) -> str:
        """A digest of everything here: two evaluations with the same one ran the same command line."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class CliAgent(Agent):
    """Runs a vendor's command line in the box; its model calls are the trajectory."""

    needs_box = True

    def __init__(
        self,
        model: BaseChatModel,
        *,
        vendor: Vendor,
        limits: Limits = Limits(completion_tokens=4096, steps=100, seconds=1800.0),  # noqa: B008 (frozen)
        temperature: float | None = None,
    ) -> None:
        """Raises ValueError for a cost limit where the model has no `price`."""
        require_price(limits, model)
        self.name, self.vendor, self.limits = vendor.name, vendor, limits
        self._model, self._temperature = model, temperature

    def fit(self, spec: SandboxSpec, backend: Backend) -> SandboxSpec:
        """Return the box that an attempt needs: the task's, with the vendor's program and a port for a model.

        Raises SandboxUnavailable if the program cannot be installed in the task's image.
        """
        image, install = spec.image, self.vendor.install
        if install:
            image = backend.with_program(image, install, what=f"{self.name}: install")
        return replace(
            spec,
            image=image,
            services={**spec.services, PORT: hang_up},
            memory_mb=max(spec.memory_mb, self.vendor.memory_mb),
            pids=max(spec.pids, PIDS),
        )

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        """Run the command line once per seed, in boxes that `fit` described.

        Raises SandboxError if a box dies, and what says nothing about the model: ModelUnavailable,
        NotReached, BudgetSpent.
        """
        return [self._attempt(instruction, seed, box) for seed, box in zip(seeds, boxes, strict=True)]

    def _attempt(self, instruction: str, seed: int, box: Sandbox) -> Trajectory:
        gateway = Gateway(self._model, limits=self.limits, temperature=self._temperature, seed=seed)
        box.serve(PORT, gateway)
        box.write("/tmp/instruction.md", instruction.encode())
        env = {k: v.replace("{gateway}", f"http://127.0.0.1:{PORT}") for k, v in self.vendor.env.items()}
        command = self.vendor.command
        for name, value in {
            "instruction": "/tmp/instruction.md",
            "log": self.vendor.log,
            "model": self.vendor.model,
        }.items():
            command = command.replace("{" + name + "}", shlex.quote(value))
        settings = " ".join(f"{key}={shlex.quote(value)}" for key, value in env.items())
        started = time.perf_counter()
        seconds = self.limits.seconds or 3600.0
        done = box.run(f"HOME=/tmp env {settings} sh -c {shlex.quote(command)}", timeout_s=seconds)
        if gateway.down is not None:
            raise gateway.down
        duration_s, error = time.perf_counter() - started, ""
        if done.exit_code:
            error = f"exit code {done.exit_code}: "
        elif done.exit_code == 0 and not gateway.spent.calls:
            error = "it never asked its model: "
        if error:
            tail = f"tail -c 400 {shlex.quote(self.vendor.log)} 2>/dev/null"
            error += done.stderr.strip()[-400:] or box.run(tail).stdout.strip()
        return self._trajectory(gateway, seed, duration_s, done.exit_code, error)

    def _trajectory(
        self, gateway: Gateway, seed: int, duration_s: float, exit_code: int | None, error: str
    ) -> Trajectory:
        ending = gateway.ending
        if ending is None and exit_code is None:
            ending = Ending.TIME_LIMIT
        if ending is None:
            ending = Ending.CRASHED if error else Ending.SUBMITTED
        return Trajectory(
            agent=self.name,
            model=model_name(self._model),
            seed=seed,
            answer="",
            ending=ending,
            duration_s=duration_s,
            error=error,
            messages=gateway.messages(),
            tools=tuple(json.loads(json.dumps(gateway.tools, default=str))),
            withheld=tuple(dict.fromkeys(gateway.withheld)),
            **gateway.spent.facts(),
        )


VENDORS = Path(__file__).parent


def read_vendor(name: str) -> Vendor:
    """Read a shipped description by name, or a YAML file by path. Raises ValueError naming file and key."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else VENDORS / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in VENDORS.glob("*.yaml")))
        raise ValueError(f"no agent description {name!r}; shipped are {known}, or give a YAML file")
    data = read_yaml(path)
    return validated(Vendor, {"name": path.stem, **data} if isinstance(data, dict) else data, str(path))
