"""What a run ran on, for its manifest."""

import os
import platform
from importlib.metadata import version

from plateau_bench.agents.models import require_torch
from plateau_bench.harness.content import commit

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
