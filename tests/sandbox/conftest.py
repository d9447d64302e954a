"""The backends under test. One that is missing is skipped visibly; in CI (CI=true) it is a failure."""

import os

import pytest

from plateau_bench.sandbox import Backend, SandboxError, open_backend


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("bubblewrap", marks=pytest.mark.bwrap),
    ],
)
def backend(request: pytest.FixtureRequest) -> Backend:
    return available(request.param)


def available(name: str) -> Backend:
    try:
        found = open_backend(name, workers=2, say=print)
        found.open().close()
    except SandboxError as e:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have {name}: {e}")
        pytest.skip(str(e))
    return found
