"""A proof in seconds that the numbers of an evaluation will mean something, before anything is spent."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plateau_bench.agents.base import BudgetSpent, ModelUnavailable, NotReached
from plateau_bench.harness.attempts.boxed import attempt_in_box
from plateau_bench.harness.attempts.grading import Grader
from plateau_bench.harness.evals.agent_spec import AgentSpec, open_model
from plateau_bench.harness.evals.controls import Oracle
from plateau_bench.harness.evals.evaluation import Evaluation, tasks_of
from plateau_bench.harness.evals.ledger import FREE
from plateau_bench.results.attempt_log import read_lines
from plateau_bench.results.store import EvalStore
from plateau_bench.sandbox.base import Backend
from plateau_bench.tasks.base import FolderTests, Outcome, PackageTests, Task

if TYPE_CHECKING:
    from plateau_bench.agents.models.endpoint import Budget

_TRIED = 3
"""Tasks whose solutions are tried: one broken task is no broken suite."""
WORD = "Answer with the single word OK."
"""What every model is asked before its first attempt; it is in no attempt and in no figure."""


def prove(
    folder: Path,
    what: Evaluation,
    backend: Backend,
    budget: "Budget",
    say: Callable[[str], None],
    *,
    whole: bool = False,
) -> None:
    """Prove agents and suite, and say what was proved. Raises ModelUnavailable or ValueError with the cause.

    One small call of each agent's model, with the agent's own parameters and chat template; one task whose
    solution passes. Before an evaluation, as opposed to a check that was asked for (`whole`), agents with
    attempts are not asked, and without a model nothing is tried.
    """
    store = EvalStore(folder)
    asking = [one for one in what.agents if one.kind not in FREE and (whole or not _has_attempts(store, one))]
    for spec in asking:
        say(f"{spec.name}: {_ask(spec, budget)}")
    if whole or asking:
        tasks = what.chosen() if whole else tasks_of(folder)[0]
        say(_prove_suite(what.suite, tasks, backend))


def _has_attempts(store: EvalStore, spec: AgentSpec) -> bool:
    log = store.attempts(spec.name)
    return log.exists() and bool(read_lines(log))


def _ask(spec: AgentSpec, budget: "Budget") -> str:
    """What one small call of an agent's model proved."""
    from langchain_core.messages import HumanMessage

    from plateau_bench.agents.models.chat import model_name

    model = open_model(spec, budget)
    wanted: dict[str, Any] = {"temperature": spec.heat, "max_tokens": spec.limits.completion_tokens}
    if spec.is_local:  # a few tokens prove the template; a base model would write on to its limit
        wanted["max_tokens"] = min(8, spec.limits.completion_tokens)
    try:
        model.invoke(
            [HumanMessage(WORD)], **{key: value for key, value in wanted.items() if value is not None}
        )
    except (ModelUnavailable, BudgetSpent, NotReached):
        raise
    except Exception as error:
        cause = " ".join(str(error).split())[:300]
        raise ModelUnavailable(
            f"{spec.name}: the model cannot be asked ({type(error).__name__}: {cause}); mend model, key, "
            "parameters or chat template"
        ) from error
    how = "chat template and weights work" if spec.is_local else "it was asked and answered"
    return f"{how} ({model_name(model)})"


def _prove_suite(name: str, tasks: Sequence[Task], backend: Backend) -> str:
    """What the solutions of the first tasks proved. Raises ValueError if none passes."""
    tried = [task for task in tasks if _has_solution(task)][:_TRIED]
    if not tried:
        return f"{Path(name).name}: no task has a solution, so nothing is proved of its tests"
    reasons = []
    with closing(Grader(backend, None)) as grade:
        for task in tried:
            oracle = Oracle([task])
            if oracle.needs_box:
                path = attempt_in_box(oracle, backend, task, 0)
            else:
                path = oracle.solve(task.instruction, [0])[0]
            verdict = grade([(task, path)])[0]
            if verdict.outcome is Outcome.PASSED:
                return f"{Path(name).name}: the solution of {task.id} passes its tests"
            reasons.append(f"{task.id}: {verdict.reason or path.error or verdict.outcome.value}")
    raise ValueError(
        f"{name}: the solutions of {len(tried)} tasks do not pass their tests ({'; '.join(reasons)[:600]}); "
        f"'plateau tasks validate {name}' tells which tasks are sound"
    )


def _has_solution(task: Task) -> bool:
    if not isinstance(task.tests, FolderTests):
        return bool(task.solution)
    stages = task.tests.steps or (task,)
    return all(isinstance(s.tests, FolderTests | PackageTests) and _folder(s) for s in stages)


def _folder(task: Task) -> bool:
    return isinstance(task.tests, FolderTests) and task.tests.solution_dir is not None
