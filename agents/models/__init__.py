"""Models behind agents: checkpoints in this process with per-sample seeds, and endpoints with prices.

May import `base` and `answers` alone. `checkpoint`, `local` and `sampler` need torch, the rest does not.
"""

from importlib.util import find_spec


def require_torch(what: str) -> None:
    """Raise ValueError, with the line to type, where the libraries that run weights are not installed.

    `what` begins the sentence: "model.path: 'runs/x/base'".
    """
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise ValueError(f"{what} needs {' and '.join(missing)}: pip install 'plateau-bench[train]'")
