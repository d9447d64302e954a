"""Suite `lists`: three small functions to practise on, and the same ones in other words."""

import hashlib

from plateau_bench.tasks.base import Case, FunctionTests, Split, Task
from plateau_bench.tasks.suite import FixedSuite

LISTS = ([3, 1, 2], [5, 4], [7], [2, 9, 2, 8])
TEXTS = {
    sum: ("Write f(a): the sum of the list a.", "Write f(a), which gives the sum of a list."),
    max: ("Write f(a): the largest item of the list a.", "Write f(a), which gives the largest item."),
    sorted: ("Write f(a): the list a in ascending order.", "Write f(a), which sorts in ascending order."),
}


def task(function, split, text):
    cases = tuple(Case(args=(items,), expected=function(items)) for items in LISTS)
    return Task(
        id=f"lists/{function.__name__}-{split}",
        instruction=text,
        split=split,
        digest=hashlib.sha256(f"{text}{cases}".encode()).hexdigest(),
        tests=FunctionTests(entry_point="f", visible=cases[:1], hidden=cases),
        solution=f"def f(a):\n    return {function.__name__}(a)\n",
    )


def lists():
    tasks = [task(function, *one) for function, two in TEXTS.items() for one in zip(Split, two, strict=True)]
    return FixedSuite("lists", tasks, "the suite 'lists'")
