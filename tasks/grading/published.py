"""Grades published function-level tasks, which bring a solution and sometimes tests in Python.

The code under test only ever answers calls, in a program of its own; answers leave the box as values.

* Cases with a known value, and inputs whose value the task's solution gives (in another program), are
  compared here.
* Test code that cannot be read as cases runs in a third program, which gets the answers as values. The code
  under test is not there, so it can neither see the test nor touch it.

CPU limits are relative: to what the solution needs on this machine, and to the machine's measured speed.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from plateau_bench.sandbox.base import Output, Program, ProgramBox, ProgramResult, Status
from plateau_bench.tasks.base import Case, Outcome, Task, Verdict
from plateau_bench.tasks.grading.compare import complaint, graded, line, named_cases
from plateau_bench.tasks.grading.published_programs import (
    CHUNK,
    PublishedTests,
    Work,
    answering,
    decoded,
    merge,
    own_code,
    read_json,
    run_together,
)
from plateau_bench.tasks.guest.exchange import pack

FLOOR_S = 1.0
"""CPU seconds that every chunk of calls may take, on a machine of nominal speed."""
FACTOR = 10.0
"""How much longer than the task's own solution a program may take."""
OWN_S = 20.0
"""CPU seconds, at nominal speed, for the task's own code: its solution and its tests."""
LOOPS, NOMINAL_S = 40_000, 0.05
"""Work of the calibration program, and the CPU seconds that define nominal speed."""
LEAST = 3
"""Inputs that have to remain where those are left out that the solution raises on."""
ROUNDS = 50
"""How often test code may ask for calls that depend on earlier answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SolutionRun:
    """What running a task's own code gave: the calls to make, and what they must return."""

    calls: tuple[str, ...]
    """Packed arguments as JSON text: cases, then inputs, then what the script asks."""
    outputs: tuple[Output, ...]
    """What the solution returned, call by call; empty if it could not be run."""
    limits: tuple[float, ...]
    """CPU seconds that a program may take for each chunk of `CHUNK` calls."""
    broken: str = ""
    """Why the task's own code cannot be used."""


@dataclass(slots=True)
class SolutionRuns:
    """What is known about tasks and about the speed of the machine; kept as long as its owner likes."""

    known: dict[str, SolutionRun] = field(default_factory=dict)
    """What was learnt about each task, by its digest."""
    slowness: float = 0.0
    """CPU time here over CPU time at nominal speed; 0 before it was measured."""

    def ready(self, tasks: Iterable[Task], box: ProgramBox) -> None:
        """Learn what is missing. Raises SandboxError if the box died."""
        missing = {task.digest: task for task in tasks if task.digest not in self.known}
        if missing and not self.slowness:
            self.slowness = measure(box)
        runs = run_together(box, [_learn(task, self.slowness) for task in missing.values()])
        self.known |= zip(missing, runs, strict=True)


def measure(box: ProgramBox) -> float:
    """How slow the box's machine is, from 0.25 to 20 times nominal; the best of three."""
    results = box.run([own_code("calibrate", (LOOPS,), 30.0)] * 3)
    times = [said for said, _ in map(read_json, results) if isinstance(said, float) and said > 0]
    return min(20.0, max(0.25, min(times) / NOMINAL_S)) if times else 1.0


def _tests(task: Task) -> PublishedTests:
    assert isinstance(task.tests, PublishedTests)
    return task.tests


# --- the task's own code -------------------------------------------------------------------------------


def _learn(task: Task, slowness: float) -> Work[SolutionRun]:
    """Trace the test code, if there is any, then run the solution."""
    tests, limit = _tests(task), OWN_S * slowness
    asked: list[str] = []
    failed = ""
    if tests.script:
        (result,) = yield [own_code("trace", (tests.script, tests.entry_point), limit)]
        asked, failed = _traced(result)
    calls = [json.dumps(pack(list(args))) for args in tests.arguments] + asked
    limits = [limit] * max(1, -(-len(calls) // CHUNK))
    results = yield _timed(answering(tests, task.solution, calls, limits))
    return _solution_run(tests, calls, results, failed, slowness)


def _traced(result: ProgramResult) -> tuple[list[str], str]:
    """The calls that a script makes, and why it cannot be used."""
    said, problem = read_json(result)
    if problem:
        return [], f"the test code does not run: {problem}"
    try:
        calls, failed = said
        texts = list(map(json.dumps, calls))
    except (ValueError, TypeError):
        return [], "the test code does not run: no trace of it"
    return texts, failed and f"the solution fails the task's own test: {failed}"


def _timed(programs: Sequence[Program]) -> list[Program]:
    """Every program also says, at its end, how much CPU time it took."""
    clock = "\n\nimport time as plateau_time\n\n\ndef plateau_timed(call):\n" + (
        "    return plateau_answers(call) if call else str(plateau_time.process_time())\n"
    )
    return [
        replace(
            program,
            source=program.source + clock,
            entry_point="plateau_timed",
            calls=[*program.calls, ("",)],
        )
        for program in programs
    ]


def _solution_run(
    tests: PublishedTests,
    calls: Sequence[str],
    results: Sequence[ProgramResult],
    failed: str,
    slowness: float,
) -> SolutionRun:
    floor = FLOOR_S * slowness
    outputs: list[Output] = []
    limits = []
    problem = ""
    for result in results:
        if result.status is not Status.COMPLETED or not result.outputs:
            problem = problem or f"the solution does not run: {result.status}: {result.detail}"
            limits.append(floor)
            continue
        *said, clock = result.outputs
        outputs += map(decoded, said)
        spent = _seconds(clock)
        limits.append(max(floor, FACTOR * spent))
    first = len(tests.visible) + len(tests.hidden)
    last = len(tests.arguments)
    errors = [output.error for output in outputs[first:last] if output.error is not None]
    enough = tests.fallible and last - first - len(errors) >= LEAST
    raised = "" if enough or not errors else errors[0]
    if raised:
        problem = problem or f"the solution fails on the task's own inputs: {raised}"
    needed = last > first or bool(tests.script)
    return SolutionRun(
        calls=tuple(calls),
        outputs=() if problem else tuple(outputs),
        limits=tuple(limits),
        broken=(failed or problem) if needed else "",
    )


def _seconds(clock: Output) -> float:
    """What the solution's program says about its CPU time; at least it is no reason to fail."""
    try:
        return max(0.0, min(float(clock.value), OWN_S * 20))
    except (ValueError, TypeError):
        return 0.0


# --- verdicts ------------------------------------------------------------------------------------------


def grading(task: Task, answer: str, solutions: SolutionRuns) -> Work[Verdict]:
    """Let a program answer the calls, compare, and let test code judge if there is any.

    Where the test asks for calls that depend on earlier answers, the program is run again for these. A task
    whose own code does not work gives INFRA, naming why. `solutions` have to be ready for the task.
    """
    tests, solution, limit = _tests(task), solutions.known[task.digest], OWN_S * solutions.slowness
    if solution.broken:
        return graded(Outcome.INFRA, line("this task is broken", solution.broken))
    outputs, ended = merge((yield answering(tests, answer, solution.calls, solution.limits)))
    if len(outputs) != len(solution.calls):
        ended = ended or f"{len(outputs)} answers to {len(solution.calls)} calls"
    if ended:
        return graded(Outcome.FAILED, ended)
    verdict = _by_cases(tests, solution, outputs)
    if verdict.outcome is not Outcome.PASSED or not tests.script:
        return verdict
    first = len(tests.arguments)
    calls, outputs = list(solution.calls[first:]), outputs[first:]
    for _ in range(ROUNDS):
        answers = json.dumps([[pack(o.value)] if o.error is None else o.error for o in outputs])
        (result,) = yield [own_code("check", (tests.script, f"[{','.join(calls)}]", answers), limit)]
        said, problem = read_json(result)
        failed, more = (problem, []) if problem else said
        if not more:
            return graded(Outcome.FAILED if failed else Outcome.PASSED, failed and line("the test", failed))
        calls = list(map(json.dumps, more))
        limits = [max(solution.limits)] * -(-len(calls) // CHUNK)
        outputs, ended = merge((yield answering(tests, answer, calls, limits)))
        if ended:
            return graded(Outcome.FAILED, ended)
    return graded(Outcome.FAILED, "the test asks for ever more")


def _by_cases(tests: PublishedTests, solution: SolutionRun, outputs: list[Output]) -> Verdict:
    """The verdict by cases and inputs alone."""
    seen: list[str] = []
    unseen: list[str] = []
    for name, case, output in _cases(tests, solution, outputs):
        (seen if name.startswith("visible") else unseen).append(complaint(name, case, output))
    reason = next(filter(None, unseen + seen), "")
    if reason:
        verified = bool(seen) and not any(seen)
        return Verdict(outcome=Outcome.FAILED, verified=verified, reason=reason)
    return graded(Outcome.PASSED)


def _cases(
    tests: PublishedTests, solution: SolutionRun, outputs: list[Output]
) -> Iterator[tuple[str, Case, Output]]:
    """Names, cases and answers, but for inputs that the solution raises on and for the script's own calls."""
    known = named_cases(tests)
    yield from ((name, case, output) for (name, case), output in zip(known, outputs, strict=False))
    inputs = [(f"visible input {i}", args) for i, args in enumerate(tests.visible_inputs, 1)]
    inputs += [(f"hidden input {i}", args) for i, args in enumerate(tests.hidden_inputs, 1)]
    for i, (name, args) in enumerate(inputs, len(known)):
        wanted, output = solution.outputs[i], outputs[i]
        if wanted.error is None:
            if tests.as_set:
                wanted, output = _unordered(wanted), _unordered(output)
            yield name, Case(args=args, expected=wanted.value, tolerance=tests.tolerance), output


def _unordered(output: Output) -> Output:
    try:
        return Output(value=frozenset(output.value)) if output.error is None else output
    except TypeError:
        return Output(error="not a collection of plain values")
