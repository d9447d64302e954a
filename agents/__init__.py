"""Agents and the models behind them. This package knows instructions and boxes, never tasks.

May import `sandbox`, `plugins` and `validate`; it never imports `tasks`, and the import graph is checked.
"""

from typing import Any

from plateau_bench.agents.base import Agent
from plateau_bench.plugins import load

AGENTS = {
    "cli": "plateau_bench.agents.vendors.agent.CliAgent",
    "oneshot": "plateau_bench.agents.oneshot.OneShot",
    "tool": "plateau_bench.agents.tool.ToolAgent",
}
"""The kinds of agent that ship with plateau and have a model behind them."""


def make_agent(name: str, /, *args: Any, **options: Any) -> Agent:
    """Make the agent `name`; the rest goes to its class.

    `name` is one of AGENTS, the entry point of an installed package, a dotted path, or file.py:Class. Raises
    ValueError for another.
    """
    agent: Agent = load("agents", name, AGENTS)(*args, **options)
    return agent
