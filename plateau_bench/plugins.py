"""Doors for other people's parts: how a name in a config or on a command line becomes an object.

A part is named in one of four ways: the short name of one that ships with plateau, the name of an entry
point that an installed package declares (in the group `plateau_bench.strategies`, `plateau_bench.backends`
and so on), a dotted path (`package.module.Name`), or a file (`path/to/file.py:Name`).
"""

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

Group = Literal[
    "strategies", "backends", "agents", "suites", "metrics", "improvers", "executors", "exports"
]
"""The kinds of part that a package can add; the entry-point group is `plateau_bench.` and this word."""


def load(group: Group, name: str, own: Mapping[str, Any]) -> Any:
    """Return the part called `name`.

    `own` maps the short names that ship with plateau to objects, or to dotted paths that are imported only
    when asked for. They win over entry points, so that installing a package cannot change what a config
    means. Raises ValueError if there is no such part, if two packages declare the same name, or if the part
    cannot be imported; the message names the choices or the cause.
    """
    if name in own:
        part = own[name]
        return _attribute(part, name, group) if isinstance(part, str) else part
    outside = _outside(group)
    if name in outside:
        return _loaded(outside[name], group)
    file, colon, attribute = name.rpartition(":")
    if colon and file.endswith(".py"):
        return _from_file(Path(file), attribute, group)
    if "." in name and not name.startswith("."):
        return _attribute(name, name, group)
    raise ValueError(f"{group}: no {name!r}{nearest(name, names(group, own))}")


def names(group: Group, own: Iterable[str]) -> list[str]:
    """The short names that a user can choose from: plateau's own, then those of installed packages."""
    return [*own, *sorted(_outside(group).keys() - set(own))]


def outside(group: Group) -> dict[str, Any]:
    """Every part that installed packages declare in a group, loaded. Raises ValueError as `load` does."""
    return {name: _loaded(entry, group) for name, entry in sorted(_outside(group).items())}


def nearest(word: str, choices: Iterable[str]) -> str:
    """The end of an error message: '; did you mean a? (choices: a, b)'."""
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{hint} (choices: {', '.join(known)})"


def _outside(group: Group) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"plateau_bench.{group}"):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            both = " and ".join(one.dist.name if one.dist else one.value for one in (other, entry))
            raise ValueError(f"{group}: {both} both declare {entry.name!r}; uninstall one of them")
    return found


def _loaded(entry: EntryPoint, group: Group) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = entry.dist.name if entry.dist else entry.value
        raise ValueError(f"{group}: {entry.name!r} of {package} cannot be loaded: {error}") from error


def _attribute(path: str, name: str, group: Group) -> Any:
    module, _, attribute = path.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        fix = "" if module.startswith(missing) else f"; it needs the package {missing}: pip install {missing}"
        raise ValueError(f"{group}: {name!r} cannot be loaded: no module {missing}{fix}") from error
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{group}: {name!r} cannot be loaded: {error}") from error


def _from_file(path: Path, attribute: str, group: Group) -> Any:
    if not path.is_file():
        raise ValueError(f"{group}: {path}: no such file")
    module = _module(path, group)
    if not hasattr(module, attribute):
        raise ValueError(f"{group}: {path} defines no {attribute}")
    return getattr(module, attribute)


def _module(path: Path, group: Group) -> ModuleType:
    """The file as a module, run once in a process: what it defines stays equal to itself."""
    name = f"plateau_part_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise ValueError(f"{group}: {path} cannot be loaded: {error}") from error
    return sys.modules[name]
