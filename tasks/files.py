"""The files of a task folder: regular ones only, and not too many bytes of them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from plateau_bench.validate import decoded

MAX_BYTES = 50_000_000
"""The most bytes of a folder's tests, of its workspace, of an attempt's files, or of a text."""


def text_of(file: Path, *, exact: bool = False) -> str:
    """The content of a UTF-8 file; its line ends become newlines unless it is wanted `exact`, as a patch is.

    Raises ValueError that names the file.
    """
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise ValueError(f"{file}: only regular files can be part of a task")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"{file}: is larger than {MAX_BYTES // 10**6} MB")
        text = decoded(file.read_bytes())
        return text if exact else text.replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise ValueError(f"{file}: is missing") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror})") from error


def json_of(text: str | bytes, place: str) -> Any:
    """The data in a JSON text. Raises ValueError that begins with `place`."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"{place}: is longer than {MAX_BYTES // 10**6} MB")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: is not JSON ({error})") from None


def files_below(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of all regular files; nothing if there is no such folder.

    Raises ValueError for symlinks (the folder itself included), special files, and too much data.
    """
    found: dict[str, bytes] = {}
    total = 0
    for path in [folder, *sorted(folder.rglob("*"))]:
        if path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
            raise ValueError(f"{path}: only regular files can be part of a task")
        if path.is_file():
            total += path.stat().st_size
            if total > MAX_BYTES:
                raise ValueError(f"{folder}: holds more than {MAX_BYTES // 10**6} MB")
            if path == folder:
                raise ValueError(f"{path}: must be a folder")
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def write_tree(folder: Path, files: Mapping[str, bytes]) -> None:
    """Undo `files_below`; scripts become executable."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)


def tree_digest(files: Mapping[str, bytes]) -> str:
    """A sha256 over paths and contents."""
    whole = hashlib.sha256()
    for path, data in sorted(files.items()):
        whole.update(f"{path}\0{hashlib.sha256(data).hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def inside(path: str, folder: str) -> bool:
    """Whether an absolute path is the folder or below it; links are not known of."""
    one, other = (PurePosixPath("/" + place.lstrip("/")) for place in (path, folder))
    return ".." not in one.parts and one.is_relative_to(other)
