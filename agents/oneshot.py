"""One completion per attempt; the code in it is the answer, by the rules of `answers`."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from plateau_bench.agents.answers import extract_code
from plateau_bench.agents.base import Agent, Ending, Limits, Message, Trajectory
from plateau_bench.agents.models.chat import linear_history, model_name, seeding, to_message
from plateau_bench.agents.models.faults import crash, cut_short
from plateau_bench.agents.models.prices import Spending, require_price
from plateau_bench.sandbox.base import Sandbox

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage


class OneShot(Agent):
    """Asks the model once for all attempts at an instruction."""

    name = "oneshot"
    needs_box = False

    def __init__(
        self,
        model: "BaseChatModel",
        *,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        temperature: float | None = 1.0,
        system_prompt: str = "",
    ) -> None:
        """`model` must answer a call with n completions (`n` as in OpenAI's API; LocalChatModel does).

        A temperature of None is not sent. Raises ValueError for a cost limit where the model has no `price`.
        """
        require_price(limits, model)
        self.model = model
        self.limits = limits
        self.temperature = temperature
        self.system_prompt = system_prompt

    def solve(
        self, instruction: str, seeds: Sequence[int], boxes: Sequence[Sandbox] = ()
    ) -> list[Trajectory]:
        if not seeds:
            return []
        started = time.perf_counter()
        try:
            replies = self._ask(instruction, seeds)
        except Exception as error:
            name, spent = model_name(self.model), _since(started)
            what = crash(error, name)
            return [
                Trajectory(
                    agent=self.name, model=name, seed=seed, answer="", ending=Ending.CRASHED,
                    duration_s=spent, error=what,
                )
                for seed in seeds
            ]  # fmt: skip
        spent = _since(started)
        return [
            self._trajectory(reply, instruction, seed, spent)
            for reply, seed in zip(replies, seeds, strict=True)
        ]

    def _ask(self, instruction: str, seeds: Sequence[int]) -> "list[AIMessage]":
        from langchain_core.messages import HumanMessage, SystemMessage

        messages = [SystemMessage(self.system_prompt)] if self.system_prompt else []
        options = seeding(self.model, seeds)
        if self.temperature is not None:
            options["temperature"] = self.temperature
        result = self.model.generate(
            [[*messages, HumanMessage(instruction)]],
            n=len(seeds),
            max_tokens=self.limits.completion_tokens,
            **options,
        )
        replies = [generation.message for generation in result.generations[0]]  # type: ignore[union-attr]
        if len(replies) != len(seeds):
            raise ValueError(
                f"{model_name(self.model)} gave {len(replies)} completions where n={len(seeds)} was asked"
            )
        return replies  # type: ignore[return-value]

    def _trajectory(self, reply: "AIMessage", instruction: str, seed: int, duration_s: float) -> Trajectory:
        facts, answer = reply.response_metadata, extract_code(reply.text)
        token_ids, spans, logprobs = linear_history([reply])
        whole = Ending.SUBMITTED if answer.strip() else Ending.MALFORMED
        spent = Spending(self.limits, self.model)
        spent.note(reply)
        return Trajectory(
            agent=self.name,
            model=facts.get("model_name") or model_name(self.model),
            seed=seed,
            answer=answer,
            ending=cut_short(facts) or whole,
            token_ids=token_ids,
            loss_spans=spans,
            logprobs=logprobs,
            duration_s=duration_s,
            messages=self._said(reply, instruction, answer),
            **spent.facts(),
        )

    def _said(self, reply: "AIMessage", instruction: str, answer: str) -> tuple[Message, ...]:
        """The exchange, where the answer is not all that was said: reasoning, refusals, words around code."""
        said = to_message(reply, getattr(self.model, "price", None))
        if answer == reply.text and not (said.reasoning or said.refusal):
            return ()
        system = [Message(role="system", text=self.system_prompt)] if self.system_prompt else []
        return (*system, Message(role="user", text=instruction), said)


def _since(started: float) -> float:
    return time.perf_counter() - started
