"""What every command does at the terminal: a mistake is one line and an exit code, a table is never cut."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from plateau_bench.sandbox.base import SandboxError

WIDTH = 160


def call(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run a Typer app; expected trouble becomes one line on stderr. `arguments`: default sys.argv."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    try:
        app(arguments)
    except (ValueError, SandboxError, RuntimeError) as error:
        fail(" ".join(str(error).split()), 1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = (
            "; free some space, then 'plateau resume <run folder>' (nothing finished is lost)" if full else ""
        )
        fail(f"{error.strerror or error}: {error.filename or ''}{hint}".replace(":  ", ""), 1)


def fail(line: str, code: int) -> NoReturn:
    """End the process with one line on stderr."""
    sys.stderr.write(f"plateau: {line}\n")
    raise SystemExit(code)


def print_table(table: Any) -> None:
    """Print a rich table; wide, so that nothing is cut, where the output goes to a file or a pipe."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
