"""Every backend passes every conformance check."""

import pytest

from plateau_bench.sandbox import Backend
from plateau_bench.sandbox.checks.commands import Check
from plateau_bench.sandbox.checks.programs import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(backend: Backend, check: Check) -> None:
    check(backend)
