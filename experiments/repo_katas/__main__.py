"""`python -m experiments.repo_katas [SIZE]` prints the figures that docs/repo-katas.md speaks of."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

import typer

from plateau_bench.harness.cli.terminal import call
from plateau_bench.tasks.base import PackageTests
from plateau_bench.tasks.suites import repo_katas


def _shares(values: Iterable[object]) -> str:
    counts = Counter(map(str, values))
    return ", ".join(f"{name} {n / counts.total():.3f}" for name, n in sorted(counts.items()))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(size: Annotated[int, typer.Argument(min=1, help="Samples or tasks to draw.")] = 2_000) -> None:
    """Print how the repository katas and their transcripts are composed."""
    for title, tasks in (
        ("train", repo_katas.train_tasks(0, size)),
        ("held-out", repo_katas.held_out_tasks(0, size)),
    ):
        print(f"{size} {title} tasks, seed 0")
        for tag in ("bug", "place"):
            print(f"  {tag}: {_shares(task.tags[tag] for task in tasks)}")
        files = (len(task.tests.files) - 1 for task in tasks if isinstance(task.tests, PackageTests))
        print(f"  files besides test.py: {_shares(files)}")
    started = time.process_time()
    samples = repo_katas.corpus(0, size)
    print(f"corpus of {size}: {time.process_time() - started:.1f} CPU-s, seed 0")
    turns = [sum(message["role"] == "assistant" for message in sample.chat) for sample in samples]
    edits = [str(sample.chat).count("'name': 'edit'") for sample in samples]
    print(f"  calls per transcript {sum(turns) / size:.2f}, edits {_shares(edits)}")
    print(f"  packages that pass all tests: {sum(sample.correct for sample in samples) / size:.3f}")


if __name__ == "__main__":
    call(app)
