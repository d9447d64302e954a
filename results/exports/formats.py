"""The formats of other projects. Nothing of those projects is needed to write them.

A format is a function that takes a `Source` and yields files. An installed package adds one by an entry point
in `plateau_bench.exports`.
"""

from collections.abc import Callable

from plateau_bench import plugins
from plateau_bench.results.exports import atif, harbor, inspect_log, mini, sft
from plateau_bench.results.exports.source import Files, Source

Format = Callable[[Source], Files]

FORMATS: dict[str, Format] = {
    "atif": atif.export,
    "mini": mini.export,
    "inspect": inspect_log.export,
    "harbor": harbor.export,
    "sft": sft.export,
}
"""The formats that ship with plateau."""


def find_format(name: str) -> Format:
    """The format of this name. Raises ValueError, naming the choices, if there is none."""
    found: Format = plugins.load("exports", name, FORMATS)
    return found
