"""What a command asks for, beside what its folder holds already."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plateau_bench.harness.evals.agent_spec import AgentSpec, read_agent
from plateau_bench.harness.evals.evaluation import Evaluation, default_split, read_evaluation
from plateau_bench.results.store import EvalStore
from plateau_bench.tasks.loading import located


def asked(folder: Path, *, agents: Sequence[str], **said: Any) -> Evaluation:
    """The evaluation that was asked for; what was not said (None) is as in the folder, or the default.

    Without agents, those of the folder are taken. Raises ValueError for agents that cannot be read.
    """
    given: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    specs: tuple[AgentSpec, ...] = tuple(map(read_agent, agents))
    if "suite" in given:
        given["suite"] = located(given["suite"])
    if given.get("quarantine", "none") != "none":
        given["quarantine"] = str(Path(given["quarantine"]).resolve())
    if EvalStore(folder).manifest.exists():
        there = read_evaluation(folder, agents=True)
        kept = {key: getattr(there, key) for key in said}
        return Evaluation(**kept | given, agents=specs or there.agents)
    suite = given.setdefault("suite", "katas")
    rest = {"tasks": None, "samples": 4, "seed": 0}
    given.setdefault("split", default_split(suite, specs) if specs else "held_out")
    return Evaluation(**rest | given, agents=specs)
