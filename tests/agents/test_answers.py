"""Reasoning and code in what models write, for any text around them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plateau_bench.agents.answers import MARKS, blocks, extract_code, split

PLAIN = st.characters(
    codec="utf-8", exclude_characters="`~<>[◁|", exclude_categories=("Cc", "Zl", "Zp", "Cs")
)
WORDS = st.text(PLAIN, max_size=30)
LINES = st.lists(WORDS, max_size=4).map("\n".join)
CODE = st.lists(st.text("abc =:+()[]'\"`~<>/think", max_size=20).map(str.rstrip), min_size=1, max_size=5).map(
    lambda lines: "x = 1\n" + "".join(f"{line}\n" for line in lines)
)
PAIRS = st.sampled_from(MARKS)
QUICK = settings(max_examples=60, deadline=None)


def longest_run(code: str, char: str) -> int:
    runs = [0]
    for one in code:
        runs.append(runs[-1] + 1 if one == char else 0)
    return max(runs)


def fenced(code: str, char: str, more: int, info: str, indent: int) -> str:
    fence = char * (max(3, longest_run(code, char) + 1) + more)
    lines = [f"{fence}{info}", *code.splitlines(), fence]
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


@QUICK
@given(
    LINES, CODE, st.sampled_from("`~"), st.integers(0, 5), st.integers(0, 3),
    st.sampled_from(["python", " py", "Python3 title=\"x y\"", "{.python .numberLines}", "python3.11", ""]),
    LINES,
)  # fmt: skip
def test_any_fence_in_any_text(
    before: str, code: str, char: str, more: int, indent: int, info: str, after: str
) -> None:
    info = info.replace("`", "")
    text = f"Answer.\n\n{before}\n\nAnd so:\n\n{fenced(code, char, more, info, indent)}\n{after}"
    if not any(line.startswith(("    ", "\t", "-", "+", "*", "1")) for line in before.splitlines()):
        assert extract_code(text) == code


@QUICK
@given(PAIRS, CODE, CODE, LINES, st.booleans(), st.booleans())
def test_reasoning_is_never_graded(
    pair: tuple[str, str], draft: str, code: str, words: str, opened: bool, closed: bool
) -> None:
    inside = f"{words}\n{fenced(draft, '`', 0, 'python', 0) if closed else '```python' + chr(10) + draft}"
    begin, end = pair
    inside = inside.replace(end, "")
    text = f"{begin if opened else ''}\n{inside}\n{end}\n\n{fenced(code, '`', 0, 'python', 0)}"
    assert extract_code(text) == code
    if opened:
        assert split(text).reasoning + split(text).answer == text
        assert extract_code(f"{begin}\n{inside}") == ""


@pytest.mark.parametrize("pair", MARKS)
def test_marks_in_a_program_are_text(pair: tuple[str, str]) -> None:
    begin, end = pair
    for code in (
        f'a = t.split("{end}")[-1]\n',
        f"a = re.sub(r'{begin}.*?{end}', '', t)\n",
        f'T = """\n{begin}\nx\n{end}\n"""\n',
        f"T = '{begin}\\n'\n",
    ):
        assert extract_code(f"{begin}\nhm\n{end}\n```python\n{code}```\n") == code
        if "\n<" not in code:
            said = split(f"```python\n{code}```\n")
            assert said.answer == f"```python\n{code}```\n" or '"""' in code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```\npip install x\n```\n```python\nx = 1\n```", "x = 1\n"),
        ("```python\n```\n```python\nx = 1\n```", "x = 1\n"),
        ("```python\n\n```", "\n"),
        ("1. So:\n\n   ```python\n   def f():\n       pass\n   ```\n", "def f():\n    pass\n"),
        ("> ```python\n> x = 1\n> ```", "x = 1\n"),
        ("````markdown\n# A\n```python\nx = 1\n```\n````", "x = 1\n"),
        ("    ```python\n    x = 1\n    ```\n", "x = 1\n"),
        ("<answer>\n```python\nx = 1\n```\n</answer>", "x = 1\n"),
        ("```pytb\nTraceback\n```\n\n~~~py\nx = 1\n~~~", "x = 1\n"),
        ("~~~~python\nx = 1\n~~~\ny = 2\n~~~~", "x = 1\n~~~\ny = 2\n"),
        ("<think>a</think>\n```python\nx = 1\n```\n<think>right?</think>\nDone.", "x = 1\n"),
        ("<think>\nfirst</think>\n```\nx = 1\n```\n<think>\nnever closed", "x = 1\n"),
        ("it's fine</think>x = 1", "x = 1"),
        ("[THINK]y[/THINK]x = 1", "x = 1"),
        ("<think>\nx = 1", ""),
        ("<THINK>\ny\n</THINK>x = 1", "x = 1"),
        ("analysisLet me see.assistantfinalx = 1", "x = 1"),
        ("<|channel|>analysis<|message|>x = 0<|end|>", ""),
        (
            "<|channel|>analysis<|message|>```python\nx = 0\n```<|end|>"
            "<|start|>assistant<|channel|>final<|message|>```python\nx = 1\n```<|return|>",
            "x = 1\n",
        ),
    ],
)
def test_the_rule_for_several_blocks_and_for_reasoning(text: str, code: str) -> None:
    assert extract_code(text) == code


def test_blocks_tell_where_they_stand() -> None:
    (one, two) = blocks("a\n```sh\nls\n```\nb\n~~~\nx")
    assert (one.info, one.code, one.lines) == ("sh", "ls\n", (1, 4))
    assert (two.info, two.code) == ("", "x")
