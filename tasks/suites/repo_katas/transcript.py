"""How a person works on a package: a conversation with tool calls, each answered as the tools would.

The person finds the function, reads it, edits it, runs the tests and submits. Some first edits are wrong, in
what they say or in the lines they replace; then the person looks again and repairs, or gives up. Commands are
chosen so that their output is short: a small model reads every token of it.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from plateau_bench.tasks.suites.repo_katas.project import Project, slip, span, write_in_any_style
from plateau_bench.tasks.suites.repo_katas.testfile import printed_by_tests

TEST_FIRST, LIST_FIRST = 0.5, 0.12
"""How people find the function; the rest search for it at once."""
MINIMAL, WHOLE = 0.62, 0.18
"""Edits of the fewest lines, and of the whole body; the rest rewrites the body in a style of their own."""
WRONG, WRONG_AGAIN, WRONG_LINES = 0.2, 0.12, 0.4
LOOK_AGAIN, UNTESTED, GIVE_UP, TYPO, SKIP_HELPER = 0.9, 0.04, 0.1, 0.012, 0.3

TEST = "python3 test.py"


class Edit(NamedTuple):
    """Replace the lines from start to end, counted from 1."""

    start: int
    end: int
    text: str


class Workspace:
    """The package in memory, with the few commands that people use here; keeps the conversation."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.files = dict(project.files)
        self.chat: list[dict[str, Any]] = [{"role": "user", "content": project.issue}]

    def list_files(self) -> None:
        self._bash("ls", "\n".join(sorted(self.files)))

    def find(self, name: str) -> None:
        """Which files define a function."""
        there = [path for path, text in sorted(self.files.items()) if f"def {name}(" in text]
        self._bash(f'grep -l "def {name}" *.py', "\n".join(there) or "[exit code 1]")

    def show(self, path: str) -> None:
        if path not in self.files:
            return self._bash(f"cat -n {path}", f"cat: {path}: No such file or directory\n[exit code 1]")
        lines = self.files[path].splitlines()
        return self._bash(f"cat -n {path}", "\n".join(f"{i:6}\t{line}" for i, line in enumerate(lines, 1)))

    def test(self) -> bool:
        """Run the tests and return whether they pass."""
        project = self.project
        answer = printed_by_tests(self.files, project.file, project.name, project.tests.visible)
        self._bash(TEST, answer)
        return answer.endswith("passed")

    def edit(self, path: str, edit: Edit) -> None:
        lines = self.files[path].splitlines()
        arguments = {"path": path, "start": edit.start, "end": edit.end, "text": edit.text}
        if not (1 <= edit.start <= len(lines) + 1 and edit.start - 1 <= edit.end <= len(lines)):
            where = f"lines {edit.start} to {edit.end} are not in it"
            return self._call("edit", arguments, f"[{path} has {len(lines)} lines; {where}]")
        lines[edit.start - 1 : edit.end] = edit.text.splitlines()
        self.files[path] = "\n".join(lines) + "\n"
        return self._call("edit", arguments, "[ok]")

    def submit(self) -> None:
        self._call("submit", {}, "")
        self.chat.pop()  # the answer to it is seen by nobody

    def _bash(self, command: str, answer: str) -> None:
        self._call("bash", {"command": command}, answer)

    def _call(self, name: str, arguments: Mapping[str, Any], answer: str) -> None:
        call = {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
        self.chat.append({"role": "assistant", "content": "", "tool_calls": [call]})
        self.chat.append({"role": "tool", "content": answer})


def work(project: Project, rng: random.Random, *, careful: bool = False) -> Workspace:
    """A person works on the package. `careful` people make no mistakes."""
    space = Workspace(project)
    _look_around(space, rng, careful)
    path = project.culprit.file
    wrong = 0.0 if careful else WRONG
    while True:
        edit = _edit(space, rng)
        if rng.random() < wrong:
            edit = _spoilt(space, edit, rng)
        space.edit(path, edit)
        if rng.random() < UNTESTED or space.test():
            break
        if rng.random() < GIVE_UP:
            break
        wrong = WRONG_AGAIN
        if rng.random() < LOOK_AGAIN:
            space.show(path)
    space.submit()
    return space


def smallest_edit(old: Sequence[str], new: Sequence[str]) -> Edit:
    """The fewest lines that turn old into new; never an insertion or a deletion of nothing else."""
    first, same = 0, min(len(old), len(new))
    while first < same and old[first] == new[first]:
        first += 1
    last = 0
    while last < same - first and old[-1 - last] == new[-1 - last]:
        last += 1
    if first + last >= same:  # one side would be empty: take a neighbour along
        if last:
            last -= 1
        elif first:
            first -= 1
    return Edit(first + 1, len(old) - last, "\n".join(new[first : len(new) - last]))


def _look_around(space: Workspace, rng: random.Random, careful: bool) -> None:
    project = space.project
    draw = rng.random()
    if draw < TEST_FIRST:
        space.test()
    else:
        if draw > 1 - LIST_FIRST:
            space.list_files()
        space.find(project.name)
    if not careful and rng.random() < TYPO:
        space.show(project.file.replace(".py", "s.py"))
    space.show(project.file)
    if project.helper and (project.culprit is project.helper or rng.random() > SKIP_HELPER):
        space.show(project.helper.file)


def _edit(space: Workspace, rng: random.Random) -> Edit:
    """The edit that leads from what is there now to what should be."""
    project, path, name = space.project, space.project.culprit.file, space.project.culprit.name
    now, goal = space.files[path].splitlines(), project.fixed[path].splitlines()
    draw = rng.random()
    first, last = span(now, name)
    body = goal[slice(*span(goal, name))][1:]
    if draw > MINIMAL + WHOLE:
        body = write_in_any_style(project.culprit, rng.getrandbits(32), rng)[1:]
    if draw > MINIMAL and last and now != [*now[: first + 1], *body, *now[last:]]:
        return Edit(first + 2, last, "\n".join(body)) if last > first + 1 else smallest_edit(now, goal)
    return smallest_edit(now, goal)


def _spoilt(space: Workspace, edit: Edit, rng: random.Random) -> Edit:
    """The edit with a mistake: other lines are replaced, or the program put there is a wrong one."""
    project, path = space.project, space.project.culprit.file
    now = space.files[path]
    if rng.random() < WRONG_LINES and "while" not in now + edit.text:  # it might loop for ever
        end = edit.end + rng.choice((-1, 1))
        return edit._replace(end=end) if end >= edit.start else edit._replace(end=edit.end + 1)
    lines = project.culprit.write(slip(project.culprit.pipeline, rng), project.style, project.salt)
    first, last = span(now.splitlines(), project.culprit.name)
    if not lines or last <= first + 1:
        return edit
    return smallest_edit(
        now.splitlines(), [*now.splitlines()[: first + 1], *lines[1:], *now.splitlines()[last:]]
    )
