"""What an evaluation's `eval.json` says of the contents that its numbers rest on.

Beside the description lies `content`: the chosen tasks; of each task digest, what an agent saw of it; of each
agent, the digests of its weights or files and of the code that graded it; date, version and machine. Folders
that were made before this was kept have none of it, and what is unknown is never called changed.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plateau_bench.harness.content import (
    differing,
    digest_of_file,
    grading,
    plateau_version,
    seen,
    solutions,
    weights,
)
from plateau_bench.harness.evals.agent_spec import AgentSpec
from plateau_bench.results.attempt_log import read_lines
from plateau_bench.results.store import EVAL_FORMAT, EvalStore, hold, write_json
from plateau_bench.tasks.base import Task
from plateau_bench.tasks.loading import located
from plateau_bench.validate import validated

ELSEWHERE = ("base_url", "api_key_env", "timeout_s")
"""What may be mended of an agent without making its attempts again: where and how its model is asked."""
FREE = ("oracle", "nop", "replay", "predictions")
"""Kinds of agents whose attempts cost nothing: they are made again without asking."""


def description(row: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `eval.json` that an `Evaluation` is made of; the suite's path is absolute."""
    kept = {key: value for key, value in row.items() if key not in ("format", "content")}
    return kept | {"suite": located(kept["suite"])}


def content(row: Mapping[str, Any]) -> dict[str, Any]:
    """The content's part; empty where it was not kept."""
    found: dict[str, Any] = row.get("content", {})
    return found


def change(store: EvalStore, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change `eval.json` while no other process does."""
    with hold(store.root / ".lock", str(store.root), wait_s=30):
        row = store.read_manifest()
        edit(row)
        write_json(store.manifest, row)


def begin(store: EvalStore, asked: dict[str, Any], retried: bool) -> list[str]:
    """Write the description, or join it with the one that is there; what there is to say about it.

    More samples and more agents may be asked for, and agents may be mended. Raises ValueError if the folder
    holds another evaluation, or attempts of an agent that was another; `retried`: they are all made again.
    """
    with hold(store.root / ".lock", str(store.root), wait_s=30):
        if not store.manifest.exists():
            write_json(store.manifest, {"format": EVAL_FORMAT, **asked, "content": _new()})
            return []
        before = store.read_manifest()
        there = description(before)
        for key, wanted in asked.items():
            had = there.get(key)
            if key == "agents" or had == wanted:
                continue
            more = "; -n may grow, not shrink" if key == "samples" else ""
            if key != "samples" or wanted < had:
                raise ValueError(
                    f"{store.root} holds an evaluation with {key} {had!r}, not {wanted!r}{more}; "
                    "choose another folder with --out"
                )
        notes = []
        agents = {agent["name"]: agent for agent in there["agents"]}
        for new in asked["agents"]:
            old = agents.get(new["name"])
            notes += _mended(store, old, new, retried) if old else []
            agents[new["name"]] = new
        written = {**asked, "agents": list(agents.values()), "content": content(before) or _new()}
        write_json(store.manifest, {"format": EVAL_FORMAT, **written})
        return notes


def _new() -> dict[str, Any]:
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "plateau": plateau_version(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "chosen": None,
        "seen": {},
        "agents": {},
    }


def _mended(store: EvalStore, old: dict[str, Any], new: dict[str, Any], retried: bool) -> list[str]:
    """What to say of an agent whose description is not what it was."""
    known = asdict(validated(AgentSpec, old, f"{store.manifest}: agent {old['name']}"))
    changed = [
        key
        for key in differing(known, asdict(validated(AgentSpec, new, "--agent")))
        if key != "vendor_digest"
    ]
    if old.get("vendor_digest") != new.get("vendor_digest"):
        changed.append("vendor")
    log = store.attempts(old["name"])
    made = len(read_lines(log)) if log.exists() else 0
    if not changed or not made or retried:
        return []
    what = ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in sorted(set(changed)))
    if {*changed} <= {*ELSEWHERE}:
        return [f"{old['name']}: {what}; its {made} attempts are kept"]
    if changed == ["attempts"]:
        return []  # the file's content tells
    raise ValueError(
        f"{store.root}: agent {old['name']} was described differently when its {made} attempts were made "
        f"({what}); --retry all makes them again, or give it another name"
    )


def rests_on(spec: AgentSpec, tasks: Sequence[Task]) -> dict[str, Any]:
    """File or part -> digest of what an agent's answers come from, beside its description."""
    if spec.kind == "oracle":
        return {"solutions": solutions(tasks)}
    if spec.attempts:
        return {"attempts": digest_of_file(Path(spec.attempts))}
    kind, colon, _ = spec.kind.partition(".py:")
    own = {"code": digest_of_file(Path(kind + ".py"))} if colon else {}
    return own | (weights(spec.model) if spec.model and spec.is_local else {})


def remember(store: EvalStore, name: str, tasks: Sequence[Task], known: Mapping[str, Any], new: bool) -> None:
    """Keep what the attempts that are made from now on rest on; `new`: there are no earlier ones."""

    def edit(row: dict[str, Any]) -> None:
        kept = row.setdefault("content", _new())
        kept["chosen"] = [task.id for task in tasks]
        kept["seen"] |= {task.digest: seen(task) for task in tasks}
        graded = [] if new else kept["agents"].get(name, {}).get("grading", [])
        kept["agents"][name] = {"rests_on": known, "grading": list(dict.fromkeys([*graded, grading()]))}

    change(store, edit)


def drop(store: EvalStore, name: str) -> Path:
    """Take an agent out of an evaluation; gives where its folder lies now. Raises ValueError."""

    def edit(row: dict[str, Any]) -> None:
        left = [agent for agent in row["agents"] if agent["name"] != name]
        if len(left) == len(row["agents"]):
            names = ", ".join(agent["name"] for agent in left) or "none"
            raise ValueError(f"--drop {name}: no such agent in {store.root}; there are: {names}")
        row["agents"] = left
        content(row).get("agents", {}).pop(name, None)

    folder = store.attempts(name).parent
    with hold(store.lock(name), str(folder)):
        change(store, edit)
        place, number = store.root / ".dropped" / name, 1
        while place.exists():
            number += 1
            place = place.with_name(f"{name}-{number}")
        place.parent.mkdir(exist_ok=True)
        return folder.rename(place)
