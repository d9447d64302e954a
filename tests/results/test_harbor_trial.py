"""Trial folders as Harbor reads them: what is in one, and Harbor's own model where it is installed.

PLATEAU_HARBOR_PYTHON names an interpreter that has it.
"""

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plateau_bench.agents.base import Ending
from plateau_bench.results.exports.harbor import export, trial_name
from plateau_bench.results.exports.source import Source
from plateau_bench.results.records import Attempt
from plateau_bench.tasks.base import Outcome
from tests.results.attempts import attempt
from tests.results.test_exports import with_tools

TOLD = dataclasses.replace(
    attempt("org/crash", 2, Outcome.FAILED, ending=Ending.CRASHED),
    trajectory=dataclasses.replace(
        attempt("org/crash", 2).trajectory,
        model="acme/big",
        ending=Ending.CRASHED,
        error="KeyError: 'x'",
        logprobs=(float("nan"), -0.5),
        token_ids=(1, 2, 3),
        loss_spans=((1, 3),),
    ),
)
ATTEMPTS = (
    with_tools("org/a task", 0),
    with_tools("../../odd\0", 1, Outcome.INVALID),
    TOLD,
    attempt("org/crash", 3, Outcome.INFRA),
    attempt("org/crash", 4, Outcome.FAILED),
)
CREATED = "2026-01-02T03:04:05+00:00"


def written(*attempts: Attempt) -> dict[str, Any]:
    return dict(
        export(Source(name="run", created=CREATED, attempts=attempts, instruction=lambda one: "do it"))
    )


def test_a_trial_says_what_is_known() -> None:
    files = written(*ATTEMPTS)
    assert files == written(*ATTEMPTS)
    assert len({trial_name(one) for one in ATTEMPTS}) == len(ATTEMPTS)
    assert all(".." not in path.split("/") and path.count("/") in (1, 2) for path in files)
    good, bad, crashed, infra, failed = (
        json.loads(files[f"{trial_name(one)}/result.json"]) for one in ATTEMPTS
    )
    assert good["verifier_result"] == {"rewards": {"reward": 1}}
    assert [one["verifier_result"]["rewards"]["reward"] for one in (bad, crashed, failed)] == [0, 0, 0]
    assert (good["exception_info"], failed["exception_info"]) == (None, None)
    assert (infra["verifier_result"], infra["exception_info"]["exception_type"]) == (None, "SandboxError")
    assert f"{trial_name(ATTEMPTS[3])}/verifier/reward.txt" not in files
    assert crashed["exception_info"]["exception_type"] == "KeyError"
    assert crashed["agent_info"]["model_info"] == {"name": "big", "provider": "acme"}
    (turns,) = good["agent_result"]["rollout_details"]
    assert turns["prompt_token_ids"] == [[1, 2, 3], [1, 2, 3, 10, 11, 4], [1, 2, 3, 10, 11, 4, 20]]
    assert turns["completion_token_ids"] == [[10, 11], [20], [30, 31]]
    assert turns["logprobs"] == [[-0.1, -0.2], [-0.3], [-0.4, -0.5]]
    assert bad["agent_result"]["metadata"]["outcome"] == "invalid"
    assert good["config"] == json.loads(files[f"{trial_name(ATTEMPTS[0])}/config.json"])


HARBOR = """
import json, pathlib, sys
from harbor.models.job.result import JobStats
from harbor.models.trial.config import TrialConfig
from harbor.models.trial.result import TrialResult
places = sorted(pathlib.Path(sys.argv[1]).glob("*/result.json"))
results = [TrialResult.model_validate_json(place.read_text()) for place in places]
for place, result in zip(places, results):
    assert TrialConfig.model_validate_json(place.with_name("config.json").read_text()) == result.config
    assert result.trial_name == place.parent.name
totals = [result.compute_token_cost_totals() for result in results]
stats = JobStats.from_trial_results(results)
print(json.dumps({"errors": stats.n_errored_trials, "done": stats.n_completed_trials,
    "tokens": sum(total[0] for total in totals), "pass": [r.verifier_result.rewards["reward"]
    for r in results if r.verifier_result]}))
"""


def test_harbor_reads_them(tmp_path: Path) -> None:
    python = os.environ.get("PLATEAU_HARBOR_PYTHON")
    if not python:
        pytest.skip("PLATEAU_HARBOR_PYTHON names no interpreter")
    for path, data in written(*ATTEMPTS).items():
        (tmp_path / "job" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / path).write_bytes(data)
    done = subprocess.run(
        [python, "-c", HARBOR, str(tmp_path / "job")], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"errors": 2, "done": 5, "tokens": 32, "pass": found["pass"]}
    assert sorted(found["pass"]) == [0, 0, 0, 1]
