"""Repository katas: small packages with a bug, an issue that tells of it, and tests.

An agent works on them in a box: it finds the function, repairs it and runs `test.py`, whose two cases are
weaker than the ten hidden ones that grade it. Operations are those of the katas over ints, in the same strata
and with the same held-out combinations. The human stand-in are conversations with tool calls (`transcript`).
"""

import hashlib
import itertools
import json
import random

from plateau_bench.sandbox.base import Diff
from plateau_bench.sandbox.diffs import diff_to_text
from plateau_bench.tasks.base import PackageTests, Split, Task
from plateau_bench.tasks.suite import HumanSample, Suite
from plateau_bench.tasks.suites.katas import digest as case_digest
from plateau_bench.tasks.suites.katas import grammar
from plateau_bench.tasks.suites.katas.grammar import STRATA, Pipeline
from plateau_bench.tasks.suites.repo_katas.project import Project, draw_pipeline, draw_project
from plateau_bench.tasks.suites.repo_katas.transcript import work

name = "repo-katas"
has_human_data = True
shares_parts = True
tasks: tuple[Task, ...] | None = None
"""This module is itself a `tasks.suite.Suite`; its tasks share operations by design."""

_ATTEMPTS = 60


def corpus(seed: int, size: int) -> list[HumanSample]:
    """`size` transcripts on training combinations, mistakes and all."""
    rng = random.Random(f"repo-katas/corpus/{seed}")
    return [_sample(rng) for _ in range(size)]


def fresh_human(seed: int, count: int, *, verified: bool) -> list[HumanSample]:
    """New transcripts on training combinations; `verified` keeps those whose package passes."""
    rng = random.Random(f"repo-katas/fresh/{seed}/{verified}")
    samples = (_sample(rng) for _ in itertools.count())
    return list(itertools.islice((one for one in samples if one.correct or not verified), count))


def held_out_text(seed: int, size: int) -> list[HumanSample]:
    """Transcripts without mistakes on held-out combinations, so disjoint from everything trained on."""
    rng = random.Random(f"repo-katas/held-out-text/{seed}")
    return [_sample(rng, held_out=True) for _ in range(size)]


def train_tasks(seed: int, count: int) -> tuple[Task, ...]:
    """`count` training tasks in the natural Zipf mix."""
    rng = random.Random(f"repo-katas/train/{seed}")
    return tuple(as_task(f"t-{seed}-{n}", Split.TRAIN, *_draw(rng)) for n in range(count))


def held_out_tasks(seed: int, count: int) -> tuple[Task, ...]:
    """`count` held-out tasks, strata in turn, combinations distinct as far as they last."""
    rng = random.Random(f"repo-katas/held-out/{seed}")
    seen: set[str] = set()
    tasks = []
    for number in range(count):
        for _ in range(_ATTEMPTS):
            pipeline, project = _draw(rng, held_out=True, stratum=STRATA[number % len(STRATA)])
            if grammar.combo(pipeline) not in seen:
                break
        seen.add(grammar.combo(pipeline))
        tasks.append(as_task(f"h-{seed}-{number}", Split.HELD_OUT, pipeline, project))
    return tuple(tasks)


def with_visible(count: int) -> Suite:
    """Raises ValueError: a package's visible tests are a file of it."""
    raise ValueError("tasks.visible: the tests of the suite 'repo-katas' are as they are; drop the key")


def _draw(rng: random.Random, *, held_out: bool = False, stratum: str = "") -> tuple[Pipeline, Project]:
    while True:
        pipeline = draw_pipeline(rng, held_out=held_out, stratum=stratum)
        project = draw_project(rng, pipeline)
        if project is not None:
            return pipeline, project


def _sample(rng: random.Random, *, held_out: bool = False) -> HumanSample:
    while True:
        pipeline, project = _draw(rng, held_out=held_out)
        space = work(project, rng, careful=held_out)
        correct = project.passes(space.files, (*project.tests.visible, *project.tests.hidden))
        if correct or not held_out:
            break
    changed = [text for path, text in sorted(space.files.items()) if text != project.files[path]]
    return HumanSample(
        instruction=project.issue,
        program="\n".join(changed),
        stratum=grammar.stratum(pipeline),
        correct=correct,
        combo=grammar.combo(pipeline),
        style=project.style,
        chat=tuple(space.chat),
    )


def as_task(name: str, split: Split, pipeline: Pipeline, project: Project) -> Task:
    """A project as a task; `name` tells it from others of its split."""
    files = {path: text.encode() for path, text in sorted(project.files.items())}
    fixed = {p: text.encode() for p, text in project.fixed.items() if text != project.files[p]}
    content = [case_digest(project.issue, project.tests), project.file, project.files]
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Task(
        id=f"repo-katas/{name}-{checksum[:8]}",
        instruction=project.issue,
        split=split,
        digest=checksum,
        tests=PackageTests(module=project.file.removesuffix(".py"), cases=project.tests, files=files),
        solution=diff_to_text(Diff(written=fixed)),
        stratum=grammar.stratum(pipeline),
        cluster=grammar.combo(pipeline),
        tags={
            "suite": "repo-katas",
            "bug": project.bug,
            "style": project.style,
            "place": "helper" if project.culprit is project.helper else "main",
        },
    )
