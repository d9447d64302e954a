"""The list of mutations fits the code; the slow test lets every one of them be noticed."""

import subprocess
import sys

import pytest

from tests.results.mutations import MUTATIONS, ROOT, place_of


def test_every_mutation_changes_one_place_and_names_a_test() -> None:
    for mutation in MUTATIONS:
        assert (ROOT / mutation.path).read_text().count(mutation.old) == 1, mutation
        file, name = mutation.test.split("::")
        assert f"def {name}(" in (ROOT / place_of(file)).read_text(), mutation
        assert mutation.old != mutation.new


@pytest.mark.slow
def test_every_mutation_is_noticed() -> None:
    command = [sys.executable, "-m", "tests.results.mutations"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
