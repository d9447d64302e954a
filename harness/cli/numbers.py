"""The one check of numbers on the command line: `typer.Option(callback=number(1))`."""

import math
from collections.abc import Callable
from typing import Any

import typer


def number(least: float, most: float = math.inf) -> Callable[[typer.CallbackParam, Any], Any]:
    """A callback that refuses what is not from `least` to `most`; no number at all passes."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        for one in value if isinstance(value, list | tuple) else (value,):
            if one is None or least <= one <= most and math.isfinite(one):
                continue
            bound = f"at least {least:g}" if not one >= least else f"at most {most:g}"
            if isinstance(one, float) and not math.isfinite(one):
                bound = "a finite number"
            raise ValueError(f"{param.opts[-1]} must be {bound}, not {one:g}")
        return value

    return check
