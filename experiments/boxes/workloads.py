"""The workloads, as plain data, and the loop that drives them; standard library only, for any interpreter.

w        a box is opened, three files in, three commands, a hidden test in, the test run, the verdict checked,
         the box destroyed
w2       the same, but the test runs in a second, fresh box that gets the first one's files
w3       function-sized programs graded, ten calls each
command  one more command in a box that is open already
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

NAMES = ("w", "w2", "w3", "command")

FILES = {
    "shop.py": "def total(prices):\n    return max(prices)\n",
    "README.md": "# shop\n\n`total` should add up.\n",
    "cases.json": "[[[1, 2, 3], 6], [[], 0], [[5], 5]]\n",
}
COMMANDS = (
    "printf 'def total(prices):\\n    return sum(prices)\\n' > shop.py",
    "python3 -c 'import shop; print(shop.total([20, 22]))'",
    "cat shop.py",
)
ANSWERS = ("", "42\n", "def total(prices):\n    return sum(prices)\n")
HIDDEN_NAME = "test_shop.py"
HIDDEN = """import json, unittest, shop
class Total(unittest.TestCase):
    def test_cases(self):
        for prices, total in json.load(open("cases.json")):
            self.assertEqual(shop.total(prices), total)
    def test_negative(self):
        self.assertEqual(shop.total([-1, 1]), 0)
"""
TEST = "python3 -m unittest test_shop"


def check(answers: list[str], code: int | None, output: str) -> None:
    """Raise ValueError unless an attempt did what it should: a fast wrong answer is no result."""
    if [a.replace("\r\n", "\n").strip() for a in answers] != [a.strip() for a in ANSWERS]:
        raise ValueError(f"the commands answered {answers!r}")
    if code != 0 or "Ran 2 tests" not in output or "OK" not in output:
        raise ValueError(f"the tests ended with {code}: {output[-300:]}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Puzzle:
    """One program with ten calls and what they must answer."""

    source: str
    calls: tuple[tuple[list[int], int], ...]
    expected: tuple[object, ...]

    def script(self) -> str:
        """The program followed by its checks, for those who run a file."""
        return self.source + "\n" + self.test() + "\ncheck(f)\n"

    def test(self) -> str:
        """A `check(candidate)` as HumanEval has it."""
        lines = [
            f"    assert candidate(*{c!r}) == {e!r}" for c, e in zip(self.calls, self.expected, strict=True)
        ]
        return "def check(candidate):\n" + "\n".join(lines)


_KINDS: tuple[tuple[str, Callable[[int, list[int], int], object]], ...] = (
    (
        "def f(items, k):\n    kept = [x for x in items if x % 2 == k % 2]\n    return sorted(kept)[:{c}]\n",
        lambda c, items, k: sorted(x for x in items if x % 2 == k % 2)[:c],
    ),
    (
        "def f(items, k):\n    total = {c}\n    for i, x in enumerate(items):\n"
        "        if i % (k + 1) == 0:\n            total += x * x\n    return total\n",
        lambda c, items, k: c + sum(x * x for x in items[:: k + 1]),
    ),
    (
        "from collections import Counter\ndef f(items, k):\n    counts = Counter(x % {c} for x in items)\n"
        "    return [counts[i] for i in range({c})] + [k]\n",
        lambda c, items, k: [sum(x % c == i for x in items) for i in range(c)] + [k],
    ),
    (
        "def f(items, k):\n    text = ','.join(str(x + {c}) for x in items)\n    return text[k:]\n",
        lambda c, items, k: ",".join(str(x + c) for x in items)[k:],
    ),
)


def puzzles(count: int = 32) -> list[Puzzle]:
    """`count` different programs, the same ones every time."""
    found = []
    for i in range(count):
        template, solve = _KINDS[i % len(_KINDS)]
        c = 2 + i
        calls = tuple(([(7 * j + i * n) % 50 - 10 for n in range(6 + j)], j % 4) for j in range(10))
        expected = tuple(solve(c, items, k) for items, k in calls)
        found.append(Puzzle(source=template.format(c=c), calls=calls, expected=expected))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What one system did in one time slot."""

    walls: list[float]
    """Seconds per unit (an attempt, a program, a command), one entry per call of `step`."""
    units: int
    elapsed: float


Step = Callable[[], int]
"""Does some units of work and says how many."""


def drive(worker: Callable[[], AbstractContextManager[Step]], concurrency: int, seconds: float) -> Cell:
    """`concurrency` threads work until `seconds` are over, each at least once. Raises what a step raised."""
    walls: list[float] = []
    units: list[int] = []
    errors: list[BaseException] = []
    gate = threading.Barrier(concurrency)
    times: list[tuple[float, float]] = []

    def work() -> None:
        try:
            with worker() as step:
                gate.wait(300)
                begun = time.perf_counter()
                while True:
                    start = time.perf_counter()
                    done = step()
                    now = time.perf_counter()
                    walls.append((now - start) / done)
                    units.append(done)
                    if now - begun >= seconds:
                        break
                times.append((begun, now))
        except BaseException as e:
            errors.append(e)
            gate.abort()

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    elapsed = max(end for _, end in times) - min(begin for begin, _ in times)
    return Cell(walls=walls, units=sum(units), elapsed=elapsed)
