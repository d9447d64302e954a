"""Every backend passes every check of `sandbox.conformance`."""

import pytest

from sandbox import Backend
from sandbox.conformance import CHECKS, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(backend: Backend, check: Check) -> None:
    check(backend)
