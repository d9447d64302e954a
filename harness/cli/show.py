"""`plateau show`: one attempt on the terminal. What a model wrote is text there, never terminal commands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plateau_bench.results.attempt_log import in_order, read_lines
from plateau_bench.results.records import Attempt, fields_of
from plateau_bench.results.store import RoundFolder
from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

_COLOURS = {"system": "dim", "user": "cyan", "assistant": "green", "tool": "yellow"}
_LINES = 40


def show(
    file: Annotated[
        Path,
        typer.Argument(help="attempts.jsonl, held_out.jsonl, train.jsonl; or training_set.jsonl of a round."),
    ],
    which: Annotated[str, typer.Argument(help="TASK#SAMPLE, or a number from 0.")] = "0",
    tokens: Annotated[
        bool, typer.Option(help="Show the tokens instead, and which of them are trained on.")
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Whose tokenizer, for --tokens; of a training set, default the one made from it."),
    ] = None,
) -> None:
    """One attempt, step by step: what the model saw, wrote and ran, the verdict and why."""
    made_here = RoundFolder(file.parent)
    if file.name == made_here.training_set.name:
        examples = read_lines(file)
        if not which.isdigit() or int(which) >= len(examples):
            raise ValueError(f"{file}: no example {which!r}; there are {len(examples)}, numbered from 0")
        show_tokens(examples[int(which)], checkpoint or str(made_here.checkpoint))
        return
    chosen = pick(in_order(file), which, str(file))
    if not tokens:
        show_attempt(chosen)
    elif checkpoint is None:
        raise ValueError("--tokens: name the tokenizer's checkpoint with --checkpoint")
    else:
        show_tokens(fields_of(chosen.trajectory), checkpoint)


def pick(made: Sequence[Attempt], which: str, source: str) -> Attempt:
    """By 'TASK#SAMPLE' or by position. Raises ValueError naming the file and what there is."""
    if which.isdigit() and int(which) < len(made):
        return made[int(which)]
    for attempt in made:
        if f"{attempt.task_id}#{attempt.sample}" == which:
            return attempt
    example = f", such as {made[0].task_id}#{made[0].sample}" if made else ""
    raise ValueError(f"{source}: no attempt {which!r} among its {len(made)}{example}")


def plain(text: str) -> str:
    """Without control characters: a terminal must not obey what a model wrote."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def show_attempt(attempt: Attempt, console: "Console | None" = None) -> None:
    """Steps, commands, outputs, what was left behind, verdict and reason."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    out = console or Console()
    trajectory, verdict = attempt.trajectory, attempt.verdict
    out.rule(f"{attempt.task_id}#{attempt.sample}  {trajectory.agent}  {trajectory.model}", style="dim")
    for number, message in enumerate(trajectory.messages):
        body = Text(_cut(plain(message.text)))
        for what in ("reasoning", "refusal"):
            if told := getattr(message, what):
                body.append(f"\n({what}) {_cut(plain(told))}", style="dim")
        for call in message.tool_calls:
            body.append(f"\n> {call.name}", style="bold")
            for key, value in call.arguments.items():
                body.append(f"\n  {key}: {_cut(plain(str(value)))}")
        for broken in message.malformed:
            body.append(f"\n! could not be read: {_cut(plain(broken))}", style="red")
        out.print(
            Panel(
                body,
                title=f"{number} {message.role}",
                title_align="left",
                style=_COLOURS.get(message.role, ""),
            )
        )
    if trajectory.boxed and trajectory.answer:
        diff = diff_from_text(trajectory.answer)
        for path, data in diff.written.items():
            body = Text(_cut(plain(data.decode(errors="replace"))))
            out.print(Panel(body, title=f"left behind: {plain(path)}", title_align="left"))
        for path in diff.deleted:
            out.print(Text(f"deleted: {plain(path)}"))
    elif not trajectory.boxed:
        title = "graded: the code of the answer" if trajectory.messages else "answer"
        out.print(Panel(Text(_cut(plain(trajectory.answer))), title=title, title_align="left"))
    for visit in trajectory.visits:
        how = f"{visit.sent} bytes sent, {visit.received} received" if visit.allowed else "refused"
        out.print(Text(plain(f"network: {visit.host}:{visit.port} {how} {visit.reason}"), style="dim"))
    if trajectory.withheld:
        out.print(
            Text(plain(f"withheld from the model's server: {', '.join(trajectory.withheld)}"), style="dim")
        )
    passed = verdict.outcome is Outcome.PASSED
    cost = "unknown" if trajectory.cost_usd is None else f"${trajectory.cost_usd:.4g}"
    out.print(
        Text(verdict.outcome.value.upper(), style="bold green" if passed else "bold red"),
        Text(plain(verdict.reason) or ("all hidden tests passed" if passed else "")),
    )
    visible = "passed" if verdict.verified else "failed"
    out.print(
        Text(
            f"visible tests {visible}; ending {trajectory.ending.value} {plain(trajectory.error)}; "
            f"{trajectory.prompt_tokens} tokens read, {trajectory.completion_tokens} written; cost {cost}; "
            f"{trajectory.duration_s:.1f} s",
            style="dim",
        )
    )


def show_tokens(example: Mapping[str, Any], checkpoint: str, console: "Console | None" = None) -> None:
    """An attempt's trajectory, or an example of a training set, by lines; those under the loss are green."""
    from rich.console import Console
    from rich.text import Text
    from transformers import AutoTokenizer

    out = console or Console()
    token_ids, spans = example["token_ids"], example["loss_spans"]
    for line in masked_text(AutoTokenizer.from_pretrained(checkpoint), token_ids, spans).split("\n"):
        out.print(Text(plain(line), style="green" if line.startswith("loss") else "dim"), soft_wrap=True)
    learnt = sum(end - start for start, end in spans)
    out.print(Text(f"{learnt} of {len(token_ids)} tokens carry loss, in {len(spans)} spans", style="dim"))


def masked_text(
    tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int], loss_spans: Sequence[Sequence[int]]
) -> str:
    """The decoded tokens by lines; those under the loss open with 'loss |', the others with '     |'."""
    lines: list[str] = []
    done = 0
    for start, end in (*loss_spans, (len(token_ids), len(token_ids))):
        for first, last, mark in ((done, start, "    "), (start, end, "loss")):
            if first < last:
                text = str(tokenizer.decode(list(token_ids[first:last]), skip_special_tokens=False))
                lines += (f"{mark} | {line}" for line in text.split("\n"))
        done = end
    return "\n".join(lines)


def _cut(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= _LINES:
        return text
    half = _LINES // 2
    return "\n".join([*lines[:half], f"[... {len(lines) - _LINES} lines ...]", *lines[-half:]])
