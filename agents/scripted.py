"""A chat model and an agent that recite: for demonstrations, and for testing what stands around them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from plateau_bench.agents.base import Agent, Ending, Trajectory
from plateau_bench.agents.models.prices import Price
from plateau_bench.sandbox.base import Sandbox


class ScriptedChat(BaseChatModel):
    """Answers with what `script` makes of the conversation so far.

    >>> chat = ScriptedChat.of([call("bash", command="ls"), "done"])
    >>> chat.invoke("list the files").tool_calls[0]["name"]
    'bash'
    """

    script: Callable[[Sequence[BaseMessage]], AIMessage]
    model: str = "scripted"
    price: Price | None = None

    @classmethod
    def of(cls, answers: Sequence[AIMessage | str], **fields: Any) -> Self:
        """The i-th answer of a conversation is the i-th of `answers`, the last one from there on."""

        def script(messages: Sequence[BaseMessage]) -> AIMessage:
            turn = sum(isinstance(message, AIMessage) for message in messages)
            answer = answers[min(turn, len(answers) - 1)]
            return AIMessage(answer) if isinstance(answer, str) else answer

        return cls(script=script, **fields)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """The script knows what it calls."""
        return self.bind()

    @property
    def _llm_type(self) -> str:
        return "plateau-scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self.script(messages).model_copy(deep=True)
        turn = sum(isinstance(message, AIMessage) for message in messages)
        for i, one in enumerate(answer.tool_calls):  # ids must differ between the calls of a conversation
            one["id"] = f"call-{turn}-{i}"
        if answer.usage_metadata is None:  # words stand in for tokens
            read, written = (sum(len(m.text.split()) for m in group) for group in (messages, [answer]))
            answer.usage_metadata = {
                "input_tokens": read,
                "output_tokens": written,
                "total_tokens": read + written,
            }
        return ChatResult(generations=[ChatGeneration(message=answer)])


def call(name: str, **arguments: Any) -> AIMessage:
    """An answer that consists of one tool call."""
    return AIMessage("", tool_calls=[ToolCall(name=name, args=arguments, id="call", type="tool_call")])


Script = Mapping[str, Sequence[str]] | Callable[[str], Sequence[str]]
"""The answers to an instruction; the i-th attempt of a call gets the i-th, starting over at the end."""


class ScriptedAgent(Agent):
    """Gives prepared answers. An empty answer ends MALFORMED, any other SUBMITTED."""

    needs_box = False

    def __init__(self, script: Script, *, name: str = "scripted") -> None:
        self.name = name
        self._script = script

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        if isinstance(self._script, Mapping):
            if instruction not in self._script:
                raise ValueError(f"agent {self.name!r}: the script has no answers for {instruction!r}")
            texts = self._script[instruction]
        else:
            texts = self._script(instruction)
        if not texts:
            raise ValueError(f"agent {self.name!r}: the script gives an empty list for {instruction!r}")
        answers = [texts[i % len(texts)] for i in range(len(seeds))]
        return [
            Trajectory(
                agent=self.name,
                model=self.name,
                seed=seed,
                answer=answer,
                ending=Ending.SUBMITTED if answer.strip() else Ending.MALFORMED,
            )
            for seed, answer in zip(seeds, answers, strict=True)
        ]
