"""An agent that works in its box with tools: a shell, an editor, and a way to say that it is done.

The loop is LangChain's `create_agent`; one middleware holds every limit and notes every call. History is
linear and never summarised, so the trajectory is exactly what the model saw.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from plateau_bench.agents.answers import split
from plateau_bench.agents.base import Agent, Ending, Limits, Trajectory
from plateau_bench.agents.models.chat import linear_history, model_name, seeding, to_message
from plateau_bench.agents.models.faults import ContextFull, crash, cut_short
from plateau_bench.agents.models.prices import Spending, require_price
from plateau_bench.sandbox.base import Sandbox, SandboxError

OBSERVATION = 8000
"""Characters of a command's output that the model gets to see: the first and the last half of it."""
PATIENCE = 3
"""Malformed answers in a row after which an attempt ends."""
NO_NETWORK = " There is no network."
SYSTEM_PROMPT = (
    "You work in the current folder. Solve the task with the tools, run the tests you find, and call submit "
    "when you are done." + NO_NETWORK
)


class Stop(Exception):  # noqa: N818 (not an error: how an attempt ends)
    """The attempt is over."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.value)
        self.ending = ending


class ToolAgent(Agent):
    """Works in a box through tool calls until it submits or a limit ends it."""

    name = "tool"
    needs_box = True

    def __init__(
        self,
        model: BaseChatModel,
        *,
        limits: Limits = Limits(steps=50),  # noqa: B008 (frozen)
        temperature: float | None = 1.0,
        system_prompt: str = SYSTEM_PROMPT,
    ) -> None:
        """A temperature of None is not sent.

        Raises ValueError for a cost limit where the model has no `price`, and ModelUnavailable for a model
        whose chat template takes no tools.
        """
        require_price(limits, model)
        if require := getattr(model, "require_tools", None):
            require(tool_schemas())
        self.model, self.limits, self.temperature = model, limits, temperature
        self.system_prompt = system_prompt

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        """Work in one box per seed. Raises SandboxError if a box dies, for then nothing is known."""
        return [self._attempt(instruction, seed, box) for seed, box in zip(seeds, boxes, strict=True)]

    def _attempt(self, instruction: str, seed: int, box: Sandbox) -> Trajectory:
        tools = box_tools(box, self.limits.command_s)
        record = Record(self.limits, seed, self.temperature, self.model)
        prompt = fitting(self.system_prompt, box.spec.network)
        agent = create_agent(self.model, tools, system_prompt=prompt or None, middleware=[record])
        started, ending, what = time.perf_counter(), Ending.SUBMITTED, ""
        try:
            agent.invoke(
                {"messages": [HumanMessage(instruction)]}, {"recursion_limit": 1_000_000, "callbacks": []}
            )
        except Stop as stop:
            ending = stop.ending
        except SandboxError:
            raise
        except Exception as error:
            ending, what = Ending.CRASHED, crash(error, record.model_name)
        token_ids, spans, logprobs = linear_history(record.answers)
        messages = [*record.seen, *record.pending]
        return Trajectory(
            agent=self.name,
            model=record.model_name,
            seed=seed,
            answer="",
            ending=ending,
            token_ids=token_ids,
            loss_spans=spans,
            logprobs=logprobs,
            duration_s=time.perf_counter() - started,
            error=what[:500],
            messages=tuple(to_message(message, record.spent.price) for message in messages),
            tools=tuple(convert_to_openai_tool(tool) for tool in tools),
            **record.spent.facts(),
        )


def fitting(prompt: str, network: Sequence[str]) -> str:
    """Return the prompt for a box that reaches these hosts; one that says nothing of a network stays."""
    if not network or NO_NETWORK not in prompt:
        return prompt
    hosts = "public hosts" if "*" in network else ", ".join(network)
    return prompt.replace(NO_NETWORK, f" The network reaches only {hosts}, by HTTP and HTTPS.")


class Record(AgentMiddleware):
    """Holds the limits of one attempt and keeps what the model saw and wrote."""

    def __init__(self, limits: Limits, seed: int, temperature: float | None, model: BaseChatModel) -> None:
        super().__init__()
        self.limits, self.seed, self.temperature, self.model = limits, seed, temperature, model
        self.spent = Spending(limits, model)
        self.answers: list[AIMessage] = []
        self.seen: list[BaseMessage] = []
        """The conversation as of the last answer, that answer included."""
        self.pending: list[BaseMessage] = []
        """Tool results since then."""
        self.tool_calls = self.malformed = 0
        self.model_name = model_name(model)
        self._turn = threading.Condition()

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        if ending := self.spent.used_up():
            raise Stop(ending)
        # A fresh seed for every call: equal prompts in one attempt need not get equal answers.
        seed = (self.seed + 0x9E3779B97F4A7C15 * len(self.answers)) % 2**63
        settings = {"max_tokens": self.limits.completion_tokens, **seeding(self.model, [seed])}
        if self.temperature is not None:
            settings["temperature"] = self.temperature
        try:
            response = handler(request.override(model_settings=request.model_settings | settings))
        except ContextFull:
            if not self.answers:  # not even the instruction fits: the settings are wrong
                raise
            raise Stop(Ending.TOKEN_LIMIT) from None
        answer = cast(AIMessage, response.result[0])
        system = [request.system_message] if request.system_message else []
        self.seen, self.pending = [*system, *request.messages, answer], []
        self.answers.append(answer)
        self.spent.note(answer)
        self.model_name = answer.response_metadata.get("model_name") or self.model_name
        if broken := cut_short(answer.response_metadata):
            raise Stop(broken)
        return response

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """A call that cannot be read is told to the model, a few times; it is data, not a crash."""
        answer = state["messages"][-1]
        empty = not answer.invalid_tool_calls and not split(answer.text).answer.strip()
        if answer.tool_calls or not (answer.invalid_tool_calls or empty):
            self.malformed = 0
            return None
        self.malformed += 1
        if self.malformed >= PATIENCE:
            raise Stop(Ending.MALFORMED)
        why = "Your answer was empty. Call a tool, or submit."
        if answer.invalid_tool_calls:
            why = f"The tool call could not be read: {answer.invalid_tool_calls[0]['error']}"
        note = HumanMessage(why)
        self.pending.append(note)
        return {"messages": [note], "jump_to": "model"}

    after_model.__can_jump_to__ = ["model"]  # type: ignore[attr-defined]

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]
    ) -> ToolMessage:
        """Run several calls of one answer one after another, in the order in which the model wrote them."""
        calls = [call["id"] for call in self.answers[-1].tool_calls]
        position = calls.index(request.tool_call["id"])
        with self._turn:
            self._turn.wait_for(lambda: len(self.pending) >= position, timeout=3600)
            self.tool_calls += 1
            if self.limits.tool_calls is not None and self.tool_calls > self.limits.tool_calls:
                raise Stop(Ending.STEP_LIMIT)
            try:
                result = cast(ToolMessage, handler(request))
                self.pending.append(result)
            except BaseException:
                self.pending.append(ToolMessage("", tool_call_id=request.tool_call["id"]))
                raise
            finally:
                self._turn.notify_all()
            return result


def box_tools(box: Sandbox, command_s: float) -> list[StructuredTool]:
    """Return the tools bash, edit and submit, bound to a box."""

    def bash(command: str) -> str:
        """Run a shell command in the current folder."""
        done = box.run(command, timeout_s=command_s)
        output = (done.stdout + done.stderr).rstrip("\n")
        note = f"[killed after {command_s:g} s]" if done.timed_out else ""
        if not note and done.exit_code:
            note = f"[exit code {done.exit_code}]"
        return "\n".join(filter(None, [clip(output), note])) or "[no output]"

    def edit(path: str, start: int, end: int, text: str) -> str:
        """Replace the lines from start to end (counted from 1) of a file; end = start - 1 only inserts."""
        try:
            lines = box.read(path).decode(errors="surrogateescape").splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        except (OSError, ValueError) as error:
            return f"[{path}: {error}]"
        if not (1 <= start <= len(lines) + 1 and start - 1 <= end <= len(lines)):
            return f"[{path} has {len(lines)} lines; lines {start} to {end} are not in it]"
        new = text if not text or text.endswith("\n") else text + "\n"
        if start > 1 and lines[: start - 1] and not lines[start - 2].endswith("\n"):
            lines[start - 2] += "\n"
        body = "".join([*lines[: start - 1], new, *lines[end:]])
        try:
            box.write(path, body.encode(errors="surrogateescape"))
        except (OSError, ValueError) as error:
            return f"[{path}: {error}]"
        return "[ok]"

    def submit() -> str:
        """Say that the task is done."""
        raise Stop(Ending.SUBMITTED)

    return [StructuredTool.from_function(tool) for tool in (bash, edit, submit)]


@cache
def tool_schemas() -> tuple[dict[str, Any], ...]:
    """What the model is shown of the tools, in OpenAI's function format."""
    return tuple(convert_to_openai_tool(tool) for tool in box_tools(cast(Sandbox, None), 0))


def clip(text: str, limit: int = OBSERVATION) -> str:
    """The first and the last half of what is too long."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
