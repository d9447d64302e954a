"""What a run ran on, for its manifest."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from plateau_bench.agents.models import require_torch

PACKAGES = ("torch", "transformers", "tokenizers", "langchain-core", "docker", "numpy", "pandas")


def pick_device(wanted: str) -> str:
    """'cuda' or 'cpu'. Raises ValueError if CUDA is asked for and not there, or torch is not installed."""
    require_torch("a run of self-training")
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: {wanted!r} is not one of auto, cpu, cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def describe(sandbox: str, device: str) -> dict[str, str]:
    """Backend, device, versions, commit: everything that may explain a difference between two runs."""
    import torch

    facts = {
        "sandbox": sandbox,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "cpus": str(os.cpu_count()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "commit": commit(),
    }
    return facts | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "absent"


def commit() -> str:
    """Commit of the code, '+dirty' if changed since; 'unknown' outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps inside somebody else's repository
        return "unknown"
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
        status = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True)
    except OSError:
        return "unknown"
    if commit.returncode:
        return "unknown"
    return commit.stdout.strip() + ("+dirty" if status.stdout.strip() else "")
