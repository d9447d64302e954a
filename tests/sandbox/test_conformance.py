"""Every backend passes every conformance check."""

import pytest

from sandbox import Backend
from sandbox.conformance import Check
from sandbox.conformance_programs import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(backend: Backend, check: Check) -> None:
    check(backend)
