"""What pages say is there: links, files, names of Python, commands and their options. Nothing is executed."""

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from plateau_bench.harness.cli.app import app
from plateau_bench.plugins import Group

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "experiments", "examples")
PAGES = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
DESIGN = (ROOT / "docs" / "design.md").read_text()
TOPS = ("sandbox", "tasks", "agents", "results", "harness")
PLATEAU = typer.main.get_command(app)
SPARED = "CHANGELOG.md"
"""It names commands that are gone."""


def page(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_page = pytest.mark.parametrize("path", PAGES, ids=page)


def blocks(text: str, language: str = r"\w*") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    """What stands between single backticks, as one line each."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(command: Any) -> dict[str, Any]:
    """The commands of a group; none of a single command."""
    return getattr(command, "commands", {})


def walk(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, inner in commands(command).items():
        yield from walk(inner, *names, name)


@pytest.mark.parametrize("names", walk(PLATEAU), ids=lambda names: " ".join(("plateau", *names)))
def test_every_command_explains_itself(names: tuple[str, ...]) -> None:
    said = CliRunner().invoke(app, [*names, "--help"])
    assert said.exit_code == 0, said.output
    assert "Usage:" in said.output


def anchors(text: str) -> set[str]:
    """The names that headings have on GitHub."""
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    dead = []
    for file, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
        if "://" in file:
            continue
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            dead.append(f"{file}#{anchor}")
    assert dead == []


@every_page
def test_files_that_are_named_exist(path: Path) -> None:
    """Those below a folder of the repository; `tests/` is also what a task's folder has."""
    tops = "|".join((*TOPS, "docs", "configs", "experiments", "examples", "plateau_bench", r"\.ci"))
    named = [
        span
        for span in spans(path.read_text())
        if re.fullmatch(rf"({tops})/[\w./-]*|tests/[\w./-]+\.(py|txt)", span)
    ]
    assert [name for name in named if not (ROOT / name).exists()] == []


def shown(text: str) -> Iterator[list[str]]:
    """The words of each command line on a page, beginning with `plateau` or the name of a module."""
    code = [line for block in blocks(text) for line in block.splitlines()]
    code += re.findall(r"^    (.*)", text, re.MULTILINE)
    start = r"^(?:\w+=\S+ )?(?:\.venv/bin/)?(?:python -m (?=experiments)|(?=plateau(?: |$)))"
    for line in (*code, *spans(text)):
        if match := re.search(start, line):
            command = re.split(r" #| {2,}", line[match.end() :], maxsplit=1)[0]
            yield shlex.split(command.replace("...", " "))


def own_options(command: Any) -> set[str]:
    return {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)}


def problem(words: list[str]) -> str:
    """What is wrong with a command line; '' for nothing."""
    name, *rest = words
    if name == "plateau":
        command = PLATEAU
    elif name == "experiments":
        return ""
    else:
        command = typer.main.get_command(importlib.import_module(f"{name}.__main__").app)
    while commands(command) and rest and not rest[0].startswith("-"):
        if rest[0] not in commands(command):
            return f"{name}: no command {rest[0]}"
        command, rest = commands(command)[rest[0]], rest[1:]
    known = {"--help", *own_options(command)}
    return ", ".join(f"{name}: no {word}" for word in rest if word[:1] == "-" and word not in known)


@every_page
def test_command_lines_name_commands_and_options_that_exist(path: Path) -> None:
    if path.name == SPARED:
        return
    assert [found for words in shown(path.read_text()) if (found := problem(words))] == []


def options(command: Any) -> set[str]:
    return own_options(command).union(*map(options, commands(command).values()))


@every_page
def test_options_that_are_named_exist_somewhere(path: Path) -> None:
    if path.name == SPARED:
        return
    apps = [f"{file.parent.relative_to(ROOT)}" for file in ROOT.glob("experiments/*/__main__.py")]
    modules = [importlib.import_module(f"{app.replace('/', '.')}.__main__") for app in apps]
    known = options(PLATEAU).union(*(options(typer.main.get_command(module.app)) for module in modules))
    words = [word for span in spans(path.read_text()) if span.startswith("--") for word in span.split()]
    assert [word for word in words if word.startswith("-") and word not in known] == []


def test_the_readmes_commands_are_seen() -> None:
    """What the test above looks for is on the page."""
    found = {words[1] for words in shown((ROOT / "README.md").read_text()) if len(words) > 1}
    assert {"run", "resume", "sweep", "eval", "compare", "leaderboard", "export", "sandbox"} <= found


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@every_page
def test_names_of_python_can_be_imported(path: Path) -> None:
    text = path.read_text()
    wanted = {span for span in spans(text) if re.fullmatch(r"plateau_bench(\.\w+)+", span)}
    wanted -= {f"plateau_bench.{group}" for group in get_args(Group)}
    # Pages of one package leave its name away.
    short = rf"({'|'.join(TOPS)}|metrics|claims|host)(\.\w+){{2,}}"
    for span in spans(text):
        if re.fullmatch(short, span):
            places = ("plateau_bench", "plateau_bench.results", "plateau_bench.sandbox")
            wanted |= {next((name for at in places if resolves(name := f"{at}.{span}")), span)}
    for block in blocks(text, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("plateau_bench"):
                wanted |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert [name for name in sorted(wanted) if not resolves(name)] == []


def test_the_spine_is_as_long_as_the_page_says() -> None:
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \| \S", DESIGN, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 31))
    lines = sum(len((ROOT / file).read_text().splitlines()) for _, file in rows)
    told = re.search(r"about ([\d,]+) lines", DESIGN)
    assert told
    assert int(told[1].replace(",", "")) == pytest.approx(lines, rel=0.05), "correct it in docs/design.md"


def test_every_room_and_every_door_is_on_the_map() -> None:
    rooms = {page(file.parent) for top in TOPS for file in (ROOT / top).glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"`{room}`" not in DESIGN] == []
    declared = tomllib.loads((ROOT / "examples" / "plugin" / "pyproject.toml").read_text())
    doors = {f"plateau_bench.{group}" for group in get_args(Group)}
    assert declared["project"]["entry-points"].keys() == doors
    assert [door for door in sorted(doors) if f"`{door}`" not in DESIGN] == []


def test_four_paths_are_two_clicks_away() -> None:
    assert "(CONTRIBUTING.md#four-paths)" in (ROOT / "README.md").read_text()
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Four paths")[1].split("\n## ")[0]
    rows = [row for row in section.splitlines() if row.endswith("|")][2:]
    assert len(rows) == 4
    assert all(re.search(r"\]\([\w/]+\.py\)", row) for row in rows)
