"""Whether training material holds a held-out task, or nearly its solution.

Two programs are near duplicates if the sets of their runs of five tokens have a Jaccard similarity of .8 or
more, after comments, docstrings, annotations, imports, layout and names of their own are taken out (Broder
1997; exact here, by an inverted index). Programs under 25 tokens are not compared: one-line functions are
equal by chance.

A suite that generates its tasks from shared building blocks (`shares_parts`, the katas) resembles itself by
design. What must not cross there is a combination of parts, so clusters are compared instead.
"""

import ast
import builtins
import hashlib
import io
import keyword
import tokenize
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from plateau_bench.tasks.base import Task
from plateau_bench.tasks.suite import HumanSample

SIMILAR = 0.8
RUN = 5
"""How many tokens are compared at a time."""
LEAST = 25
"""The fewest tokens of a program that can be recognised."""
_KEPT = frozenset(keyword.kwlist) | frozenset(dir(builtins))


@dataclass(frozen=True, kw_only=True, slots=True)
class Exercise:
    """A problem and its solution: what may be trained on, or must not be."""

    name: str
    instruction: str
    program: str
    digest: str = ""
    cluster: str = ""


def of_task(task: Task) -> Exercise:
    """A task with its solution, where it has one that is a program."""
    return Exercise(
        name=task.id,
        instruction=task.instruction,
        program=getattr(task.tests, "prelude", "") + task.solution,
        digest=task.digest,
        cluster=task.cluster or task.id,
    )


def of_sample(sample: HumanSample, number: int) -> Exercise:
    """A human sample; `number` tells it from others in messages."""
    return Exercise(
        name=f"human sample {number}",
        instruction=sample.instruction,
        program=sample.program,
        cluster=sample.combo,
    )


def clashes(
    training: Iterable[Exercise], held_out: Sequence[Exercise], *, shares_parts: bool = False
) -> Iterator[str]:
    """The pairs that are the same task, the same problem, or nearly the same solution, as they are found.

    A pair is told as both names and why they are the same. With `shares_parts`, likeness of programs means
    nothing; the same cluster on both sides does.
    """
    marked = {mark: i for i, other in enumerate(held_out) for mark in _marks(other)}
    runs = [frozenset() if shares_parts else shingles(other.program) for other in held_out]
    holders: defaultdict[int, list[int]] = defaultdict(list)
    for i, theirs in enumerate(runs):
        for shingle in theirs:
            holders[shingle].append(i)
    for one in training:
        found: dict[int, str] = {}
        for mark in _marks(one):
            if mark in marked:
                found.setdefault(marked[mark], mark[0])
        own = frozenset() if shares_parts else shingles(one.program)
        shared = Counter(i for shingle in own for i in holders.get(shingle, ()))
        for i, both in shared.items():
            likeness = both / (len(own) + len(runs[i]) - both)
            if likeness >= SIMILAR:
                found.setdefault(i, f"their solutions are alike ({likeness:.2f} of {RUN}-token runs)")
        for i, why in found.items():
            yield f"{one.name} and held-out {held_out[i].name}: {why}"


def _marks(one: Exercise) -> list[tuple[str, str]]:
    """What gives a copy away without a look at programs: what it would mean, and the mark itself."""
    marks = [
        ("the same task", one.digest),
        ("the same instruction", " ".join(one.instruction.split())),
        (f"both are of {one.cluster!r}", one.cluster),
    ]
    return [(why, mark) for why, mark in marks if mark]


def shingles(program: str) -> frozenset[int]:
    """Hashes of the runs of five normal tokens; none for short programs and for what is not Python."""
    tokens = normal_tokens(program)
    if len(tokens) < LEAST:
        return frozenset()
    runs = ("\0".join(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1))
    return frozenset(int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest()) for run in runs)


def normal_tokens(program: str) -> list[str]:
    """Tokens without comments, docstrings and layout; own names numbered by first use; [] if not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
        text = ast.unparse(_Bare().visit(tree))
        names: dict[str, str] = {}
        return [
            names.setdefault(token.string, f"v{len(names)}")
            if token.type == tokenize.NAME and token.string not in _KEPT
            else token.string
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.string.strip()
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return []


class _Bare(ast.NodeTransformer):
    """Takes docstrings, annotations and imports out."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            kept = [
                statement
                for statement in node.body
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
                and not isinstance(statement, ast.Import | ast.ImportFrom)
            ]
            node.body = kept or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        return self.generic_visit(node)
