"""Behavioural classes: alike where no test looks, or not."""

from experiments.measures.behaviour import behaviour_keys
from tests.tasks.trusted_box import TrustedBox

LOOP = "def f(a):\n    t = 0\n    for x in a:\n        t += x\n    return t\n"
BUILT_IN = "def f(a):\n    return sum(a)\n"
CHECKED = "def f(a):\n    return sum(a) if isinstance(a, list) else 0\n"
WORDY = "def f(numbers):\n    return sum(numbers)  # all of them\n"


def test_same_answers_and_errors_are_one_class() -> None:
    box = TrustedBox()
    loop, built_in, checked, wordy, again = behaviour_keys([LOOP, BUILT_IN, CHECKED, WORDY, LOOP], "f", box)
    assert loop == built_in == wordy == again  # TypeError for words, None and 7 in each
    assert checked != built_in
    assert box.programs_run == 4  # each text once


def test_errors_values_and_types_are_told_apart() -> None:
    bodies = ["return 1", "return 1.0", "return True", "return '1'", "raise ValueError", "raise KeyError"]
    keys = behaviour_keys([f"def f(a):\n    {body}\n" for body in bodies] + ["not python"], "f", TrustedBox())
    assert len(set(keys)) == 7
