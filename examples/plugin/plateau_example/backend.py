"""Backend `frugal`: bubblewrap, with boxes for commands that never get more than 128 MB."""

from dataclasses import replace

from plateau_bench.sandbox.backends.bubblewrap import BubblewrapBackend
from plateau_bench.sandbox.base import SandboxSpec


class Frugal(BubblewrapBackend):
    name = "frugal"

    def open(self, spec=None):
        spec = spec or SandboxSpec()
        return super().open(replace(spec, memory_mb=min(spec.memory_mb, 128)))
