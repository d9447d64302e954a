"""What a model answered, as told from what it thought and said around it.

Two rules, used wherever a text of a model is graded or searched for calls; the text itself stays as it is.

Reasoning is no answer. It stands between marks (`MARKS`: <think>, [THINK], <reasoning>, ...), or in those
channels of gpt-oss that are not `final`. A closing mark without its opening one ends reasoning that the
prompt began, so all before it is cut; reasoning that is never closed leaves no answer behind it. A mark in a
string of a program, or in a code block of the answer, is text.

Code is what CommonMark calls a fenced block, of any length, of ` or ~, indented, in lists and quotes, closed
or cut off at the end. Of several, the first that is not blank counts, in this order: those marked as Python,
those without a mark, those in a block marked as Markdown, which is read as a text of its own. Without any,
the whole answer is the code.
"""

import re
from collections.abc import Iterator
from functools import cache
from textwrap import dedent
from typing import Any, NamedTuple

MARKS = (
    *((f"<{name}>", f"</{name}>") for name in ("think", "thinking", "thought", "reasoning", "reflection")),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|think|>", "<|/think|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
)
"""How models open and close their reasoning, upper and lower case alike."""
_CLOSES = {begin.lower(): close.lower() for begin, close in MARKS}
_MARK = re.compile("|".join(re.escape(one) for pair in MARKS for one in pair), re.IGNORECASE)
_CHANNEL = re.compile(r"\s*(?:<\|start\|>assistant)?\s*<\|channel\|>")
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(.*?)"
                    r"(?=<\|(?:end|return|call|start)\|>|\Z)", re.DOTALL)  # fmt: skip
_PLAIN_CHANNEL = re.compile(r"\s*analysis.*assistantfinal", re.DOTALL)
"""The same of a server that drops special tokens."""
_PYTHON = re.compile(r"[{.\s]*(?:i?python|py)(?:[\d.]*)(?=$|[\s}=,:;{])", re.IGNORECASE)
_MARKDOWN = re.compile(r"\s*(?:md|markdown|gfm|commonmark)\b", re.IGNORECASE)


class Said(NamedTuple):
    """A text of a model in two parts."""

    reasoning: str
    answer: str


class Block(NamedTuple):
    """A fenced code block: `Block(info="python", code="x = 1\\n", lines=(2, 5))`."""

    info: str
    code: str
    lines: tuple[int, int]
    """Half-open, fences included, counted from 0."""


def split(text: str) -> Said:
    """Tell reasoning from answer; a text without reasoning is its own answer, unchanged."""
    if _CHANNEL.match(text):
        finals = list(_FINAL.finditer(text))
        if not finals:
            return Said(text, "")
        last = finals[-1]
        return Said(text[: last.start()], last[1])
    if plain := _PLAIN_CHANNEL.match(text):
        return Said(text[: plain.end()], text[plain.end() :])
    spans = _reasoning(text)
    kept, done = [], 0
    for start, end in spans:
        kept.append(text[done:start])
        done = end
    kept.append(text[done:])
    return Said("".join(text[start:end] for start, end in spans), "".join(kept))


def extract_code(text: str) -> str:
    """Return the code of an answer by the rules above. `text` is what the model wrote, reasoning included."""
    answer = split(text).answer
    found = blocks(answer) or blocks(dedent(answer))
    return next(_ranked(found), answer)


def blocks(text: str) -> list[Block]:
    """Return the fenced code blocks of a text in their order, those that hold Markdown included."""
    lines = _lines(text)
    found = []
    for token in _parser().parse(text):
        if token.type == "fence" and token.map:
            start, end = token.map
            cut = end >= len(lines) and not text.endswith(("\n", "\r"))
            code = token.content
            # The parser ends every line; a block that is cut off in a line is kept so.
            if cut and not _closed(lines[start:end], token.markup):
                code = code.removesuffix("\n")
            found.append(Block(token.info.strip(), code, (start, end)))
    return found


def _ranked(found: list[Block]) -> Iterator[str]:
    inside = [code for one in found if _MARKDOWN.match(one.info) for code in _ranked(blocks(one.code))]
    yield from (one.code for one in found if _PYTHON.match(one.info) and one.code.strip())
    yield from (one.code for one in found if not one.info and one.code.strip())
    yield from inside
    # Only blank ones: an answer, and an empty one.
    yield from (one.code for one in found if not one.info or _PYTHON.match(one.info))


def _reasoning(text: str) -> list[tuple[int, int]]:
    """The ranges of reasoning, marks included."""
    spans: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None
    for mark in _MARK.finditer(text):
        what = mark[0].lower()
        if _in_string(text, *mark.span()):
            continue
        if opened:
            if what == opened[1]:
                spans.append((opened[0], mark.end()))
                opened = None
            continue
        done = spans[-1][1] if spans else 0
        if spans and _in_block(text[done:], mark.start() - done):
            continue
        if what not in _CLOSES:
            spans = [(0, mark.end())]
        elif not text[done : mark.start()].rpartition("\n")[2].strip() and not _in_block(
            text[done:], mark.start() - done
        ):
            opened = (mark.start(), _CLOSES[what])
    if opened:
        spans.append((opened[0], len(text)))
    return spans


def _in_string(text: str, start: int, end: int) -> bool:
    """Whether a mark stands in a string of a program, or in the inline code of a sentence."""
    after = text[end : end + 1]
    line = text[text.rfind("\n", 0, start) + 1 : start]
    if after == "\\" or (after in "\"'`" and after and text[end : end + 3] != "```" and after in line):
        return True
    return line[-1:] in ("'", '"', "`") and line[-3:] != "```" and line[-1] in text[end:].partition("\n")[0]


def _in_block(text: str, position: int) -> bool:
    line = len(_lines(text[:position] + "|")) - 1
    return any(start <= line < end for start, end in (one.lines for one in blocks(text)))


def _lines(text: str) -> list[str]:
    return re.split(r"\r\n|\n|\r", text)


def _closed(lines: list[str], fence: str) -> bool:
    last = lines[-1].strip().lstrip("> ")
    return len(lines) > 1 and len(last) >= len(fence) and set(last) == {fence[0]}


@cache
def _parser() -> Any:
    """CommonMark without HTML, which would swallow a block behind a line like <answer>."""
    from markdown_it import MarkdownIt

    rules = ["fence", "code", "list", "blockquote", "heading", "hr", "lheading"]
    return MarkdownIt("zero", {"maxNesting": 100}).enable(rules)
