"""OneShot: what becomes the answer, how an attempt ends, and what the trajectory holds."""

from collections.abc import Sequence

import pytest
import torch
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from plateau_bench.agents import make_agent
from plateau_bench.agents.answers import extract_code
from plateau_bench.agents.base import Ending, Limits, ModelUnavailable
from plateau_bench.agents.models.cohort import solve_many
from plateau_bench.agents.models.local import LocalChatModel
from plateau_bench.agents.oneshot import OneShot
from plateau_bench.agents.scripted import ScriptedAgent
from tests.agents.tiny import tiny_checkpoint

PROMPT = "keep the even numbers of a, then add 3"


def local(**limits: int) -> OneShot:
    return OneShot(LocalChatModel(*tiny_checkpoint(), name_or_path="tiny"), limits=Limits(**limits))


def always(token: int) -> LocalChatModel:
    """A model whose next token is always `token`."""
    model, tokenizer = tiny_checkpoint()
    with torch.no_grad():
        model.model.norm.weight.zero_()
    model.lm_head = torch.nn.Linear(model.config.hidden_size, len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()
        model.lm_head.bias[token] = 50.0
    return LocalChatModel(model, tokenizer)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("def f(a):\n    return a\n", "def f(a):\n    return a\n"),
        ("Sure:\n```python\nx = 1\n```\nand\n```python\ny = 2\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```py\n  x = '```'\n```\n", "  x = '```'\n"),
        ("```python\nx = 1", "x = 1"),
        ("```bash\nls\n```\n```python\nx = 1\n```", "x = 1\n"),
        ("", ""),
    ],
)
def test_the_code_of_a_reply(text: str, code: str) -> None:
    assert extract_code(text) == code


def test_the_trajectory_is_what_the_model_saw_and_wrote() -> None:
    agent = local(completion_tokens=20)
    tokenizer = agent.model.tokenizer
    for seed, one in zip([3, 4, 5], agent.solve(PROMPT, [3, 4, 5]), strict=True):
        [(start, end)] = one.loss_spans
        assert tokenizer.decode(one.token_ids[:start]) == f"<|user|>{PROMPT}<|end|><|assistant|>"
        assert end == len(one.token_ids)
        assert len(one.logprobs) == end - start == one.completion_tokens
        assert (one.prompt_tokens, one.seed, one.agent, one.model) == (start, seed, "oneshot", "tiny")
        written = one.token_ids[start:end]
        stopped = written[-1] == tokenizer.eos_token_id
        assert one.ending is (Ending.SUBMITTED if stopped else Ending.TOKEN_LIMIT)
        assert one.answer == tokenizer.decode(written[:-1] if stopped else written)


def test_endings() -> None:
    tokenizer = tiny_checkpoint()[1]
    [endless] = OneShot(
        always(tokenizer.convert_tokens_to_ids("x")), limits=Limits(completion_tokens=4)
    ).solve("a", [0])
    assert (endless.ending, endless.answer, endless.completion_tokens) == (Ending.TOKEN_LIMIT, "xxxx", 4)
    [silent] = OneShot(always(tokenizer.eos_token_id)).solve("a", [0])
    assert (silent.ending, silent.answer, silent.completion_tokens) == (Ending.MALFORMED, "", 1)
    [spoken] = OneShot(GenericFakeChatModel(messages=iter([AIMessage("x = 1")]))).solve("a", [7])
    assert (spoken.ending, spoken.answer, spoken.seed) == (Ending.SUBMITTED, "x = 1", 7)
    assert (spoken.token_ids, spoken.loss_spans, spoken.logprobs) == ((), (), ())


def test_a_model_that_fails_crashes_its_attempts_and_raises_nothing() -> None:
    agent = local(completion_tokens=-1)
    crashed = agent.solve("keep", [1, 2])
    assert [one.ending for one in crashed] == [Ending.CRASHED] * 2
    assert [one.seed for one in crashed] == [1, 2]
    assert "ValueError: need temperature >= 0" in crashed[0].error


def test_a_context_that_is_too_short_for_the_task_stops_and_is_no_failure() -> None:
    with pytest.raises(ModelUnavailable, match="tiny: the prompt has 503 tokens and the model 128 positions"):
        local(completion_tokens=4).solve("~" * 500, [1, 2])


def test_an_endpoint_that_ignores_n_is_found_out() -> None:
    one, two = OneShot(GenericFakeChatModel(messages=iter([AIMessage("x = 1")]))).solve("a", [1, 2])
    assert one.ending is two.ending is Ending.CRASHED
    assert "gave 1 completions where n=2" in one.error


def test_what_was_said_stays_and_only_the_code_is_graded() -> None:
    said = "<think>\n```python\nx = 0\n```\n</think>\nHere:\n```python\nx = 1\n```"
    agent = OneShot(GenericFakeChatModel(messages=iter([AIMessage(said)])), system_prompt="brief")
    [one] = agent.solve("a", [7])
    assert one.answer == "x = 1\n"
    assert [(m.role, m.text) for m in one.messages] == [
        ("system", "brief"), ("user", "a"), ("assistant", said),
    ]  # fmt: skip
    unfinished = OneShot(GenericFakeChatModel(messages=iter([AIMessage("<think>\nx = 1")])))
    [one] = unfinished.solve("a", [7])
    assert (one.ending, one.answer, one.messages[-1].text) == (Ending.MALFORMED, "", "<think>\nx = 1")


def test_a_system_prompt_comes_first() -> None:
    agent = local(completion_tokens=2)
    agent.system_prompt = "keep"
    [one] = agent.solve("add", [0])
    head = agent.model.tokenizer.decode(one.token_ids[: one.loss_spans[0][0]])
    assert head == "<|system|>keep<|end|><|user|>add<|end|><|assistant|>"


def test_many_jobs_equal_one_by_one_and_repeat_bit_for_bit() -> None:
    agent = local(completion_tokens=12)
    jobs = [(f"keep the even numbers of a, then add {i}"[: 20 + i], [10 * i, 10 * i + 1]) for i in range(9)]

    def facts(groups: list) -> list:
        return [(one.seed, one.token_ids, one.answer, one.ending) for group in groups for one in group]

    together = solve_many(agent, jobs)
    assert facts(together) == facts([agent.solve(*job) for job in jobs])
    again = solve_many(agent, jobs)
    assert [one.logprobs for group in again for one in group] == [
        one.logprobs for group in together for one in group
    ]


def test_one_crash_in_a_wave_leaves_the_others_alone() -> None:
    agent = local(completion_tokens=4)
    ask = agent._ask

    def fail(instruction: str, seeds: Sequence[int]) -> list[AIMessage]:
        if instruction == "~":
            raise ValueError("no")
        return ask(instruction, seeds)

    agent._ask = fail  # type: ignore[method-assign]
    crashed, fine = solve_many(agent, [("~", [1]), ("keep", [2])])
    assert crashed[0].ending is Ending.CRASHED
    assert fine[0].ending is not Ending.CRASHED


def test_scripted_answers_in_turn() -> None:
    agent = ScriptedAgent({"a": ["x = 1", ""]})
    found = agent.solve("a", [7, 8, 9])
    assert [(one.seed, one.answer) for one in found] == [(7, "x = 1"), (8, ""), (9, "x = 1")]
    assert [one.ending for one in found] == [Ending.SUBMITTED, Ending.MALFORMED, Ending.SUBMITTED]
    with pytest.raises(ValueError, match="no answers for 'b'"):
        agent.solve("b", [1])
    assert ScriptedAgent(lambda text: [text * 2]).solve("ab", [0])[0].answer == "abab"


def test_the_registry_lists_its_choices() -> None:
    assert make_agent("plateau_bench.agents.scripted.ScriptedAgent", {}, name="mine").name == "mine"
    with pytest.raises(ValueError, match="'oneshoot'.*cli, oneshot, tool"):
        make_agent("oneshoot")
    with pytest.raises(ValueError, match=r"agents\.nothing\.Here"):
        make_agent("agents.nothing.Here")
