"""Agents and the models behind them. This package knows instructions and boxes, never tasks."""

from importlib import import_module
from typing import Any

from plateau_bench.agents.base import Agent

AGENTS = {
    "cli": "plateau_bench.agents.vendors.agent.CliAgent",
    "oneshot": "plateau_bench.agents.oneshot.OneShot",
    "tool": "plateau_bench.agents.tool.ToolAgent",
}


def make_agent(name: str, /, *args: Any, **options: Any) -> Agent:
    """Build the agent `name`: one of AGENTS or the dotted path of a class. Raises ValueError for another."""
    module, _, attribute = AGENTS.get(name, name).rpartition(".")
    if not module:
        raise ValueError(f"no agent called {name!r}; choose one of {', '.join(AGENTS)} or give module.Class")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"agent {name!r} cannot be loaded: {error}") from error
    return factory(*args, **options)
