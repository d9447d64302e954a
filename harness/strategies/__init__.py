"""Strategies by name. A new one is a file with a mapping `STRATEGIES`: see docs/strategies.md.

Files are found in `harness/strategies/arms` and in the folders that the environment variable
PLATEAU_STRATEGIES names. A config only ever holds names, so a config never runs code.
"""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from plateau_bench.harness.strategies.base import Material, Strategy, Trial

__all__ = ["STRATEGIES", "Material", "Strategy", "Trial"]

FOLDERS = "PLATEAU_STRATEGIES"


def _load(path: Path, package: str) -> Mapping[str, Strategy]:
    spec = importlib.util.spec_from_file_location(f"{package}{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, "STRATEGIES", None)
    if not isinstance(found, Mapping) or not all(isinstance(s, Strategy) for s in found.values()):
        raise ValueError(f"{path}: must define STRATEGIES, a mapping from names to Strategy")
    return found


def _collect() -> Mapping[str, Strategy]:
    own = Path(__file__).with_name("arms")
    others = [Path(folder) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    found: dict[str, Strategy] = {}
    for folder in (own, *others):
        if not folder.is_dir():
            raise ValueError(f"{FOLDERS}: {folder} is not a folder")
        for path in sorted(folder.glob("[a-z]*.py"), key=lambda path: (path.stem == "controls", path.stem)):
            new = _load(path, f"{__name__}.arms." if folder == own else "plateau_strategies_")
            if taken := found.keys() & new.keys():
                raise ValueError(f"{path}: there is a strategy {sorted(taken)[0]!r} already")
            found |= new
    return MappingProxyType(found)


STRATEGIES = _collect()
