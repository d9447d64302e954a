"""One attempt for the terminal. What a model wrote is shown as text, never as terminal commands."""

from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from plateau_bench.results.records import Attempt
from plateau_bench.sandbox.diffs import diff_from_text
from plateau_bench.tasks.base import Outcome

_COLOURS = {"system": "dim", "user": "cyan", "assistant": "green", "tool": "yellow"}
_LINES = 40


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


def show_attempt(attempt: Attempt, console: Console | None = None) -> None:
    """Steps, commands, outputs, what was left behind, verdict and reason."""
    out = console or Console()
    trajectory, verdict = attempt.trajectory, attempt.verdict
    out.rule(f"{attempt.task_id}#{attempt.sample}  {trajectory.agent}  {trajectory.model}", style="dim")
    for number, message in enumerate(trajectory.messages):
        body = Text(_cut(plain(message.text)))
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
    elif not trajectory.messages:
        out.print(Panel(Text(_cut(plain(trajectory.answer))), title="answer", title_align="left"))
    for visit in trajectory.visits:
        how = f"{visit.sent} bytes sent, {visit.received} received" if visit.allowed else "refused"
        out.print(Text(plain(f"network: {visit.host}:{visit.port} {how} {visit.reason}"), style="dim"))
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


def show_mask(attempt: Attempt, checkpoint: str, console: Console | None = None) -> None:
    """The token sequence; what carries loss in training is green and underlined, and in brackets."""
    from transformers import AutoTokenizer

    out, trajectory = console or Console(), attempt.trajectory
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    text, end = Text(), 0
    for start, stop in trajectory.loss_spans:
        text.append(plain(str(tokenizer.decode(list(trajectory.token_ids[end:start])))), style="dim")
        written = str(tokenizer.decode(list(trajectory.token_ids[start:stop])))
        text.append(f"[{plain(written)}]", style="green underline")
        end = stop
    text.append(plain(str(tokenizer.decode(list(trajectory.token_ids[end:])))), style="dim")
    out.print(text)
    learnt = sum(stop - start for start, stop in trajectory.loss_spans)
    out.print(Text(f"{learnt} of {len(trajectory.token_ids)} tokens carry loss", style="dim"))


def _cut(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= _LINES:
        return text
    half = _LINES // 2
    return "\n".join([*lines[:half], f"[... {len(lines) - _LINES} lines ...]", *lines[-half:]])
