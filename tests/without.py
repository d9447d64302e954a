"""Runs a program in a Python that lacks some packages, as if they were not installed."""

import subprocess
import sys
from pathlib import Path

_HIDE = """
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, *more):
        return None if name.split(".")[0] in hidden else self.finder.find_spec(name, *more)
    def __getattr__(self, name): return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
"""
TRAINING = ("torch", "accelerate", "peft", "transformers", "tokenizers", "safetensors")
"""What only training and local sampling need."""


def run_without(
    program: str, *, hidden: tuple[str, ...] = TRAINING, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """The finished process; the repository is importable in it."""
    root = Path(__file__).parents[1]
    code = f"hidden = {hidden!r}{_HIDE}sys.path.insert(0, {str(root)!r})\n{program}"
    return subprocess.run([sys.executable, "-c", code], cwd=cwd or root, capture_output=True, text=True)
