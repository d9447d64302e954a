"""A diff as text, so that what an agent left behind can be stored, graded again and compared."""

import base64
import json
from collections.abc import Sequence

from plateau_bench.sandbox.base import Diff


def diff_to_text(diff: Diff) -> str:
    """Return a diff as canonical JSON: equal diffs give equal text.

    >>> diff_to_text(Diff(written={"a.py": b"x = 1"}))
    '{"deleted":[],"refused":[],"written":{"a.py":"x = 1"}}'
    """
    written: dict[str, object] = {}
    for path, data in sorted(diff.written.items()):
        try:
            written[path] = data.decode()
        except UnicodeDecodeError:
            written[path] = {"base64": base64.b64encode(data).decode()}
    row = {"written": written, "deleted": sorted(diff.deleted), "refused": sorted(diff.refused)}
    return json.dumps(row, sort_keys=True, separators=(",", ":"))


def diff_from_text(text: str) -> Diff:
    """Read what `diff_to_text` wrote. Raises ValueError for anything else."""
    try:
        row = json.loads(text)
        written = {
            path: data.encode() if isinstance(data, str) else base64.b64decode(data["base64"], validate=True)
            for path, data in row["written"].items()
        }
        return Diff(written=written, deleted=tuple(row["deleted"]), refused=tuple(row["refused"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a stored diff ({type(error).__name__}: {error})") from None


def steps_to_text(diffs: Sequence[Diff]) -> str:
    """Return what each step of an attempt left behind as text. Read as one diff, it is the last one.

    >>> steps_to_text([Diff(written={}), Diff(written={})])[:47]
    '{"earlier":[{"deleted":[],"refused":[],"written'
    """
    *earlier, last = map(diff_to_text, diffs)
    if not earlier:
        return last
    row = {**json.loads(last), "earlier": [json.loads(text) for text in earlier]}
    return json.dumps(row, sort_keys=True, separators=(",", ":"))


def steps_from_text(text: str) -> list[Diff]:
    """Read what `steps_to_text` or `diff_to_text` wrote. Raises ValueError for anything else."""
    last = diff_from_text(text)
    earlier = json.loads(text).get("earlier", [])
    if not isinstance(earlier, list):
        raise ValueError("not a stored diff (earlier is no list)")
    return [*(diff_from_text(json.dumps(row)) for row in earlier), last]


def code_of(text: str) -> str:
    """Return the Python files of a stored diff, in order of their paths, as one text; '' if it is no diff."""
    try:
        written = diff_from_text(text).written
    except ValueError:
        return ""
    return "\n".join(data.decode(errors="replace") for path, data in written.items() if path.endswith(".py"))
