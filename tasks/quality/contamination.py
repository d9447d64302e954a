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
from collections import Counter
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Clash:
    """A pair that must not be: what is trained on, what is held out, and why they are the same."""

    training: str
    held_out: str
    why: str

    def __str__(self) -> str:
        return f"{self.training} and held-out {self.held_out}: {self.why}"


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
) -> Iterator[Clash]:
    """The pairs that are the same task, the same problem, or nearly the same solution, as they are found.

    With `shares_parts`, likeness of programs means nothing; the same cluster on both sides does.
    """
    index = _Index(held_out, shares_parts)
    for one in training:
        for other, why in index.same_as(one):
            yield Clash(training=one.name, held_out=other.name, why=why)


class _Index:
    """Held-out exercises, found by everything that gives a copy away."""

    def __init__(self, held_out: Sequence[Exercise], shares_parts: bool) -> None:
        self._items, self._shares = held_out, shares_parts
        self._shingles: dict[int, list[int]] = {}
        self._sizes: list[int] = []
        self._digests = {item.digest: i for i, item in enumerate(held_out) if item.digest}
        self._clusters = {item.cluster: i for i, item in enumerate(held_out) if item.cluster}
        self._texts = {_plain(item.instruction): i for i, item in enumerate(held_out)}
        for i, item in enumerate(held_out):
            own = frozenset() if shares_parts else shingles(item.program)
            self._sizes.append(len(own))
            for shingle in own:
                self._shingles.setdefault(shingle, []).append(i)

    def same_as(self, one: Exercise) -> Iterable[tuple[Exercise, str]]:
        """Held-out items that `one` gives away, with the reason; each at most once."""
        seen: set[int] = set()
        keys = [(self._digests, one.digest, "the same task"), (self._texts, _plain(one.instruction), "")]
        if self._shares or one.cluster:
            keys.append((self._clusters, one.cluster, f"both are of {one.cluster!r}"))
        for table, key, why in keys:
            i = table.get(key)
            if key and i is not None and i not in seen:
                seen.add(i)
                yield self._items[i], why or "the same instruction"
        if self._shares:
            return
        own = shingles(one.program)
        shared = Counter(i for shingle in own for i in self._shingles.get(shingle, ()))
        for i, both in shared.items():
            likeness = both / (len(own) + self._sizes[i] - both)
            if likeness >= SIMILAR and i not in seen:
                yield self._items[i], f"their solutions are alike ({likeness:.2f} of {RUN}-token runs)"


def _plain(text: str) -> str:
    return " ".join(text.split())


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
        body = getattr(node, "body", None)
        if isinstance(body, list) and isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            kept = [
                statement
                for statement in body
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
